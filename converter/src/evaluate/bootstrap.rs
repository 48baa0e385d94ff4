//! Bootstrap intervals over patients.

use super::percentile::percentile;
use super::scores::{Scores, Tally};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

/// 95 % intervals, lower and upper end.
///
/// The percentile bootstrap of B. Efron and R. Tibshirani, "An Introduction to the Bootstrap" (1993), which resamples patients,
/// not images: a patient's images resemble each other, so resampling images would make the interval too narrow.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Intervals {
    pub dice: [f64; 2],
    pub iou: [f64; 2],
    pub nsd: [f64; 2],
    pub hd95: [f64; 2],
    pub dice_by_patient: [f64; 2],
    pub iou_by_patient: [f64; 2],
    pub nsd_by_patient: [f64; 2],
    pub hd95_by_patient: [f64; 2],
}

/// The mean of the patients' means.
pub(super) fn mean_of_patients<'a>(patients: impl IntoIterator<Item = &'a Tally>) -> Option<Scores> {
    Scores::mean(patients.into_iter().filter_map(Tally::mean))
}

impl Intervals {
    /// Resamples the patients with replacement, `resamples` times. `None` for fewer than two patients. Equal seeds give equal
    /// intervals.
    pub(super) fn draw(patients: &[Tally], resamples: usize, seed: u64) -> Option<Self> {
        if patients.len() < 2 {
            return None;
        }
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut drawn: [Vec<f64>; 8] = Default::default();
        let mut chosen = Vec::with_capacity(patients.len());
        for _ in 0..resamples {
            chosen.clear();
            chosen.extend((0..patients.len()).map(|_| &patients[rng.random_range(0..patients.len())]));
            let mut all = Tally::default();
            chosen.iter().for_each(|patient: &&Tally| all.merge(**patient));
            let (images, patients) = (all.mean()?, mean_of_patients(chosen.iter().copied())?);
            let values = images.to_array().into_iter().chain(patients.to_array());
            drawn.iter_mut().zip(values).for_each(|(drawn, value)| drawn.push(value));
        }
        let [dice, iou, nsd, hd95, dice_by_patient, iou_by_patient, nsd_by_patient, hd95_by_patient] = drawn.map(ends);
        Some(Self {
            dice: dice?,
            iou: iou?,
            nsd: nsd?,
            hd95: hd95?,
            dice_by_patient: dice_by_patient?,
            iou_by_patient: iou_by_patient?,
            nsd_by_patient: nsd_by_patient?,
            hd95_by_patient: hd95_by_patient?,
        })
    }
}

fn ends(mut values: Vec<f64>) -> Option<[f64; 2]> {
    values.sort_unstable_by(f64::total_cmp);
    Some([percentile(&values, 0.025)?, percentile(&values, 0.975)?])
}

#[cfg(test)]
mod tests {
    use super::super::scores::{by_patient, tests::image};
    use super::*;

    #[test]
    fn patients_count_once_whatever_their_images() {
        let images = [image("a", None, 0.9), image("b", None, 0.2), image("a", None, 0.7), image("a", None, 0.8)];
        let patients = by_patient(&images);
        assert_eq!(patients.iter().map(|patient| patient.count).collect::<Vec<_>>(), [3, 1]);
        // (0.8 + 0.2) / 2, while the mean over images is 0.65.
        let means = mean_of_patients(&patients).unwrap();
        assert!((means.dice - 0.5).abs() < 1e-12 && (means.hd95 - 50.0).abs() < 1e-12);
    }

    #[test]
    fn intervals_repeat_and_hold_the_mean() {
        let images: Vec<_> = (0..60).map(|i| image(&format!("p{}", i / 2), None, f64::from(i % 10) / 10.0)).collect();
        let patients = by_patient(&images);
        let intervals = Intervals::draw(&patients, 2000, 7).unwrap();
        assert_eq!(Intervals::draw(&patients, 2000, 7).unwrap(), intervals);
        assert_ne!(Intervals::draw(&patients, 2000, 8).unwrap(), intervals);
        let [low, high] = intervals.dice;
        assert!(low < 0.45 && 0.45 < high);
        // Patients' means are 0.05, 0.25, ... 0.85 with deviation 0.283: 1.96 * 0.283 / sqrt(30) is 0.101 to either side.
        assert!((high - low - 0.202).abs() < 0.02, "{low} {high}");
        assert_eq!(intervals.dice, intervals.dice_by_patient);
        let one = by_patient(&images[..2]);
        assert_eq!(Intervals::draw(&one, 100, 1), None);
        assert_eq!(Intervals::draw(&patients, 0, 1), None);
    }

    #[test]
    fn a_patient_of_many_images_counts_once_in_each_draw() {
        let many = (0..30).map(|_| image("many", None, 1.0));
        let images: Vec<_> = many.chain((0..20).map(|i| image(&format!("p{i}"), None, 0.0))).collect();
        let intervals = Intervals::draw(&by_patient(&images), 2000, 7).unwrap();
        // Drawn once of 21: 30 of 50 images, but one of 21 patients.
        assert!(intervals.dice[1] >= 0.6 && intervals.dice_by_patient[1] < 0.25, "{intervals:?}");
    }
}
