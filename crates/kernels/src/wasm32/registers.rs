//! Multiply-adds on registers alone, for [`crate::peak`].

use crate::peak::Arithmetic;
use std::arch::wasm32::*;
use std::hint::black_box;

/// The number of sums in progress at once, enough to hide the latency of a multiply-add.
const SUMS: usize = 8;

/// See [`crate::Routines::multiply_add`].
pub(crate) fn simd128(arithmetic: Arithmetic, steps: u32) -> u64 {
    match arithmetic {
        Arithmetic::Int8 => {
            run(steps, i32x4_splat(0x01020304), 8, |sum, factor| i32x4_add(sum, i32x4_dot_i16x8(sum, factor)))
        }
        Arithmetic::F32 => run(steps, f32x4_splat(0.5), 4, |sum, factor| f32x4_add(sum, f32x4_mul(sum, factor))),
    }
}

/// See [`crate::Routines::multiply_add`].
#[cfg(target_feature = "relaxed-simd")]
pub(crate) fn relaxed_simd(arithmetic: Arithmetic, steps: u32) -> u64 {
    match arithmetic {
        Arithmetic::Int8 => run(steps, i32x4_splat(0x01020304), 16, |sum, factor| {
            i32x4_relaxed_dot_i8x16_i7x16_add(factor, factor, sum)
        }),
        Arithmetic::F32 => run(steps, f32x4_splat(0.5), 4, |sum, factor| f32x4_relaxed_madd(sum, factor, sum)),
    }
}

/// Runs `steps` steps of one multiply-add into each of the sums, and returns the number of products.
#[inline(always)]
fn run(steps: u32, start: v128, lanes: u64, multiply_add: impl Fn(v128, v128) -> v128) -> u64 {
    let factor = black_box(start);
    let mut sums = [factor; SUMS];
    for _ in 0..steps {
        sums = sums.map(|sum| multiply_add(sum, factor));
    }
    black_box(sums);
    u64::from(steps) * SUMS as u64 * lanes
}
