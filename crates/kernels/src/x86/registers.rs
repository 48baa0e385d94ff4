//! Multiply-adds on registers alone, for [`crate::peak`].

use causalclipseg_kernels_macros::enable;
use std::arch::x86_64::*;
use std::hint::black_box;

/// Defines a function that runs `steps` steps of one multiply-add into each of the named sums, and returns the number
/// of products.
macro_rules! define_steps {
    ($name:ident, $set:ident, $lanes:literal products, $start:expr, $multiply_add:expr, $($sum:ident)+) => {
        #[enable($set)]
        pub(crate) fn $name(steps: u32) -> u64 {
            let start = black_box($start);
            $(let mut $sum = start;)+
            for _ in 0..steps {
                $($sum = $multiply_add($sum, start);)+
            }
            let sums = [$($sum),+];
            black_box(sums);
            u64::from(steps) * sums.len() as u64 * $lanes
        }
    };
}

define_steps! {
    avx512_vnni, avx512_vnni, 64 products, _mm512_set1_epi32(0x01020304),
    |sum, factor| _mm512_dpbusd_epi32(sum, factor, factor),
    a b c d e f g h i j k l m n o p q r s t
}

define_steps! {
    avx512_f32, avx512_vnni, 16 products, _mm512_set1_ps(0.5),
    |sum, factor| _mm512_fmadd_ps(factor, factor, sum),
    a b c d e f g h i j k l m n o p q r s t
}

define_steps! {
    avx_vnni, avx_vnni, 32 products, _mm256_set1_epi32(0x01020304),
    |sum, factor| _mm256_dpbusd_avx_epi32(sum, factor, factor),
    a b c d e f g h i j k l
}

define_steps! {
    avx2_f32, avx2, 8 products, _mm256_set1_ps(0.5),
    |sum, factor| _mm256_fmadd_ps(factor, factor, sum),
    a b c d e f g h i j k l
}

// The method for seven-bit weights, which is the faster one. The product uses part of the sum, since the compiler would
// move an unchanging one out of the loop.
define_steps! {
    avx2_int8, avx2, 32 products, _mm256_set1_epi16(3),
    |sum, factor| _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_maddubs_epi16(sum, factor), factor)),
    a b c d e f g h i j k l
}
