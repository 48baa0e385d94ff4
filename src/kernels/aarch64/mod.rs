//! Kernels for aarch64: plain NEON, NEON with `sdot`, NEON with `usmmla`, and one for f32 that serves all three.
//!
//! # Tiles
//! A kernel sums a few pixels x one block of [`BLOCK`](super::conv::BLOCK) outputs at a time, all in registers, and
//! streams the packed weights past them. Blocks are the outer loop: one block's weights stay in a near cache while all
//! pixels of a call pass. Pixels are counted across the ends of rows, so a narrow frame fills tiles as well as a wide
//! one; what is left at the end goes through smaller tiles, and a tile that is not full repeats its last pixel.
//!
//! There are 32 vector registers, and an instruction should find its sums, its pixels and its weights in them. Each file
//! says what follows for its tile. `docs/arm.md` holds the bounds on speed.
//!
//! # Exactness
//! int8 sums are those of the plain kernel to the bit, whatever way the signs are dealt with, and the epilogue does the
//! same operations in the same order. In f32 each output is one chain of fused multiply-adds in the order of the packed
//! weights, whatever tile it lands in: outputs do not depend on how a frame is cut into calls.

mod dotprod;
mod f32;
mod i8mm;
mod int8;
mod neon;
mod outputs;
mod pixels;
mod registers;
#[cfg(test)]
mod tests;

pub use f32::conv_f32;

use super::Isa;
use super::conv::ConvU8;
use super::peak::Arithmetic;
use std::arch::is_aarch64_feature_detected;

/// Whether this CPU has the instructions of `isa`. The kernels read several bytes as one number and expect the first byte
/// to be the lowest.
pub fn has(isa: Isa) -> bool {
    match isa {
        _ if cfg!(target_endian = "big") => false,
        Isa::Neon => is_aarch64_feature_detected!("neon"),
        Isa::NeonDotprod => is_aarch64_feature_detected!("dotprod"),
        Isa::NeonI8mm => is_aarch64_feature_detected!("i8mm"),
        _ => false,
    }
}

/// See [`super::Kernels::conv_u8`].
///
/// # Safety
/// [`has`] says yes to `isa`.
pub unsafe fn conv_u8(isa: Isa, conv: &mut ConvU8<'_>) {
    // SAFETY: the CPU has the instructions, as the caller promises; plain NEON is part of the target.
    unsafe {
        match isa {
            Isa::NeonI8mm => int8::conv_u8::<i8mm::I8mm>(conv),
            Isa::NeonDotprod => int8::conv_u8::<dotprod::Dotprod>(conv),
            _ => int8::conv_u8::<neon::Neon>(conv),
        }
    }
}

/// Multiply-adds on registers alone; returns how many there were.
///
/// # Safety
/// [`has`] says yes to `isa`.
pub unsafe fn multiply_add_registers(isa: Isa, arithmetic: Arithmetic, steps: u32) -> u64 {
    // SAFETY: the CPU has the instructions, as the caller promises.
    unsafe {
        match (isa, arithmetic) {
            (_, Arithmetic::F32) => registers::f32(steps),
            (Isa::NeonI8mm, Arithmetic::Int8) => registers::i8mm(steps),
            (Isa::NeonDotprod, Arithmetic::Int8) => registers::dotprod(steps),
            (_, Arithmetic::Int8) => registers::neon(steps),
        }
    }
}
