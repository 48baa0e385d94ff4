//! The self-test: inputs that anyone can regenerate and their expected logits, so that a device can verify at start
//! that its CPU, its kernels and its copy of the model agree with the machine that packed it.

use ndarray::Array3;
use serde::{Deserialize, Serialize};

use crate::manifest::MAX_INPUT_SIZE;

/// The vectors in a bundle.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SelfTest {
    /// The vectors; empty where the model was packed without a self-test.
    pub vectors: Vec<SelfTestVector>,
}

/// One image and prompt, and some of their logits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SelfTestVector {
    /// The seed of the image, see [`self_test_image`].
    pub seed: u64,
    /// The side of the input, in pixels.
    pub size: usize,
    /// The text of the prompt.
    pub prompt: String,
    /// The stride of the kept logits: 0, `every`, 2 * `every` ... of the flattened size x size map.
    pub every: usize,
    /// The logits that are kept.
    pub logits: Vec<f32>,
    /// The largest allowed difference, as a fraction of the largest magnitude in `logits`.
    pub tolerance: f32,
}

/// Why a self-test failed.
#[derive(Debug, thiserror::Error, PartialEq)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages say it")]
pub enum SelfTestError {
    #[error("the self-test got {found} logits instead of {expected}; the engine and the bundle disagree on the size")]
    Length { found: usize, expected: usize },
    #[error("logit {index} is {value}; do not use this model on this machine")]
    NotFinite { index: usize, value: f32 },
    #[error(
        "logit {index} is {found} instead of {expected}, off by {deviation:.1e} of the largest (allowed: {tolerance:.1e}); \
         do not use this model on this machine"
    )]
    Deviates { index: usize, found: f32, expected: f32, deviation: f32, tolerance: f32 },
}

const MAX_VECTORS: usize = 64;
const MAX_PROMPT_BYTES: usize = 4096;

/// The self-test's image, 3 x `size` x `size`, already normalised, in [-1.5, 1.5).
///
/// Element i in row-major order is 1.5 * (2 * (z >> 40) / 2²⁴ - 1), where z is the i-th output of SplitMix64 (Steele, Lea
/// and Flood, OOPSLA 2014) started at `seed`. Every value is exact in f32, so all machines make the same image.
pub fn self_test_image(seed: u64, size: usize) -> Array3<f32> {
    let mut state = seed;
    Array3::from_shape_simple_fn((3, size, size), || {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        let unit = ((z ^ (z >> 31)) >> 40) as f32 / (1 << 24) as f32;
        1.5 * (2.0 * unit - 1.0)
    })
}

impl SelfTestVector {
    /// Keeps every `every`-th of the `size` x `size` logits of an engine for [`Self::image`] and `prompt`.
    pub fn record(seed: u64, size: usize, prompt: &str, every: usize, logits: &[f32], tolerance: f32) -> Self {
        let every = every.max(1);
        let logits = logits.iter().copied().step_by(every).collect();
        Self { seed, size, prompt: prompt.to_string(), every, logits, tolerance }
    }

    /// The input, 3 x size x size.
    pub fn image(&self) -> Array3<f32> {
        self_test_image(self.seed, self.size)
    }

    /// Compares an engine's size x size logits with the recorded ones. Yields the largest difference as a fraction of
    /// the largest recorded magnitude.
    pub fn compare(&self, logits: &[f32]) -> Result<f32, SelfTestError> {
        let expected = self.size.saturating_mul(self.size);
        if logits.len() != expected {
            return Err(SelfTestError::Length { found: logits.len(), expected });
        }
        if let Some(index) = logits.iter().position(|value| !value.is_finite()) {
            return Err(SelfTestError::NotFinite { index, value: logits[index] });
        }
        let largest = self.logits.iter().fold(f32::MIN_POSITIVE, |largest, value| largest.max(value.abs()));
        let mut worst = 0.0f32;
        for (kept, expected) in self.logits.iter().copied().enumerate() {
            let index = kept * self.every;
            let deviation = (logits[index] - expected).abs() / largest;
            if deviation > self.tolerance {
                let (found, tolerance) = (logits[index], self.tolerance);
                return Err(SelfTestError::Deviates { index, found, expected, deviation, tolerance });
            }
            worst = worst.max(deviation);
        }
        Ok(worst)
    }
}

impl SelfTest {
    /// Checks vectors from an untrusted file, so that [`SelfTestVector::compare`] can index by them.
    pub(super) fn check(&self) -> Result<(), String> {
        if self.vectors.len() > MAX_VECTORS {
            return Err(format!("{} vectors, at most {MAX_VECTORS} are read", self.vectors.len()));
        }
        self.vectors
            .iter()
            .enumerate()
            .try_for_each(|(number, vector)| vector.check().map_err(|reason| format!("vector {number}: {reason}")))
    }
}

impl SelfTestVector {
    fn check(&self) -> Result<(), String> {
        if self.size == 0 || self.size > MAX_INPUT_SIZE {
            return Err(format!("a size of {} (1 to {MAX_INPUT_SIZE} is read)", self.size));
        }
        if self.every == 0 || self.logits.len() != (self.size * self.size).div_ceil(self.every) {
            return Err(format!(
                "{} logits, one in {}, do not cover {} x {}",
                self.logits.len(),
                self.every,
                self.size,
                self.size
            ));
        }
        if !self.logits.iter().all(|value| value.is_finite()) {
            return Err("a logit is not finite".into());
        }
        if !(self.tolerance > 0.0 && self.tolerance.is_finite()) {
            return Err(format!("a tolerance of {}", self.tolerance));
        }
        if self.prompt.len() > MAX_PROMPT_BYTES {
            return Err(format!("a prompt of {} bytes", self.prompt.len()));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vector() -> SelfTestVector {
        let logits: Vec<f32> = (0..16).map(|i| i as f32 - 8.0).collect();
        SelfTestVector::record(7, 4, "a cyst", 3, &logits, 0.01)
    }

    #[test]
    fn the_image_is_the_formulas() {
        let image = self_test_image(0, 2);
        assert_eq!(image.dim(), (3, 2, 2));
        // SplitMix64 seeded with 0 starts with E220A8397B1DCDAF, 6E789E6AA1B965F4.
        let value = |z: u64| ((z >> 40) as f64 / 16_777_216.0 * 2.0 - 1.0) as f32 * 1.5;
        assert_eq!(image[[0, 0, 0]], value(0xE220_A839_7B1D_CDAF));
        assert_eq!(image[[0, 0, 1]], value(0x6E78_9E6A_A1B9_65F4));
        assert!(self_test_image(1, 32).iter().all(|v| (-1.5..1.5).contains(v)));
    }

    #[test]
    fn equal_logits_pass_and_others_are_named() {
        let logits: Vec<f32> = (0..16).map(|i| i as f32 - 8.0).collect();
        assert_eq!(vector().compare(&logits), Ok(0.0));
        let mut near = logits.clone();
        near[3] += 0.04;
        let worst = vector().compare(&near).unwrap();
        assert!((worst - 0.005).abs() < 1e-4, "{worst}");
        near[3] += 0.2;
        assert!(matches!(vector().compare(&near), Err(SelfTestError::Deviates { index: 3, .. })));
        near[4] = f32::NAN;
        assert!(matches!(vector().compare(&near), Err(SelfTestError::NotFinite { index: 4, .. })));
        assert_eq!(vector().compare(&logits[1..]), Err(SelfTestError::Length { found: 15, expected: 16 }));
    }

    #[test]
    fn hostile_vectors_are_refused() {
        type Damage = fn(&mut SelfTestVector);
        let damages: [Damage; 7] = [
            |v| v.size = usize::MAX,
            |v| v.size = 0,
            |v| v.every = 0,
            |v| v.logits.truncate(2),
            |v| v.logits[0] = f32::INFINITY,
            |v| v.tolerance = f32::NAN,
            |v| v.prompt = "x".repeat(5000),
        ];
        assert_eq!(SelfTest { vectors: vec![vector()] }.check(), Ok(()));
        for (number, damage) in damages.iter().enumerate() {
            let mut vector = vector();
            damage(&mut vector);
            assert!(SelfTest { vectors: vec![vector] }.check().is_err(), "damage {number}");
        }
        assert!(SelfTest { vectors: vec![vector(); 65] }.check().is_err());
    }
}
