//! All operations except products with weights: loops over rows that a compiler vectorises well, compiled once for each
//! instruction set.
//!
//! Each function is written once, in plain Rust. The macro `versions!` compiles its body for AVX2, for AVX-512 and for
//! the target's own baseline, and calls the one of the [`super::Kernels`] value.

mod activation;
mod blend;
mod convert;
mod norm;
mod pool;
mod reassemble;
mod resample;

pub use activation::{gate_f32, gate_u8, quick_gelu, softmax};
pub use blend::{ColumnTerms, RowTerm, TERMS, blend_columns, blend_rows_f32, blend_rows_u8};
pub use convert::{add_f32, add_u8, dequantize, image_row_f32, image_row_u8, quantize};
pub use norm::layer_norm;
pub use pool::{average_pool_f32, average_pool_u8};
pub use reassemble::{reassemble, softmax_taps};
pub use resample::{add_weighted_u8, add_weighted_u16, mix_logits, mix_rows};

/// An affine map between stored bytes and values: value = (stored - zero_point) * scale.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScaleZeroPoint {
    /// The difference of neighbouring values.
    pub scale: f32,
    /// The stored number of zero.
    pub zero_point: f32,
}

impl ScaleZeroPoint {
    #[inline(always)]
    fn value(self, stored: u8) -> f32 {
        (f32::from(stored) - self.zero_point) * self.scale
    }

    /// The nearest stored byte, halves to even; values beyond the range are clamped.
    #[inline(always)]
    fn store(self, value: f32) -> u8 {
        // `as` saturates, and NaN becomes zero.
        ((value / self.scale).round_ties_even() + self.zero_point) as u8
    }
}

/// Compiles a function once for each instruction set. The first argument determines which one may be executed.
macro_rules! versions {
    ($(
        $(#[$attribute:meta])*
        pub fn $name:ident $(<$($lifetime:lifetime),+>)? ($kernels:ident $(, $argument:ident : $type:ty)* $(,)?) $body:block
    )+) => { $(
        $(#[$attribute])*
        pub fn $name $(<$($lifetime),+>)? ($kernels: $crate::Kernels $(, $argument: $type)*) {
            #[inline(always)]
            #[allow(clippy::too_many_arguments, reason = "some of the functions have many")]
            fn body $(<$($lifetime),+>)? ($($argument: $type),*) $body

            #[cfg(target_arch = "x86_64")]
            {
                #[$crate::enable(avx2)]
                #[allow(clippy::too_many_arguments, reason = "some of the functions have many")]
                fn avx2 $(<$($lifetime),+>)? ($($argument: $type),*) {
                    body($($argument),*)
                }
                #[$crate::enable(avx512_vnni)]
                #[allow(clippy::too_many_arguments, reason = "some of the functions have many")]
                fn avx512 $(<$($lifetime),+>)? ($($argument: $type),*) {
                    body($($argument),*)
                }
                use $crate::Vectors;
                match $kernels.vectors() {
                    // SAFETY: a `Kernels` exists only where the CPU has its instruction set, which includes these
                    // features.
                    Vectors::Avx512 => return unsafe { avx512($($argument),*) },
                    // SAFETY: as above.
                    Vectors::Avx2 => return unsafe { avx2($($argument),*) },
                    Vectors::Baseline => {}
                }
            }
            #[cfg(not(target_arch = "x86_64"))]
            let _ = $kernels.vectors();
            body($($argument),*)
        }
    )+ };
}
use versions;

/// e^x in plain arithmetic that compilers vectorise, to 1e-7 of the result for |x| up to 87: the power of two is
/// separated by rounding and written into the exponent's bits, the rest goes into the Taylor series to the sixth power.
#[inline(always)]
fn exp(x: f32) -> f32 {
    /// 1.5 * 2^23: adding it leaves a float's integer part in its low bits.
    const SHIFT: f32 = 12_582_912.0;
    let exponent = (x * std::f32::consts::LOG2_E).clamp(-126.0, 126.0);
    let shifted = exponent + SHIFT;
    let power = f32::from_bits(shifted.to_bits().wrapping_sub(SHIFT.to_bits()).wrapping_add(127) << 23);
    let rest = (exponent - (shifted - SHIFT)) * std::f32::consts::LN_2;
    let [c2, c3, c4, c5, c6] = [1.0 / 2.0, 1.0 / 6.0, 1.0 / 24.0, 1.0 / 120.0, 1.0 / 720.0];
    power * (1.0 + rest * (1.0 + rest * (c2 + rest * (c3 + rest * (c4 + rest * (c5 + rest * c6))))))
}

/// 1 / (1 + e^-x) to 1e-6. With the standard library's `exp` a large frame would spend more time on its probabilities
/// than in the network.
#[inline(always)]
pub fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

#[cfg(test)]
mod tests;
