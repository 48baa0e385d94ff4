//! Tells whether an input looks like those that a network was trained on: five statistics of its brightness are
//! compared with those of the training images.
//!
//! They reveal a scanner, a gain, a field of view or a phantom that was not in the training; they do not recognise
//! organs.

use crate::input::Normalisation;
use serde::{Deserialize, Serialize};

/// The provenance key of a bundle for the statistics of its training images, as JSON.
pub const INPUTS_KEY: &str = "inputs";

const NUMBERS: usize = 5;
/// The brightness below which a pixel is dark, and above which it is bright, of 255: the black around a fan, and
/// specular echoes.
const DARK: f32 = 8.0;
const BRIGHT: f32 = 200.0;

/// The statistics of one input: mean and standard deviation of its brightness, 0 to 255; the root of the mean squared
/// difference of neighbours in a row; the shares of dark and of bright pixels, in percent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Appearance([f64; NUMBERS]);

impl Appearance {
    /// Measures a network's input: three planes of `size` x `size` normalised numbers.
    pub fn of(pixels: &[f32], size: usize, normalisation: Normalisation) -> Self {
        let Normalisation { mean, std } = normalisation;
        // Rec. 601's weights of red, green and blue.
        let weights = [0.299, 0.587, 0.114];
        let scale: [f32; 3] = std::array::from_fn(|channel| 255.0 * weights[channel] * std[channel]);
        let offset: f32 = (0..3).map(|channel| 255.0 * weights[channel] * mean[channel]).sum();
        let area = size * size;
        let (red, rest) = pixels.split_at(area.min(pixels.len()));
        let (green, blue) = rest.split_at(area.min(rest.len()));
        let (mut sum, mut squares, mut steps) = (0.0f64, 0.0f64, 0.0f64);
        let (mut dark, mut bright) = (0u32, 0u32);
        let rows = red.chunks(size.max(1)).zip(green.chunks(size.max(1))).zip(blue.chunks(size.max(1)));
        for ((red, green), blue) in rows {
            let (mut row_sum, mut row_squares, mut row_steps) = (0.0f32, 0.0f32, 0.0f32);
            let mut last = None;
            for ((red, green), blue) in red.iter().zip(green).zip(blue) {
                let grey = offset + scale[0] * red + scale[1] * green + scale[2] * blue;
                row_sum += grey;
                row_squares += grey * grey;
                let step = grey - last.replace(grey).unwrap_or(grey);
                row_steps += step * step;
                dark += u32::from(grey < DARK);
                bright += u32::from(grey > BRIGHT);
            }
            sum += f64::from(row_sum);
            squares += f64::from(row_squares);
            steps += f64::from(row_steps);
        }
        let count = area.max(1) as f64;
        let mean = sum / count;
        let percent = |part: u32| 100.0 * f64::from(part) / count;
        Self([
            mean,
            (squares / count - mean * mean).max(0.0).sqrt(),
            (steps / count).sqrt(),
            percent(dark),
            percent(bright),
        ])
    }
}

/// The statistics of a set of inputs: the normal distribution of their numbers, and their distances from its mean.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FamiliarInputs {
    mean: [f64; NUMBERS],
    /// The lower triangular factor (Cholesky) of the covariance.
    factor: [[f64; NUMBERS]; NUMBERS],
    /// The Mahalanobis distance that 99 of 100 of them do not exceed.
    limit: f64,
}

impl FamiliarInputs {
    /// Computes the statistics of at least [`Self::LEAST`] inputs; `None` for fewer, or where all are alike.
    pub fn of(inputs: &[Appearance]) -> Option<Self> {
        if inputs.len() < Self::LEAST {
            return None;
        }
        let count = inputs.len() as f64;
        let mean = std::array::from_fn(|at| inputs.iter().map(|input| input.0[at]).sum::<f64>() / count);
        let mut covariance = [[0.0; NUMBERS]; NUMBERS];
        for Appearance(input) in inputs {
            for (row, line) in covariance.iter_mut().enumerate() {
                for (column, value) in line.iter_mut().enumerate() {
                    *value += (input[row] - mean[row]) * (input[column] - mean[column]) / count;
                }
            }
        }
        let mut familiar = Self { mean, factor: cholesky(covariance)?, limit: 0.0 };
        let mut distances: Vec<f64> = inputs.iter().map(|input| familiar.distance(*input)).collect();
        distances.sort_by(f64::total_cmp);
        familiar.limit = *distances.get(distances.len() * 99 / 100)?;
        Some(familiar)
    }

    /// The least number of inputs: fewer have no hundredth.
    pub const LEAST: usize = 100;

    /// Reads a bundle's provenance; `None` where it is damaged.
    pub fn from_json(text: &str) -> Option<Self> {
        let familiar: Self = serde_json::from_str(text).ok()?;
        let numbers = familiar.mean.iter().chain(familiar.factor.iter().flatten()).chain([&familiar.limit]);
        let finite = numbers.into_iter().all(|number| number.is_finite());
        let positive = (0..NUMBERS).all(|at| familiar.factor[at][at] > 0.0);
        (finite && positive).then_some(familiar)
    }

    /// Writes the text that [`Self::from_json`] reads.
    pub fn to_json(&self) -> Option<String> {
        serde_json::to_string(self).ok()
    }

    /// Whether an input is farther out than 99 of 100 training images.
    pub fn is_unfamiliar(&self, input: Appearance) -> bool {
        // A distance that is not a number counts as unfamiliar.
        let distance = self.distance(input);
        distance > self.limit || distance.is_nan()
    }

    /// The Mahalanobis distance: in standard deviations, along the directions in which the inputs vary.
    fn distance(&self, Appearance(input): Appearance) -> f64 {
        let mut whitened = [0.0; NUMBERS];
        for row in 0..NUMBERS {
            let explained: f64 = (0..row).map(|column| self.factor[row][column] * whitened[column]).sum();
            whitened[row] = (input[row] - self.mean[row] - explained) / self.factor[row][row];
        }
        whitened.iter().map(|value| value * value).sum::<f64>().sqrt()
    }
}

/// The lower triangular matrix whose product with its transpose is `matrix`; `None` where there is none.
fn cholesky(matrix: [[f64; NUMBERS]; NUMBERS]) -> Option<[[f64; NUMBERS]; NUMBERS]> {
    let mut factor = [[0.0; NUMBERS]; NUMBERS];
    for row in 0..NUMBERS {
        for column in 0..=row {
            let known: f64 = (0..column).map(|at| factor[row][at] * factor[column][at]).sum();
            let rest = matrix[row][column] - known;
            factor[row][column] = if row == column {
                // Numbers that never vary, or vary together, distinguish nothing; only rounding would.
                if rest <= 1e-9 * matrix[row][row].max(1e-9) {
                    return None;
                }
                rest.sqrt()
            } else {
                rest / factor[column][column]
            };
        }
    }
    Some(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Normalisation = Normalisation { mean: [0.0; 3], std: [1.0; 3] };

    /// Three equal planes.
    fn planes(grey: &[f32]) -> Vec<f32> {
        [grey, grey, grey].concat()
    }

    #[test]
    fn an_inputs_numbers() {
        // 0, 255, 0, 255 in each row.
        let stripes: Vec<f32> = (0..16).map(|at| (at % 2) as f32).collect();
        let Appearance(found) = Appearance::of(&planes(&stripes), 4, PLAIN);
        let expected = [127.5, 127.5, 255.0 * 0.75f64.sqrt(), 50.0, 50.0];
        assert!(found.iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 1e-3), "{found:?}");
        // Whatever the network's normalisation is.
        let Normalisation { mean, std } = Normalisation::CLIP;
        let scaled: Vec<f32> =
            (0..3).flat_map(|channel| stripes.iter().map(move |grey| (grey - mean[channel]) / std[channel])).collect();
        let Appearance(again) = Appearance::of(&scaled, 4, Normalisation::CLIP);
        assert!(found.iter().zip(again).all(|(found, again)| (found - again).abs() < 1e-2), "{again:?}");
        assert_eq!(Appearance::of(&[], 4, PLAIN).0, [0.0; 5]);
    }

    /// Numbers that vary around 100, each in a different way.
    fn inputs(count: usize) -> Vec<Appearance> {
        let mut state = 1u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            f64::from(state >> 8) / f64::from(1u32 << 24) - 0.5
        };
        (0..count)
            .map(|_| {
                let common = next();
                Appearance(std::array::from_fn(|at| 100.0 + 20.0 * common + 4.0 * (at + 1) as f64 * next()))
            })
            .collect()
    }

    #[test]
    fn what_was_seen_is_familiar_and_what_was_not_is_not() {
        let seen = inputs(1000);
        let familiar = FamiliarInputs::of(&seen).unwrap();
        let strangers = seen.iter().filter(|input| familiar.is_unfamiliar(**input)).count();
        assert!((5..=10).contains(&strangers), "{strangers}");
        assert!(!familiar.is_unfamiliar(Appearance([100.0; 5])));
        assert!(familiar.is_unfamiliar(Appearance([100.0, 100.0, 100.0, 100.0, 130.0])));
        // Each number is usual; a high first and a low second one are not.
        assert!(!familiar.is_unfamiliar(Appearance([108.0, 108.0, 108.0, 108.0, 108.0])));
        assert!(familiar.is_unfamiliar(Appearance([109.0, 91.0, 109.0, 91.0, 109.0])));
        assert!(familiar.is_unfamiliar(Appearance([f64::NAN; 5])));
    }

    #[test]
    fn it_survives_a_bundle_and_damage_does_not() {
        let familiar = FamiliarInputs::of(&inputs(200)).unwrap();
        let text = familiar.to_json().unwrap();
        // Equal except for the last bit of its numbers.
        let again = FamiliarInputs::from_json(&text).unwrap();
        for input in inputs(200) {
            assert!((again.distance(input) - familiar.distance(input)).abs() < 1e-9);
        }
        for bad in [
            "",
            "{}",
            r#"{"mean":[1,2,3,4,5],"factor":[[0,0,0,0,0],[0,1,0,0,0],[0,0,1,0,0],[0,0,0,1,0],[0,0,0,0,1]],"limit":3}"#,
        ] {
            assert_eq!(FamiliarInputs::from_json(bad), None, "{bad}");
        }
    }

    #[test]
    fn too_few_or_all_alike_are_no_measure() {
        assert_eq!(FamiliarInputs::of(&inputs(99)), None);
        assert_eq!(FamiliarInputs::of(&[Appearance([5.0; 5]); 200]), None);
    }
}
