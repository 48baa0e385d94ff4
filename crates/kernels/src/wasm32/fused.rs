//! a * b + c with one rounding, as every other instruction set computes it: WebAssembly has no such instruction for certain.
//!
//! The relaxed multiply-add rounds once or twice, as the machine prefers, but always alike; a test at run time tells which. Where it
//! rounds twice, or where the module has no relaxed instructions, numbers of 64 bits give the same result in some twenty
//! instructions.

use std::arch::wasm32::*;

/// A way to compute a fused multiply-add of four lanes.
pub(crate) trait Fused {
    /// `sum + a * b`, rounded once.
    fn multiply_add(sum: v128, a: v128, b: v128) -> v128;
}

/// The relaxed instruction, on a machine where it rounds once.
#[cfg(target_feature = "relaxed-simd")]
pub(crate) struct Relaxed;

#[cfg(target_feature = "relaxed-simd")]
impl Fused for Relaxed {
    #[inline(always)]
    fn multiply_add(sum: v128, a: v128, b: v128) -> v128 {
        f32x4_relaxed_madd(a, b, sum)
    }
}

/// Whether the relaxed multiply-add rounds once on this machine.
#[cfg(target_feature = "relaxed-simd")]
pub(crate) fn rounds_once() -> bool {
    use std::hint::black_box;
    // (1 + e) (1 - e) - 1 is -e^2, and zero where the product is rounded to 1 first.
    let e = 1.0 / 8192.0;
    let [a, b, sum] = [1.0 + e, 1.0 - e, -1.0].map(|value: f32| f32x4_splat(black_box(value)));
    f32x4_extract_lane::<0>(Relaxed::multiply_add(sum, a, b)) == -e * e
}

/// Numbers of 64 bits, on any machine.
pub(crate) struct Wide;

impl Fused for Wide {
    /// A product of two floats is exact in 53 bits; its sum with a third is rounded to 53 bits and then to 24. That differs from
    /// one rounding only where the first result lies halfway between two floats: its lower 29 bits are then 1 and zeros, and lanes
    /// are computed one by one.
    #[inline(always)]
    fn multiply_add(sum: v128, a: v128, b: v128) -> v128 {
        let upper = |value: v128| f64x2_promote_low_f32x4(i64x2_shuffle::<1, 1>(value, value));
        let lower = |value: v128| f64x2_promote_low_f32x4(value);
        let low = f64x2_add(f64x2_mul(lower(a), lower(b)), lower(sum));
        let high = f64x2_add(f64x2_mul(upper(a), upper(b)), upper(sum));
        let halfway = |value: v128| i64x2_eq(v128_and(value, i64x2_splat(0x1fff_ffff)), i64x2_splat(0x1000_0000));
        if v128_any_true(v128_or(halfway(low), halfway(high))) {
            return one_by_one(sum, a, b);
        }
        i64x2_shuffle::<0, 2>(f32x4_demote_f64x2_zero(low), f32x4_demote_f64x2_zero(high))
    }
}

#[cold]
#[inline(never)]
fn one_by_one(sum: v128, a: v128, b: v128) -> v128 {
    f32x4(
        f32x4_extract_lane::<0>(a).mul_add(f32x4_extract_lane::<0>(b), f32x4_extract_lane::<0>(sum)),
        f32x4_extract_lane::<1>(a).mul_add(f32x4_extract_lane::<1>(b), f32x4_extract_lane::<1>(sum)),
        f32x4_extract_lane::<2>(a).mul_add(f32x4_extract_lane::<2>(b), f32x4_extract_lane::<2>(sum)),
        f32x4_extract_lane::<3>(a).mul_add(f32x4_extract_lane::<3>(b), f32x4_extract_lane::<3>(sum)),
    )
}

/// Calls a function with the fastest [`Fused`] of this machine as `F`: `with_fused!(F, function::<F>(arguments))`.
macro_rules! with_fused {
    ($fused:ident, $call:expr) => {{
        #[cfg(target_feature = "relaxed-simd")]
        if $crate::wasm32::fused::rounds_once() {
            type $fused = $crate::wasm32::fused::Relaxed;
            return $call;
        }
        type $fused = $crate::wasm32::fused::Wide;
        $call
    }};
}
pub(crate) use with_fused;

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers whose products and sums lie halfway, or nearly, among others of every magnitude.
    fn numbers() -> Vec<f32> {
        let mut numbers = vec![0.0, -0.0, 1.0, -1.0, 3.0, 1e-20, -7e20];
        for shift in [1, 11, 12, 22, 23] {
            let e = 1.0 / (1u32 << shift) as f32;
            numbers.extend([1.0 + e, 1.0 - e, -1.0 - e, e, 4097.0 * e, 16_777_215.0 * e]);
        }
        numbers.extend((1..20).map(|index| (index * 2_654_435) as f32 / 1024.0));
        numbers
    }

    fn check(multiply_add: impl Fn(v128, v128, v128) -> v128) {
        let numbers = numbers();
        for sum in &numbers {
            for a in &numbers {
                for four in numbers.chunks_exact(4) {
                    let b = f32x4(four[0], four[1], four[2], four[3]);
                    let found = multiply_add(f32x4_splat(*sum), f32x4_splat(*a), b);
                    let expected: Vec<f32> = four.iter().map(|b| a.mul_add(*b, *sum)).collect();
                    let expected = f32x4(expected[0], expected[1], expected[2], expected[3]);
                    assert!(i32x4_all_true(i32x4_eq(found, expected)), "{sum} + {a} * {four:?}");
                }
            }
        }
    }

    #[test]
    fn numbers_of_64_bits_round_once() {
        check(Wide::multiply_add);
    }

    #[cfg(target_feature = "relaxed-simd")]
    #[test]
    fn the_relaxed_instruction_rounds_once_where_it_says_so() {
        if rounds_once() {
            check(Relaxed::multiply_add);
        }
    }
}
