//! int8 sums on any browser with vectors.
//!
//! # Formula
//! Bytes are widened to 16 bits as they are loaded, and `i32x4.dot_i16x8` adds two products each in 32 bits, exactly. Eight of a
//! group's weights, those of two outputs, meet the pixel's four inputs twice over; a lane sums one half of a group for one output, and
//! neighbouring lanes are added at the end.
//!
//! # Tile
//! Two pixels x eight outputs have eight registers of sums; four of inputs, one of weights and one of products are left. Sixteen
//! multiplications and additions share four loads of weights and three instructions for a pixel's eight inputs.

use super::f32::conv_f32;
use super::int8::{self, BlockSums, GROUP_WEIGHTS, HalfSums, SumU8};
use super::registers;
use crate::conv::{ConvU8, GROUP, Window};
use crate::{Routines, Vectors};
use std::arch::wasm32::*;

/// Widened bytes.
pub(crate) struct Widened;

/// The kernels of this instruction set.
pub(crate) const ROUTINES: Routines = Routines {
    conv_u8,
    conv_f32,
    multiply_add: registers::simd128,
    vectors: Vectors::Baseline,
    gains_from_narrow_pairs: false,
};

/// See [`crate::Kernels::conv_u8`].
pub(crate) fn conv_u8(conv: &mut ConvU8<'_>) {
    int8::conv_u8::<Widened>(conv);
}

/// Adds a group's products for every pixel, whose inputs are there twice over.
///
/// # Safety
/// `weights` points at those of the group and half block.
#[inline(always)]
unsafe fn add_group<const PIXELS: usize>(sums: &mut [[v128; 4]; PIXELS], inputs: [v128; PIXELS], weights: *const i8) {
    for pair in 0..4 {
        // SAFETY: as the caller promises; half a group has 32 weights.
        let weights = unsafe { i16x8_load_extend_i8x8(weights.add(8 * pair)) };
        for (sums, inputs) in sums.iter_mut().zip(inputs) {
            sums[pair] = i32x4_add(sums[pair], i32x4_dot_i16x8(inputs, weights));
        }
    }
}

impl SumU8 for Widened {
    const WIDEST: usize = 2;

    fn correction(_: &[i8]) -> BlockSums {
        [i32x4_splat(0); 4]
    }

    #[inline(always)]
    unsafe fn sums<const PIXELS: usize>(
        window: &Window,
        pixels: [*const u8; PIXELS],
        mut weights: *const i8,
    ) -> [HalfSums; PIXELS] {
        let depth = window.depth;
        let mut sums = [[i32x4_splat(0); 4]; PIXELS];
        for &tap in window.taps {
            let mut offset = tap;
            // SAFETY: reads stay within `depth` elements of a tap, and the weights are read once from front to back.
            unsafe {
                for _ in 0..depth / (2 * GROUP) {
                    let inputs = pixels.map(|pixel| i16x8_load_extend_u8x8(pixel.add(offset)));
                    add_group(&mut sums, inputs.map(|inputs| i64x2_shuffle::<0, 0>(inputs, inputs)), weights);
                    let upper = inputs.map(|inputs| i64x2_shuffle::<1, 1>(inputs, inputs));
                    add_group(&mut sums, upper, weights.add(GROUP_WEIGHTS));
                    weights = weights.add(2 * GROUP_WEIGHTS);
                    offset += 2 * GROUP;
                }
                if !depth.is_multiple_of(2 * GROUP) {
                    let inputs =
                        pixels.map(|pixel| u16x8_extend_low_u8x16(v128_load32_splat(pixel.add(offset).cast())));
                    add_group(&mut sums, inputs, weights);
                    weights = weights.add(GROUP_WEIGHTS);
                }
            }
        }
        sums.map(|[a, b, c, d]| [add_neighbours(a, b), add_neighbours(c, d)])
    }
}

/// The sums of neighbouring lanes.
#[inline(always)]
fn add_neighbours(left: v128, right: v128) -> v128 {
    i32x4_add(i32x4_shuffle::<0, 2, 4, 6>(left, right), i32x4_shuffle::<1, 3, 5, 7>(left, right))
}
