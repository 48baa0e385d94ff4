//! Converts sums to outputs with AVX2; [`crate::conv`] has the formulas.
//!
//! Absent parts of an epilogue cost nothing, since each combination is a separate function. A pixel's block is two
//! vectors. A partly filled block passes through a buffer, so that nothing beyond the outputs is read or written.

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

/// A pixel's block.
type Pair = [__m256; 2];

/// The first `outputs` of a block, then zeros.
///
/// # Safety
/// `values` must point to `outputs` values.
#[inline]
#[enable(avx2)]
unsafe fn load(values: *const f32, outputs: usize) -> Pair {
    // SAFETY: as the caller vouches; the buffer is a block long.
    unsafe {
        if outputs == BLOCK {
            return [_mm256_loadu_ps(values), _mm256_loadu_ps(values.add(8))];
        }
        let mut buffer = [0.0; BLOCK];
        std::ptr::copy_nonoverlapping(values, buffer.as_mut_ptr(), outputs);
        [_mm256_loadu_ps(buffer.as_ptr()), _mm256_loadu_ps(buffer.as_ptr().add(8))]
    }
}

/// # Safety
/// `y` must point to `outputs` values.
#[inline]
#[enable(avx2)]
unsafe fn store(y: *mut f32, values: Pair, outputs: usize) {
    // SAFETY: as the caller vouches; the buffer is a block long.
    unsafe {
        if outputs == BLOCK {
            _mm256_storeu_ps(y, values[0]);
            _mm256_storeu_ps(y.add(8), values[1]);
            return;
        }
        let mut buffer = [0.0; BLOCK];
        _mm256_storeu_ps(buffer.as_mut_ptr(), values[0]);
        _mm256_storeu_ps(buffer.as_mut_ptr().add(8), values[1]);
        std::ptr::copy_nonoverlapping(buffer.as_ptr(), y, outputs);
    }
}

/// The first `outputs` bytes of a block as numbers, then zeros.
///
/// # Safety
/// `values` must point to `outputs` values.
#[inline]
#[enable(avx2)]
unsafe fn load_u8(values: *const u8, outputs: usize) -> Pair {
    // SAFETY: as the caller vouches; the buffer is a block long.
    let bytes = unsafe {
        if outputs == BLOCK {
            _mm_loadu_si128(values.cast())
        } else {
            let mut buffer = [0; BLOCK];
            std::ptr::copy_nonoverlapping(values, buffer.as_mut_ptr(), outputs);
            _mm_loadu_si128(buffer.as_ptr().cast())
        }
    };
    let upper = _mm_unpackhi_epi64(bytes, bytes);
    [_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(bytes)), _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(upper))]
}

#[inline]
#[enable(avx2)]
fn add(a: Pair, b: Pair) -> Pair {
    [_mm256_add_ps(a[0], b[0]), _mm256_add_ps(a[1], b[1])]
}

#[inline]
#[enable(avx2)]
fn multiply(a: Pair, b: Pair) -> Pair {
    [_mm256_mul_ps(a[0], b[0]), _mm256_mul_ps(a[1], b[1])]
}

#[inline]
#[enable(avx2)]
fn relu(a: Pair) -> Pair {
    [_mm256_max_ps(a[0], _mm256_setzero_ps()), _mm256_max_ps(a[1], _mm256_setzero_ps())]
}

/// An int8 epilogue up to the conversion, for one pixel.
///
/// # Safety
/// The CPU must have AVX2, and what `finish` points to must be there for this pixel.
#[inline]
#[enable(avx2)]
unsafe fn value<const MAP: bool, const RESIDUAL: bool, const OFFSET: bool, Y>(
    finish: &Finish<i32, u8, Y>,
    multiplier: Pair,
    pixel: usize,
    outputs: usize,
) -> Pair {
    // SAFETY: as the caller vouches.
    unsafe {
        let sums = finish.sums.add(pixel * BLOCK);
        let sums = [_mm256_loadu_si256(sums.cast()), _mm256_loadu_si256(sums.add(8).cast())];
        let mut value = multiply([_mm256_cvtepi32_ps(sums[0]), _mm256_cvtepi32_ps(sums[1])], multiplier);
        if MAP {
            value = add(value, load(finish.map.add(pixel * finish.map_stride), outputs));
        }
        if RESIDUAL {
            let residual = load_u8(finish.residual.add(pixel * finish.residual_stride), outputs);
            value = add(value, multiply(residual, [_mm256_set1_ps(finish.scalars.residual_scale); 2]));
        }
        if OFFSET {
            value = add(value, [_mm256_set1_ps(finish.scalars.offset); 2]);
        }
        value
    }
}

/// # Safety
/// The CPU must have AVX2, and `finish` must point to what the tile has.
#[enable(avx2)]
unsafe fn to_u8<const MAP: bool, const RESIDUAL: bool, const OFFSET: bool>(finish: &Finish<i32, u8, u8>) {
    // Larger values would overflow the conversion. NaN passes and becomes the lowest output.
    let highest = _mm256_set1_ps((255 - finish.scalars.zero_point) as f32);
    let zero_point = _mm256_set1_epi16(finish.scalars.zero_point as i16);
    let lowest = _mm_set1_epi8(finish.scalars.lowest as i8);
    let outputs = finish.outputs;
    // SAFETY: as the caller vouches; a multiplier is a whole block, and the buffer is a block long.
    unsafe {
        let multiplier = load(finish.multiplier, BLOCK);
        for pixel in 0..finish.pixels {
            let value = value::<MAP, RESIDUAL, OFFSET, u8>(finish, multiplier, pixel, outputs);
            let first = _mm256_cvtps_epi32(_mm256_min_ps(highest, value[0]));
            let second = _mm256_cvtps_epi32(_mm256_min_ps(highest, value[1]));
            let both = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packs_epi32(first, second));
            let both = _mm256_adds_epi16(both, zero_point);
            let bytes = _mm_packus_epi16(_mm256_castsi256_si128(both), _mm256_extracti128_si256::<1>(both));
            let bytes = _mm_max_epu8(bytes, lowest);
            let y = finish.y.add(pixel * finish.y_stride);
            if outputs == BLOCK {
                _mm_storeu_si128(y.cast(), bytes);
            } else {
                let mut buffer = [0; BLOCK];
                _mm_storeu_si128(buffer.as_mut_ptr().cast(), bytes);
                std::ptr::copy_nonoverlapping(buffer.as_ptr(), y, outputs);
            }
        }
    }
}

/// # Safety
/// The CPU must have AVX2, and `finish` must point to what the tile has.
#[enable(avx2)]
unsafe fn to_f32<const MAP: bool, const RESIDUAL: bool>(finish: &Finish<i32, u8, f32>) {
    // SAFETY: as the caller vouches; a multiplier is a whole block.
    unsafe {
        let multiplier = load(finish.multiplier, BLOCK);
        for pixel in 0..finish.pixels {
            let value = value::<MAP, RESIDUAL, true, f32>(finish, multiplier, pixel, finish.outputs);
            let value = if finish.scalars.relu { relu(value) } else { value };
            store(finish.y.add(pixel * finish.y_stride), value, finish.outputs);
        }
    }
}

/// # Safety
/// The CPU must have AVX2, and `finish` must point to what the tile has.
#[enable(avx2)]
unsafe fn float<const MAP: bool, const RESIDUAL: bool>(finish: &Finish<f32, f32, f32>) {
    // SAFETY: as the caller vouches.
    unsafe {
        for pixel in 0..finish.pixels {
            let mut value = load(finish.sums.add(pixel * BLOCK), BLOCK);
            if MAP {
                value = add(value, load(finish.map.add(pixel * finish.map_stride), finish.outputs));
            }
            if RESIDUAL {
                value = add(value, load(finish.residual.add(pixel * finish.residual_stride), finish.outputs));
            }
            let value = if finish.scalars.relu { relu(value) } else { value };
            store(finish.y.add(pixel * finish.y_stride), value, finish.outputs);
        }
    }
}
