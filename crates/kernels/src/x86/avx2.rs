//! AVX2 with FMA: eight outputs a vector, two vectors a block.
//!
//! In int8 the instruction that multiplies bytes, `vpmaddubsw`, saturates at 16 bits where both products are large.
//! Where weights are small enough to prevent that (see [`super::super::conv::has_narrow_pairs`]), it multiplies, and
//! `vpmaddwd` by ones adds its pairs in 32 bits. The tile is then 5 pixels x 16 outputs: ten sums, two vectors of
//! weights, one of inputs, one of products and the ones fill 15 of the 16 registers.
//!
//! Other weights are widened, and the bytes with them, before they are multiplied (`avx2_wide.rs`), or for a single block of outputs while
//! they are: of each four inputs the even ones and the odd ones become 16-bit
//! numbers side by side, and `vpmaddwd` adds two products each in 32 bits, exactly. Widening costs two instructions for
//! a pixel and three for a vector of weights. The tile is 4 pixels x 16 outputs: eight sums, four vectors of widened
//! weights, two of inputs and a mask fill 15 registers.
//!
//! In f32 the tile is 6 pixels x 16 outputs: twelve sums, two vectors of weights, one of inputs.

use std::arch::x86_64::*;

use super::super::conv::{BLOCK, ConvF32, ConvU8, GROUP};
use super::super::microkernel::{self, MicrokernelF32, MicrokernelsU8, Operands, SumTile};
use super::super::peak::Arithmetic;
use super::super::{Routines, Vectors};
use super::avx2_finish as finish;
use super::avx2_wide;
use super::registers;
use super::tile::{define_sum, table};
use causalclipseg_kernels_macros::enable;

/// The kernels of AVX2.
pub(crate) const ROUTINES: Routines =
    Routines { conv_u8, conv_f32, multiply_add, vectors: Vectors::Avx2, gains_from_narrow_pairs: true };

/// # Safety
/// The CPU must have the instructions.
unsafe fn conv_u8(conv: &mut ConvU8<'_>) {
    // SAFETY: as the caller vouches.
    unsafe {
        if avx2_wide::gains(conv) {
            avx2_wide::conv_u8(conv);
        } else {
            microkernel::conv_u8(conv, choose_u8);
        }
    }
}

/// # Safety
/// The CPU must have the instructions.
pub(crate) unsafe fn conv_f32(conv: &mut ConvF32<'_>) {
    // SAFETY: as the caller vouches.
    unsafe { microkernel::conv_f32(conv, choose_f32) }
}

/// # Safety
/// The CPU must have the instructions.
unsafe fn multiply_add(arithmetic: Arithmetic, steps: u32) -> u64 {
    // SAFETY: as the caller vouches.
    unsafe {
        match arithmetic {
            Arithmetic::Int8 => registers::avx2_int8(steps),
            Arithmetic::F32 => registers::avx2_f32(steps),
        }
    }
}

/// The microkernels of an int8 convolution.
pub(crate) fn choose_u8(conv: &ConvU8<'_>) -> MicrokernelsU8 {
    let (to_u8, to_f32) = finish::choose_u8(&conv.epilogue);
    let sum = if conv.narrow_pairs { narrow_int8::SUM } else { int8::SUM };
    MicrokernelsU8 { sum, to_u8, to_f32 }
}

/// The microkernels of a convolution in f32.
pub(crate) fn choose_f32(conv: &ConvF32<'_>) -> MicrokernelF32 {
    MicrokernelF32 { sum: float::SUM, finish: finish::choose_f32(conv) }
}

pub(super) mod int8 {
    use super::*;

    pub(crate) const SUM: &[&[SumTile<u8, i8, i32>]] = &[&table!(false: 1 2 3 4)];

    /// Four bytes as two pairs of 16-bit numbers: the first and third, the second and fourth.
    #[derive(Clone, Copy)]
    struct Widened {
        even: __m256i,
        odd: __m256i,
    }

    /// # Safety
    /// `sums` must point to 8 values.
    #[inline]
    #[enable(avx2)]
    pub(crate) unsafe fn load(sums: *const i32) -> __m256i {
        // SAFETY: as the caller vouches.
        unsafe { _mm256_loadu_si256(sums.cast()) }
    }

    /// # Safety
    /// `sums` must point to 8 values.
    #[inline]
    #[enable(avx2)]
    pub(crate) unsafe fn store(sums: *mut i32, values: __m256i) {
        // SAFETY: as the caller vouches.
        unsafe { _mm256_storeu_si256(sums.cast(), values) }
    }

    /// # Safety
    /// `weights` must point to 32 weights.
    #[inline]
    #[enable(avx2)]
    unsafe fn load_weights(weights: *const i8) -> Widened {
        // SAFETY: as the caller vouches.
        let weights = unsafe { _mm256_loadu_si256(weights.cast()) };
        let even = _mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(weights));
        Widened { even, odd: _mm256_srai_epi16::<8>(weights) }
    }

    /// # Safety
    /// `x` must point to four inputs.
    #[inline]
    #[enable(avx2)]
    unsafe fn broadcast(x: *const u8) -> Widened {
        // SAFETY: as the caller vouches.
        let inputs = unsafe { _mm256_set1_epi32(x.cast::<i32>().read_unaligned()) };
        let even = _mm256_and_si256(inputs, _mm256_set1_epi16(0xff));
        Widened { even, odd: _mm256_srli_epi16::<8>(inputs) }
    }

    #[inline]
    #[enable(avx2)]
    fn multiply_add(sums: __m256i, inputs: Widened, weights: Widened) -> __m256i {
        let sums = _mm256_add_epi32(sums, _mm256_madd_epi16(inputs.even, weights.even));
        _mm256_add_epi32(sums, _mm256_madd_epi16(inputs.odd, weights.odd))
    }

    define_sum! {
        features: avx2,
        types: u8, i8 => i32,
        inputs_per_step: GROUP,
        lanes: 8,
        second: |_: &Operands<u8, i8, i32>| 8 * GROUP,
        streams: 1,
        pixels: 0 a0 b0, 1 a1 b1, 2 a2 b2, 3 a3 b3
    }
}

mod narrow_int8 {
    use super::int8::{load, store};
    use super::*;

    pub(crate) const SUM: &[&[SumTile<u8, i8, i32>]] = &[&table!(false: 1 2 3 4 5)];

    /// # Safety
    /// `weights` must point to 32 weights.
    #[inline]
    #[enable(avx2)]
    unsafe fn load_weights(weights: *const i8) -> __m256i {
        // SAFETY: as the caller vouches.
        unsafe { _mm256_loadu_si256(weights.cast()) }
    }

    /// # Safety
    /// `x` must point to four inputs.
    #[inline]
    #[enable(avx2)]
    unsafe fn broadcast(x: *const u8) -> __m256i {
        // SAFETY: as the caller vouches.
        _mm256_set1_epi32(unsafe { x.cast::<i32>().read_unaligned() })
    }

    #[inline]
    #[enable(avx2)]
    fn multiply_add(sums: __m256i, inputs: __m256i, weights: __m256i) -> __m256i {
        let pairs = _mm256_maddubs_epi16(inputs, weights);
        _mm256_add_epi32(sums, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
    }

    define_sum! {
        features: avx2,
        types: u8, i8 => i32,
        inputs_per_step: GROUP,
        lanes: 8,
        second: |_: &Operands<u8, i8, i32>| 8 * GROUP,
        streams: 1,
        pixels: 0 a0 b0, 1 a1 b1, 2 a2 b2, 3 a3 b3, 4 a4 b4
    }
}

mod float {
    use super::*;

    pub(crate) const SUM: &[&[SumTile<f32, f32, f32>]] = &[&table!(false: 1 2 3 4 5 6)];

    /// # Safety
    /// `values` must point to 8 values.
    #[inline]
    #[enable(avx2)]
    unsafe fn load(values: *const f32) -> __m256 {
        // SAFETY: as the caller vouches.
        unsafe { _mm256_loadu_ps(values) }
    }

    use load as load_weights;

    /// # Safety
    /// `sums` must point to 8 values.
    #[inline]
    #[enable(avx2)]
    unsafe fn store(sums: *mut f32, values: __m256) {
        // SAFETY: as the caller vouches.
        unsafe { _mm256_storeu_ps(sums, values) }
    }

    /// # Safety
    /// `x` must point to a value.
    #[inline]
    #[enable(avx2)]
    unsafe fn broadcast(x: *const f32) -> __m256 {
        // SAFETY: as the caller vouches.
        unsafe { _mm256_set1_ps(*x) }
    }

    #[inline]
    #[enable(avx2)]
    fn multiply_add(sums: __m256, inputs: __m256, weights: __m256) -> __m256 {
        _mm256_fmadd_ps(inputs, weights, sums)
    }

    define_sum! {
        features: avx2,
        types: f32, f32 => f32,
        inputs_per_step: 1,
        lanes: 8,
        second: |_: &Operands<f32, f32, f32>| 8,
        streams: 1,
        pixels: 0 a0 b0, 1 a1 b1, 2 a2 b2, 3 a3 b3, 4 a4 b4, 5 a5 b5
    }
}
