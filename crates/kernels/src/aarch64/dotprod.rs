//! int8 sums with `sdot`: four products for each of four outputs in one instruction.
//!
//! # Formula
//! `sdot` multiplies s8 by s8. Pixels become a = x - 128, in bits x ^ 0x80, and x w = a w + 128 w: the second term,
//! summed over a block's weights, is the correction.
//!
//! # Tile
//! A vector of 16 channels of a pixel holds four groups: `sdot` selects one by its index, so nothing is broadcast. Five
//! pixels take 20 registers of sums and five of channels; one holds 0x80, and six are left for weights in flight. A
//! sixth pixel would fill all registers: the compiler then moves sums in every step, and nothing is gained, since the
//! share of `sdot` in the arithmetic, 16 in 17, is the same. A vector of weights is used by five instructions, so a
//! load every two and a half cycles feeds two `sdot` a cycle.

use super::f32::conv_f32;
use super::int8::{self, BlockSums, SumU8};
use super::registers;
use crate::conv::{BLOCK, GROUP, Window};
use crate::peak::Arithmetic;
use crate::{Routines, Vectors};
use causalclipseg_kernels_macros::enable;
use std::arch::aarch64::*;
use std::arch::asm;

/// NEON with `sdot`.
pub(crate) struct Dotprod;

/// The kernels of this instruction set.
pub(crate) const ROUTINES: Routines = Routines {
    conv_u8: int8::conv_u8::<Dotprod>,
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
            Arithmetic::Int8 => registers::dotprod(steps),
            Arithmetic::F32 => registers::f32(steps),
        }
    }
}

/// The number of weights of a group.
const GROUP_WEIGHTS: usize = BLOCK * GROUP;

/// sums\[i\] += weights\[4 i + c\] * channels\[4 LANE + c\], over four c.
#[inline]
#[enable(dotprod)]
pub(crate) fn sdot<const LANE: u32>(mut sums: int32x4_t, weights: int8x16_t, channels: int8x16_t) -> int32x4_t {
    // SAFETY: only registers are touched, and the CPU has the instruction. (Its intrinsic is not stable.) It is not
    // declared `pure`, so that the compiler keeps the order as written, in which few registers are in use.
    unsafe {
        asm!(
            "sdot {sums:v}.4s, {weights:v}.16b, {channels:v}.4b[{lane}]",
            sums = inout(vreg) sums, weights = in(vreg) weights, channels = in(vreg) channels, lane = const LANE,
            options(nomem, nostack, preserves_flags)
        );
    }
    sums
}

/// Adds one group of every pixel's channels.
///
/// # Safety
/// `weights` points at those of the group.
#[inline]
#[enable(dotprod)]
unsafe fn add_group<const LANE: u32, const PIXELS: usize>(
    sums: &mut [BlockSums; PIXELS],
    channels: &[int8x16_t; PIXELS],
    weights: *const i8,
) {
    for quarter in 0..4 {
        // SAFETY: a group has 64 weights.
        let weights = unsafe { vld1q_s8(weights.add(16 * quarter)) };
        for (sums, channels) in sums.iter_mut().zip(channels) {
            sums[quarter] = sdot::<LANE>(sums[quarter], weights, *channels);
        }
    }
}

impl SumU8 for Dotprod {
    const WIDEST: usize = 5;

    #[enable(dotprod)]
    unsafe fn correction(_: &Window, weights: &[i8]) -> BlockSums {
        let mut negative = [vdupq_n_s32(0); 4];
        for group in weights.chunks_exact(GROUP_WEIGHTS) {
            for (sum, weights) in negative.iter_mut().zip(group.chunks_exact(16)) {
                // SAFETY: the chunk has the 16 weights that are read.
                let weights = unsafe { vld1q_s8(weights.as_ptr()) };
                *sum = sdot::<0>(*sum, weights, vdupq_n_s8(-128));
            }
        }
        negative.map(|sum| vnegq_s32(sum))
    }

    #[enable(dotprod)]
    unsafe fn sums<const PIXELS: usize>(
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
                for _ in 0..depth / (4 * GROUP) {
                    let channels = pixels.map(|pixel| {
                        let unsigned = vld1q_u8(pixel.add(offset));
                        vreinterpretq_s8_u8(veorq_u8(unsigned, vdupq_n_u8(0x80)))
                    });
                    add_group::<0, PIXELS>(&mut sums, &channels, weights);
                    add_group::<1, PIXELS>(&mut sums, &channels, weights.add(GROUP_WEIGHTS));
                    add_group::<2, PIXELS>(&mut sums, &channels, weights.add(2 * GROUP_WEIGHTS));
                    add_group::<3, PIXELS>(&mut sums, &channels, weights.add(3 * GROUP_WEIGHTS));
                    weights = weights.add(4 * GROUP_WEIGHTS);
                    offset += 4 * GROUP;
                }
                for _ in 0..depth % (4 * GROUP) / GROUP {
                    let channels = pixels.map(|pixel| {
                        let unsigned = pixel.add(offset).cast::<u32>().read_unaligned();
                        vreinterpretq_s8_u32(vdupq_n_u32(unsigned ^ 0x8080_8080))
                    });
                    add_group::<0, PIXELS>(&mut sums, &channels, weights);
                    weights = weights.add(GROUP_WEIGHTS);
                    offset += GROUP;
                }
            }
        }
        sums
    }
}
