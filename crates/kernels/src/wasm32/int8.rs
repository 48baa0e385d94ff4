//! The common part of the int8 kernels: the walk over blocks and pixels. They differ in how they sum products, [`SumU8`].

use super::outputs::{Block, Outputs};
use crate::conv::{BLOCK, ConvU8, GROUP, Window, blocks};
use crate::pixels::Pixels;
use std::arch::wasm32::*;

/// One value for each output of a block.
pub(crate) type BlockSums = [v128; BLOCK / 4];
/// One value for each output of half a block.
pub(crate) type HalfSums = [v128; BLOCK / 8];

/// The number of weights of a group: of four inputs and a block of outputs.
pub(crate) const GROUP_WEIGHTS: usize = BLOCK * GROUP;

/// A way to sum products of u8 pixels and i8 weights.
pub(crate) trait SumU8 {
    /// The number of pixels that fill the registers: 2 or 4.
    const WIDEST: usize;

    /// What must be added to the sums of every pixel, given a block's weights.
    fn correction(weights: &[i8]) -> BlockSums;

    /// Sums over the taps and channels of some pixels for eight outputs, less the correction.
    ///
    /// # Safety
    /// From each pointer, `depth` elements can be read at each tap. `weights` points at those of half a block: 32 of every 64.
    unsafe fn sums<const PIXELS: usize>(
        window: &Window,
        pixels: [*const u8; PIXELS],
        weights: *const i8,
    ) -> [HalfSums; PIXELS];
}

/// Runs a convolution.
pub(crate) fn conv_u8<S: SumU8>(conv: &mut ConvU8<'_>) {
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
            let block = outputs.block(index, conv.out_channels, S::correction(weights));
            while pixels.left() > 0 {
                match pixels.left().min(S::WIDEST) {
                    1 => tile::<S, 1>(&window, conv.x, weights, &mut pixels, &mut outputs, &block),
                    2 => tile::<S, 2>(&window, conv.x, weights, &mut pixels, &mut outputs, &block),
                    _ => tile::<S, 4>(&window, conv.x, weights, &mut pixels, &mut outputs, &block),
                }
            }
        }
    }
}

/// Sums the next pixels and stores them.
///
/// # Safety
/// The convolution is valid, the weights are those of the block, and pixels are left.
#[inline]
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
        let inputs = places.map(|place| x.as_ptr().add(place.input(window)));
        let first = S::sums(window, inputs, weights.as_ptr());
        let second = match block.lanes() > BLOCK / 2 {
            true => S::sums(window, inputs, weights.as_ptr().add(GROUP_WEIGHTS / 2)),
            // Outputs that do not exist.
            false => [[i32x4_splat(0); 2]; PIXELS],
        };
        for (index, place) in places.into_iter().enumerate().take(taken) {
            let [[a, b], [c, d]] = [first[index], second[index]];
            outputs.store(place, block, &[a, b, c, d]);
        }
    }
}
