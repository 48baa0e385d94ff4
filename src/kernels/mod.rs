//! The arithmetic: one implementation for each instruction set, chosen at run time. Kernels know pixels, weights and
//! sums, and nothing of graphs.
//!
//! A [`Kernels`] of an instruction set exists only where the CPU has it, so holding one is the proof that its
//! instructions may be executed.

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
#[cfg(test)]
mod tests;
#[cfg(target_arch = "x86_64")]
mod tiles;
#[cfg(target_arch = "x86_64")]
mod x86;

pub use crew::{Crew, MAX_THREADS};
pub use isa::{Isa, UnknownIsa};

use conv::{ConvF32, ConvU8};

/// The environment variable that forces an instruction set, for tests and measurements.
pub const ISA_VARIABLE: &str = "CAUSALCLIPSEG_ISA";

/// Why no kernels can be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IsaError {
    #[error(transparent)]
    Unknown(#[from] UnknownIsa),
    #[error("this CPU cannot run {isa}; it has {}", Kernels::available().iter().map(|kernels| kernels.isa().name()).collect::<Vec<_>>().join(", "))]
    Missing { isa: Isa },
}

/// The kernels of one instruction set that this CPU has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kernels {
    isa: Isa,
}

impl Kernels {
    /// Those of the fastest instruction set that this CPU has, or of the one that [`ISA_VARIABLE`] names.
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

    /// Those of one instruction set, if this CPU has it.
    pub fn new(isa: Isa) -> Option<Self> {
        let has = match isa {
            Isa::Generic => true,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 | Isa::AvxVnni | Isa::Avx512Vnni => x86::has(isa),
            #[cfg(target_arch = "aarch64")]
            Isa::Neon | Isa::NeonDotprod | Isa::NeonI8mm => aarch64::has(isa),
            _ => false,
        };
        has.then_some(Self { isa })
    }

    /// All that this CPU can run, the fastest last.
    pub fn available() -> Vec<Self> {
        Isa::ALL.into_iter().filter_map(Self::new).collect()
    }

    pub fn isa(self) -> Isa {
        self.isa
    }

    /// Whether int8 convolutions run faster when they are told of [`conv::has_narrow_pairs`].
    pub fn gains_from_narrow_pairs(self) -> bool {
        self.isa == Isa::Avx2
    }

    /// Runs an int8 convolution.
    pub fn conv_u8(self, conv: &mut ConvU8<'_>) {
        match self.isa {
            // SAFETY: `new` made sure that the CPU has these instructions.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 | Isa::AvxVnni | Isa::Avx512Vnni => unsafe { x86::conv_u8(self.isa, conv) },
            // SAFETY: as above.
            #[cfg(target_arch = "aarch64")]
            Isa::Neon | Isa::NeonDotprod | Isa::NeonI8mm => unsafe { aarch64::conv_u8(self.isa, conv) },
            _ => generic::conv_u8(conv),
        }
    }

    /// Runs a convolution in f32. Instruction sets differ in how they sum, so results agree to rounding only.
    pub fn conv_f32(self, conv: &mut ConvF32<'_>) {
        match self.isa {
            // SAFETY: `new` made sure that the CPU has these instructions.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 | Isa::AvxVnni | Isa::Avx512Vnni => unsafe { x86::conv_f32(self.isa, conv) },
            // SAFETY: as above.
            #[cfg(target_arch = "aarch64")]
            Isa::Neon | Isa::NeonDotprod | Isa::NeonI8mm => unsafe { aarch64::conv_f32(conv) },
            _ => generic::conv_f32(conv),
        }
    }
}
