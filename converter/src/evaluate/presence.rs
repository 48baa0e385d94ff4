//! Presence of the prompted lesion: how well a single number of a result separates images with it from images without.

use serde::Serialize;

/// One result, and whether the image shows the prompted lesion.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Judged {
    /// The quality's score and its largest probability.
    pub quality: [f64; 2],
    pub is_present: bool,
}

/// Receiver operating characteristics over results.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Presence {
    pub present: usize,
    pub absent: usize,
    /// By the quality's score.
    pub by_score: Curve,
    /// By the largest probability in the frame.
    pub by_max_probability: Curve,
}

/// A receiver operating curve.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Curve {
    /// The area under the curve: the probability that a result on an image with the lesion has a larger value than one without.
    pub area: f64,
    /// The threshold at which sensitivity and specificity have the largest sum: the lesion counts as present at or above it.
    pub threshold: f64,
    pub sensitivity: f64,
    pub specificity: f64,
    /// Thresholds with their sensitivity and specificity, at most `POINTS` of them.
    pub points: Vec<[f64; 3]>,
}

const POINTS: usize = 50;

impl Presence {
    /// `None` if all results are of one kind.
    pub(super) fn of(judged: &[Judged]) -> Option<Self> {
        let present = judged.iter().filter(|judged| judged.is_present).count();
        let by = |which: usize| Curve::of(judged.iter().map(|judged| (judged.quality[which], judged.is_present)));
        Some(Self { present, absent: judged.len() - present, by_score: by(0)?, by_max_probability: by(1)? })
    }
}

impl Curve {
    fn of(values: impl Iterator<Item = (f64, bool)>) -> Option<Self> {
        let mut values: Vec<(f64, bool)> = values.collect();
        values.sort_by(|one, other| other.0.total_cmp(&one.0));
        let positive = values.iter().filter(|(_, is_present)| *is_present).count() as f64;
        let negative = values.len() as f64 - positive;
        if positive == 0.0 || negative == 0.0 {
            return None;
        }
        let (mut hits, mut alarms, mut area) = (0.0, 0.0, 0.0);
        let mut points = Vec::new();
        for equal in values.chunk_by(|one, other| one.0 == other.0) {
            let found = equal.iter().filter(|(_, is_present)| *is_present).count() as f64;
            let wrong = equal.len() as f64 - found;
            // Equal values count half.
            area += wrong * (hits + found / 2.0);
            hits += found;
            alarms += wrong;
            points.push([equal[0].0, hits / positive, 1.0 - alarms / negative]);
        }
        let sum = |point: &[f64; 3]| point[1] + point[2];
        let [threshold, sensitivity, specificity] = points.iter().copied().max_by(|a, b| sum(a).total_cmp(&sum(b)))?;
        let step = points.len().div_ceil(POINTS).max(1);
        let points = points.into_iter().step_by(step).collect();
        Some(Self { area: area / positive / negative, threshold, sensitivity, specificity, points })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn areas_and_thresholds_of_known_answers() {
        let curve = |values: &[(f64, bool)]| Curve::of(values.iter().copied());
        let parted = curve(&[(0.9, true), (0.2, false), (0.8, true), (0.1, false)]).unwrap();
        assert_eq!((parted.area, parted.threshold, parted.sensitivity, parted.specificity), (1.0, 0.8, 1.0, 1.0));
        let equal = curve(&[(0.5, true), (0.5, false)]).unwrap();
        assert_eq!(equal.area, 0.5);
        // Five of six pairs are in order.
        let mixed = curve(&[(0.9, true), (0.6, true), (0.4, true), (0.5, false), (0.1, false)]).unwrap();
        assert!((mixed.area - 5.0 / 6.0).abs() < 1e-12);
        assert_eq!(curve(&[(0.5, true)]), None);
        let many: Vec<(f64, bool)> = (0..1000).map(|index| (f64::from(index), index % 3 == 0)).collect();
        assert!(curve(&many).unwrap().points.len() <= POINTS);
    }
}
