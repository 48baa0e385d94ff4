//! Changes to an image that must not change the answer.
//!
//! A network that looks for calipers instead of lesions has learned a confounder: it does well on unchanged images and badly if
//! calipers are missing, moved, or added to healthy tissue. The same holds for scanner settings. Each image is segmented
//! unchanged and after each [`Intervention`]; the result is the change of Dice on the same images.

mod acquisition;
mod burned_in;
mod scan;

use super::answer::{dice_of, found_mask};
use super::percentile::percentile;
use super::sentence::{encode, own_sentence};
use super::workers::map_indices;
use super::{EvaluateError, EvaluateOptions, failed_frame, failed_prompt};
use crate::data::{Mask, Sample};
use causalclipseg::frame::{Frame, PixelFormat};
use causalclipseg::{Model, Prompt, Session, SessionError};
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use scan::Scan;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;

/// A change to an image that does not change its lesion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Intervention {
    /// Calipers drawn on the lesion.
    CalipersAdded,
    /// Calipers of the lesion's size drawn far from it.
    CalipersElsewhere,
    /// A label of the examination in a corner.
    LabelAdded,
    /// Burned-in marks removed, and filled from the surroundings.
    BurnedInRemoved,
    /// Burned-in marks moved elsewhere.
    BurnedInMoved,
    /// 6 dB more, of 60 dB.
    GainRaised,
    /// 6 dB less, of 60 dB.
    GainLowered,
    /// 6 dB less at the skin to 6 dB more at the deepest line.
    TimeGainTilted,
    /// A quarter more depth: everything is smaller.
    Deeper,
    /// A fifth less depth: everything is larger. Only if the whole lesion stays in the image.
    Shallower,
}

impl Intervention {
    pub const ALL: [Self; 10] = [
        Self::CalipersAdded,
        Self::CalipersElsewhere,
        Self::LabelAdded,
        Self::BurnedInRemoved,
        Self::BurnedInMoved,
        Self::GainRaised,
        Self::GainLowered,
        Self::TimeGainTilted,
        Self::Deeper,
        Self::Shallower,
    ];

    /// The changed scan; `None` if it can't be changed so: no lesion to draw on, no burned-in marks, a lesion that would leave
    /// the image.
    fn apply(self, scan: &Scan, rng: &mut impl Rng) -> Option<Scan> {
        let mut changed = scan.clone();
        let lesion = scan.lesion_box().map(|found| found.center());
        match self {
            Self::CalipersAdded => burned_in::draw_calipers(&mut changed, lesion?),
            Self::CalipersElsewhere => {
                let at = burned_in::elsewhere(scan, lesion?);
                burned_in::draw_calipers(&mut changed, at);
            }
            Self::LabelAdded => burned_in::draw_label(&mut changed, rng),
            Self::BurnedInRemoved | Self::BurnedInMoved => {
                let marked = burned_in::find(scan);
                if !marked.contains(&true) {
                    return None;
                }
                match self {
                    Self::BurnedInMoved => burned_in::displace(&mut changed, &marked),
                    _ => burned_in::remove(&mut changed, &marked),
                }
            }
            Self::GainRaised => acquisition::change_gain(&mut changed, 6.0, 6.0),
            Self::GainLowered => acquisition::change_gain(&mut changed, -6.0, -6.0),
            Self::TimeGainTilted => acquisition::change_gain(&mut changed, -6.0, 6.0),
            Self::Deeper | Self::Shallower => {
                changed = acquisition::change_depth(scan, self.scale());
                if self == Self::Shallower && !self.keeps_in_sight(scan) {
                    return None;
                }
            }
        }
        Some(changed)
    }

    /// How many times as large everything becomes.
    fn scale(self) -> f32 {
        match self {
            Self::Deeper => 0.8,
            Self::Shallower => 1.25,
            _ => 1.0,
        }
    }

    /// Whether the whole lesion stays in the enlarged image, which begins at the same skin line.
    fn keeps_in_sight(self, scan: &Scan) -> bool {
        let Some(found) = scan.lesion_box() else { return true };
        let [x, y, half_width, half_height] = found.center();
        let middle = (scan.width() as f32 - 1.0) / 2.0;
        let reach = scan.width() as f32 / 2.0 / self.scale();
        (x - middle).abs() + half_width <= reach && y + half_height + 0.5 <= scan.height() as f32 / self.scale()
    }

    /// Transforms a mask of the original image like the image.
    fn carry(self, mask: &Mask) -> Mask {
        match self {
            Self::Deeper | Self::Shallower => acquisition::carry_mask(mask, self.scale()),
            _ => mask.clone(),
        }
    }
}

impl fmt::Display for Intervention {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Self::CalipersAdded => "calipers on the lesion",
            Self::CalipersElsewhere => "calipers elsewhere",
            Self::LabelAdded => "a label added",
            Self::BurnedInRemoved => "burned-in marks removed",
            Self::BurnedInMoved => "burned-in marks moved",
            Self::GainRaised => "gain raised",
            Self::GainLowered => "gain lowered",
            Self::TimeGainTilted => "time gain tilted",
            Self::Deeper => "deeper",
            Self::Shallower => "shallower",
        })
    }
}

/// Changes a grey plane of a training image, `size` x `size`, by one of the interventions that leave the lesion where it is, drawn at
/// random. Marks are drawn on the lesion of `mask` (0 or 1), or far from it.
pub(crate) fn disturb_plane(plane: &mut [u8], mask: &[u8], width: usize, rng: &mut impl Rng) {
    let lesion = mask.iter().map(|lesion| *lesion != 0).collect();
    let scan = Scan { pixels: plane.to_vec(), truth: Mask { width, height: mask.len() / width.max(1), lesion } };
    let start = rng.random_range(0..Intervention::ALL.len());
    let drawn = (0..Intervention::ALL.len()).map(|step| Intervention::ALL[(start + step) % Intervention::ALL.len()]);
    let stays = |which: &Intervention| !matches!(which, Intervention::Deeper | Intervention::Shallower);
    // Some don't apply to every image; the next one is tried then.
    if let Some(changed) = drawn.filter(stays).find_map(|which| which.apply(&scan, rng)) {
        plane.copy_from_slice(&changed.pixels);
    }
}

/// The effect of one intervention, over the images to which it applies.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct InterventionScores {
    pub intervention: Intervention,
    #[serde(flatten)]
    pub all: Effect,
    /// The 95 % interval of the change, by a bootstrap over patients. `None` for fewer than two.
    pub change_interval: Option<[f64; 2]>,
    /// Empty if the data does not state it.
    pub by_device: BTreeMap<String, Effect>,
}

/// Means over images.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Effect {
    pub images: usize,
    /// Dice of these images unchanged.
    pub dice_before: f64,
    pub dice_after: f64,
    /// Dice after minus Dice before.
    pub change: f64,
    /// Dice of the original mask, transformed likewise, with the mask after the change: 1 if the intervention has no effect.
    pub agreement: f64,
}

/// The result of one image under one intervention.
#[derive(Clone, Copy, Debug)]
struct Answer {
    before: f64,
    after: f64,
    agreement: f64,
}

/// Passes over images at most.
pub(super) fn passes(samples: usize) -> usize {
    samples * (1 + Intervention::ALL.len())
}

/// Runs every sample's own prompt before and after each intervention. `on_pass` is called after each pass over an image.
pub(super) fn study(
    model: &Model,
    samples: &[Sample],
    options: &EvaluateOptions,
    on_pass: &(impl Fn() + Sync),
) -> Result<Vec<InterventionScores>, EvaluateError> {
    let answers = map_indices(model, samples.len(), options.threads, |session, index| {
        ask(model, session, &samples[index], index, options.seed, on_pass)
    })?;
    let scores = Intervention::ALL.into_iter().enumerate().filter_map(|(which, intervention)| {
        let answered: Vec<(&Sample, Answer)> =
            samples.iter().zip(&answers).filter_map(|(sample, answers)| Some((sample, answers[which]?))).collect();
        summarise(intervention, &answered, options.seed, options.resamples)
    });
    Ok(scores.collect())
}

/// The results of one sample in the order of [`Intervention::ALL`].
fn ask(
    model: &Model,
    session: &mut Session,
    sample: &Sample,
    index: usize,
    seed: u64,
    on_pass: &impl Fn(),
) -> Result<[Option<Answer>; Intervention::ALL.len()], EvaluateError> {
    let scan = Scan::load(sample)?;
    let prompt = encode(model, own_sentence(sample)).map_err(failed_prompt(sample))?;
    let mut answer = |scan: &Scan| -> Result<Mask, EvaluateError> {
        let found = segment(session, scan, &prompt).map_err(failed_frame(sample));
        on_pass();
        found
    };
    let clean = answer(&scan)?;
    let before = dice_of(&clean, &scan.truth);
    let mut answers = [None; Intervention::ALL.len()];
    for (which, intervention) in Intervention::ALL.into_iter().enumerate() {
        // A random stream that neither the prompt study nor another intervention uses.
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(index as u64 + ((2 + which as u64) << 32));
        let Some(changed) = intervention.apply(&scan, &mut rng) else { continue };
        let found = answer(&changed)?;
        let agreement = dice_of(&found, &intervention.carry(&clean));
        answers[which] = Some(Answer { before, after: dice_of(&found, &changed.truth), agreement });
    }
    Ok(answers)
}

fn segment(session: &mut Session, scan: &Scan, prompt: &Prompt) -> Result<Mask, SessionError> {
    let frame = Frame::packed(&scan.pixels, PixelFormat::Gray8, scan.width(), scan.height())?;
    let report = session.run(&frame, std::slice::from_ref(prompt))?;
    let empty = || Mask { width: scan.width(), height: scan.height(), lesion: vec![false; scan.pixels.len()] };
    Ok(report.findings.first().map_or_else(empty, found_mask))
}

/// `None` if the intervention applies to no image.
fn summarise(
    intervention: Intervention,
    answered: &[(&Sample, Answer)],
    seed: u64,
    resamples: usize,
) -> Option<InterventionScores> {
    let all = effect(answered.iter().map(|(_, answer)| *answer))?;
    let mut devices: BTreeMap<String, Vec<Answer>> = BTreeMap::new();
    if answered.iter().any(|(sample, _)| sample.device.is_some()) {
        for (sample, answer) in answered {
            devices.entry(sample.device.clone().unwrap_or_else(|| "unknown".into())).or_default().push(*answer);
        }
    }
    let mut patients: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for (sample, answer) in answered {
        patients.entry(sample.group()).or_default().push(answer.after - answer.before);
    }
    let patients: Vec<Vec<f64>> = patients.into_values().collect();
    Some(InterventionScores {
        intervention,
        all,
        change_interval: interval(&patients, seed, resamples),
        by_device: devices.into_iter().filter_map(|(name, answers)| Some((name, effect(answers)?))).collect(),
    })
}

fn effect(answers: impl IntoIterator<Item = Answer>) -> Option<Effect> {
    let mut sum = Effect::default();
    for answer in answers {
        sum.images += 1;
        sum.dice_before += answer.before;
        sum.dice_after += answer.after;
        sum.agreement += answer.agreement;
    }
    let mean = |total: f64| total / sum.images as f64;
    (sum.images > 0).then(|| Effect {
        images: sum.images,
        dice_before: mean(sum.dice_before),
        dice_after: mean(sum.dice_after),
        change: mean(sum.dice_after) - mean(sum.dice_before),
        agreement: mean(sum.agreement),
    })
}

/// The percentile bootstrap of the images' mean, patients drawn with all of their images.
fn interval(patients: &[Vec<f64>], seed: u64, resamples: usize) -> Option<[f64; 2]> {
    if patients.len() < 2 {
        return None;
    }
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut draw = || {
        let chosen = (0..patients.len()).map(|_| &patients[rng.random_range(0..patients.len())]);
        let (sum, count) = chosen.flatten().fold((0.0, 0usize), |(sum, count), change| (sum + change, count + 1));
        sum / count as f64
    };
    let mut means: Vec<f64> = (0..resamples).map(|_| draw()).collect();
    means.sort_unstable_by(f64::total_cmp);
    Some([percentile(&means, 0.025)?, percentile(&means, 0.975)?])
}

#[cfg(test)]
mod tests {
    use super::scan::tests::scan;
    use super::*;
    use crate::data::MaskRule;

    #[test]
    fn interventions_change_the_image_and_carry_the_lesion() {
        let clean = scan(120, 100, [50, 20, 80, 50]);
        for intervention in Intervention::ALL {
            let mut rng = ChaCha8Rng::seed_from_u64(1);
            let changed = intervention.apply(&clean, &mut rng);
            let can = !matches!(intervention, Intervention::BurnedInRemoved | Intervention::BurnedInMoved);
            assert_eq!(changed.is_some(), can, "{intervention}");
            let Some(changed) = changed else { continue };
            assert_ne!(changed.pixels, clean.pixels, "{intervention}");
            assert_eq!(changed.truth, intervention.carry(&clean.truth), "{intervention}");
        }
        let marked = Intervention::LabelAdded.apply(&clean, &mut ChaCha8Rng::seed_from_u64(1)).unwrap();
        for intervention in [Intervention::BurnedInRemoved, Intervention::BurnedInMoved] {
            assert!(intervention.apply(&marked, &mut ChaCha8Rng::seed_from_u64(1)).is_some(), "{intervention}");
        }
    }

    #[test]
    fn training_images_are_disturbed_in_many_ways_and_their_lesions_stay() {
        let clean = scan(64, 64, [20, 20, 40, 40]);
        let mask: Vec<u8> = clean.truth.lesion.iter().map(|lesion| u8::from(*lesion)).collect();
        let disturbed = |seed| {
            let mut plane = clean.pixels.clone();
            disturb_plane(&mut plane, &mask, 64, &mut ChaCha8Rng::seed_from_u64(seed));
            plane
        };
        let found: std::collections::HashSet<Vec<u8>> = (0..60).map(disturbed).collect();
        assert!(found.len() > 5 && !found.contains(&clean.pixels), "{}", found.len());
        assert_eq!(disturbed(3), disturbed(3));
        let inside = |plane: &[u8]| {
            let values: Vec<u32> =
                plane.iter().zip(&mask).filter(|(_, m)| **m == 1).map(|(p, _)| u32::from(*p)).collect();
            values.iter().sum::<u32>() / values.len() as u32
        };
        let outside = |plane: &[u8]| {
            let values: Vec<u32> =
                plane.iter().zip(&mask).filter(|(_, m)| **m == 0).map(|(p, _)| u32::from(*p)).collect();
            values.iter().sum::<u32>() / values.len() as u32
        };
        assert!(found.iter().all(|plane| inside(plane) < outside(plane)));
    }

    #[test]
    fn a_lesion_that_would_leave_is_left_alone() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut shallower = |lesion| Intervention::Shallower.apply(&scan(100, 100, lesion), &mut rng);
        let kept = shallower([40, 40, 60, 79]).unwrap();
        assert!(kept.truth.area() > 1000);
        assert!(shallower([40, 40, 60, 83]).is_none());
        assert!(shallower([5, 40, 30, 60]).is_none());
        assert!(shallower([0; 4]).is_some(), "an image without a lesion has none to lose");
    }

    #[test]
    fn changes_are_paired_and_told_by_device() {
        let mut samples: Vec<Sample> = (0..4)
            .map(|index| Sample::new(index.to_string(), format!("{index}.png").into(), MaskRule::AboveHalf))
            .collect();
        samples[0].device = Some("A".into());
        samples[1].device = Some("A".into());
        let answer = |before, after| Answer { before, after, agreement: 0.5 };
        let answered = [answer(0.8, 0.6), answer(0.4, 0.4), answer(1.0, 0.2), answer(0.2, 0.2)];
        let answered: Vec<(&Sample, Answer)> = samples.iter().zip(answered).collect();
        let scores = summarise(Intervention::GainRaised, &answered, 1, 500).unwrap();
        assert_eq!((scores.all.images, scores.all.agreement), (4, 0.5));
        assert!((scores.all.change + 0.25).abs() < 1e-12);
        assert!((scores.by_device["A"].change + 0.1).abs() < 1e-12 && scores.by_device["unknown"].images == 2);
        let [low, high] = scores.change_interval.unwrap();
        assert!(low < -0.25 && high > -0.25 && high <= 0.0);
        assert_eq!(summarise(Intervention::GainRaised, &[], 1, 500), None);
        assert_eq!(interval(&[vec![0.1]], 1, 10), None);
    }
}
