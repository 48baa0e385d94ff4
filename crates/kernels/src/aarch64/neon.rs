//! int8 sums on any aarch64.
//!
//! # Formula
//! NEON multiplies s8 by s8 into s16, so pixels become signed first, and two products are summed in s16 before they are
//! widened. If both pixels were x - 128, two products of -128 and -128 would sum to 32768, one more than s16 can hold.
//! So groups of [`GROUP`] channels alternate: even ones become a = x - 128, odd ones b = 127 - x, and b's products are
//! subtracted:
//!
//! x w + x' w' = (a w - b w') + 128 w + 127 w'
//!
//! a w is in -16256..=16384 and so is b w', so the difference is within 32640 either way and every sum is exact,
//! weights of -128 included. The terms without pixels are the correction, once for a block. In bits, x - 128 is x ^
//! 0x80 and 127 - x is x ^ 0x7f: one exclusive or converts eight channels.
//!
//! # Tile
//! `smull`, `smlsl` and `sadalp` leave two outputs x two halves of a group in a register of sums: eight registers a
//! pixel, added in pairs at the end. Two pixels take 16, their two groups of channels, broadcast to a register each,
//! four; three pixels would need 24, six, and the weights and products besides. The multiplier, busy twice for each
//! `sadalp`, is the limit, and a wider tile would not change that.

use super::f32::conv_f32;
use super::int8::{self, BlockSums, SumU8};
use super::registers;
use crate::conv::{BLOCK, GROUP, Window};
use crate::peak::Arithmetic;
use crate::{Routines, Vectors};
use causalclipseg_kernels_macros::enable;
use std::arch::aarch64::*;

/// Plain NEON.
pub(crate) struct Neon;

/// The kernels of this instruction set.
pub(crate) const ROUTINES: Routines = Routines {
    conv_u8: int8::conv_u8::<Neon>,
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
            Arithmetic::Int8 => registers::neon(steps),
            Arithmetic::F32 => registers::f32(steps),
        }
    }
}

/// The number of weights of a group.
const GROUP_WEIGHTS: usize = BLOCK * GROUP;

/// Converts a pixel's two groups to a and b.
const SIGNS: u64 = 0x7f7f_7f7f_8080_8080;

/// Adds the weights of a group, or of none, output by output.
#[enable(neon)]
fn add_weights(sums: &mut BlockSums, group: &[i8]) {
    for (sum, weights) in sums.iter_mut().zip(group.chunks_exact(16)) {
        // SAFETY: the chunk has the 16 weights that are read.
        let weights = unsafe { vld1q_s8(weights.as_ptr()) };
        *sum = vpadalq_s16(*sum, vpaddlq_s8(weights));
    }
}

impl SumU8 for Neon {
    const WIDEST: usize = 2;

    #[enable(neon)]
    unsafe fn correction(window: &Window, weights: &[i8]) -> BlockSums {
        let mut even = [vdupq_n_s32(0); 4];
        let mut odd = even;
        for tap in weights.chunks_exact((BLOCK * window.depth).max(1)) {
            for groups in tap.chunks(2 * GROUP_WEIGHTS) {
                let (first, second) = groups.split_at(GROUP_WEIGHTS);
                add_weights(&mut even, first);
                add_weights(&mut odd, second);
            }
        }
        std::array::from_fn(|index| vaddq_s32(vmulq_n_s32(even[index], 128), vmulq_n_s32(odd[index], 127)))
    }

    #[enable(neon)]
    unsafe fn sums<const PIXELS: usize>(
        window: &Window,
        pixels: [*const u8; PIXELS],
        mut weights: *const i8,
    ) -> [BlockSums; PIXELS] {
        let depth = window.depth;
        // SAFETY: reads stay within `depth` elements of a tap, and the weights are read once from front to back.
        unsafe {
            let signs = vcreate_u8(SIGNS);
            let mut sums = [[vdupq_n_s32(0); 8]; PIXELS];
            for &tap in window.taps {
                let mut offset = tap;
                for _ in 0..depth / (2 * GROUP) {
                    let groups = pixels.map(|pixel| {
                        let signed = vreinterpret_s32_u8(veor_u8(vld1_u8(pixel.add(offset)), signs));
                        let (a, b) = (vdupq_lane_s32::<0>(signed), vdupq_lane_s32::<1>(signed));
                        (vreinterpretq_s8_s32(a), vreinterpretq_s8_s32(b))
                    });
                    for quarter in 0..4 {
                        let first = vld1q_s8(weights.add(16 * quarter));
                        let second = vld1q_s8(weights.add(GROUP_WEIGHTS + 16 * quarter));
                        for (sums, (a, b)) in sums.iter_mut().zip(groups) {
                            let low = vmull_s8(vget_low_s8(a), vget_low_s8(first));
                            let low = vmlsl_s8(low, vget_low_s8(b), vget_low_s8(second));
                            sums[2 * quarter] = vpadalq_s16(sums[2 * quarter], low);
                            let high = vmlsl_high_s8(vmull_high_s8(a, first), b, second);
                            sums[2 * quarter + 1] = vpadalq_s16(sums[2 * quarter + 1], high);
                        }
                    }
                    weights = weights.add(2 * GROUP_WEIGHTS);
                    offset += 2 * GROUP;
                }
                if !depth.is_multiple_of(2 * GROUP) {
                    let groups = pixels.map(|pixel| {
                        let group = pixel.add(offset).cast::<u32>().read_unaligned();
                        vreinterpretq_s8_u32(vdupq_n_u32(group ^ SIGNS as u32))
                    });
                    for quarter in 0..4 {
                        let first = vld1q_s8(weights.add(16 * quarter));
                        for (sums, a) in sums.iter_mut().zip(groups) {
                            let low = vmull_s8(vget_low_s8(a), vget_low_s8(first));
                            sums[2 * quarter] = vpadalq_s16(sums[2 * quarter], low);
                            sums[2 * quarter + 1] = vpadalq_s16(sums[2 * quarter + 1], vmull_high_s8(a, first));
                        }
                    }
                    weights = weights.add(GROUP_WEIGHTS);
                }
            }
            sums.map(|sums| std::array::from_fn(|index| vpaddq_s32(sums[2 * index], sums[2 * index + 1])))
        }
    }
}
