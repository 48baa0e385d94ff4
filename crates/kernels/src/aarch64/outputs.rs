//! Converts int8 sums to outputs: the formula of [`EpilogueU8`], sixteen outputs of a pixel at a time.

use super::int8::BlockSums;
use crate::conv::{BLOCK, EpilogueU8, OutputU8, Target};
use crate::pixels::Place;
use causalclipseg_kernels_macros::enable;
use std::arch::aarch64::*;

/// The destination of sums, and their conversion.
pub(crate) struct Outputs<'a> {
    epilogue: EpilogueU8<'a>,
    target: Target,
    y: Y<'a>,
}

enum Y<'a> {
    /// Bytes. `lowest` is the lowest output before the zero point is added.
    U8 {
        y: &'a mut [u8],
        zero_point: int32x4_t,
        lowest: float32x4_t,
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
    multiplier: [float32x4_t; 4],
}

impl<'a> Outputs<'a> {
    #[enable(neon)]
    pub(crate) fn new(epilogue: EpilogueU8<'a>, target: Target, output: &'a mut OutputU8<'_>) -> Self {
        let y = match output {
            OutputU8::U8 { y, zero_point, lowest } => {
                Y::U8 { y, zero_point: vdupq_n_s32(*zero_point), lowest: vdupq_n_f32((*lowest - *zero_point) as f32) }
            }
            OutputU8::F32 { y, relu } => Y::F32 { y, relu: *relu },
        };
        Self { epilogue, target, y }
    }

    /// # Safety
    /// The convolution is valid, and `index` is one of its blocks.
    #[enable(neon)]
    pub(crate) unsafe fn block(&self, index: usize, out_channels: usize, correction: BlockSums) -> Block {
        let channel = index * BLOCK;
        // SAFETY: bias and multiplier are padded to complete blocks.
        unsafe {
            let bias = load_i32(self.epilogue.bias.as_ptr().add(channel));
            Block {
                channel,
                lanes: BLOCK.min(out_channels - channel),
                bias: std::array::from_fn(|index| vaddq_s32(bias[index], correction[index])),
                multiplier: load_f32(self.epilogue.multiplier.as_ptr().add(channel), BLOCK),
            }
        }
    }

    /// Stores one pixel's outputs of a block.
    ///
    /// # Safety
    /// The convolution is valid, the place is one of its pixels, and the block one of its blocks.
    #[inline]
    #[enable(neon)]
    pub(crate) unsafe fn store(&mut self, place: Place, block: &Block, sums: &BlockSums) {
        let Block { channel, lanes, bias, multiplier } = *block;
        let at = place.within(&self.target) + channel;
        // SAFETY: the real outputs of the block are inside every slice that the convolution names.
        unsafe {
            let mut values: [float32x4_t; 4] = std::array::from_fn(|index| {
                vmulq_f32(vcvtq_f32_s32(vaddq_s32(sums[index], bias[index])), multiplier[index])
            });
            if let Some(map) = self.epilogue.map {
                let map = load_f32(map.values.as_ptr().add(place.within(&map.layout) + channel), lanes);
                values = std::array::from_fn(|index| vaddq_f32(values[index], map[index]));
            }
            if let Some(residual) = self.epilogue.residual {
                let start = residual.values.as_ptr().add(place.within(&residual.layout) + channel);
                let residual = widen(load_u8(start, lanes));
                let scale = vdupq_n_f32(self.epilogue.residual_scale);
                values = std::array::from_fn(|index| vaddq_f32(values[index], vmulq_f32(residual[index], scale)));
            }
            let offset = vdupq_n_f32(self.epilogue.offset);
            values = values.map(|value| vaddq_f32(value, offset));
            match &mut self.y {
                Y::U8 { y, zero_point, lowest } => {
                    // `fmaxnm` turns NaN into the lowest output; the rest saturates.
                    let clamped = values.map(|value| vmaxnmq_f32(value, *lowest));
                    let rounded = clamped.map(|value| vqaddq_s32(vcvtnq_s32_f32(value), *zero_point));
                    store_u8(y.as_mut_ptr().add(at), lanes, narrow(rounded));
                }
                Y::F32 { y, relu } => {
                    let values = if *relu { values.map(|value| vmaxnmq_f32(value, vdupq_n_f32(0.0))) } else { values };
                    store_f32(y.as_mut_ptr().add(at), lanes, values);
                }
            }
        }
    }
}

/// Converts u8 to f32.
#[inline]
#[enable(neon)]
fn widen(values: uint8x16_t) -> [float32x4_t; 4] {
    let (low, high) = (vmovl_u8(vget_low_u8(values)), vmovl_high_u8(values));
    [vmovl_u16(vget_low_u16(low)), vmovl_high_u16(low), vmovl_u16(vget_low_u16(high)), vmovl_high_u16(high)]
        .map(|value| vcvtq_f32_u32(value))
}

/// Converts i32 to u8, clamped to 0..=255.
#[inline]
#[enable(neon)]
fn narrow(values: [int32x4_t; 4]) -> uint8x16_t {
    let low = vqmovun_high_s32(vqmovun_s32(values[0]), values[1]);
    let high = vqmovun_high_s32(vqmovun_s32(values[2]), values[3]);
    vqmovn_high_u16(vqmovn_u16(low), high)
}

/// # Safety
/// A block of values can be read.
#[inline]
#[enable(neon)]
unsafe fn load_i32(from: *const i32) -> [int32x4_t; 4] {
    // SAFETY: as the caller promises.
    std::array::from_fn(|index| unsafe { vld1q_s32(from.add(4 * index)) })
}

/// # Safety
/// `lanes` values, at most a block, can be read.
#[inline]
#[enable(neon)]
pub(crate) unsafe fn load_f32(from: *const f32, lanes: usize) -> [float32x4_t; 4] {
    let mut filled = [0.0; BLOCK];
    let from = if lanes == BLOCK {
        from
    } else {
        // SAFETY: as the caller promises.
        unsafe { from.copy_to_nonoverlapping(filled.as_mut_ptr(), lanes) };
        filled.as_ptr()
    };
    // SAFETY: either a complete block can be read, or the copy is one.
    std::array::from_fn(|index| unsafe { vld1q_f32(from.add(4 * index)) })
}

/// # Safety
/// `lanes` values, at most a block, can be read.
#[inline]
#[enable(neon)]
unsafe fn load_u8(from: *const u8, lanes: usize) -> uint8x16_t {
    let mut filled = [0; BLOCK];
    // SAFETY: as the caller promises; a padded copy is a complete block.
    unsafe {
        if lanes == BLOCK {
            return vld1q_u8(from);
        }
        from.copy_to_nonoverlapping(filled.as_mut_ptr(), lanes);
        vld1q_u8(filled.as_ptr())
    }
}

/// # Safety
/// `lanes` values, at most a block, can be written.
#[inline]
#[enable(neon)]
unsafe fn store_u8(to: *mut u8, lanes: usize, values: uint8x16_t) {
    // SAFETY: as the caller promises.
    unsafe {
        if lanes == BLOCK {
            return vst1q_u8(to, values);
        }
        let mut block = [0; BLOCK];
        vst1q_u8(block.as_mut_ptr(), values);
        to.copy_from_nonoverlapping(block.as_ptr(), lanes);
    }
}

/// # Safety
/// `lanes` values, at most a block, can be written.
#[inline]
#[enable(neon)]
pub(crate) unsafe fn store_f32(to: *mut f32, lanes: usize, values: [float32x4_t; 4]) {
    let mut block = [0.0; BLOCK];
    let whole = if lanes == BLOCK { to } else { block.as_mut_ptr() };
    // SAFETY: as the caller promises; the copy is a complete block.
    unsafe {
        for (index, value) in values.into_iter().enumerate() {
            vst1q_f32(whole.add(4 * index), value);
        }
        if lanes != BLOCK {
            to.copy_from_nonoverlapping(whole, lanes);
        }
    }
}
