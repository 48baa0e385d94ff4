//! The arithmetic: one implementation for each instruction set, chosen at run time. Kernels work on pixels, weights and
//! sums, independently of graphs.
//!
//! A [`Kernels`] of an instruction set exists only where the CPU has it, so having one is the proof that its
//! instructions may be executed.
#![allow(unsafe_code, reason = "vector instructions and pointers; each block says why it holds")]

#[cfg(target_arch = "aarch64")]
mod aarch64;
pub mod conv;
mod crew;
pub mod elementwise;
pub mod generic;
mod isa;
#[cfg(target_arch = "x86_64")]
mod microkernel;
pub mod packing;
pub mod peak;
#[cfg(any(target_arch = "aarch64", target_arch = "wasm32"))]
mod pixels;
mod process;
#[cfg(test)]
mod tests;
#[cfg(target_arch = "x86_64")]
mod tiles;
#[cfg(target_arch = "wasm32")]
mod wasm32;
#[cfg(target_arch = "x86_64")]
mod x86;

#[cfg(target_arch = "x86_64")]
pub(crate) use causalclipseg_kernels_macros::enable;
pub use crew::{Crew, MAX_THREADS};
pub use isa::{Isa, UnknownIsa};
pub use process::process_id;

use conv::{ConvF32, ConvU8};
use peak::Arithmetic;

/// The environment variable that forces an instruction set, for tests and measurements.
pub const ISA_VARIABLE: &str = "CAUSALCLIPSEG_ISA";

/// Why no kernels are available.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IsaError {
    /// The requested name is not that of an instruction set.
    #[error(transparent)]
    Unknown(#[from] UnknownIsa),
    /// This CPU lacks the requested instruction set.
    #[error("this CPU cannot run {isa}; it has {}", Kernels::available().iter().map(|kernels| kernels.isa().name()).collect::<Vec<_>>().join(", "))]
    Missing {
        /// The requested one.
        isa: Isa,
    },
}

/// The functions of an instruction set's file.
pub(crate) struct Routines {
    /// Runs an int8 convolution. The CPU must have the instructions.
    pub conv_u8: unsafe fn(&mut ConvU8<'_>),
    /// Runs a convolution in f32. The CPU must have the instructions.
    pub conv_f32: unsafe fn(&mut ConvF32<'_>),
    /// Runs this many steps of multiply-adds on registers alone, and returns the number of products. The CPU must have
    /// the instructions.
    pub multiply_add: unsafe fn(Arithmetic, u32) -> u64,
    /// The version of [`elementwise`] to use with these.
    pub vectors: Vectors,
    /// See [`Kernels::gains_from_narrow_pairs`].
    pub gains_from_narrow_pairs: bool,
}

/// The vector instructions that [`elementwise`] is compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Vectors {
    /// The instructions of every CPU of the target.
    Baseline,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

/// The kernels of one instruction set that this CPU has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kernels {
    isa: Isa,
}

impl Kernels {
    /// The kernels of the fastest instruction set that this CPU has, or of the one that [`ISA_VARIABLE`] names.
    ///
    /// # Errors
    /// The variable does not name an instruction set, or names one that this CPU lacks.
    pub fn detect() -> Result<Self, IsaError> {
        match std::env::var(ISA_VARIABLE) {
            Ok(name) if !name.is_empty() => {
                let isa = name.parse()?;
                Self::new(isa).ok_or(IsaError::Missing { isa })
            }
            _ => Ok(Self::available().pop().unwrap_or(Self::generic())),
        }
    }

    /// Plain Rust, which every CPU runs.
    pub fn generic() -> Self {
        Self { isa: Isa::Generic }
    }

    /// The kernels of one instruction set, if this CPU has it.
    pub fn new(isa: Isa) -> Option<Self> {
        isa.is_available().then_some(Self { isa })
    }

    /// All that this CPU can run, the fastest last.
    pub fn available() -> Vec<Self> {
        Isa::ALL.into_iter().filter_map(Self::new).collect()
    }

    /// The instruction set.
    pub fn isa(self) -> Isa {
        self.isa
    }

    /// Whether int8 convolutions run faster with [`conv::has_narrow_pairs`].
    pub fn gains_from_narrow_pairs(self) -> bool {
        self.isa.routines().gains_from_narrow_pairs
    }

    /// Runs an int8 convolution.
    ///
    /// # Panics
    /// The convolution reaches beyond its slices; see [`ConvU8::is_valid`].
    pub fn conv_u8(self, conv: &mut ConvU8<'_>) {
        // SAFETY: `new` made sure that the CPU has these instructions.
        unsafe { (self.isa.routines().conv_u8)(conv) }
    }

    /// Runs a convolution in f32. Instruction sets differ in how they sum, so results agree to rounding only.
    ///
    /// # Panics
    /// The convolution reaches beyond its slices; see [`ConvF32::is_valid`].
    pub fn conv_f32(self, conv: &mut ConvF32<'_>) {
        // SAFETY: `new` made sure that the CPU has these instructions.
        unsafe { (self.isa.routines().conv_f32)(conv) }
    }

    pub(crate) fn vectors(self) -> Vectors {
        self.isa.routines().vectors
    }
}
