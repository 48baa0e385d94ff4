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

    /// Six terms in three independent chains.
    #[inline(always)]
    fn sum(start: f32, weights: [f32; TERMS], [a, b, c, d, e, f]: [f32; TERMS]) -> f32 {
        let first = accumulate(accumulate(start, weights[0], a), weights[1], b);
        let second = accumulate(weights[2] * c, weights[3], d);
        let third = accumulate(weights[4] * e, weights[5], f);
        first + second + third
    }

    /// The numbers that sums begin with.
    trait Start: Copy {
        /// Those of the elements from `at` on.
        fn block<const N: usize>(self, at: usize) -> [f32; N];
    }

    impl Start for f32 {
        #[inline(always)]
        fn block<const N: usize>(self, _: usize) -> [f32; N] {
            [self; N]
        }
    }

    impl Start for &[f32] {
        #[inline(always)]
        fn block<const N: usize>(self, at: usize) -> [f32; N] {
            let mut block = [0.0; N];
            block.copy_from_slice(&self[at..at + N]);
            block
        }
    }

    /// Elements from `at` on, N at a time, as long as there are N: a loop whose length the compiler knows becomes vectors without a
    /// remainder, while it leaves up to the last block of a slice of unknown length to single elements. Yields the first that is left.
    ///
    /// The terms are taken apart by hand: `array::map` is not inlined into functions with more instructions than the baseline.
    #[inline(always)]
    fn blocks<const N: usize, T: Copy + Into<f32>>(
        [a, b, c, d, e, f]: [&[T]; TERMS],
        weights: [f32; TERMS],
        start: impl Start,
        finish: impl Fn(f32) -> f32,
        at: usize,
        sums: &mut [f32],
    ) -> usize {
        let (sums, _) = sums[at..].as_chunks_mut::<N>();
        let count = sums.len();
        let (a, b, c) = (chunks::<N, T>(a, at, count), chunks::<N, T>(b, at, count), chunks::<N, T>(c, at, count));
        let (d, e, f) = (chunks::<N, T>(d, at, count), chunks::<N, T>(e, at, count), chunks::<N, T>(f, at, count));
        for (block, sums) in sums.iter_mut().enumerate() {
            let (a, b, c, d, e, f) = (&a[block], &b[block], &c[block], &d[block], &e[block], &f[block]);
            // Apart from the output: otherwise the compiler checks at each block whether it overlaps the inputs.
            let mut found = start.block::<N>(at + block * N);
            for lane in 0..N {
                let terms =
                    [a[lane].into(), b[lane].into(), c[lane].into(), d[lane].into(), e[lane].into(), f[lane].into()];
                found[lane] = finish(sum(found[lane], weights, terms));
            }
            *sums = found;
        }
        at + count * N
    }

    #[inline(always)]
    fn chunks<const N: usize, T>(term: &[T], at: usize, count: usize) -> &[[T; N]] {
        &term[at..].as_chunks::<N>().0[..count]
    }

    #[inline(always)]
    fn all<T: Copy + Into<f32>>(
        terms: [&[T]; TERMS],
        weights: [f32; TERMS],
        start: impl Start,
        finish: impl Fn(f32) -> f32 + Copy,
        sums: &mut [f32],
    ) {
        let at = blocks::<16, T>(terms, weights, start, finish, 0, sums);
        let at = blocks::<8, T>(terms, weights, start, finish, at, sums);
        blocks::<1, T>(terms, weights, start, finish, at, sums);
    }

    #[inline(always)]
    pub(super) fn row<T: Copy + Into<f32>>(
        terms: [&[T]; TERMS],
        weights: [f32; TERMS],
        [offset, scale]: [f32; 2],
        sums: &mut [f32],
    ) {
        all(terms, weights, offset, |sum| sum * scale, sums);
    }

    #[inline(always)]
    pub(super) fn pixel(terms: [&[f32]; TERMS], weights: [f32; TERMS], bias: &[f32], lowest: f32, sums: &mut [f32]) {
        all(terms, weights, bias, |sum| sum.max(lowest), sums);
    }
}

macro_rules! blend_rows {
    ($terms:ident, $channels:ident, $offset_and_scale:expr, $y:ident) => {{
        let (width, stride) = (3 * $channels, TAPS * $channels);
        let weights = $terms.map(|term| term.weight);
        for (column, sums) in $y.chunks_exact_mut(width).enumerate() {
            let at = |index: usize| &$terms[index].products[column * stride + $terms[index].first..][..width];
            loops::row([at(0), at(1), at(2), at(3), at(4), at(5)], weights, $offset_and_scale, sums);
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
            let at = |start: u32| &row[start as usize..][..channels];
            let [a, b, c, d, e, f] = terms.starts;
            loops::pixel([at(a), at(b), at(c), at(d), at(e), at(f)], terms.weights, bias, lowest, pixel);
        }
    }
}
