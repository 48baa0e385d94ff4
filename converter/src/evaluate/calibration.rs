//! Calibrates scores: maps each score to the mean Dice of results with that score.

use serde::Serialize;

/// One result with a mask: its score, its Dice (0 if the image has no lesion) and the image's patient.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Scored {
    pub score: f64,
    pub dice: f64,
    pub patient: String,
}

/// The calibration of scores.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ScoreCalibration {
    /// The number of results with a mask, to requests for any lesion, on images with a lesion and frames without.
    pub answers: usize,
    /// Scores and expected Dice, both ascending, with linear interpolation between. At most `POINTS`.
    pub points: Vec<[f64; 2]>,
    /// The mean difference of score and Dice over tenths of the score range, for uncalibrated scores ...
    pub error_before: f64,
    /// ... and for calibrated ones, where each half of the patients is calibrated on the other half.
    pub error_after: f64,
}

const POINTS: usize = 12;

impl ScoreCalibration {
    /// `None` for fewer than twenty results, or a single patient.
    pub(super) fn of(scored: &[Scored]) -> Option<Self> {
        const LEAST: usize = 20;
        let mut patients: Vec<&str> = scored.iter().map(|one| one.patient.as_str()).collect();
        patients.sort_unstable();
        patients.dedup();
        if scored.len() < LEAST || patients.len() < 2 {
            return None;
        }
        let half_of = |one: &Scored| patients.binary_search(&one.patient.as_str()).unwrap_or(0) % 2;
        let pair = |one: &Scored| [one.score, one.dice];
        let halves = [0, 1].map(|half| isotonic(scored.iter().filter(|one| half_of(one) == half).map(pair)));
        let after: Vec<[f64; 2]> =
            scored.iter().map(|one| [read(&halves[1 - half_of(one)], one.score), one.dice]).collect();
        let before: Vec<[f64; 2]> = scored.iter().map(pair).collect();
        Some(Self {
            answers: scored.len(),
            points: isotonic(before.iter().copied()),
            error_before: error(&before),
            error_after: error(&after),
        })
    }
}

/// Forms groups of equal size by ascending score, takes their means, and merges neighbours whose Dice falls (pool adjacent
/// violators: Ayer and others, 1955).
fn isotonic(pairs: impl Iterator<Item = [f64; 2]>) -> Vec<[f64; 2]> {
    let mut pairs: Vec<[f64; 2]> = pairs.collect();
    pairs.sort_by(|one, other| one[0].total_cmp(&other[0]));
    let size = pairs.len().div_ceil(POINTS).max(1);
    // Sums of scores and of Dice, and counts.
    let mut pools: Vec<[f64; 3]> = Vec::new();
    for group in pairs.chunks(size) {
        let sum = |which: usize| group.iter().map(|pair| pair[which]).sum::<f64>();
        pools.push([sum(0), sum(1), group.len() as f64]);
        while let [.., before, last] = pools.as_slice()
            && last[1] / last[2] < before[1] / before[2]
        {
            let pooled = [before[0] + last[0], before[1] + last[1], before[2] + last[2]];
            pools.truncate(pools.len() - 2);
            pools.push(pooled);
        }
    }
    pools.into_iter().map(|[scores, dice, count]| [scores / count, dice / count]).collect()
}

/// Interpolates linearly between the points, constant beyond them.
fn read(points: &[[f64; 2]], score: f64) -> f64 {
    let after = points.partition_point(|point| point[0] <= score);
    match (after.checked_sub(1).map(|before| points[before]), points.get(after)) {
        (Some([x0, y0]), Some([x1, y1])) => y0 + (y1 - y0) * (score - x0) / (x1 - x0).max(f64::MIN_POSITIVE),
        (Some([_, level]), None) => level,
        (None, Some([_, level])) => *level,
        (None, None) => score,
    }
}

fn error(pairs: &[[f64; 2]]) -> f64 {
    const BINS: usize = 10;
    let mut sums = [[0.0; 2]; BINS];
    for [score, dice] in pairs {
        let bin = ((score * BINS as f64) as usize).min(BINS - 1);
        sums[bin][0] += score;
        sums[bin][1] += dice;
    }
    sums.iter().map(|[score, dice]| (score - dice).abs()).sum::<f64>() / pairs.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scores that are 0.3 too high, like those of images outside the training set.
    #[test]
    fn bold_scores_are_brought_down() {
        let scored: Vec<Scored> = (0..200)
            .map(|index| {
                let score = 0.4 + 0.6 * f64::from(index) / 200.0;
                Scored { score, dice: score - 0.3, patient: (index % 40).to_string() }
            })
            .collect();
        let found = ScoreCalibration::of(&scored).unwrap();
        assert!((found.error_before - 0.3).abs() < 1e-9, "{}", found.error_before);
        assert!(found.error_after < 0.03, "{}", found.error_after);
        assert!(found.points.windows(2).all(|pair| pair[0][0] < pair[1][0] && pair[0][1] <= pair[1][1]));
        assert!((read(&found.points, 0.8) - 0.5).abs() < 0.02);
        assert_eq!(ScoreCalibration::of(&scored[..10]), None);
    }

    #[test]
    fn points_never_fall() {
        let points = isotonic([[0.1, 0.9], [0.2, 0.1], [0.3, 0.2], [0.9, 0.8]].into_iter());
        assert!(points.windows(2).all(|pair| pair[0][1] <= pair[1][1]), "{points:?}");
        assert!((points[0][1] - 0.4).abs() < 1e-12);
        assert_eq!((read(&points, 0.0), read(&points, 1.0)), (points[0][1], 0.8));
        assert_eq!(read(&[], 0.7), 0.7);
    }
}
