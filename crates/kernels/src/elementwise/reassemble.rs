//! CARAFE's reassembly (Wang et al., ICCV 2019): each output pixel is a mean of the 3 x 3 neighbourhood below it, with
//! weights of its own.

use super::{exp, versions};

versions! {
    /// Softmax in place, over the nine logits of each of `places` output pixels; logit `tap * places + place` belongs
    /// to `place`.
    pub fn softmax_taps(kernels, logits: &mut [f32], places: usize) {
        for place in 0..places {
            let mut largest = f32::NEG_INFINITY;
            for value in logits.iter().skip(place).step_by(places) {
                largest = largest.max(*value);
            }
            let mut sum = 0.0;
            for value in logits.iter_mut().skip(place).step_by(places) {
                *value = exp(*value - largest);
                sum += *value;
            }
            let share = 1.0 / sum;
            for value in logits.iter_mut().skip(place).step_by(places) {
                *value *= share;
            }
        }
    }

    /// Adds a weighted row: y += weight * x.
    pub fn reassemble(kernels, x: &[f32], weight: f32, y: &mut [f32]) {
        for (y, x) in y.iter_mut().zip(x) {
            *y += weight * x;
        }
    }
}
