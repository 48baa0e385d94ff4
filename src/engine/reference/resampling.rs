//! Bilinear resampling as products with constant matrices, one axis at a time.
//!
//! Dense matrices do more arithmetic than the two taps of an interpolation need, but they run on tract's matrix kernels.
//! Measured on 256 channels of 56 x 56 to 224 x 224: four fifths of the CPU time of tract's own `Resize`.

use super::wiring::Wiring;
use crate::graph::TAPS;
use ndarray::{Array2, s};
use tract_core::internal::*;
use tract_core::ops::array::{Pad, PadMode};
use tract_core::ops::math::{add, mul};
use tract_core::ops::nn::{Softmax, SoftmaxKind};

/// The side length of kernels, in taps.
const SIDE: usize = 3;

/// The matrix (`size` x `size * scale`) whose product with a row of `size` pixels is the bilinearly upsampled row
/// (align_corners = false, edges repeated) moved by `shift` pixels, zero where it would be read outside its frame.
pub(crate) fn interpolation(size: usize, scale: usize, shift: isize) -> Array2<f32> {
    let upsampled = size * scale;
    let mut matrix = Array2::zeros((size, upsampled));
    for column in 0..upsampled {
        let Some(read) = column.checked_add_signed(shift).filter(|read| *read < upsampled) else { continue };
        let position = ((read as f64 + 0.5) / scale as f64 - 0.5).max(0.0);
        let lower = position.floor() as usize;
        let upper = (lower + 1).min(size - 1);
        let fraction = (position - lower as f64) as f32;
        matrix[(lower, column)] += 1.0 - fraction;
        matrix[(upper, column)] += fraction;
    }
    matrix
}

pub(super) fn upsample(
    w: &mut Wiring,
    scale: usize,
    height: usize,
    width: usize,
    x: OutletId,
) -> TractResult<OutletId> {
    let along_width = w.constant(interpolation(width, scale, 0).into_dyn())?;
    let along_height = w.constant(interpolation(height, scale, 0).into_dyn())?;
    let wide = w.einsum("chw,wx->chx", &[x, along_width])?;
    w.einsum("chx,hy->cyx", &[wide, along_height])
}

/// The blend of nine tap products: along the width the three taps of a kernel row, then along the height the three
/// rows. The matrices of three taps are stacked, so that one product per axis both interpolates and sums.
pub(super) fn blend_taps(
    w: &mut Wiring,
    scale: usize,
    [channels, height, width]: [usize; 3],
    bias: Option<&str>,
    x: OutletId,
) -> TractResult<OutletId> {
    let channels = channels / TAPS;
    let x = w.reshape(x, 0, &[TAPS * channels], &[SIDE, SIDE, channels])?;
    // ky kx c h w -> ky c h kx w
    let x = w.move_axis(x, 1, 3)?;
    let x = w.reshape(x, 3, &[SIDE, width], &[SIDE * width])?;
    let x = w.reshape(x, 0, &[SIDE, channels, height], &[SIDE * channels * height])?;
    let along_width = w.constant(stacked_interpolations(width, scale).into_dyn())?;
    let x = w.einsum("rk,kx->rx", &[x, along_width])?;
    let x = w.reshape(x, 0, &[SIDE * channels * height], &[SIDE, channels, height])?;
    // ky c h x -> c ky h x
    let x = w.move_axis(x, 0, 1)?;
    let x = w.reshape(x, 1, &[SIDE, height], &[SIDE * height])?;
    let along_height = w.constant(stacked_interpolations(height, scale).into_dyn())?;
    let x = w.einsum("ckx,ky->cyx", &[x, along_height])?;
    match bias {
        Some(name) => {
            let bias = w.shaped_weight(name, &[channels, 1, 1])?;
            w.wire(add(), &[x, bias])
        }
        None => Ok(x),
    }
}

/// The interpolations of the taps at -1, 0 and 1, stacked.
fn stacked_interpolations(size: usize, scale: usize) -> Array2<f32> {
    let mut stacked = Array2::zeros((SIDE * size, size * scale));
    for (tap, shift) in [-1, 0, 1].into_iter().enumerate() {
        stacked.slice_mut(s![tap * size..(tap + 1) * size, ..]).assign(&interpolation(size, scale, shift));
    }
    stacked
}

/// CARAFE's reassembly (Wang et al., ICCV 2019): a softmax over the nine logits of each output pixel, then the weighted
/// sum of the neighbourhood below it.
pub(super) fn carafe(
    w: &mut Wiring,
    scale: usize,
    [channels, height, width]: [usize; 3],
    x: OutletId,
    logits: OutletId,
) -> TractResult<OutletId> {
    let inner = scale * scale;
    // The pixel shuffle: logit `tap * scale² + dy * scale + dx` belongs to output pixel (y * scale + dy, x * scale + dx).
    let logits = w.reshape(logits, 0, &[TAPS * inner], &[TAPS, inner])?;
    let weights = w.wire(Softmax::new(tvec!(0), None, SoftmaxKind::Softmax), &[logits])?;
    let padded = pad_frame(w, x)?;
    let mut sum = None;
    for tap in 0..TAPS {
        let weight = w.slice(weights, 0, tap, tap + 1)?;
        let pixels = shifted(w, padded, tap, height, width)?;
        let pixels = w.wire(AxisOp::Add(1), &[pixels])?;
        let term = w.wire(mul(), &[pixels, weight])?;
        sum = Some(match sum {
            Some(sum) => w.wire(add(), &[sum, term])?,
            None => term,
        });
    }
    let sum = sum.context("no taps")?;
    // c (dy dx) h w -> c h dy w dx
    let x = w.reshape(sum, 1, &[inner], &[scale, scale])?;
    let x = w.move_axis(x, 1, 3)?;
    let x = w.move_axis(x, 1, 4)?;
    let x = w.reshape(x, 3, &[width, scale], &[width * scale])?;
    let x = w.reshape(x, 1, &[height, scale], &[height * scale])?;
    debug_assert_eq!(w.model.outlet_fact(x)?.shape.volume(), (channels * inner * height * width).to_dim());
    Ok(x)
}

/// One pixel of zeros around each channel.
pub(super) fn pad_frame(w: &mut Wiring, x: OutletId) -> TractResult<OutletId> {
    w.wire(Pad { pads: vec![(0, 0), (1, 1), (1, 1)], mode: PadMode::default() }, &[x])
}

/// The pixels that `tap` reads for each pixel of the frame, taken from a padded map.
pub(super) fn shifted(
    w: &mut Wiring,
    padded: OutletId,
    tap: usize,
    height: usize,
    width: usize,
) -> TractResult<OutletId> {
    let (dy, dx) = (tap / SIDE, tap % SIDE);
    let rows = w.slice(padded, 1, dy, dy + height)?;
    w.slice(rows, 2, dx, dx + width)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two pixels upsampled by two are 1, 3/4 : 1/4, 1/4 : 3/4, 1.
    #[test]
    fn interpolates_between_pixel_centres() {
        let expected = ndarray::array![[1.0, 0.75, 0.25, 0.0], [0.0, 0.25, 0.75, 1.0]];
        assert_eq!(interpolation(2, 2, 0), expected);
    }

    #[test]
    fn a_shift_reads_zero_outside_the_upsampled_frame() {
        let still = interpolation(5, 4, 0);
        for (shift, outside) in [(-1, 0), (1, 19)] {
            let moved = interpolation(5, 4, shift);
            assert!(moved.column(outside).iter().all(|weight| *weight == 0.0));
            for column in (0..20usize).filter(|column| *column != outside) {
                assert_eq!(moved.column(column), still.column(column.checked_add_signed(shift).unwrap()));
            }
        }
    }

    #[test]
    fn one_pixel_fills_the_frame() {
        assert!(interpolation(1, 4, 0).iter().all(|weight| *weight == 1.0));
    }
}
