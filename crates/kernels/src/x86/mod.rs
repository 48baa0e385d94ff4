//! Convolutions with the vector instructions of x86-64.
//!
//! Each instruction set has a file with its inner loops ([`tile`] is their common form) and selects the functions that
//! finish a tile; [`super::microkernel`] combines the two.

pub(crate) mod avx2;
mod avx2_finish;
mod avx2_wide;
mod avx512_finish;
pub(crate) mod avx512_vnni;
pub(crate) mod avx_vnni;
mod registers;
mod tile;

#[cfg(test)]
use {super::Isa, super::conv::ConvU8, super::microkernel};

/// Whether the kernels work on this target at all.
pub(crate) const IS_SUPPORTED: bool = true;

macro_rules! detected {
    ($feature:tt) => {
        is_x86_feature_detected!($feature)
    };
}
pub(crate) use detected;

/// AVX-VNNI's convolution in the encoding of AVX-512, where the CPU has that.
#[cfg(test)]
pub(crate) fn avx_vnni_by_evex() -> Option<fn(&mut ConvU8<'_>)> {
    // SAFETY: AVX512-VNNI was found, and AVX2 and FMA with it.
    Isa::Avx512Vnni.is_available().then_some(|conv| unsafe { microkernel::conv_u8(conv, avx_vnni::choose_u8_evex) })
}
