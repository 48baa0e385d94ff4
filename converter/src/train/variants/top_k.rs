//! Masks that keep the top k channels of each position, drawn by Gumbel noise.
//!
//! The authors define a top-k mask by Gumbel softmax, CIRL's, and never call it. CIRL uses the largest of k soft draws, which a
//! sigmoid cannot reproduce after training. Here the k channels are drawn at once: logits with Gumbel noise added have as their k
//! largest a draw of k without replacement (Kool et al., "Stochastic Beams and Where to Find Them", ICML 2019), and a sigmoid
//! about the k-th largest softens the choice. Adding a number to all logits of a mask then changes nothing; it is chosen so that
//! the k-th largest without noise is zero, so that the plain sigmoid of evaluation, of `export` and of `pack` is the same mask
//! without noise.

use super::constant;
use burn::tensor::{Tensor, TensorData};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// The fraction of the way to their centre that the logits move in a step.
pub(in crate::train) const CENTRING: f32 = 0.1;

/// The masks of `logits` (batch x channels x height x width) for a share of channels to keep, and the mean over positions of the
/// k-th largest logit without noise. Equal draws give equal noise.
pub(in crate::train) fn gate(logits: Tensor<4>, share: f32, draw: u64) -> (Tensor<4>, Tensor<1>) {
    let [batch, channels, height, width] = logits.dims();
    let kept = ((channels as f32 * share).round() as usize).clamp(1, channels);
    let plain = if logits.is_tracked() { logits.clone().inner() } else { logits.clone() };
    let noise = gumbel(batch * channels * height * width, draw);
    let noise = Tensor::<4>::from_data(TensorData::new(noise, logits.dims()), &plain.device());
    let largest = |values: Tensor<4>| values.sort_descending(1).slice([0..batch, kept - 1..kept, 0..height, 0..width]);
    let centre = largest(plain.clone()).mean();
    let shift = noise.clone().sub(largest(plain.add(noise)));
    let shift = if logits.is_tracked() { Tensor::from_inner(shift) } else { shift };
    (burn::tensor::activation::sigmoid(logits.add(shift)), constant(centre))
}

/// -ln(-ln(u)), u uniform and never 0 or 1.
fn gumbel(count: usize, draw: u64) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(draw);
    let uniform = |rng: &mut ChaCha8Rng| (f64::from(rng.random::<u32>()) + 0.5) / f64::from(u32::MAX).mul_add(1.0, 1.0);
    (0..count).map(|_| -(-uniform(&mut rng).ln()).ln() as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    fn logits(values: &[f32]) -> Tensor<4> {
        Tensor::from_data(TensorData::new(values.to_vec(), [1, values.len(), 1, 1]), &Device::flex())
    }

    #[test]
    fn as_many_channels_are_kept_as_asked_and_the_likely_ones_most_often() {
        let values = [2.0, 0.0, 0.0, 0.0, -2.0];
        let mut kept = [0; 5];
        for draw in 0..600 {
            let (mask, centre) = gate(logits(&values), 0.4, draw);
            assert_eq!(centre.into_scalar::<f32>(), 0.0, "the second largest");
            let above: Vec<bool> = mask.to_data().iter::<f32>().map(|value| value > 0.5 - 1e-6).collect();
            assert_eq!(above.iter().filter(|above| **above).count(), 2);
            kept.iter_mut().zip(above).for_each(|(kept, above)| *kept += usize::from(above));
        }
        // Without replacement, by weights e^2, 1, 1, 1, e^-2.
        assert!(kept[0] > 500 && kept[4] < 60 && (1..4).all(|k| (140..270).contains(&kept[k])), "{kept:?}");
    }

    #[test]
    fn a_common_shift_of_the_logits_changes_no_mask() {
        let values = [0.3, -1.0, 0.8, 0.1];
        let shifted = values.map(|value| value + 5.0);
        let (one, centre) = gate(logits(&values), 0.5, 7);
        let (other, moved) = gate(logits(&shifted), 0.5, 7);
        for (one, other) in one.to_data().iter::<f32>().zip(other.to_data().iter::<f32>()) {
            assert!((one - other).abs() < 1e-5);
        }
        assert!((moved.into_scalar::<f32>() - centre.into_scalar::<f32>() - 5.0).abs() < 1e-5);
    }

    #[test]
    fn gradients_reach_the_logits() {
        let leaf =
            Tensor::<4>::from_data(TensorData::new(vec![0.3f32, -1.0, 0.8], [1, 3, 1, 1]), &Device::flex().autodiff())
                .require_grad();
        let (mask, _) = gate(leaf.clone(), 0.5, 1);
        let gradients = mask.sum().backward();
        assert!(leaf.grad(&gradients).unwrap().to_data().iter::<f32>().all(|gradient| gradient > 0.0));
    }
}
