//! Convolutions with the vector instructions of x86-64.
//!
//! Each instruction set has a file with its inner loops ([`tile`] is their common form) and chooses among functions that
//! finish a tile; [`super::microkernel`] joins the two.

mod avx2;
mod avx2_finish;
mod avx512_finish;
mod avx512_vnni;
mod avx_vnni;
mod registers;
mod tile;

use super::Isa;
use super::conv::{ConvF32, ConvU8};
use super::microkernel;
use super::peak::Arithmetic;

/// Whether this CPU, and the system under which it runs, can execute an instruction set.
pub fn has(isa: Isa) -> bool {
    let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
    match isa {
        Isa::Avx2 => avx2,
        Isa::AvxVnni => avx2 && is_x86_feature_detected!("avxvnni"),
        Isa::Avx512Vnni => {
            is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512vnni")
        }
        _ => false,
    }
}

/// Runs an int8 convolution.
///
/// # Safety
/// [`has`] must have said yes to `isa`.
pub unsafe fn conv_u8(isa: Isa, conv: &mut ConvU8<'_>) {
    // SAFETY: as the caller vouches.
    unsafe {
        match isa {
            Isa::Avx512Vnni => microkernel::conv_u8(conv, avx512_vnni::choose_u8),
            Isa::AvxVnni => microkernel::conv_u8(conv, avx_vnni::choose_u8),
            _ => microkernel::conv_u8(conv, avx2::choose_u8),
        }
    }
}

/// Runs a convolution in f32.
///
/// # Safety
/// [`has`] must have said yes to `isa`.
pub unsafe fn conv_f32(isa: Isa, conv: &mut ConvF32<'_>) {
    // SAFETY: as the caller vouches.
    unsafe {
        match isa {
            Isa::Avx512Vnni => microkernel::conv_f32(conv, avx512_vnni::choose_f32),
            _ => microkernel::conv_f32(conv, avx2::choose_f32),
        }
    }
}

/// Multiply-adds on registers alone; returns how many there were.
///
/// # Safety
/// [`has`] must have said yes to `isa`.
pub unsafe fn multiply_add_registers(isa: Isa, arithmetic: Arithmetic, steps: u32) -> u64 {
    // SAFETY: as the caller vouches.
    unsafe {
        match (isa, arithmetic) {
            (Isa::Avx512Vnni, Arithmetic::Int8) => registers::avx512_vnni(steps),
            (Isa::Avx512Vnni, Arithmetic::F32) => registers::avx512_f32(steps),
            (Isa::AvxVnni, Arithmetic::Int8) => registers::avx_vnni(steps),
            (_, Arithmetic::Int8) => registers::avx2_int8(steps),
            (_, Arithmetic::F32) => registers::avx2_f32(steps),
        }
    }
}

/// AVX-VNNI's convolution in the encoding of AVX-512, where the CPU has that.
#[cfg(test)]
pub fn avx_vnni_by_evex() -> Option<fn(&mut ConvU8<'_>)> {
    // SAFETY: AVX512-VNNI was found, and every CPU that has it has AVX2 and FMA.
    has(Isa::Avx512Vnni).then_some(|conv| unsafe { microkernel::conv_u8(conv, avx_vnni::choose_u8_evex) })
}
