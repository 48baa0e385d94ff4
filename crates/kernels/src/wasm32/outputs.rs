//! The common end of int8 kernels: sums become bytes or floats, as [`EpilogueU8`] prescribes, operation by operation.

use super::int8::BlockSums;
use crate::conv::{BLOCK, EpilogueU8, OutputU8, Target};
use crate::pixels::Place;
use std::arch::wasm32::*;

/// The destination of sums, and their conversion.
pub(crate) struct Outputs<'a> {
    epilogue: EpilogueU8<'a>,
    target: Target,
    y: Y<'a>,
}

enum Y<'a> {
    /// Bytes. `lowest` and `highest` are the limits before the zero point is added.
    U8 {
        y: &'a mut [u8],
        zero_point: i32,
        lowest: f32,
        highest: f32,
    },
    F32 {
        y: &'a mut [f32],
        relu: bool,
    },
}

/// The common data of one block's outputs over all pixels.
pub(crate) struct Block {
    /// The index of the block's first output.
    channel: usize,
    /// The number of real outputs, without padding.
    lanes: usize,
    /// The bias, and the correction of the sums.
    bias: BlockSums,
    multiplier: [v128; 4],
}

impl Block {
    /// The number of real outputs, without padding.
    pub(crate) fn lanes(&self) -> usize {
        self.lanes
    }
}

/// 1.5 * 2^23: adding it to a number rounds that to an integer, halves to even, in the low bits of the sum.
const SHIFT: f32 = 12_582_912.0;

impl<'a> Outputs<'a> {
    pub(crate) fn new(epilogue: EpilogueU8<'a>, target: Target, output: &'a mut OutputU8<'_>) -> Self {
        let y = match output {
            OutputU8::U8 { y, zero_point, lowest } => Y::U8 {
                y,
                zero_point: *zero_point,
                lowest: (*lowest - *zero_point) as f32,
                highest: (255 - *zero_point) as f32,
            },
            OutputU8::F32 { y, relu } => Y::F32 { y, relu: *relu },
        };
        Self { epilogue, target, y }
    }

    /// # Safety
    /// The convolution is valid, and `index` is one of its blocks.
    pub(crate) unsafe fn block(&self, index: usize, out_channels: usize, correction: BlockSums) -> Block {
        let channel = index * BLOCK;
        // SAFETY: bias and multiplier are padded to complete blocks.
        unsafe {
            let bias = self.epilogue.bias.as_ptr().add(channel);
            Block {
                channel,
                lanes: BLOCK.min(out_channels - channel),
                bias: std::array::from_fn(|index| i32x4_add(v128_load(bias.add(4 * index).cast()), correction[index])),
                multiplier: load_f32(self.epilogue.multiplier.as_ptr().add(channel), BLOCK),
            }
        }
    }

    /// Stores one pixel's outputs of a block.
    ///
    /// # Safety
    /// The convolution is valid, the place is one of its pixels, and the block one of its blocks.
    #[inline]
    pub(crate) unsafe fn store(&mut self, place: Place, block: &Block, sums: &BlockSums) {
        let Block { channel, lanes, bias, multiplier } = *block;
        let at = place.within(&self.target) + channel;
        // SAFETY: the real outputs of the block are inside every slice that the convolution names.
        unsafe {
            let mut values: [v128; 4] = std::array::from_fn(|index| {
                f32x4_mul(f32x4_convert_i32x4(i32x4_add(sums[index], bias[index])), multiplier[index])
            });
            if let Some(map) = self.epilogue.map {
                let map = load_f32(map.values.as_ptr().add(place.within(&map.layout) + channel), lanes);
                values = std::array::from_fn(|index| f32x4_add(values[index], map[index]));
            }
            if let Some(residual) = self.epilogue.residual {
                let start = residual.values.as_ptr().add(place.within(&residual.layout) + channel);
                let residual = widen(load_u8(start, lanes));
                let scale = f32x4_splat(self.epilogue.residual_scale);
                values = std::array::from_fn(|index| f32x4_add(values[index], f32x4_mul(residual[index], scale)));
            }
            let offset = f32x4_splat(self.epilogue.offset);
            values = values.map(|value| f32x4_add(value, offset));
            match &mut self.y {
                Y::U8 { y, zero_point, lowest, highest } => {
                    let (lowest, highest) = (f32x4_splat(*lowest), f32x4_splat(*highest));
                    let integer = i32x4_splat(*zero_point - SHIFT.to_bits() as i32);
                    let rounded = values.map(|value| {
                        let clamped = f32x4_pmin(highest, at_least(lowest, value));
                        i32x4_add(f32x4_add(clamped, f32x4_splat(SHIFT)), integer)
                    });
                    store_u8(y.as_mut_ptr().add(at), lanes, narrow(rounded));
                }
                Y::F32 { y, relu } => {
                    let zero = f32x4_splat(0.0);
                    let values = if *relu { values.map(|value| at_least(zero, value)) } else { values };
                    store_f32(y.as_mut_ptr().add(at), lanes, values);
                }
            }
        }
    }
}

/// The larger number, and `lowest` where the value is NaN. The instructions `max` and `pmax` may not be used for that: in modules with
/// relaxed instructions the compiler takes a relaxed one, which knows no NaN.
#[inline(always)]
pub(crate) fn at_least(lowest: v128, value: v128) -> v128 {
    v128_bitselect(value, lowest, f32x4_gt(value, lowest))
}

/// Converts u8 to f32.
#[inline(always)]
fn widen(values: v128) -> [v128; 4] {
    let (low, high) = (u16x8_extend_low_u8x16(values), u16x8_extend_high_u8x16(values));
    [
        u32x4_extend_low_u16x8(low),
        u32x4_extend_high_u16x8(low),
        u32x4_extend_low_u16x8(high),
        u32x4_extend_high_u16x8(high),
    ]
    .map(|value| f32x4_convert_i32x4(value))
}

/// Converts i32 to u8, clamped to 0..=255.
#[inline(always)]
fn narrow(values: [v128; 4]) -> v128 {
    u8x16_narrow_i16x8(i16x8_narrow_i32x4(values[0], values[1]), i16x8_narrow_i32x4(values[2], values[3]))
}

/// # Safety
/// `lanes` values, at most a block, can be read.
#[inline(always)]
pub(crate) unsafe fn load_f32(from: *const f32, lanes: usize) -> [v128; 4] {
    let mut filled = [0.0; BLOCK];
    let from = if lanes == BLOCK {
        from
    } else {
        // SAFETY: as the caller promises.
        unsafe { from.copy_to_nonoverlapping(filled.as_mut_ptr(), lanes) };
        filled.as_ptr()
    };
    // SAFETY: either a complete block can be read, or the copy is one.
    std::array::from_fn(|index| unsafe { v128_load(from.add(4 * index).cast()) })
}

/// # Safety
/// `lanes` values, at most a block, can be read.
#[inline(always)]
unsafe fn load_u8(from: *const u8, lanes: usize) -> v128 {
    let mut filled = [0u8; BLOCK];
    // SAFETY: as the caller promises; a padded copy is a complete block.
    unsafe {
        if lanes == BLOCK {
            return v128_load(from.cast());
        }
        from.copy_to_nonoverlapping(filled.as_mut_ptr(), lanes);
        v128_load(filled.as_ptr().cast())
    }
}

/// # Safety
/// `lanes` values, at most a block, can be written.
#[inline(always)]
unsafe fn store_u8(to: *mut u8, lanes: usize, values: v128) {
    // SAFETY: as the caller promises.
    unsafe {
        if lanes == BLOCK {
            return v128_store(to.cast(), values);
        }
        let mut block = [0u8; BLOCK];
        v128_store(block.as_mut_ptr().cast(), values);
        to.copy_from_nonoverlapping(block.as_ptr(), lanes);
    }
}

/// # Safety
/// `lanes` values, at most a block, can be written.
#[inline(always)]
pub(crate) unsafe fn store_f32(to: *mut f32, lanes: usize, values: [v128; 4]) {
    let mut block = [0.0f32; BLOCK];
    let whole = if lanes == BLOCK { to } else { block.as_mut_ptr() };
    // SAFETY: as the caller promises; the copy is a complete block.
    unsafe {
        for (index, value) in values.into_iter().enumerate() {
            v128_store(whole.add(4 * index).cast(), value);
        }
        if lanes != BLOCK {
            to.copy_from_nonoverlapping(whole, lanes);
        }
    }
}
