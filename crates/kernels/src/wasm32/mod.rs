//! Kernels for WebAssembly: vectors of 128 bits, and relaxed dot products where their result is exact.
//!
//! A module's instructions are fixed when it is compiled: a browser refuses a module with instructions that it does not know. So
//! `web/build` compiles one module with `simd128` and one with `relaxed-simd` too, and the page chooses. The second tests
//! at run time what the relaxed instructions compute on this machine ([`relaxed_simd`], [`fused`]).
//!
//! # Tiles
//! A browser on x86 has 15 vector registers, so a kernel sums a few pixels x half a block of [`BLOCK`](super::conv::BLOCK) outputs
//! at a time. Blocks are the outer loop: one block's weights stay in a near cache while all pixels of a call pass. Pixels are
//! counted across the ends of rows, and a tile that is not full repeats its last pixel.
//!
//! # Exactness
//! int8 sums equal those of the plain kernel bit by bit, and the epilogue does the same operations in the same order. In f32 each
//! output is one chain of fused multiply-adds in the order of the packed weights, as on AVX2 and NEON: outputs equal theirs.

pub(crate) mod blend;
mod f32;
mod fused;
mod int8;
mod outputs;
mod registers;
#[cfg(target_feature = "relaxed-simd")]
pub(crate) mod relaxed_simd;
pub(crate) mod simd128;

#[cfg(not(target_feature = "simd128"))]
compile_error!("the kernels for WebAssembly need vectors: compile with -C target-feature=+simd128, as web/build does");

// A module without relaxed instructions has no such kernels, but the table of instruction sets names them.
#[cfg(not(target_feature = "relaxed-simd"))]
pub(crate) use super::generic as relaxed_simd;

/// Whether the kernels work on this target at all.
pub(crate) const IS_SUPPORTED: bool = true;

/// Whether the relaxed dot products are exact on this machine, in one form or another.
pub(crate) fn has_exact_dot() -> bool {
    #[cfg(target_feature = "relaxed-simd")]
    return relaxed_simd::Dot::of_this_machine() != relaxed_simd::Dot::Other;
    #[cfg(not(target_feature = "relaxed-simd"))]
    false
}

macro_rules! detected {
    ("relaxed-simd") => {
        crate::wasm32::has_exact_dot()
    };
    ($feature:tt) => {
        cfg!(target_feature = $feature)
    };
}
pub(crate) use detected;
