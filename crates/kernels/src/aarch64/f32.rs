//! Convolutions in f32.
//!
//! # Tile
//! Four channels of a pixel fill a register, and `fmla` selects one by its index. Six pixels x 16 outputs take 24
//! registers of sums and six of channels; two are left for weights. 24 chains are more than the eight to ten that hide
//! the latency of `fmla` on any core.

use super::outputs::{load_f32, store_f32};
use crate::conv::{BLOCK, ConvF32, Window, blocks};
use crate::pixels::Pixels;
use causalclipseg_kernels_macros::enable;
use std::arch::aarch64::*;

/// One value for each output of a block.
type BlockSums = [float32x4_t; BLOCK / 4];

const WIDEST: usize = 6;

/// The number of channels of a register.
const STEP: usize = 4;

/// See [`crate::Kernels::conv_f32`].
///
/// # Safety
/// The CPU has NEON.
#[enable(neon)]
pub(crate) unsafe fn conv_f32(conv: &mut ConvF32<'_>) {
    assert!(conv.is_valid(), "a convolution reaches beyond its slices");
    if conv.window.is_empty() || conv.out_channels == 0 {
        return;
    }
    let window = conv.window;
    for index in 0..blocks(conv.out_channels) {
        let mut pixels = Pixels::new(&window);
        while pixels.left() > 0 {
            // SAFETY: the convolution is valid, the block is one of its blocks, and pixels are left.
            unsafe {
                match pixels.left().min(WIDEST) {
                    1 => tile::<1>(conv, index, &mut pixels),
                    2 => tile::<2>(conv, index, &mut pixels),
                    3 | 4 => tile::<4>(conv, index, &mut pixels),
                    _ => tile::<6>(conv, index, &mut pixels),
                }
            }
        }
    }
}

/// Computes the next pixels of a block.
///
/// # Safety
/// The convolution is valid, `index` is one of its blocks, and pixels are left.
#[inline]
#[enable(neon)]
unsafe fn tile<const PIXELS: usize>(conv: &mut ConvF32<'_>, index: usize, pixels: &mut Pixels) {
    let window = &conv.window;
    let channel = index * BLOCK;
    let lanes = BLOCK.min(conv.out_channels - channel);
    let (places, taken) = pixels.take::<PIXELS>();
    // SAFETY: each place is a pixel of the window, so its taps are inside `x` and the real outputs of its block inside
    // every slice that the convolution names; weights and bias are padded to complete blocks.
    unsafe {
        let weights = conv.weights.as_ptr().add(channel * window.taps.len() * window.depth);
        let inputs = places.map(|place| conv.x.as_ptr().add(place.input(window)));
        let sums = sums(window, inputs, weights);
        let bias = load_f32(conv.bias.as_ptr().add(channel), BLOCK);
        for (place, sums) in places.into_iter().zip(&sums).take(taken) {
            let mut values = add(*sums, bias);
            for addend in [conv.map, conv.residual].into_iter().flatten() {
                let start = addend.values.as_ptr().add(place.within(&addend.layout) + channel);
                values = add(values, load_f32(start, lanes));
            }
            if conv.relu {
                values = values.map(|value| vmaxnmq_f32(value, vdupq_n_f32(0.0)));
            }
            store_f32(conv.y.as_mut_ptr().add(place.within(&conv.target) + channel), lanes, values);
        }
    }
}

#[inline]
#[enable(neon)]
fn add(left: BlockSums, right: BlockSums) -> BlockSums {
    std::array::from_fn(|index| vaddq_f32(left[index], right[index]))
}

/// Sums over the taps and channels of some pixels.
///
/// # Safety
/// From each pointer, `depth` elements can be read at each tap. `weights` points at those of one block.
#[enable(neon)]
unsafe fn sums<const PIXELS: usize>(
    window: &Window,
    pixels: [*const f32; PIXELS],
    mut weights: *const f32,
) -> [BlockSums; PIXELS] {
    let depth = window.depth;
    // SAFETY: reads stay within `depth` elements of a tap, and the weights are read once from front to back.
    unsafe {
        let mut sums = [[vdupq_n_f32(0.0); 4]; PIXELS];
        for &tap in window.taps {
            let mut offset = tap;
            for _ in 0..depth / STEP {
                let channels = pixels.map(|pixel| vld1q_f32(pixel.add(offset)));
                add_channel::<0, PIXELS>(&mut sums, &channels, weights);
                add_channel::<1, PIXELS>(&mut sums, &channels, weights.add(BLOCK));
                add_channel::<2, PIXELS>(&mut sums, &channels, weights.add(2 * BLOCK));
                add_channel::<3, PIXELS>(&mut sums, &channels, weights.add(3 * BLOCK));
                weights = weights.add(STEP * BLOCK);
                offset += STEP;
            }
            for _ in 0..depth % STEP {
                let channels = pixels.map(|pixel| vld1q_dup_f32(pixel.add(offset)));
                add_channel::<0, PIXELS>(&mut sums, &channels, weights);
                weights = weights.add(BLOCK);
                offset += 1;
            }
        }
        sums
    }
}

/// Adds one of every pixel's channels.
///
/// # Safety
/// `weights` points at those of the channel.
#[inline]
#[enable(neon)]
unsafe fn add_channel<const LANE: i32, const PIXELS: usize>(
    sums: &mut [BlockSums; PIXELS],
    channels: &[float32x4_t; PIXELS],
    weights: *const f32,
) {
    for quarter in 0..4 {
        // SAFETY: a channel has 16 weights.
        unsafe {
            let weights = vld1q_f32(weights.add(4 * quarter));
            for (sums, channels) in sums.iter_mut().zip(channels) {
                sums[quarter] = vfmaq_laneq_f32::<LANE>(sums[quarter], weights, *channels);
            }
        }
    }
}
