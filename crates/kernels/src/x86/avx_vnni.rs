//! AVX-VNNI: AVX2 and the 256-bit form of `vpdpbusd`, on cores that lack AVX-512. The f32 kernels are AVX2's.
//!
//! The tile is 6 pixels x 16 outputs: twelve sums, two vectors of weights and one of inputs fill 15 of 16 registers, and
//! twelve sums are enough to hide the latency of the instruction.

use std::arch::x86_64::*;

use super::super::conv::{BLOCK, ConvU8, GROUP};
use super::super::microkernel::{self, MicrokernelsU8, Operands, SumTile};
use super::super::peak::Arithmetic;
use super::super::{Routines, Vectors};
use super::avx2;
use super::avx2_finish as finish;
use super::registers;
use super::tile::{define_sum, table};
use causalclipseg_kernels_macros::enable;

/// The kernels of AVX-VNNI.
pub(crate) const ROUTINES: Routines = Routines {
    conv_u8,
    conv_f32: avx2::conv_f32,
    multiply_add,
    vectors: Vectors::Avx2,
    gains_from_narrow_pairs: false,
};

/// # Safety
/// The CPU must have the instructions.
unsafe fn conv_u8(conv: &mut ConvU8<'_>) {
    // SAFETY: as the caller vouches.
    unsafe { microkernel::conv_u8(conv, choose_u8) }
}

/// # Safety
/// The CPU must have the instructions.
unsafe fn multiply_add(arithmetic: Arithmetic, steps: u32) -> u64 {
    // SAFETY: as the caller vouches.
    unsafe {
        match arithmetic {
            Arithmetic::Int8 => registers::avx_vnni(steps),
            Arithmetic::F32 => registers::avx2_f32(steps),
        }
    }
}

/// The microkernels of an int8 convolution.
pub(crate) fn choose_u8(conv: &ConvU8<'_>) -> MicrokernelsU8 {
    let (to_u8, to_f32) = finish::choose_u8(&conv.epilogue);
    MicrokernelsU8 { sum: vex::SUM, to_u8, to_f32 }
}

/// The same microkernels with the instruction as AVX-512 encodes it: for tests on cores that have that one only.
#[cfg(test)]
pub(crate) fn choose_u8_evex(conv: &ConvU8<'_>) -> MicrokernelsU8 {
    MicrokernelsU8 { sum: evex::SUM, ..choose_u8(conv) }
}

macro_rules! define_encoding {
    ($encoding:ident: $set:ident, $dpbusd:ident) => {
        mod $encoding {
            use super::*;

    pub(crate) const SUM: &[&[SumTile<u8, i8, i32>]] = &[&table!(false: 1 2 3 4 5 6)];

            #[inline]
            #[enable($set)]
            fn multiply_add(sums: __m256i, inputs: __m256i, weights: __m256i) -> __m256i {
                $dpbusd(sums, inputs, weights)
            }

            define_sum! {
                features: $set,
                types: u8, i8 => i32,
                inputs_per_step: GROUP,
                lanes: 8,
                second: |_: &Operands<u8, i8, i32>| 8 * GROUP,
                streams: 1,
                pixels: 0 a0 b0, 1 a1 b1, 2 a2 b2, 3 a3 b3, 4 a4 b4, 5 a5 b5
            }
        }
    };
}

define_encoding!(vex: avx_vnni, _mm256_dpbusd_avx_epi32);
#[cfg(test)]
define_encoding!(evex: avx512_vnni, _mm256_dpbusd_epi32);

/// # Safety
/// `sums` must point to 8 values.
#[inline]
#[enable(avx2)]
unsafe fn load(sums: *const i32) -> __m256i {
    // SAFETY: as the caller vouches.
    unsafe { _mm256_loadu_si256(sums.cast()) }
}

/// # Safety
/// `sums` must point to 8 values.
#[inline]
#[enable(avx2)]
unsafe fn store(sums: *mut i32, values: __m256i) {
    // SAFETY: as the caller vouches.
    unsafe { _mm256_storeu_si256(sums.cast(), values) }
}

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
    unsafe { _mm256_set1_epi32(x.cast::<i32>().read_unaligned()) }
}
