//! The common part of the int8 kernels: the walk over blocks and pixels. They differ in how they sum products,
//! [`SumU8`].

use super::outputs::{Block, Outputs};
use crate::conv::{BLOCK, ConvU8, Window, blocks};
use crate::pixels::Pixels;
use causalclipseg_kernels_macros::enable;
use std::arch::aarch64::*;

/// One value for each output of a block.
pub(crate) type BlockSums = [int32x4_t; BLOCK / 4];

/// A way to sum products of u8 pixels and i8 weights.
pub(crate) trait SumU8 {
    /// The number of pixels that fill the registers: 2, 5 or 6.
    const WIDEST: usize;

    /// The correction that must be added to the sums of every pixel, given a block's weights.
    ///
    /// # Safety
    /// The CPU has the instructions. `weights` are those of one block, for this window.
    unsafe fn correction(window: &Window, weights: &[i8]) -> BlockSums;

    /// Sums over the taps and channels of some pixels, less the correction.
    ///
    /// # Safety
    /// The CPU has the instructions. From each pointer, `depth` elements can be read at each tap. `weights` points at those
    /// of one block.
    unsafe fn sums<const PIXELS: usize>(
        window: &Window,
        pixels: [*const u8; PIXELS],
        weights: *const i8,
    ) -> [BlockSums; PIXELS];
}

/// Runs a convolution.
///
/// # Safety
/// The CPU has the instructions of `S`.
#[enable(neon)]
pub(crate) unsafe fn conv_u8<S: SumU8>(conv: &mut ConvU8<'_>) {
    assert!(conv.is_valid(), "a convolution reaches beyond its slices");
    if conv.window.is_empty() || conv.out_channels == 0 {
        return;
    }
    let window = conv.window;
    let block_length = BLOCK * window.taps.len() * window.depth;
    let mut outputs = Outputs::new(conv.epilogue, conv.target, &mut conv.output);
    for index in 0..blocks(conv.out_channels) {
        let weights = &conv.weights[index * block_length..][..block_length];
        let mut pixels = Pixels::new(&window);
        // SAFETY: the convolution is valid, so a pixel's taps are inside `x` and its block inside the outputs.
        unsafe {
            let correction = S::correction(&window, weights);
            let block = outputs.block(index, conv.out_channels, correction);
            while pixels.left() > 0 {
                match pixels.left().min(S::WIDEST) {
                    1 => tile::<S, 1>(&window, conv.x, weights, &mut pixels, &mut outputs, &block),
                    2 => tile::<S, 2>(&window, conv.x, weights, &mut pixels, &mut outputs, &block),
                    3 | 4 => tile::<S, 4>(&window, conv.x, weights, &mut pixels, &mut outputs, &block),
                    5 if S::WIDEST == 5 => tile::<S, 5>(&window, conv.x, weights, &mut pixels, &mut outputs, &block),
                    _ => tile::<S, 6>(&window, conv.x, weights, &mut pixels, &mut outputs, &block),
                }
            }
        }
    }
}

/// Sums the next pixels and stores them.
///
/// # Safety
/// As [`conv_u8`]; the convolution is valid, and pixels are left.
#[inline]
#[enable(neon)]
unsafe fn tile<S: SumU8, const PIXELS: usize>(
    window: &Window,
    x: &[u8],
    weights: &[i8],
    pixels: &mut Pixels,
    outputs: &mut Outputs<'_>,
    block: &Block,
) {
    let (places, taken) = pixels.take::<PIXELS>();
    // SAFETY: each place is a pixel of the window, and the convolution is valid.
    unsafe {
        let sums = S::sums(window, places.map(|place| x.as_ptr().add(place.input(window))), weights.as_ptr());
        for (place, sums) in places.into_iter().zip(&sums).take(taken) {
            outputs.store(place, block, sums);
        }
    }
}
