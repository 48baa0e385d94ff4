//! Rows of frames and maps, blended with weights: the halves of separable resampling that touch every pixel.

use super::{sigmoid, versions};

versions! {
    /// Adds a weighted row of 8-bit samples: sums += weight * row.
    pub fn add_weighted_u8(kernels, weight: f32, row: &[u8], sums: &mut [f32]) {
        for (sum, sample) in sums.iter_mut().zip(row) {
            *sum += weight * f32::from(*sample);
        }
    }

    /// As [`add_weighted_u8`], for 16-bit samples, low byte first.
    pub fn add_weighted_u16(kernels, weight: f32, row: &[u8], sums: &mut [f32]) {
        for (sum, sample) in sums.iter_mut().zip(row.chunks_exact(2)) {
            *sum += weight * f32::from(u16::from_le_bytes([sample[0], sample[1]]));
        }
    }

    /// The row between two: y = upper + (lower - upper) * fraction.
    pub fn mix_rows(kernels, upper: &[f32], lower: &[f32], fraction: f32, y: &mut [f32]) {
        for ((y, upper), lower) in y.iter_mut().zip(upper).zip(lower) {
            *y = upper + (lower - upper) * fraction;
        }
    }

    /// The sigmoid of the row between two rows of logits.
    pub fn mix_logits(kernels, upper: &[f32], lower: &[f32], fraction: f32, y: &mut [f32]) {
        for ((y, upper), lower) in y.iter_mut().zip(upper).zip(lower) {
            *y = sigmoid(upper + (lower - upper) * fraction);
        }
    }
}
