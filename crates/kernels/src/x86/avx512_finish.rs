//! Converts sums to outputs with AVX-512; [`crate::conv`] has the formulas.
//!
//! Absent parts of an epilogue cost nothing, since each combination is a separate function. Loads and stores of a
//! partly filled block are masked.

use causalclipseg_kernels_macros::enable;
use std::arch::x86_64::*;

use super::super::conv::{BLOCK, ConvF32, EpilogueU8};
use super::super::microkernel::{Finish, FinishTile};

/// The functions for an epilogue, to u8 and to f32.
pub(crate) fn choose_u8(epilogue: &EpilogueU8<'_>) -> (FinishTile<i32, u8, u8>, FinishTile<i32, u8, f32>) {
    match (epilogue.map.is_some(), epilogue.residual.is_some()) {
        // Without an offset only rounding follows, and -0 rounds as 0 does.
        (false, false) if epilogue.offset == 0.0 => (to_u8::<false, false, false>, to_f32::<false, false>),
        (false, false) => (to_u8::<false, false, true>, to_f32::<false, false>),
        (false, true) => (to_u8::<false, true, true>, to_f32::<false, true>),
        (true, false) => (to_u8::<true, false, true>, to_f32::<true, false>),
        (true, true) => (to_u8::<true, true, true>, to_f32::<true, true>),
    }
}

/// The function for a convolution in f32.
pub(crate) fn choose_f32(conv: &ConvF32<'_>) -> FinishTile<f32, f32, f32> {
    match (conv.map.is_some(), conv.residual.is_some()) {
        (false, false) => float::<false, false>,
        (false, true) => float::<false, true>,
        (true, false) => float::<true, false>,
        (true, true) => float::<true, true>,
    }
}

/// The lanes of a tile's block with outputs.
fn filled(outputs: usize, block: usize) -> __mmask16 {
    let lanes = outputs.saturating_sub(block * BLOCK).min(BLOCK);
    ((1u32 << lanes) - 1) as __mmask16
}

/// An int8 epilogue up to the conversion, for one pixel and block.
///
/// # Safety
/// The CPU must have AVX-512, and what `finish` points to must be there for this pixel and block.
#[inline]
#[enable(avx512_vnni)]
unsafe fn value<const MAP: bool, const RESIDUAL: bool, const OFFSET: bool, Y>(
    finish: &Finish<i32, u8, Y>,
    multiplier: __m512,
    pixel: usize,
    block: usize,
    lanes: __mmask16,
) -> __m512 {
    // SAFETY: as the caller vouches; masked lanes are not read.
    unsafe {
        let sum = _mm512_loadu_si512(finish.sums.add((pixel * finish.blocks + block) * BLOCK).cast());
        let mut value = _mm512_mul_ps(_mm512_cvtepi32_ps(sum), multiplier);
        if MAP {
            let map = finish.map.add(pixel * finish.map_stride + block * BLOCK);
            value = _mm512_add_ps(value, _mm512_maskz_loadu_ps(lanes, map));
        }
        if RESIDUAL {
            let residual = finish.residual.add(pixel * finish.residual_stride + block * BLOCK);
            let residual = if lanes == __mmask16::MAX {
                _mm_loadu_si128(residual.cast())
            } else {
                _mm_maskz_loadu_epi8(lanes, residual.cast())
            };
            let residual = _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(residual));
            value = _mm512_add_ps(value, _mm512_mul_ps(residual, _mm512_set1_ps(finish.scalars.residual_scale)));
        }
        if OFFSET {
            value = _mm512_add_ps(value, _mm512_set1_ps(finish.scalars.offset));
        }
        value
    }
}

/// # Safety
/// The CPU must have AVX-512, and `finish` must point to what the tile has.
#[enable(avx512_vnni)]
unsafe fn to_u8<const MAP: bool, const RESIDUAL: bool, const OFFSET: bool>(finish: &Finish<i32, u8, u8>) {
    let zero_point = finish.scalars.zero_point;
    // Larger values would overflow the conversion. NaN passes and becomes the lowest output.
    let highest = _mm512_set1_ps((255 - zero_point) as f32);
    // SAFETY: as the caller vouches.
    unsafe {
        if finish.outputs == 2 * BLOCK {
            let multipliers = [_mm512_loadu_ps(finish.multiplier), _mm512_loadu_ps(finish.multiplier.add(BLOCK))];
            let zero_point = _mm512_set1_epi16(zero_point as i16);
            let lowest = _mm512_set1_epi8(finish.scalars.lowest as i8);
            let words = |pixel| {
                let first = value::<MAP, RESIDUAL, OFFSET, u8>(finish, multipliers[0], pixel, 0, __mmask16::MAX);
                let second = value::<MAP, RESIDUAL, OFFSET, u8>(finish, multipliers[1], pixel, 1, __mmask16::MAX);
                let first = _mm512_cvtps_epi32(_mm512_min_ps(highest, first));
                let second = _mm512_cvtps_epi32(_mm512_min_ps(highest, second));
                _mm512_adds_epi16(_mm512_packs_epi32(first, second), zero_point)
            };
            // Packing works within quarters of vectors: each has four outputs of either block of either pixel.
            let order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
            for pixel in (0..finish.pixels).step_by(2) {
                let next = (pixel + 1).min(finish.pixels - 1);
                let bytes = _mm512_max_epu8(_mm512_packus_epi16(words(pixel), words(next)), lowest);
                let bytes = _mm512_permutexvar_epi32(order, bytes);
                _mm256_storeu_si256(finish.y.add(pixel * finish.y_stride).cast(), _mm512_castsi512_si256(bytes));
                _mm256_storeu_si256(finish.y.add(next * finish.y_stride).cast(), _mm512_extracti64x4_epi64::<1>(bytes));
            }
            return;
        }
        let zero_point = _mm512_set1_epi32(zero_point);
        let lowest = _mm512_set1_epi32(finish.scalars.lowest);
        for block in 0..finish.blocks {
            let multiplier = _mm512_loadu_ps(finish.multiplier.add(block * BLOCK));
            let lanes = filled(finish.outputs, block);
            for pixel in 0..finish.pixels {
                let value = value::<MAP, RESIDUAL, OFFSET, u8>(finish, multiplier, pixel, block, lanes);
                let rounded = _mm512_cvtps_epi32(_mm512_min_ps(highest, value));
                // The lowest conversion is i32::MIN, to which a zero point may be added.
                let bytes = _mm512_cvtepi32_epi8(_mm512_max_epi32(_mm512_add_epi32(rounded, zero_point), lowest));
                _mm_mask_storeu_epi8(finish.y.add(pixel * finish.y_stride + block * BLOCK).cast(), lanes, bytes);
            }
        }
    }
}

/// # Safety
/// The CPU must have AVX-512, and `finish` must point to what the tile has.
#[enable(avx512_vnni)]
unsafe fn to_f32<const MAP: bool, const RESIDUAL: bool>(finish: &Finish<i32, u8, f32>) {
    let zero = _mm512_setzero_ps();
    // SAFETY: as the caller vouches; masked lanes are not written.
    unsafe {
        for block in 0..finish.blocks {
            let multiplier = _mm512_loadu_ps(finish.multiplier.add(block * BLOCK));
            let lanes = filled(finish.outputs, block);
            for pixel in 0..finish.pixels {
                let value = value::<MAP, RESIDUAL, true, f32>(finish, multiplier, pixel, block, lanes);
                let y = finish.y.add(pixel * finish.y_stride + block * BLOCK);
                let value = if finish.scalars.relu { _mm512_max_ps(value, zero) } else { value };
                _mm512_mask_storeu_ps(y, lanes, value);
            }
        }
    }
}

/// # Safety
/// The CPU must have AVX-512, and `finish` must point to what the tile has.
#[enable(avx512_vnni)]
unsafe fn float<const MAP: bool, const RESIDUAL: bool>(finish: &Finish<f32, f32, f32>) {
    let zero = _mm512_setzero_ps();
    // SAFETY: as the caller vouches; masked lanes are neither read nor written.
    unsafe {
        for block in 0..finish.blocks {
            let lanes = filled(finish.outputs, block);
            for pixel in 0..finish.pixels {
                let mut value = _mm512_loadu_ps(finish.sums.add((pixel * finish.blocks + block) * BLOCK));
                if MAP {
                    let map = finish.map.add(pixel * finish.map_stride + block * BLOCK);
                    value = _mm512_add_ps(value, _mm512_maskz_loadu_ps(lanes, map));
                }
                if RESIDUAL {
                    let residual = finish.residual.add(pixel * finish.residual_stride + block * BLOCK);
                    value = _mm512_add_ps(value, _mm512_maskz_loadu_ps(lanes, residual));
                }
                let y = finish.y.add(pixel * finish.y_stride + block * BLOCK);
                let value = if finish.scalars.relu { _mm512_max_ps(value, zero) } else { value };
                _mm512_mask_storeu_ps(y, lanes, value);
            }
        }
    }
}
