//! Segmentation losses on logits.

use burn::tensor::{Tensor, activation};
use serde::{Deserialize, Serialize};

/// Weights of the losses. CRIS, the parent code, trained with cross entropy alone (`bce = 1`, `dice = 0`); LViT and
/// later users of this network with half of each, which is the default.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LossConfig {
    /// Weight of the binary cross entropy of each pixel.
    pub bce: f32,
    /// Weight of the soft Dice loss of each image. Dice is meaningless for an image with an empty mask: the cross entropy takes
    /// this weight there.
    pub dice: f32,
    /// Weight of the empty loss, a / (a + 1 % of the image) for an answer of area a where the mask is empty. By cross entropy
    /// alone, a false mask costs only in proportion to its small area, far less than a missed lesion.
    pub empty: f32,
}

impl Default for LossConfig {
    fn default() -> Self {
        Self { bce: 0.5, dice: 0.5, empty: 0.0 }
    }
}

/// Added to numerator and denominator of Dice, in pixels: avoids dividing by almost zero for lesions of one pixel.
const DICE_SMOOTHING: f32 = 1.0;

impl LossConfig {
    /// The mean over the batch. `logits` and `masks` (0 or 1) are batch x 1 x height x width.
    pub fn of(&self, logits: Tensor<4>, masks: Tensor<4>) -> Tensor<1> {
        let [batch, _, height, width] = logits.dims();
        let pixels = height * width;
        let logits = logits.reshape([batch, pixels]);
        let masks = masks.reshape([batch, pixels]);
        let area = masks.clone().sum_dim(1);
        let cross_entropy = cross_entropy(logits.clone(), masks.clone()).mean_dim(1);
        let has_lesion = area.clone().greater_scalar(0.5).float();
        let is_empty = has_lesion.clone().neg().add_scalar(1.0);
        let mut loss = cross_entropy.mul(is_empty.clone().mul_scalar(self.dice).add_scalar(self.bce));
        if self.dice != 0.0 || self.empty != 0.0 {
            let probabilities = activation::sigmoid(logits);
            let answered = probabilities.clone().sum_dim(1);
            let dice = dice_loss(probabilities, masks, answered.clone(), area).mul(has_lesion).mul_scalar(self.dice);
            let empty = empty_loss(answered, pixels).mul(is_empty).mul_scalar(self.empty);
            loss = loss.add(dice).add(empty);
        }
        loss.mean()
    }
}

/// max(x, 0) - x y + log(1 + exp(-|x|)), which does not overflow for any logit.
pub(super) fn cross_entropy(logits: Tensor<2>, masks: Tensor<2>) -> Tensor<2> {
    let tail = logits.clone().abs().neg().exp().log1p();
    activation::relu(logits.clone()).sub(logits.mul(masks)).add(tail)
}

/// 1 - (2 sum(p y) + s) / (sum p + sum y + s), one row per image. `answered` is sum p.
fn dice_loss(probabilities: Tensor<2>, masks: Tensor<2>, answered: Tensor<2>, area: Tensor<2>) -> Tensor<2> {
    let overlap = probabilities.mul(masks).sum_dim(1).mul_scalar(2.0).add_scalar(DICE_SMOOTHING);
    let sizes = answered.add(area).add_scalar(DICE_SMOOTHING);
    overlap.div(sizes).neg().add_scalar(1.0)
}

/// sum p / (sum p + 1 % of the pixels), one row per image.
fn empty_loss(answered: Tensor<2>, pixels: usize) -> Tensor<2> {
    answered.clone().div(answered.add_scalar(pixels as f32 * 0.01))
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Device, TensorData};

    fn tensor(values: &[f32], batch: usize) -> Tensor<4> {
        let pixels = values.len() / batch;
        Tensor::from_data(TensorData::new(values.to_vec(), [batch, 1, 1, pixels]), &Device::flex())
    }

    fn loss(config: LossConfig, logits: &[f32], masks: &[f32], batch: usize) -> f32 {
        config.of(tensor(logits, batch), tensor(masks, batch)).into_scalar::<f32>()
    }

    #[test]
    fn equals_the_formulas() {
        let (logits, masks) = ([2.0f32, -1.0, 0.5, -3.0], [1.0f32, 0.0, 1.0, 0.0]);
        let p: Vec<f32> = logits.iter().map(|x| 1.0 / (1.0 + (-x).exp())).collect();
        let bce = p.iter().zip(&masks).map(|(p, y)| -(y * p.ln() + (1.0 - y) * (1.0 - p).ln())).sum::<f32>() / 4.0;
        let overlap: f32 = p.iter().zip(&masks).map(|(p, y)| p * y).sum();
        let dice = 1.0 - (2.0 * overlap + 1.0) / (p.iter().sum::<f32>() + 2.0 + 1.0);
        let mixed = loss(LossConfig::default(), &logits, &masks, 1);
        assert!((mixed - 0.5 * (bce + dice)).abs() < 1e-6, "{mixed} is not {}", 0.5 * (bce + dice));
        let plain = loss(LossConfig { bce: 1.0, dice: 0.0, empty: 0.0 }, &logits, &masks, 1);
        assert!((plain - bce).abs() < 1e-6);
    }

    #[test]
    fn an_empty_mask_counts_by_cross_entropy_alone() {
        let logits = [2.0f32, -1.0, 0.5, -3.0, 2.0, -1.0, 0.5, -3.0];
        let masks = [1.0f32, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0];
        let both = loss(LossConfig::default(), &logits, &masks, 2);
        let first = loss(LossConfig::default(), &logits[..4], &masks[..4], 1);
        let empty = loss(LossConfig { bce: 1.0, dice: 0.0, empty: 0.0 }, &logits[4..], &masks[4..], 1);
        assert!((both - 0.5 * (first + empty)).abs() < 1e-6);
        assert!(loss(LossConfig::default(), &[-100.0; 4], &[0.0; 4], 1).abs() < 1e-6);
    }

    #[test]
    fn an_answer_where_nothing_is_costs_by_its_area() {
        let without = LossConfig::default();
        let with = LossConfig { empty: 0.5, ..without.clone() };
        let extra = |logits: &[f32], masks: &[f32]| {
            loss(with.clone(), logits, masks, 1) - loss(without.clone(), logits, masks, 1)
        };
        // Two of four pixels found: 2 / (2 + 0.04).
        assert!((extra(&[30.0, 30.0, -30.0, -30.0], &[0.0; 4]) - 0.5 * 2.0 / 2.04).abs() < 1e-5);
        assert!(extra(&[-30.0; 4], &[0.0; 4]).abs() < 1e-6);
        assert!(extra(&[30.0, 30.0, -30.0, -30.0], &[1.0, 0.0, 0.0, 0.0]).abs() < 1e-6);
    }

    #[test]
    fn stays_finite_for_extreme_logits() {
        let value = loss(LossConfig::default(), &[1e4, -1e4], &[0.0, 1.0], 1);
        assert!(value.is_finite() && value > 1e3);
    }
}
