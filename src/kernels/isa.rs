//! The instruction sets that kernels are written for.

use std::fmt;
use std::str::FromStr;

/// An instruction set, from the plainest to the fastest of each architecture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Isa {
    /// Plain Rust, on any CPU: the truth that the others are tested against.
    Generic,
    /// x86-64 with AVX2 and FMA.
    Avx2,
    /// AVX2 and the 256-bit form of `vpdpbusd`.
    AvxVnni,
    /// AVX-512 (F, BW, VL) with `vpdpbusd`.
    Avx512Vnni,
    /// Any aarch64.
    Neon,
    /// NEON with `sdot`.
    NeonDotprod,
    /// NEON with `usmmla`.
    NeonI8mm,
}

impl Isa {
    /// Every one.
    pub const ALL: [Isa; 7] =
        [Isa::Generic, Isa::Avx2, Isa::AvxVnni, Isa::Avx512Vnni, Isa::Neon, Isa::NeonDotprod, Isa::NeonI8mm];

    /// As people write it.
    pub fn name(self) -> &'static str {
        match self {
            Isa::Generic => "generic",
            Isa::Avx2 => "avx2",
            Isa::AvxVnni => "avx-vnni",
            Isa::Avx512Vnni => "avx512-vnni",
            Isa::Neon => "neon",
            Isa::NeonDotprod => "neon-dotprod",
            Isa::NeonI8mm => "neon-i8mm",
        }
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that no instruction set has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no instruction set `{name}`; known are {}", Isa::ALL.map(Isa::name).join(", "))]
pub struct UnknownIsa {
    /// As it was written.
    pub name: String,
}

impl FromStr for Isa {
    type Err = UnknownIsa;

    fn from_str(name: &str) -> Result<Self, UnknownIsa> {
        Isa::ALL.into_iter().find(|isa| isa.name() == name).ok_or_else(|| UnknownIsa { name: name.to_string() })
    }
}
