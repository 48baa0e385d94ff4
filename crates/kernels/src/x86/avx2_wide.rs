//! AVX2 in int8 for weights whose pairs do not fit 16 bits: inputs and weights are widened to 16 bits before they are
//! multiplied, each once, and not again for every tile that reads them.
//!
//! Inputs are widened at the start of a convolution, all that its outputs read. Weights are widened block by block, when a
//! tile needs a block that was not the last one in its place; the pixels that a block passes are many, so this is rare. Four
//! blocks have a place, as many as pass together (`tiles.rs`). Both are kept in memory of the thread, which grows to the largest
//! convolution that it has run: two bytes for each of its inputs, and for each weight of four blocks.
//!
//! `vpmaddwd` then multiplies two inputs of a pixel with those of eight outputs, exactly. The tile is 6 pixels x 16 outputs:
//! twelve sums, two vectors of weights and one of inputs fill 15 registers.

use std::arch::x86_64::*;
use std::cell::RefCell;

use super::super::conv::{BLOCK, ConvU8, GROUP, blocks};
use super::super::microkernel::{Operands, SumTile, SumsU8, conv_u8_of};
use super::avx2::int8::{load, store};
use super::avx2_finish as finish;
use super::tile::{define_sum, table};
use causalclipseg_kernels_macros::enable;

/// The inputs of a product of `vpmaddwd`.
const PAIR: usize = 2;

/// The number of blocks that have a place.
const PLACES: usize = 4;

/// A place that no block is in.
const NONE: usize = usize::MAX;

const SUM: &[&[SumTile<i16, i16, i32>]] = &[&table!(false: 1 2 3 4 5 6)];

#[derive(Default)]
struct Memory {
    inputs: Vec<i16>,
    weights: Vec<i16>,
}

thread_local! {
    static MEMORY: RefCell<Memory> = const { RefCell::new(Memory { inputs: Vec::new(), weights: Vec::new() }) };
}

/// Whether a convolution gains: its inputs are widened once, for at least two blocks of outputs.
pub(crate) fn gains(conv: &ConvU8<'_>) -> bool {
    !conv.narrow_pairs && blocks(conv.out_channels) >= 2
}

/// Runs an int8 convolution.
///
/// # Safety
/// The CPU must have AVX2.
pub(crate) unsafe fn conv_u8(conv: &mut ConvU8<'_>) {
    assert!(conv.is_valid(), "a convolution reaches beyond its slices");
    if conv.window.is_empty() || conv.out_channels == 0 {
        return;
    }
    let Some(inputs) = conv.window.reach().and_then(|reach| conv.x.get(..reach)) else { return };
    let (weights, block_len) = (conv.weights, conv.window.block_len());
    let (to_u8, to_f32) = finish::choose_u8(&conv.epilogue);
    MEMORY.with_borrow_mut(|memory| {
        let Memory { inputs: wide_inputs, weights: wide_weights } = memory;
        grow(wide_inputs, inputs.len());
        grow(wide_weights, PLACES * block_len);
        let mut places = [NONE; PLACES];
        // SAFETY: the caller guarantees AVX2. The memory is as long as what is written to it. A block's weights stay until
        // another block takes its place, which only happens when weights are asked for.
        unsafe {
            widen_inputs(inputs, &mut wide_inputs[..inputs.len()]);
            let weights_of = |block: usize| {
                let place = block % PLACES;
                let wide = &mut wide_weights[place * block_len..(place + 1) * block_len];
                if places[place] != block {
                    widen_weights(&weights[block * block_len..(block + 1) * block_len], wide);
                    places[place] = block;
                }
                wide.as_ptr()
            };
            conv_u8_of(conv, &wide_inputs[..inputs.len()], weights_of, &SumsU8 { sum: SUM, to_u8, to_f32 });
        }
    });
}

fn grow(memory: &mut Vec<i16>, length: usize) {
    if memory.len() < length {
        memory.resize(length, 0);
    }
}

/// Bytes as 16-bit numbers, in their order.
#[enable(avx2)]
fn widen_inputs(bytes: &[u8], wide: &mut [i16]) {
    let mut chunks = bytes.chunks_exact(16);
    let mut places = wide.chunks_exact_mut(16);
    for (bytes, place) in chunks.by_ref().zip(places.by_ref()) {
        // SAFETY: both have sixteen elements.
        unsafe {
            let bytes = _mm_loadu_si128(bytes.as_ptr().cast());
            _mm256_storeu_si256(place.as_mut_ptr().cast(), _mm256_cvtepu8_epi16(bytes));
        }
    }
    for (byte, place) in chunks.remainder().iter().zip(places.into_remainder()) {
        *place = i16::from(*byte);
    }
}

/// A block's weights as 16-bit numbers: for each four inputs, `[16 outputs][4 inputs]` becomes the first two inputs of all outputs,
/// then the other two.
#[enable(avx2)]
fn widen_weights(block: &[i8], wide: &mut [i16]) {
    // Each byte becomes the upper one of a 16-bit number, which an arithmetic shift then moves down with its sign.
    let first = _mm256_setr_epi8(
        -1, 0, -1, 1, -1, 4, -1, 5, -1, 8, -1, 9, -1, 12, -1, 13, -1, 0, -1, 1, -1, 4, -1, 5, -1, 8, -1, 9, -1, 12, -1,
        13,
    );
    let second = _mm256_setr_epi8(
        -1, 2, -1, 3, -1, 6, -1, 7, -1, 10, -1, 11, -1, 14, -1, 15, -1, 2, -1, 3, -1, 6, -1, 7, -1, 10, -1, 11, -1, 14,
        -1, 15,
    );
    const STEP: usize = GROUP * BLOCK;
    for (group, wide) in block.chunks_exact(STEP).zip(wide.chunks_exact_mut(STEP)) {
        for half in 0..2 {
            // SAFETY: a step has 64 elements: two vectors of bytes, four of 16-bit numbers.
            unsafe {
                let weights = _mm256_loadu_si256(group.as_ptr().add(32 * half).cast());
                for (pair, order) in [first, second].into_iter().enumerate() {
                    let numbers = _mm256_srai_epi16::<8>(_mm256_shuffle_epi8(weights, order));
                    let at = pair * PAIR * BLOCK + half * 16;
                    _mm256_storeu_si256(wide.as_mut_ptr().add(at).cast(), numbers);
                }
            }
        }
    }
}

/// # Safety
/// `weights` must point to 16 weights.
#[inline]
#[enable(avx2)]
unsafe fn load_weights(weights: *const i16) -> __m256i {
    // SAFETY: as the caller vouches.
    unsafe { _mm256_loadu_si256(weights.cast()) }
}

/// # Safety
/// `x` must point to two inputs.
#[inline]
#[enable(avx2)]
unsafe fn broadcast(x: *const i16) -> __m256i {
    // SAFETY: as the caller vouches.
    _mm256_set1_epi32(unsafe { x.cast::<i32>().read_unaligned() })
}

#[inline]
#[enable(avx2)]
fn multiply_add(sums: __m256i, inputs: __m256i, weights: __m256i) -> __m256i {
    _mm256_add_epi32(sums, _mm256_madd_epi16(inputs, weights))
}

define_sum! {
    features: avx2,
    types: i16, i16 => i32,
    inputs_per_step: PAIR,
    lanes: 8,
    second: |_: &Operands<i16, i16, i32>| 8 * PAIR,
    streams: 1,
    pixels: 0 a0 b0, 1 a1 b1, 2 a2 b2, 3 a3 b3, 4 a4 b4, 5 a5 b5
}
