//! The inner loops of [`crate::elementwise`]'s blends, whose multiply-adds round once.

use super::fused::{Fused, with_fused};
use super::outputs::at_least;
use crate::elementwise::TERMS;
use std::arch::wasm32::*;

/// A product as it is stored.
pub(crate) trait Product: Copy {
    /// # Safety
    /// Four products can be read.
    unsafe fn load(from: *const Self) -> v128;

    fn value(self) -> f32;
}

impl Product for f32 {
    #[inline(always)]
    unsafe fn load(from: *const Self) -> v128 {
        // SAFETY: as the caller promises.
        unsafe { v128_load(from.cast()) }
    }

    #[inline(always)]
    fn value(self) -> f32 {
        self
    }
}

impl Product for u8 {
    #[inline(always)]
    unsafe fn load(from: *const Self) -> v128 {
        // SAFETY: as the caller promises.
        let bytes = unsafe { v128_load32_zero(from.cast()) };
        f32x4_convert_i32x4(u32x4_extend_low_u16x8(u16x8_extend_low_u8x16(bytes)))
    }

    #[inline(always)]
    fn value(self) -> f32 {
        self.into()
    }
}

/// The number that a sum begins with.
#[derive(Clone, Copy)]
enum Start<'a> {
    Number(f32),
    Each(&'a [f32]),
}

/// sums = (offset + six weighted terms) * scale. All slices have the same length.
pub(crate) fn row<T: Product>(
    terms: [&[T]; TERMS],
    weights: [f32; TERMS],
    [offset, scale]: [f32; 2],
    sums: &mut [f32],
) {
    with_fused!(F, add::<F, _>(terms, weights, Start::Number(offset), [scale, f32::NEG_INFINITY], sums));
}

/// sums = max(bias + six weighted terms, lowest). All slices have the same length.
pub(crate) fn pixel(terms: [&[f32]; TERMS], weights: [f32; TERMS], bias: &[f32], lowest: f32, sums: &mut [f32]) {
    with_fused!(F, add::<F, _>(terms, weights, Start::Each(bias), [1.0, lowest], sums));
}

/// sums = max((start + six weighted terms) * scale, lowest).
#[inline(always)]
fn add<F: Fused, T: Product>(
    terms: [&[T]; TERMS],
    weights: [f32; TERMS],
    start: Start<'_>,
    [scale, lowest]: [f32; 2],
    sums: &mut [f32],
) {
    let length = sums.len();
    assert!(terms.iter().all(|term| term.len() == length), "terms of another length");
    if let Start::Each(each) = start {
        assert!(each.len() == length, "starts of another length");
    }
    let lanes = weights.map(|weight| f32x4_splat(weight));
    for index in (0..length / 4 * 4).step_by(4) {
        // SAFETY: every slice has `length` elements.
        unsafe {
            let [a, b, c, d, e, f] = terms.map(|term| T::load(term.as_ptr().add(index)));
            let start = match start {
                Start::Number(number) => f32x4_splat(number),
                Start::Each(each) => v128_load(each.as_ptr().add(index).cast()),
            };
            let first = F::multiply_add(F::multiply_add(start, lanes[0], a), lanes[1], b);
            let second = F::multiply_add(f32x4_mul(lanes[2], c), lanes[3], d);
            let third = F::multiply_add(f32x4_mul(lanes[4], e), lanes[5], f);
            let sum = f32x4_mul(f32x4_add(f32x4_add(first, second), third), f32x4_splat(scale));
            v128_store(sums.as_mut_ptr().add(index).cast(), at_least(f32x4_splat(lowest), sum));
        }
    }
    for index in length / 4 * 4..length {
        let [a, b, c, d, e, f] = terms.map(|term| term[index].value());
        let start = match start {
            Start::Number(number) => number,
            Start::Each(each) => each[index],
        };
        let first = weights[1].mul_add(b, weights[0].mul_add(a, start));
        let second = weights[3].mul_add(d, weights[2] * c);
        let third = weights[5].mul_add(f, weights[4] * e);
        sums[index] = ((first + second + third) * scale).max(lowest);
    }
}
