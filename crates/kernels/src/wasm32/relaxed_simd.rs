//! int8 sums with relaxed dot products: sixteen products in one instruction where the machine has one for that.
//!
//! # Formula
//! The relaxed dot products multiply signed bytes by numbers of seven bits. With an eighth bit, the second operand is signed or not, and
//! sums of two products overflow 16 bits or not, as the machine prefers, but always alike: `vpdpbusd` on x86 computes u8 by i8 exactly,
//! `sdot` on ARM i8 by i8, and `vpmaddubsw` on older x86 u8 by i8 as long as two products fit 16 bits. [`Dot`] tests which it is at
//! run time, with operands at the limits:
//! * u8 by i8 in 32 bits ([`Dot::Unsigned`]): the pixels as they are;
//! * i8 by i8 in 32 bits ([`Dot::Signed`]): a = x - 128, in bits x ^ 0x80, and x w = a w + 128 w; the second term, summed over a
//!   block's weights, is the correction;
//! * u8 by i8 in 16 bits ([`Dot::UnsignedPairs`]): weights of seven bits (see [`crate::conv::has_narrow_pairs`]), whose products are
//!   widened; for others, widening bytes first takes fewer instructions.
//!
//! # Tile
//! Four pixels x eight outputs: eight sums, two vectors of weights, one of inputs, one of products and the ones take 13 registers.

use super::f32::conv_f32;
use super::int8::{self, BlockSums, GROUP_WEIGHTS, HalfSums, SumU8};
use super::{registers, simd128};
use crate::conv::{ConvU8, GROUP, Window};
use crate::{Routines, Vectors};
use std::arch::wasm32::*;
use std::hint::black_box;

/// The kernels of this instruction set.
pub(crate) const ROUTINES: Routines = Routines {
    conv_u8,
    conv_f32,
    multiply_add: registers::relaxed_simd,
    vectors: Vectors::Baseline,
    gains_from_narrow_pairs: true,
};

fn conv_u8(conv: &mut ConvU8<'_>) {
    match Dot::of_this_machine() {
        Dot::Unsigned => int8::conv_u8::<One<0>>(conv),
        Dot::Signed => int8::conv_u8::<One<0x80>>(conv),
        Dot::UnsignedPairs if conv.narrow_pairs => int8::conv_u8::<Pairs>(conv),
        Dot::UnsignedPairs | Dot::Other => simd128::conv_u8(conv),
    }
}

/// What the relaxed dot products compute on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dot {
    /// i8 by u8, summed in 32 bits.
    Unsigned,
    /// i8 by i8, summed in 32 bits.
    Signed,
    /// i8 by u8, where two products fit 16 bits.
    UnsignedPairs,
    /// Something that is of no use here.
    Other,
}

impl Dot {
    pub(crate) fn of_this_machine() -> Self {
        // All lanes of each operand alike.
        let four = |[a, b]: [u8; 2]| {
            let [a, b] = [a, b].map(|byte| u8x16_splat(black_box(byte)));
            i32x4_extract_lane::<0>(i32x4_relaxed_dot_i8x16_i7x16_add(a, b, i32x4_splat(0)))
        };
        let two = |[a, b]: [u8; 2]| {
            let [a, b] = [a, b].map(|byte| u8x16_splat(black_box(byte)));
            i16x8_extract_lane::<0>(i16x8_relaxed_dot_i8x16_i7x16(a, b))
        };
        const MIN: u8 = i8::MIN as u8;
        match [[127, 255], [MIN, 255], [MIN, 128], [127, 127]].map(four) {
            [129_540, -130_560, -65_536, 64_516] => Dot::Unsigned,
            [-508, 512, 65_536, 64_516] => Dot::Signed,
            // 64 and -64, the largest weights of which two go together.
            _ if [[64, 255], [-64i8 as u8, 255], [127, 127]].map(two) == [32_640, -32_640, 32_258] => {
                Dot::UnsignedPairs
            }
            _ => Dot::Other,
        }
    }
}

/// One instruction for sixteen products, of pixels whose bits `FLIP` are inverted.
pub(crate) struct One<const FLIP: u8>;

impl<const FLIP: u8> SumU8 for One<FLIP> {
    const WIDEST: usize = 4;

    fn correction(weights: &[i8]) -> BlockSums {
        let mut sums = [i32x4_splat(0); 4];
        if FLIP == 0 {
            return sums;
        }
        for group in weights.chunks_exact(GROUP_WEIGHTS) {
            for (sum, weights) in sums.iter_mut().zip(group.chunks_exact(16)) {
                // SAFETY: the chunk has the 16 weights that are read.
                let weights = unsafe { v128_load(weights.as_ptr().cast()) };
                *sum = i32x4_add(*sum, i32x4_extadd_pairwise_i16x8(i16x8_extadd_pairwise_i8x16(weights)));
            }
        }
        sums.map(|sum| i32x4_shl(sum, 7))
    }

    #[inline(always)]
    unsafe fn sums<const PIXELS: usize>(
        window: &Window,
        pixels: [*const u8; PIXELS],
        weights: *const i8,
    ) -> [HalfSums; PIXELS] {
        let flip = u8x16_splat(FLIP);
        // SAFETY: as the caller promises.
        unsafe {
            sums_of_groups(window, pixels, weights, |sum, weights, inputs| {
                let inputs = if FLIP == 0 { inputs } else { v128_xor(inputs, flip) };
                i32x4_relaxed_dot_i8x16_i7x16_add(weights, inputs, sum)
            })
        }
    }
}

/// Weights of seven bits, where two products fit 16 bits.
pub(crate) struct Pairs;

impl SumU8 for Pairs {
    const WIDEST: usize = 4;

    fn correction(_: &[i8]) -> BlockSums {
        [i32x4_splat(0); 4]
    }

    #[inline(always)]
    unsafe fn sums<const PIXELS: usize>(
        window: &Window,
        pixels: [*const u8; PIXELS],
        weights: *const i8,
    ) -> [HalfSums; PIXELS] {
        let ones = i16x8_splat(1);
        // SAFETY: as the caller promises.
        unsafe {
            sums_of_groups(window, pixels, weights, |sum, weights, inputs| {
                i32x4_add(sum, i32x4_dot_i16x8(i16x8_relaxed_dot_i8x16_i7x16(weights, inputs), ones))
            })
        }
    }
}

/// Sums group by group: `add` adds four products to each of four outputs' sums.
///
/// # Safety
/// As [`SumU8::sums`].
#[inline(always)]
unsafe fn sums_of_groups<const PIXELS: usize>(
    window: &Window,
    pixels: [*const u8; PIXELS],
    mut weights: *const i8,
    add: impl Fn(v128, v128, v128) -> v128,
) -> [HalfSums; PIXELS] {
    let mut sums = [[i32x4_splat(0); 2]; PIXELS];
    for &tap in window.taps {
        for offset in (tap..tap + window.depth).step_by(GROUP) {
            // SAFETY: reads stay within `depth` elements of a tap, and the weights are read once from front to back.
            unsafe {
                let first = v128_load(weights.cast());
                let second = v128_load(weights.add(16).cast());
                for (sums, pixel) in sums.iter_mut().zip(pixels) {
                    let inputs = v128_load32_splat(pixel.add(offset).cast());
                    sums[0] = add(sums[0], first, inputs);
                    sums[1] = add(sums[1], second, inputs);
                }
                weights = weights.add(GROUP_WEIGHTS);
            }
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    /// V8 has one of these three on every processor of the last years; elsewhere this fails and says what to look at.
    #[test]
    fn this_machine_has_a_useful_dot_product() {
        assert_ne!(Dot::of_this_machine(), Dot::Other);
    }
}
