//! int8 sums with `usmmla`: eight products for each of two pixels x two outputs in one instruction, u8 by s8, so that no
//! correction is needed.
//!
//! # Formula
//! `usmmla` multiplies two rows of eight u8 by two rows of eight s8. A pair of pixels forms the first operand. The
//! packed weights store four channels of an output together, so two neighbouring groups interleave into the second:
//! `zip1` of their vectors yields eight channels of the outputs 0 and 1, `zip2` of 2 and 3. The four sums are ordered
//! pixel by pixel; interleaving those of outputs 0, 1 with those of 2, 3 in halves yields four outputs of each pixel.
//!
//! # Tile
//! Six pixels, three pairs, take 24 registers of sums and three of channels, eight at a time; two of weights as loaded
//! and two interleaved add up to 31. 24 `usmmla` share eight interleavings of weights and three of pixels: 35
//! instructions for 768 products, where `sudot` would need 48. A single pixel has no partner to share a register with
//! and uses `sudot`, the form that selects a group of u8 by its index.

use super::f32::conv_f32;
use super::int8::{self, BlockSums, SumU8};
use super::registers;
use crate::conv::{BLOCK, GROUP, Window};
use crate::peak::Arithmetic;
use crate::{Routines, Vectors};
use causalclipseg_kernels_macros::enable;
use std::arch::aarch64::*;
use std::arch::asm;

/// NEON with `usmmla`.
pub(crate) struct I8mm;

/// The kernels of this instruction set.
pub(crate) const ROUTINES: Routines = Routines {
    conv_u8: int8::conv_u8::<I8mm>,
    conv_f32,
    multiply_add,
    vectors: Vectors::Baseline,
    gains_from_narrow_pairs: false,
};

/// # Safety
/// The CPU has the instructions.
unsafe fn multiply_add(arithmetic: Arithmetic, steps: u32) -> u64 {
    // SAFETY: as the caller promises.
    unsafe {
        match arithmetic {
            Arithmetic::Int8 => registers::i8mm(steps),
            Arithmetic::F32 => registers::f32(steps),
        }
    }
}

/// The number of weights of a group.
const GROUP_WEIGHTS: usize = BLOCK * GROUP;

/// sums\[2 p + o\] += pixels\[8 p + c\] * weights\[8 o + c\], over eight c.
#[inline]
#[enable(i8mm)]
pub(crate) fn usmmla(mut sums: int32x4_t, pixels: uint8x16_t, weights: int8x16_t) -> int32x4_t {
    // SAFETY: only registers are touched, and the CPU has the instruction. (Its intrinsic is not stable.) It is not
    // declared `pure`, so that the compiler keeps the order as written, in which few registers are in use.
    unsafe {
        asm!(
            "usmmla {sums:v}.4s, {pixels:v}.16b, {weights:v}.16b",
            sums = inout(vreg) sums, pixels = in(vreg) pixels, weights = in(vreg) weights,
            options(nomem, nostack, preserves_flags)
        );
    }
    sums
}

/// sums\[i\] += weights\[4 i + c\] * channels\[4 LANE + c\], over four c.
#[inline]
#[enable(i8mm)]
fn sudot<const LANE: u32>(mut sums: int32x4_t, weights: int8x16_t, channels: uint8x16_t) -> int32x4_t {
    // SAFETY: as for `usmmla`.
    unsafe {
        asm!(
            "sudot {sums:v}.4s, {weights:v}.16b, {channels:v}.4b[{lane}]",
            sums = inout(vreg) sums, weights = in(vreg) weights, channels = in(vreg) channels, lane = const LANE,
            options(nomem, nostack, preserves_flags)
        );
    }
    sums
}

/// Adds eight channels of every pair of pixels. The sums of pair i are those of outputs 0, 1 of each quarter of the block
/// at 2 i, and of outputs 2, 3 at 2 i + 1.
#[inline]
#[enable(i8mm)]
fn add_groups<const PIXELS: usize>(
    sums: &mut [BlockSums; PIXELS],
    pairs: &[uint8x16_t; PIXELS],
    quarter: usize,
    first: int8x16_t,
    second: int8x16_t,
) {
    let (first, second) = (vreinterpretq_s32_s8(first), vreinterpretq_s32_s8(second));
    let low = vreinterpretq_s8_s32(vzip1q_s32(first, second));
    let high = vreinterpretq_s8_s32(vzip2q_s32(first, second));
    for pair in 0..PIXELS / 2 {
        sums[2 * pair][quarter] = usmmla(sums[2 * pair][quarter], pairs[pair], low);
        sums[2 * pair + 1][quarter] = usmmla(sums[2 * pair + 1][quarter], pairs[pair], high);
    }
}

/// Sums of an even number of pixels.
///
/// # Safety
/// As [`SumU8::sums`].
#[inline]
#[enable(i8mm)]
unsafe fn sums_of_pairs<const PIXELS: usize>(
    window: &Window,
    pixels: [*const u8; PIXELS],
    mut weights: *const i8,
) -> [BlockSums; PIXELS] {
    let depth = window.depth;
    let mut sums = [[vdupq_n_s32(0); 4]; PIXELS];
    for &tap in window.taps {
        let mut offset = tap;
        // SAFETY: reads stay within `depth` elements of a tap, and the weights are read once from front to back.
        unsafe {
            for _ in 0..depth / (2 * GROUP) {
                let mut pairs = [vdupq_n_u8(0); PIXELS];
                for pair in 0..PIXELS / 2 {
                    let load = |pixel: *const u8| vld1_u8(pixel.add(offset));
                    pairs[pair] = vcombine_u8(load(pixels[2 * pair]), load(pixels[2 * pair + 1]));
                }
                for quarter in 0..4 {
                    let first = vld1q_s8(weights.add(16 * quarter));
                    let second = vld1q_s8(weights.add(GROUP_WEIGHTS + 16 * quarter));
                    add_groups(&mut sums, &pairs, quarter, first, second);
                }
                weights = weights.add(2 * GROUP_WEIGHTS);
                offset += 2 * GROUP;
            }
            if !depth.is_multiple_of(2 * GROUP) {
                // Half of each row is the last group, the other half is multiplied by weights of zero.
                let mut pairs = [vdupq_n_u8(0); PIXELS];
                for pair in 0..PIXELS / 2 {
                    let load = |pixel: *const u8| {
                        let group = pixel.add(offset).cast::<u32>().read_unaligned();
                        vreinterpret_u8_u32(vdup_n_u32(group))
                    };
                    pairs[pair] = vcombine_u8(load(pixels[2 * pair]), load(pixels[2 * pair + 1]));
                }
                for quarter in 0..4 {
                    let first = vld1q_s8(weights.add(16 * quarter));
                    add_groups(&mut sums, &pairs, quarter, first, vdupq_n_s8(0));
                }
                weights = weights.add(GROUP_WEIGHTS);
            }
        }
    }
    let mut pixelwise = sums;
    for pair in 0..PIXELS / 2 {
        for quarter in 0..4 {
            let low = vreinterpretq_s64_s32(sums[2 * pair][quarter]);
            let high = vreinterpretq_s64_s32(sums[2 * pair + 1][quarter]);
            pixelwise[2 * pair][quarter] = vreinterpretq_s32_s64(vzip1q_s64(low, high));
            pixelwise[2 * pair + 1][quarter] = vreinterpretq_s32_s64(vzip2q_s64(low, high));
        }
    }
    pixelwise
}

/// Adds one group of a pixel's channels.
///
/// # Safety
/// `weights` points at those of the group.
#[inline]
#[enable(i8mm)]
unsafe fn add_group<const LANE: u32>(sums: &mut BlockSums, channels: uint8x16_t, weights: *const i8) {
    for (quarter, sum) in sums.iter_mut().enumerate() {
        // SAFETY: a group has 64 weights.
        *sum = sudot::<LANE>(*sum, unsafe { vld1q_s8(weights.add(16 * quarter)) }, channels);
    }
}

/// Sums of one pixel.
///
/// # Safety
/// As [`SumU8::sums`].
#[inline]
#[enable(i8mm)]
unsafe fn sums_of_one(window: &Window, pixel: *const u8, mut weights: *const i8) -> BlockSums {
    let depth = window.depth;
    let mut sums = [vdupq_n_s32(0); 4];
    for &tap in window.taps {
        let mut offset = tap;
        // SAFETY: reads stay within `depth` elements of a tap, and the weights are read once from front to back.
        unsafe {
            for _ in 0..depth / (4 * GROUP) {
                let channels = vld1q_u8(pixel.add(offset));
                add_group::<0>(&mut sums, channels, weights);
                add_group::<1>(&mut sums, channels, weights.add(GROUP_WEIGHTS));
                add_group::<2>(&mut sums, channels, weights.add(2 * GROUP_WEIGHTS));
                add_group::<3>(&mut sums, channels, weights.add(3 * GROUP_WEIGHTS));
                weights = weights.add(4 * GROUP_WEIGHTS);
                offset += 4 * GROUP;
            }
            for _ in 0..depth % (4 * GROUP) / GROUP {
                let group = pixel.add(offset).cast::<u32>().read_unaligned();
                add_group::<0>(&mut sums, vreinterpretq_u8_u32(vdupq_n_u32(group)), weights);
                weights = weights.add(GROUP_WEIGHTS);
                offset += GROUP;
            }
        }
    }
    sums
}

impl SumU8 for I8mm {
    const WIDEST: usize = 6;

    #[enable(neon)]
    unsafe fn correction(_: &Window, _: &[i8]) -> BlockSums {
        [vdupq_n_s32(0); 4]
    }

    #[enable(i8mm)]
    unsafe fn sums<const PIXELS: usize>(
        window: &Window,
        pixels: [*const u8; PIXELS],
        weights: *const i8,
    ) -> [BlockSums; PIXELS] {
        // SAFETY: as the caller promises.
        unsafe {
            if PIXELS == 1 {
                pixels.map(|pixel| sums_of_one(window, pixel, weights))
            } else {
                sums_of_pairs(window, pixels, weights)
            }
        }
    }
}
