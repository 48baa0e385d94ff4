//! Compares results' scores with their Dice.

use super::ImageScores;
use serde::Serialize;

/// Scores compared with Dice.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ReliabilityTable {
    /// The mean over images of the distance between a bin's mean score and its mean Dice.
    pub error: f64,
    /// Non-empty bins, by ascending score.
    pub bins: Vec<ReliabilityBin>,
}

/// Images whose scores lie in one tenth.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ReliabilityBin {
    pub images: usize,
    pub mean_score: f64,
    pub mean_dice: f64,
}

impl ReliabilityTable {
    /// `None` for an empty slice.
    pub(super) fn of(images: &[ImageScores]) -> Option<Self> {
        const BINS: usize = 10;
        let mut sums = [(0usize, 0.0, 0.0); BINS];
        for image in images {
            let bin = ((image.score * BINS as f64) as usize).min(BINS - 1);
            let (count, score, dice) = &mut sums[bin];
            *count += 1;
            *score += image.score;
            *dice += image.scores.dice;
        }
        let filled = sums.into_iter().filter(|(count, ..)| *count > 0);
        let bins: Vec<ReliabilityBin> = filled
            .map(|(images, score, dice)| {
                let mean = |sum: f64| sum / images as f64;
                ReliabilityBin { images, mean_score: mean(score), mean_dice: mean(dice) }
            })
            .collect();
        let distance = |bin: &ReliabilityBin| bin.images as f64 * (bin.mean_score - bin.mean_dice).abs();
        let error = bins.iter().map(distance).sum::<f64>() / images.len() as f64;
        (!bins.is_empty()).then_some(Self { error, bins })
    }
}

#[cfg(test)]
mod tests {
    use super::super::scores::tests::image;
    use super::*;

    #[test]
    fn scores_are_held_against_dice_by_tenths() {
        let scored = |score, dice| ImageScores { score, ..image("a", None, dice) };
        let found =
            ReliabilityTable::of(&[scored(0.85, 0.9), scored(0.81, 0.7), scored(1.0, 0.9), scored(0.0, 1.0)]).unwrap();
        let told: Vec<usize> = found.bins.iter().map(|bin| bin.images).collect();
        assert_eq!(told, [1, 2, 1]);
        assert!((found.bins[1].mean_score - 0.83).abs() < 1e-12 && (found.bins[1].mean_dice - 0.8).abs() < 1e-12);
        assert!((found.error - (1.0 + 2.0 * 0.03 + 0.1) / 4.0).abs() < 1e-12);
        assert_eq!(ReliabilityTable::of(&[]), None);
    }
}
