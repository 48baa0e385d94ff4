//! Layer norm.

use super::versions;

/// The number of lanes of a sum, so that compilers vectorise it without changing its order.
const LANES: usize = 16;

#[inline(always)]
fn sum(values: &[f32], term: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let chunks = values.chunks_exact(LANES);
    let rest = chunks.remainder();
    for chunk in chunks {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *lane += term(*value);
        }
    }
    lanes.iter().sum::<f32>() + rest.iter().map(|value| term(*value)).sum::<f32>()
}

versions! {
    /// Layer norm: (x - mean) / sqrt(variance + epsilon) * scale + shift over one row.
    pub fn layer_norm(kernels, x: &[f32], scale: &[f32], shift: &[f32], epsilon: f32, y: &mut [f32]) {
        let share = 1.0 / x.len() as f32;
        let mean = sum(x, |value| value) * share;
        let variance = sum(x, |value| (value - mean) * (value - mean)) * share;
        let inverse = 1.0 / (variance + epsilon).sqrt();
        for (((y, x), scale), shift) in y.iter_mut().zip(x).zip(scale).zip(shift) {
            *y = (x - mean) * inverse * scale + shift;
        }
    }
}
