//! Conversions between bytes and floats, and sums of rows.

use super::{ScaleZeroPoint, versions};

versions! {
    /// Stores each value as the nearest byte.
    pub fn quantize(kernels, x: &[f32], quantisation: ScaleZeroPoint, y: &mut [u8]) {
        for (y, x) in y.iter_mut().zip(x) {
            *y = quantisation.store(*x);
        }
    }

    /// The value of each stored byte.
    pub fn dequantize(kernels, x: &[u8], quantisation: ScaleZeroPoint, y: &mut [f32]) {
        for (y, x) in y.iter_mut().zip(x) {
            *y = quantisation.value(*x);
        }
    }

    /// Stores one row of an image's three planes in groups of four bytes; the fourth is the zero point.
    pub fn image_row_u8(kernels, planes: [&[f32]; 3], quantisation: ScaleZeroPoint, y: &mut [u8]) {
        let [red, green, blue] = planes;
        let fourth = quantisation.store(0.0);
        for (((pixel, r), g), b) in y.chunks_exact_mut(4).zip(red).zip(green).zip(blue) {
            pixel.copy_from_slice(&[quantisation.store(*r), quantisation.store(*g), quantisation.store(*b), fourth]);
        }
    }

    /// Stores one row of an image's three planes, channels last.
    pub fn image_row_f32(kernels, planes: [&[f32]; 3], y: &mut [f32]) {
        let [red, green, blue] = planes;
        for (((pixel, r), g), b) in y.chunks_exact_mut(3).zip(red).zip(green).zip(blue) {
            pixel.copy_from_slice(&[*r, *g, *b]);
        }
    }

    /// Adds two rows, then applies ReLU if `relu`.
    pub fn add_f32(kernels, a: &[f32], b: &[f32], relu: bool, y: &mut [f32]) {
        let lowest = if relu { 0.0 } else { f32::NEG_INFINITY };
        for ((y, a), b) in y.iter_mut().zip(a).zip(b) {
            *y = (a + b).max(lowest);
        }
    }

    /// As [`add_f32`], for bytes.
    pub fn add_u8(kernels, a: (&[u8], ScaleZeroPoint), b: (&[u8], ScaleZeroPoint), relu: bool, y: &mut [u8], quantisation: ScaleZeroPoint) {
        let lowest = if relu { 0.0 } else { f32::NEG_INFINITY };
        for ((y, first), second) in y.iter_mut().zip(a.0).zip(b.0) {
            *y = quantisation.store((a.1.value(*first) + b.1.value(*second)).max(lowest));
        }
    }
}
