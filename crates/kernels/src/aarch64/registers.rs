//! Multiply-adds on registers alone, for [`crate::peak`].

use super::dotprod::sdot;
use super::i8mm::usmmla;
use causalclipseg_kernels_macros::enable;
use std::arch::aarch64::*;
use std::hint::black_box;

/// The number of sums in progress at once, enough to hide the latency of a multiply-add.
const SUMS: usize = 16;

/// Defines a function that runs `steps` steps of one multiply-add into each of the sums, and returns the number of
/// products.
macro_rules! define_steps {
    ($name:ident, $set:ident, $lanes:literal products, $start:expr, $multiply_add:expr) => {
        #[enable($set)]
        pub(crate) fn $name(steps: u32) -> u64 {
            let factor = black_box($start);
            let mut sums = [factor; SUMS];
            for _ in 0..steps {
                sums = sums.map(|sum| $multiply_add(sum, factor));
            }
            black_box(sums);
            u64::from(steps) * SUMS as u64 * $lanes
        }
    };
}

define_steps! {
    f32, neon, 4 products, vdupq_n_f32(0.5),
    |sum, factor| vfmaq_f32(sum, factor, factor)
}

// The product uses part of the sum, since the compiler would move an unchanging one out of the loop.
define_steps! {
    neon, neon, 16 products, vdupq_n_s32(0x01020304),
    |sum, factor| {
        let (changing, factor) = (vget_low_s8(vreinterpretq_s8_s32(sum)), vget_low_s8(vreinterpretq_s8_s32(factor)));
        vpadalq_s16(sum, vmlsl_s8(vmull_s8(changing, factor), factor, changing))
    }
}

define_steps! {
    dotprod, dotprod, 16 products, vdupq_n_s32(0x01020304),
    |sum, factor| sdot::<0>(sum, vreinterpretq_s8_s32(factor), vreinterpretq_s8_s32(factor))
}

define_steps! {
    i8mm, i8mm, 32 products, vdupq_n_s32(0x01020304),
    |sum, factor| usmmla(sum, vreinterpretq_u8_s32(factor), vreinterpretq_s8_s32(factor))
}
