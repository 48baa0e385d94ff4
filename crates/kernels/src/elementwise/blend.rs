//! The blend of tap products, a row of outputs at a time: first the rows of products that an output row interpolates
//! between, at low resolution, then the columns. See `lower::upsampled_conv` for the algebra.

use super::versions;
#[cfg(target_arch = "wasm32")]
use crate::wasm32::blend as loops;

/// The taps of a 3 x 3 kernel, which is the number of products a channel.
const TAPS: usize = 9;

/// The number of terms along an axis: three taps, each between two neighbours.
pub const TERMS: usize = 6;

/// A row of products and its weight. Products of one pixel are stored tap by tap; `first` is the first channel of the
/// three taps of a kernel row.
#[derive(Clone, Copy, Debug)]
pub struct RowTerm<'a, T> {
    /// A row of products.
    pub products: &'a [T],
    /// The first product that is read.
    pub first: usize,
    /// The factor of the products.
    pub weight: f32,
}

/// The starts of one output column's six terms in a row that [`blend_rows_f32`] computed, and their weights.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ColumnTerms {
    /// The start of each term's products.
    pub starts: [u32; TERMS],
    /// The factor of each term's products.
    pub weights: [f32; TERMS],
}

/// The inner loops, for targets whose compiler vectorises a multiply-add.
#[cfg(not(target_arch = "wasm32"))]
mod loops {
    use super::TERMS;

    /// `weight * value + sum` with one rounding, one instruction on every instruction set except the plainest.
    #[inline(always)]
    fn accumulate(sum: f32, weight: f32, value: f32) -> f32 {
        weight.mul_add(value, sum)
    }

    #[inline(always)]
    pub(super) fn row<T: Copy + Into<f32>>(
        [a, b, c, d, e, f]: [&[T]; TERMS],
        weights: [f32; TERMS],
        [offset, scale]: [f32; 2],
        sums: &mut [f32],
    ) {
        let value = |stored: T| -> f32 { stored.into() };
        for (index, sum) in sums.iter_mut().enumerate() {
            let first = accumulate(accumulate(offset, weights[0], value(a[index])), weights[1], value(b[index]));
            let second = accumulate(weights[2] * value(c[index]), weights[3], value(d[index]));
            let third = accumulate(weights[4] * value(e[index]), weights[5], value(f[index]));
            *sum = (first + second + third) * scale;
        }
    }

    #[inline(always)]
    pub(super) fn pixel(
        [a, b, c, d, e, f]: [&[f32]; TERMS],
        weights: [f32; TERMS],
        bias: &[f32],
        lowest: f32,
        sums: &mut [f32],
    ) {
        for (index, sum) in sums.iter_mut().enumerate() {
            let first = accumulate(accumulate(bias[index], weights[0], a[index]), weights[1], b[index]);
            let second = accumulate(weights[2] * c[index], weights[3], d[index]);
            let third = accumulate(weights[4] * e[index], weights[5], f[index]);
            *sum = (first + second + third).max(lowest);
        }
    }
}

macro_rules! blend_rows {
    ($terms:ident, $channels:ident, $offset_and_scale:expr, $y:ident) => {{
        let (width, stride) = (3 * $channels, TAPS * $channels);
        let weights = $terms.map(|term| term.weight);
        for (column, sums) in $y.chunks_exact_mut(width).enumerate() {
            let terms = $terms.map(|term| &term.products[column * stride + term.first..][..width]);
            loops::row(terms, weights, $offset_and_scale, sums);
        }
    }};
}

versions! {
    /// Sums a row's six terms, for each low-resolution column and each of the three taps of a kernel row: `y` is
    /// columns x 3 x channels.
    pub fn blend_rows_f32(kernels, terms: &[RowTerm<'_, f32>; TERMS], channels: usize, y: &mut [f32]) {
        blend_rows!(terms, channels, [0.0, 1.0], y);
    }

    /// As [`blend_rows_f32`], for products in bytes.
    pub fn blend_rows_u8(
        kernels,
        terms: &[RowTerm<'_, u8>; TERMS],
        channels: usize,
        zero_point: f32,
        scale: f32,
        y: &mut [f32],
    ) {
        let weight: f32 = terms.iter().map(|term| term.weight).sum();
        blend_rows!(terms, channels, [-zero_point * weight, scale], y);
    }

    /// Sums each output column's six terms, adds the bias, and applies ReLU if `relu`. `y` is one row of columns x
    /// channels.
    pub fn blend_columns(kernels, columns: &[ColumnTerms], row: &[f32], bias: &[f32], relu: bool, y: &mut [f32]) {
        let channels = bias.len();
        let lowest = if relu { 0.0 } else { f32::NEG_INFINITY };
        for (terms, pixel) in columns.iter().zip(y.chunks_exact_mut(channels)) {
            let sources = terms.starts.map(|start| &row[start as usize..][..channels]);
            loops::pixel(sources, terms.weights, bias, lowest, pixel);
        }
    }
}
