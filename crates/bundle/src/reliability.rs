//! The reliability of a model's results on images that it was not trained on.

use serde::{Deserialize, Serialize};

/// The key of a bundle's provenance for it, as JSON.
pub const RELIABILITY_KEY: &str = "reliability";

/// The most points of a calibration.
const MOST_POINTS: usize = 64;

/// The reliability of a model's results on images that it was not trained on, with and without the requested target.
///
/// Both parts come from `causalclipseg-convert evaluate --requests`: scores against the Dice of their masks, in as many
/// groups as there are points, and the largest probability of each result against whether the image shows the requested
/// target.
///
/// ```
/// use causalclipseg_bundle::Reliability;
///
/// let text = r#"{"calibration":[[0.5,0.3],[0.9,0.8]],"presence_threshold":0.95,"sensitivity":0.96,"specificity":0.9,"images":282}"#;
/// let reliability = Reliability::from_json(text).unwrap();
/// assert!((reliability.expected_dice(0.7) - 0.55).abs() < 1e-9);
/// assert!(reliability.is_present(0.97) && !reliability.is_present(0.5));
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reliability {
    /// Scores with the mean Dice of results with such a score, both 0 to 1, scores ascending.
    calibration: Vec<[f64; 2]>,
    /// The largest probability of a result from which the target counts as present in the image.
    presence_threshold: f64,
    /// The share of the images with the target that the threshold classifies as such.
    sensitivity: f64,
    /// The share of the images without the target that the threshold classifies as such.
    specificity: f64,
    /// The number of images that it was measured on.
    images: u64,
}

impl Reliability {
    /// Reads JSON; `None` where the text is not valid, or its numbers are out of range.
    pub fn from_json(text: &str) -> Option<Self> {
        let found: Self = serde_json::from_str(text).ok()?;
        let is_share = |value: &f64| (0.0..=1.0).contains(value);
        let shares = [found.presence_threshold, found.sensitivity, found.specificity];
        let are_points = found.calibration.iter().flatten().all(is_share)
            && found.calibration.is_sorted_by(|one, next| one[0] < next[0])
            && (1..=MOST_POINTS).contains(&found.calibration.len());
        (are_points && shares.iter().all(is_share)).then_some(found)
    }

    /// The mean Dice of results with this score, 0 to 1: interpolated linearly between the points, constant beyond
    /// them.
    pub fn expected_dice(&self, score: f64) -> f64 {
        let after = self.calibration.partition_point(|[known, _]| *known < score);
        let at = |index: usize| self.calibration[index.min(self.calibration.len() - 1)];
        let ([low, from], [high, to]) = (at(after.saturating_sub(1)), at(after));
        if high > low && score > low { from + (to - from) * ((score - low) / (high - low)).min(1.0) } else { from }
    }

    /// Whether a result with this largest probability means that the target is in the image.
    pub fn is_present(&self, max_probability: f64) -> bool {
        max_probability >= self.presence_threshold
    }

    /// The number of images that it was measured on.
    pub fn images(&self) -> u64 {
        self.images
    }

    /// The largest probability from which the target counts as present in the image.
    pub fn presence_threshold(&self) -> f64 {
        self.presence_threshold
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"calibration":[[0.4,0.1],[0.6,0.5],[0.9,0.8]],"presence_threshold":0.9,"sensitivity":0.95,"specificity":0.9,"images":10}"#;

    #[test]
    fn dice_is_read_off_a_line_between_points() {
        let reliability = Reliability::from_json(GOOD).unwrap();
        for (score, dice) in [(0.0, 0.1), (0.4, 0.1), (0.5, 0.3), (0.6, 0.5), (0.75, 0.65), (0.9, 0.8), (1.0, 0.8)] {
            assert!((reliability.expected_dice(score) - dice).abs() < 1e-9, "{score}");
        }
        assert!(reliability.is_present(0.9) && !reliability.is_present(0.89));
        let one = Reliability::from_json(&GOOD.replace("[0.4,0.1],[0.6,0.5],", "")).unwrap();
        assert_eq!([0.0, 0.9, 1.0].map(|score| one.expected_dice(score)), [0.8; 3]);
    }

    #[test]
    fn nonsense_is_refused() {
        for (from, to) in [
            ("0.9,0.8", "0.9,1.8"),
            ("0.9,0.8", "0.5,0.8"),
            ("0.9,0.8", "0.6,0.8"),
            ("[[0.4,0.1],[0.6,0.5],[0.9,0.8]]", "[]"),
            ("0.9,\"sens", "-0.1,\"sens"),
            ("\"images\":10", "\"images\":-1"),
            ("\"images\":10", "\"images\":10,\"more\":1"),
            ("\"specificity\":0.9,", ""),
        ] {
            let text = GOOD.replace(from, to);
            assert_ne!(text, GOOD);
            assert_eq!(Reliability::from_json(&text), None, "{text}");
        }
    }
}
