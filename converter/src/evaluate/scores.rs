//! The measures of one image, and means over many.

use super::NSD_TOLERANCE_PX;
use super::metric::{Comparison, SurfaceDistances, dice, hd95, iou, nsd};
use serde::Serialize;
use std::collections::BTreeMap;

/// Dice, IoU and NSD are 0 to 1, larger is better; HD95 is in pixels of the original image, smaller is better.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Scores {
    pub dice: f64,
    pub iou: f64,
    pub nsd: f64,
    pub hd95: f64,
}

impl Scores {
    pub fn of(comparison: &Comparison) -> Self {
        let distances = SurfaceDistances::of(comparison);
        Self {
            dice: dice(comparison),
            iou: iou(comparison),
            nsd: nsd(&distances, NSD_TOLERANCE_PX),
            hd95: hd95(&distances),
        }
    }

    /// Dice, IoU, NSD, HD95.
    pub fn to_array(self) -> [f64; 4] {
        [self.dice, self.iou, self.nsd, self.hd95]
    }

    fn from_array([dice, iou, nsd, hd95]: [f64; 4]) -> Self {
        Self { dice, iou, nsd, hd95 }
    }

    /// `None` for an empty slice.
    pub fn mean(scores: impl IntoIterator<Item = Scores>) -> Option<Self> {
        let mut tally = Tally::default();
        scores.into_iter().for_each(|scores| tally.add(scores));
        tally.mean()
    }
}

/// A running sum of scores.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    pub count: usize,
    pub sum: [f64; 4],
}

impl Tally {
    pub fn add(&mut self, scores: Scores) {
        self.merge(Self { count: 1, sum: scores.to_array() });
    }

    pub fn merge(&mut self, other: Self) {
        self.count += other.count;
        self.sum.iter_mut().zip(other.sum).for_each(|(sum, other)| *sum += other);
    }

    pub fn mean(&self) -> Option<Scores> {
        (self.count > 0).then(|| Scores::from_array(self.sum.map(|sum| sum / self.count as f64)))
    }
}

/// The result of one image under its own prompt.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ImageScores {
    /// The image file's name.
    pub image: String,
    pub prompt: String,
    /// The patient, whose images are grouped in means; the case if the data does not name patients.
    pub patient: String,
    pub pathology: Option<&'static str>,
    pub device: Option<String>,
    #[serde(flatten)]
    pub scores: Scores,
    /// The result's score, 0 to 1: see `Quality::score` of the runtime.
    pub score: f64,
    /// The number of found pixels.
    pub area_px: usize,
    /// The number of true lesion pixels.
    pub truth_px: usize,
}

/// The means of a group of images.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Group {
    pub images: usize,
    #[serde(flatten)]
    pub means: Scores,
}

/// Sums by patient, in the patients' order by name.
pub(super) fn by_patient(images: &[ImageScores]) -> Vec<Tally> {
    let mut patients: BTreeMap<&str, Tally> = BTreeMap::new();
    images.iter().for_each(|image| patients.entry(&image.patient).or_default().add(image.scores));
    patients.into_values().collect()
}

/// Means by an image's `key`; `unknown` for images without one. Empty if no image has one.
pub(super) fn by_group<'a>(
    images: &'a [ImageScores],
    key: impl Fn(&'a ImageScores) -> Option<&'a str>,
) -> BTreeMap<String, Group> {
    if images.iter().all(|image| key(image).is_none()) {
        return BTreeMap::new();
    }
    let mut groups: BTreeMap<&str, Tally> = BTreeMap::new();
    images.iter().for_each(|image| groups.entry(key(image).unwrap_or("unknown")).or_default().add(image.scores));
    let group =
        |(name, tally): (&str, Tally)| Some((name.to_string(), Group { images: tally.count, means: tally.mean()? }));
    groups.into_iter().filter_map(group).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// An image of a patient with this Dice; the other measures follow from it.
    pub fn image(patient: &str, pathology: Option<&'static str>, dice: f64) -> ImageScores {
        ImageScores {
            image: format!("{patient}.png"),
            prompt: "a mass".into(),
            patient: patient.into(),
            pathology,
            device: None,
            scores: Scores { dice, iou: dice / 2.0, nsd: 1.0 - dice, hd95: 100.0 * dice },
            score: dice,
            area_px: 1,
            truth_px: 1,
        }
    }

    #[test]
    fn groups_have_means_and_a_place_for_the_unknown() {
        let images = [image("a", Some("benign"), 0.2), image("b", Some("benign"), 0.4), image("c", None, 1.0)];
        let groups = by_group(&images, |image| image.pathology);
        assert_eq!(groups.keys().collect::<Vec<_>>(), ["benign", "unknown"]);
        assert_eq!(groups["benign"].images, 2);
        assert!(
            (groups["benign"].means.dice - 0.3).abs() < 1e-12 && (groups["benign"].means.hd95 - 30.0).abs() < 1e-12
        );
        assert_eq!(groups["unknown"].means.dice, 1.0);
        assert!(by_group(&images, |image| image.device.as_deref()).is_empty());
    }

    #[test]
    fn the_mean_of_none_is_none() {
        assert_eq!(Scores::mean([]), None);
    }
}
