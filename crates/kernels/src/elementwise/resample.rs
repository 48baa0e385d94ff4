//! Rows of a frame, summed with weights: the half of a separable resampling that reads every source pixel.

use super::versions;

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
}
