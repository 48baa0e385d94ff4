//! The deviation of a quantised network from the original one.

use super::QuantiseError;
use super::inputs::CalibrationSet;
use causalclipseg::engine::{Engine, EngineChoice, EngineOptions};
use causalclipseg::graph::{Graph, Weights};
use ndarray::Array2;
use serde::{Deserialize, Serialize};

/// The difference of two networks' logits on the same images and prompts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Deviation {
    /// The square root of the squared differences' share of the squared logits.
    pub relative_error: f64,
    /// The largest difference of any logit.
    pub largest_difference: f64,
    /// Mean Dice of the masks (logits above zero); two empty masks agree completely.
    pub mask_agreement: f64,
}

/// The logits of every item of a set.
pub fn logits(graph: &Graph, weights: &Weights, set: &CalibrationSet) -> Result<Vec<Array2<f32>>, QuantiseError> {
    let engine = Engine::new(graph, weights, EngineOptions::default().with_choice(EngineChoice::Reference))?;
    let of_item = |item: &super::inputs::CalibrationItem| {
        let image = item.image.as_standard_layout();
        let kernel = engine.encode_prompt(item.tokens.ids())?;
        Ok(engine.segment(image.as_slice().unwrap_or_default(), &kernel)?.0)
    };
    set.items.iter().map(of_item).collect()
}

impl Deviation {
    pub fn between(found: &[Array2<f32>], expected: &[Array2<f32>]) -> Self {
        let (mut noise, mut signal, mut largest, mut agreement) = (0f64, 0f64, 0f64, 0f64);
        for (found, expected) in found.iter().zip(expected) {
            let [mut both, mut either] = [0usize; 2];
            for (found, expected) in found.iter().zip(expected) {
                let difference = f64::from(found - expected);
                noise += difference.powi(2);
                signal += f64::from(*expected).powi(2);
                // Not `max`, which would hide a NaN.
                if difference.is_nan() || difference.abs() > largest {
                    largest = difference.abs();
                }
                both += usize::from(*found > 0.0 && *expected > 0.0);
                either += usize::from(*found > 0.0) + usize::from(*expected > 0.0);
            }
            agreement += if either == 0 { 1.0 } else { 2.0 * both as f64 / either as f64 };
        }
        let relative_error = if noise == 0.0 { 0.0 } else { (noise / signal.max(f64::MIN_POSITIVE)).sqrt() };
        Self { relative_error, largest_difference: largest, mask_agreement: agreement / found.len().max(1) as f64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::arr2;

    #[test]
    fn differences_are_counted() {
        let expected = [arr2(&[[1.0, -1.0], [2.0, -2.0]]), arr2(&[[-1.0, -1.0]])];
        let same = Deviation::between(&expected, &expected);
        assert_eq!((same.relative_error, same.largest_difference, same.mask_agreement), (0.0, 0.0, 1.0));
        let found = [arr2(&[[1.0, 1.0], [2.0, -2.0]]), arr2(&[[-1.0, 1.0]])];
        let deviation = Deviation::between(&found, &expected);
        assert!((deviation.relative_error - (8f64 / 12.0).sqrt()).abs() < 1e-9);
        assert_eq!(deviation.largest_difference, 2.0);
        assert!((deviation.mask_agreement - (0.8 + 0.0) / 2.0).abs() < 1e-9);
        let broken = Deviation::between(&[arr2(&[[f32::NAN]])], &[arr2(&[[1.0]])]);
        assert!(broken.largest_difference.is_nan() && broken.relative_error.is_nan());
    }
}
