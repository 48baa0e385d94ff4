//! Sigmoid gates, QuickGELU and softmax.

use super::{ScaleZeroPoint, exp, sigmoid, versions};

versions! {
    /// A mask's gate: y = x * sigmoid(logits), or x * (1 - sigmoid(logits)) if `complement`.
    pub fn gate_f32(kernels, x: &[f32], logits: &[f32], complement: bool, y: &mut [f32]) {
        // 1 - sigmoid(l) is sigmoid(-l).
        let sign = if complement { -1.0 } else { 1.0 };
        for ((y, x), logit) in y.iter_mut().zip(x).zip(logits) {
            *y = x * sigmoid(sign * logit);
        }
    }

    /// A mask's gate on bytes: y = x * mask, where `masks` has the mask of each stored logit.
    pub fn gate_u8(kernels, x: &[u8], x_grid: ScaleZeroPoint, logits: &[u8], masks: &[f32; 256], y: &mut [u8], y_grid: ScaleZeroPoint) {
        for ((y, x), logit) in y.iter_mut().zip(x).zip(logits) {
            *y = y_grid.store(x_grid.value(*x) * masks[usize::from(*logit)]);
        }
    }

    /// QuickGELU: x * sigmoid(1.702 x).
    pub fn quick_gelu(kernels, x: &[f32], y: &mut [f32]) {
        for (y, x) in y.iter_mut().zip(x) {
            *y = x * sigmoid(1.702 * x);
        }
    }

    /// Softmax in place: e^(scale * (x - largest)) over its sum.
    pub fn softmax(kernels, row: &mut [f32], scale: f32) {
        let mut largest = f32::NEG_INFINITY;
        for value in row.iter() {
            largest = largest.max(*value);
        }
        for value in row.iter_mut() {
            *value = exp(scale * (*value - largest));
        }
        // One order of summing for all lengths of vectors.
        let mut sum = 0.0;
        for value in row.iter() {
            sum += value;
        }
        let share = 1.0 / sum;
        for value in row.iter_mut() {
            *value *= share;
        }
    }
}
