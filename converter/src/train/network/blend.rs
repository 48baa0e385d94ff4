//! A 3x3 convolution of a bilinearly upsampled map, at the low resolution.
//!
//! Upsampling acts on each channel alone and a tap mixes channels at one pixel, so the two commute: nine 1x1 products of
//! the small map, each upsampled and shifted to where its tap reads, sum to the same result. Upsampling and shifting
//! along one axis is a linear map of that axis, so the sum over the taps of a row is one matrix product whose inner
//! dimension is three widths, and the sum over the three rows of taps another one along the height.

use burn::tensor::{Device, Tensor, TensorData};

/// Convolves `x`, upsampled by `scale`, with `kernel` (out x in x 3 x 3), zero padding 1.
pub(super) fn upsampled_conv(x: Tensor<4>, kernel: Tensor<4>, scale: usize) -> Tensor<4> {
    let [batch, channels, height, width] = x.dims();
    let [out, _, _, _] = kernel.dims();
    let device = x.device().inner();
    let taps = kernel.permute([0, 2, 3, 1]).reshape([1, out * 9, channels]);
    let products = taps.matmul(x.reshape([batch, channels, height * width]));
    let rows = products
        .reshape([batch, out, 3, 3, height, width])
        .permute([0, 1, 2, 4, 3, 5])
        .reshape([batch * out * 3 * height, 3 * width])
        .matmul(blend_matrix(width, scale, &device));
    let down = blend_matrix(height, scale, &device).transpose().unsqueeze::<3>();
    down.matmul(rows.reshape([batch * out, 3 * height, width * scale])).reshape([
        batch,
        out,
        height * scale,
        width * scale,
    ])
}

/// 3 `size` x `size * scale`: row `tap * size + i` holds the weight of low-resolution position i in each output through that tap,
/// which reads one to the left, at the output, or one to the right; zero outside the upsampled frame.
fn blend_matrix(size: usize, scale: usize, device: &Device) -> Tensor<2> {
    let upsampled = size * scale;
    let mut matrix = vec![0f32; 3 * size * upsampled];
    for tap in 0..3 {
        for output in 0..upsampled {
            let Some(read) = (output + tap).checked_sub(1).filter(|read| *read < upsampled) else { continue };
            let position = ((read as f32 + 0.5) / scale as f32 - 0.5).max(0.0);
            let low = position.floor() as usize;
            let fraction = position - low as f32;
            let mut add = |i: usize, weight: f32| matrix[(tap * size + i.min(size - 1)) * upsampled + output] += weight;
            add(low, 1.0 - fraction);
            add(low + 1, fraction);
        }
    }
    Tensor::from_data(TensorData::new(matrix, [3 * size, upsampled]), device)
}
