//! Kernels for aarch64: plain NEON, NEON with `sdot`, NEON with `usmmla`, and one for f32 that serves all three.
//!
//! # Tiles
//! A kernel sums a few pixels x one block of [`BLOCK`](super::conv::BLOCK) outputs at a time, all in registers, and
//! streams the packed weights past them. Blocks are the outer loop: one block's weights stay in a near cache while all
//! pixels of a call pass. Pixels are counted across the ends of rows, so a narrow frame fills tiles as well as a wide
//! one; the rest at the end goes through smaller tiles, and a tile that is not full repeats its last pixel.
//!
//! There are 32 vector registers, which should hold an instruction's sums, pixels and weights. Each file says what
//! follows for its tile. `docs/arm.md` gives the bounds on speed.
//!
//! # Exactness
//! int8 sums equal those of the plain kernel bit by bit, however signs are handled, and the epilogue does the same
//! operations in the same order. In f32 each output is one chain of fused multiply-adds in the order of the packed
//! weights, in every tile: outputs do not depend on how a frame is divided into calls.

pub(crate) mod dotprod;
mod f32;
pub(crate) mod i8mm;
mod int8;
pub(crate) mod neon;
mod outputs;
mod registers;
#[cfg(test)]
mod tests;

/// Whether the kernels work on this target at all: they read several bytes as one number and expect the first byte to
/// be the lowest.
pub(crate) const IS_SUPPORTED: bool = cfg!(target_endian = "little");

macro_rules! detected {
    ($feature:tt) => {
        std::arch::is_aarch64_feature_detected!($feature)
    };
}
pub(crate) use detected;
