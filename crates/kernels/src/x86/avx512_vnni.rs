//! AVX-512 with VNNI: sixteen outputs a vector, and in int8 four products a lane in one instruction.
//!
//! The tile is 14 pixels x 32 outputs. Its 28 sums, two vectors of weights and one of inputs fill 31 of the 32 registers,
//! and 28 multiply-adds share 14 broadcasts and two loads: cores start at most as many multiply-adds as loads in a cycle,
//! so the loads hide behind the arithmetic.
//!
//! Where a sum has few products, finishing a tile takes a large part of the time. Then tiles are at most 8 pixels: the
//! finishing of a smaller tile fits into the core's out-of-order window, so it runs beside the next tile's
//! multiply-adds.
//!
//! Pixels whose addresses differ by a multiple of 4 KiB, as with 1024 channels of f32, share one set of the first-level
//! cache, whose eight ways are fewer than 14. There tiles are at most 7 pixels.

use std::arch::x86_64::*;

use super::super::conv::{BLOCK, ConvF32, ConvU8, GROUP};
use super::super::microkernel::{self, MicrokernelF32, MicrokernelsU8, Operands, SumTile};
use super::super::peak::Arithmetic;
use super::super::{Routines, Vectors};
use super::avx512_finish as finish;
use super::registers;
use super::tile::{define_sum, table};
use causalclipseg_kernels_macros::enable;

/// The number of steps of four inputs below which smaller tiles are faster.
const SHALLOW: usize = 128;

/// The kernels of AVX-512.
pub(crate) const ROUTINES: Routines =
    Routines { conv_u8, conv_f32, multiply_add, vectors: Vectors::Avx512, gains_from_narrow_pairs: false };

/// # Safety
/// The CPU must have the instructions.
unsafe fn conv_u8(conv: &mut ConvU8<'_>) {
    // SAFETY: as the caller vouches.
    unsafe { microkernel::conv_u8(conv, choose_u8) }
}

/// # Safety
/// The CPU must have the instructions.
unsafe fn conv_f32(conv: &mut ConvF32<'_>) {
    // SAFETY: as the caller vouches.
    unsafe { microkernel::conv_f32(conv, choose_f32) }
}

/// # Safety
/// The CPU must have the instructions.
unsafe fn multiply_add(arithmetic: Arithmetic, steps: u32) -> u64 {
    // SAFETY: as the caller vouches.
    unsafe {
        match arithmetic {
            Arithmetic::Int8 => registers::avx512_vnni(steps),
            Arithmetic::F32 => registers::avx512_f32(steps),
        }
    }
}

/// The microkernels of an int8 convolution.
pub(crate) fn choose_u8(conv: &ConvU8<'_>) -> MicrokernelsU8 {
    let (to_u8, to_f32) = finish::choose_u8(&conv.epilogue);
    let steps = conv.window.taps.len() * conv.window.depth / GROUP;
    MicrokernelsU8 { sum: if steps < SHALLOW { int8::SHALLOW_SUM } else { int8::SUM }, to_u8, to_f32 }
}

/// The microkernels of a convolution in f32.
pub(crate) fn choose_f32(conv: &ConvF32<'_>) -> MicrokernelF32 {
    let aliases = (conv.window.column_stride * size_of::<f32>()).is_multiple_of(4096);
    MicrokernelF32 { sum: if aliases { float::ALIASED_SUM } else { float::SUM }, finish: finish::choose_f32(conv) }
}

mod int8 {
    use super::*;

    pub(crate) const SUM: &[&[SumTile<u8, i8, i32>]] =
        &[&table!(true: 1 2 3 4 5 6 7 8 9 10 11 12 13 14), &table!(false: 1 2 3 4 5 6 7 8 9 10 11 12 13 14)];

    /// As [`SUM`], for up to 8 pixels.
    pub(crate) const SHALLOW_SUM: &[&[SumTile<u8, i8, i32>]] = &[SUM[0].split_at(8).0, SUM[1].split_at(8).0];

    /// # Safety
    /// `sums` must point to 16 values.
    #[inline]
    #[enable(avx512_vnni)]
    unsafe fn load(sums: *const i32) -> __m512i {
        // SAFETY: as the caller vouches.
        unsafe { _mm512_loadu_si512(sums.cast()) }
    }

    /// # Safety
    /// `sums` must point to 16 values.
    #[inline]
    #[enable(avx512_vnni)]
    unsafe fn store(sums: *mut i32, values: __m512i) {
        // SAFETY: as the caller vouches.
        unsafe { _mm512_storeu_si512(sums.cast(), values) }
    }

    /// # Safety
    /// `weights` must point to 64 weights.
    #[inline]
    #[enable(avx512_vnni)]
    unsafe fn load_weights(weights: *const i8) -> __m512i {
        // SAFETY: as the caller vouches.
        unsafe { _mm512_loadu_si512(weights.cast()) }
    }

    /// # Safety
    /// `x` must point to four inputs.
    #[inline]
    #[enable(avx512_vnni)]
    unsafe fn broadcast(x: *const u8) -> __m512i {
        // SAFETY: as the caller vouches.
        unsafe { _mm512_set1_epi32(x.cast::<i32>().read_unaligned()) }
    }

    #[inline]
    #[enable(avx512_vnni)]
    fn multiply_add(sums: __m512i, inputs: __m512i, weights: __m512i) -> __m512i {
        _mm512_dpbusd_epi32(sums, inputs, weights)
    }

    define_sum! {
        features: avx512_vnni,
        types: u8, i8 => i32,
        inputs_per_step: GROUP,
        lanes: 16,
        second: |operands: &Operands<u8, i8, i32>| operands.block_len,
        streams: 2,
        pixels: 0 a0 b0, 1 a1 b1, 2 a2 b2, 3 a3 b3, 4 a4 b4, 5 a5 b5, 6 a6 b6,
                7 a7 b7, 8 a8 b8, 9 a9 b9, 10 a10 b10, 11 a11 b11, 12 a12 b12, 13 a13 b13
    }
}

mod float {
    use super::*;

    pub(crate) const SUM: &[&[SumTile<f32, f32, f32>]] =
        &[&table!(true: 1 2 3 4 5 6 7 8 9 10 11 12 13 14), &table!(false: 1 2 3 4 5 6 7 8 9 10 11 12 13 14)];

    /// As [`SUM`], for up to 7 pixels.
    pub(crate) const ALIASED_SUM: &[&[SumTile<f32, f32, f32>]] = &[SUM[0].split_at(7).0, SUM[1].split_at(7).0];

    /// # Safety
    /// `values` must point to 16 values.
    #[inline]
    #[enable(avx512_vnni)]
    unsafe fn load(values: *const f32) -> __m512 {
        // SAFETY: as the caller vouches.
        unsafe { _mm512_loadu_ps(values) }
    }

    use load as load_weights;

    /// # Safety
    /// `sums` must point to 16 values.
    #[inline]
    #[enable(avx512_vnni)]
    unsafe fn store(sums: *mut f32, values: __m512) {
        // SAFETY: as the caller vouches.
        unsafe { _mm512_storeu_ps(sums, values) }
    }

    /// # Safety
    /// `x` must point to a value.
    #[inline]
    #[enable(avx512_vnni)]
    unsafe fn broadcast(x: *const f32) -> __m512 {
        // SAFETY: as the caller vouches.
        unsafe { _mm512_set1_ps(*x) }
    }

    #[inline]
    #[enable(avx512_vnni)]
    fn multiply_add(sums: __m512, inputs: __m512, weights: __m512) -> __m512 {
        _mm512_fmadd_ps(inputs, weights, sums)
    }

    define_sum! {
        features: avx512_vnni,
        types: f32, f32 => f32,
        inputs_per_step: 1,
        lanes: 16,
        second: |operands: &Operands<f32, f32, f32>| operands.block_len,
        streams: 2,
        pixels: 0 a0 b0, 1 a1 b1, 2 a2 b2, 3 a3 b3, 4 a4 b4, 5 a5 b5, 6 a6 b6,
                7 a7 b7, 8 a8 b8, 9 a9 b9, 10 a10 b10, 11 a11 b11, 12 a12 b12, 13 a13 b13
    }
}
