//! Average pooling over windows that do not overlap, one row of outputs at a time.

use super::{ScaleZeroPoint, versions};

versions! {
    /// Average pooling in f32. `rows` are the rows of the windows, each as wide as all windows together, with `channels` numbers a pixel. The means of a
    /// pixel go to the first `channels` of each `y_channels` numbers of `y`, which may end behind the last of them.
    pub fn average_pool_f32(kernels, rows: &[&[f32]], channels: usize, y: &mut [f32], y_channels: usize) {
        let size = rows.len();
        let share = 1.0 / (size * size) as f32;
        for (column, pixel) in y.chunks_mut(y_channels).enumerate() {
            let pixel = &mut pixel[..channels];
            pixel.fill(0.0);
            for row in rows {
                let window = &row[column * size * channels..][..size * channels];
                for source in window.chunks_exact(channels) {
                    for (sum, value) in pixel.iter_mut().zip(source) {
                        *sum += value;
                    }
                }
            }
            pixel.iter_mut().for_each(|sum| *sum *= share);
        }
    }

    /// Average pooling on bytes, like [`average_pool_f32`]: the mean with the inputs' scale and zero point, then stored with the outputs'.
    pub fn average_pool_u8(
        kernels,
        rows: &[&[u8]],
        x_grid: ScaleZeroPoint,
        channels: usize,
        y: &mut [u8],
        y_channels: usize,
        y_grid: ScaleZeroPoint
    ) {
        /// The number of channels whose sums are kept at a time.
        const LANES: usize = 64;
        let size = rows.len();
        let share = 1.0 / (size * size) as f32;
        for (column, pixel) in y.chunks_mut(y_channels).enumerate() {
            for (block, outputs) in pixel[..channels].chunks_mut(LANES).enumerate() {
                let mut sums = [0u32; LANES];
                for row in rows {
                    for place in 0..size {
                        let first = (column * size + place) * channels + block * LANES;
                        for (sum, value) in sums.iter_mut().zip(&row[first..first + outputs.len()]) {
                            *sum += u32::from(*value);
                        }
                    }
                }
                for (output, sum) in outputs.iter_mut().zip(&sums) {
                    let mean = *sum as f32 * share - x_grid.zero_point;
                    *output = y_grid.store(mean * x_grid.scale);
                }
            }
        }
    }
}
