//! CIRL's factorisation loss (its equation 5, in the form of its released code): the correlation matrix over a batch of the
//! features of images with those of the same images after the amplitude intervention is drawn towards the identity. The loss is
//! the mean over the diagonal of (c - 1)^2, plus 0.005 times the mean of the other entries' squares.

use burn::tensor::{Tensor, TensorData};

/// Weight of the off-diagonal entries, which are far more numerous.
const OFF_DIAGONAL: f32 = 0.005;

/// `own` and `viewed` are batch x channels.
pub(super) fn loss(own: Tensor<2>, viewed: Tensor<2>) -> Tensor<1> {
    let [batch, channels] = own.dims();
    let device = if own.is_tracked() { own.device().inner() } else { own.device() };
    let identity: Vec<f32> =
        (0..channels * channels).map(|i| if i / channels == i % channels { 1.0 } else { 0.0 }).collect();
    let identity = Tensor::<2>::from_data(TensorData::new(identity, [channels, channels]), &device);
    let correlation = standardised(own).transpose().matmul(standardised(viewed)).div_scalar(batch.max(1) as f32);
    let distance = correlation.sub(identity.clone());
    let squares = distance.clone().mul(distance);
    let diagonal = squares.clone().mul(identity.clone()).sum().div_scalar(channels as f32);
    let others = (channels * channels.saturating_sub(1)).max(1) as f32;
    let off = squares.mul(identity.neg().add_scalar(1.0)).sum().div_scalar(others);
    diagonal.add(off.mul_scalar(OFF_DIAGONAL))
}

/// Normalises to mean 0 and deviation 1 over the batch. A constant channel stays at 0.
fn standardised(features: Tensor<2>) -> Tensor<2> {
    let centred = features.clone().sub(features.mean_dim(0));
    let variance = centred.clone().mul(centred.clone()).mean_dim(0);
    centred.div(variance.add_scalar(1e-6).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    fn features(values: &[f32], channels: usize) -> Tensor<2> {
        let data = TensorData::new(values.to_vec(), [values.len() / channels, channels]);
        Tensor::from_data(data, &Device::flex())
    }

    fn of(own: &[f32], viewed: &[f32], channels: usize) -> f32 {
        loss(features(own, channels), features(viewed, channels)).into_scalar::<f32>()
    }

    #[test]
    fn equals_the_formula() {
        // Two independent channels, unchanged: the identity.
        let independent = [1.0, 1.0, 1.0, -1.0, -1.0, 1.0, -1.0, -1.0];
        assert!(of(&independent, &independent, 2).abs() < 1e-4);
        // Swapped channels: zeros on the diagonal, ones off it.
        let swapped: Vec<f32> = independent.chunks(2).flat_map(|pair| [pair[1], pair[0]]).collect();
        assert!((of(&independent, &swapped, 2) - (1.0 + OFF_DIAGONAL)).abs() < 1e-4);
        // Two equal channels: ones off the diagonal as well.
        let equal = [1.0, 1.0, -1.0, -1.0];
        assert!((of(&equal, &equal, 2) - OFF_DIAGONAL).abs() < 1e-4);
        // Opposite sign: (-1 - 1)^2.
        let turned = independent.map(|value| -value);
        assert!((of(&independent, &turned, 2) - 4.0).abs() < 1e-3);
    }

    #[test]
    fn a_dead_channel_has_a_finite_gradient() {
        let device = Device::flex().autodiff();
        let own = Tensor::<2>::from_floats([[0.0, 1.0], [0.0, -1.0]], &device).require_grad();
        let viewed = Tensor::<2>::from_floats([[0.0, 0.5], [0.0, -1.0]], &device);
        let gradients = loss(own.clone(), viewed).backward();
        let gradient = own.grad(&gradients).unwrap();
        assert!(gradient.to_data().iter::<f32>().all(f32::is_finite));
    }
}
