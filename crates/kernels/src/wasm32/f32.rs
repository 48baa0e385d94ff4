//! Convolutions in f32.
//!
//! # Tile
//! Four pixels x eight outputs are eight chains of multiply-adds; with two vectors of weights and one channel they take 11
//! registers.

use super::fused::{Fused, with_fused};
use super::outputs::{at_least, load_f32, store_f32};
use crate::conv::{BLOCK, ConvF32, Window, blocks};
use crate::pixels::Pixels;
use std::arch::wasm32::*;

/// One value for each output of half a block.
type HalfSums = [v128; 2];

const WIDEST: usize = 4;

/// See [`crate::Kernels::conv_f32`].
pub(crate) fn conv_f32(conv: &mut ConvF32<'_>) {
    with_fused!(F, run::<F>(conv));
}

fn run<F: Fused>(conv: &mut ConvF32<'_>) {
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
                    1 => tile::<F, 1>(conv, index, &mut pixels),
                    2 => tile::<F, 2>(conv, index, &mut pixels),
                    _ => tile::<F, WIDEST>(conv, index, &mut pixels),
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
unsafe fn tile<F: Fused, const PIXELS: usize>(conv: &mut ConvF32<'_>, index: usize, pixels: &mut Pixels) {
    let window = &conv.window;
    let channel = index * BLOCK;
    let lanes = BLOCK.min(conv.out_channels - channel);
    let (places, taken) = pixels.take::<PIXELS>();
    // SAFETY: each place is a pixel of the window, so its taps are inside `x` and the real outputs of its block inside
    // every slice that the convolution names; weights and bias are padded to complete blocks.
    unsafe {
        let weights = conv.weights.as_ptr().add(channel * window.taps.len() * window.depth);
        let inputs = places.map(|place| conv.x.as_ptr().add(place.input(window)));
        let zeros = [[f32x4_splat(0.0); 2]; PIXELS];
        let first = sums::<F, PIXELS>(window, inputs, weights);
        let second = if lanes > BLOCK / 2 { sums::<F, PIXELS>(window, inputs, weights.add(BLOCK / 2)) } else { zeros };
        let bias = load_f32(conv.bias.as_ptr().add(channel), BLOCK);
        for (index, place) in places.into_iter().enumerate().take(taken) {
            let [[a, b], [c, d]] = [first[index], second[index]];
            let mut values = add([a, b, c, d], bias);
            for addend in [conv.map, conv.residual].into_iter().flatten() {
                let start = addend.values.as_ptr().add(place.within(&addend.layout) + channel);
                values = add(values, load_f32(start, lanes));
            }
            if conv.relu {
                values = values.map(|value| at_least(f32x4_splat(0.0), value));
            }
            store_f32(conv.y.as_mut_ptr().add(place.within(&conv.target) + channel), lanes, values);
        }
    }
}

#[inline(always)]
fn add(left: [v128; 4], right: [v128; 4]) -> [v128; 4] {
    std::array::from_fn(|index| f32x4_add(left[index], right[index]))
}

/// Sums over the taps and channels of some pixels, for eight outputs.
///
/// # Safety
/// From each pointer, `depth` elements can be read at each tap. `weights` points at those of half a block.
#[inline(always)]
unsafe fn sums<F: Fused, const PIXELS: usize>(
    window: &Window,
    pixels: [*const f32; PIXELS],
    mut weights: *const f32,
) -> [HalfSums; PIXELS] {
    let mut sums = [[f32x4_splat(0.0); 2]; PIXELS];
    for &tap in window.taps {
        for offset in tap..tap + window.depth {
            // SAFETY: reads stay within `depth` elements of a tap, and the weights are read once from front to back.
            unsafe {
                let first = v128_load(weights.cast());
                let second = v128_load(weights.add(4).cast());
                for (sums, pixel) in sums.iter_mut().zip(pixels) {
                    let channel = v128_load32_splat(pixel.add(offset).cast());
                    sums[0] = F::multiply_add(sums[0], channel, first);
                    sums[1] = F::multiply_add(sums[1], channel, second);
                }
                weights = weights.add(BLOCK);
            }
        }
    }
    sums
}
