//! Measures whether the prompt matters: Dice under empty, shuffled or wrong prompts, and which of two lesions the model marks.

use super::answer::{dice_of, found_mask};
use super::sentence::{encode, own_sentence};
use super::workers::map_indices;
use super::{EvaluateError, EvaluateOptions, ImageScores, failed_frame, failed_prompt};
use crate::data::{
    Absence, Arrangement, Mask, Pathology, Picture, Sample, compose_pair, contradict_prompt, image_prompt, prepare,
    shuffle_words, wrong_request,
};
use causalclipseg::frame::{Fit, Frame, PixelFormat};
use causalclipseg::{Model, Session};
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

/// Mean Dice with each prompt's true mask, under the image's own prompt and under replacements.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct PromptStudy {
    /// The prompt as it is.
    #[serde(rename = "true")]
    pub own: f64,
    /// No words: the start and the end of text alone.
    pub empty: f64,
    /// The prompt's words in another order.
    pub shuffled: f64,
    /// The prompt with every statement reversed; `None` if no prompt can be. A model that reads the prompt finds less.
    pub contradictory: Option<f64>,
    /// The number of images whose prompt can be contradicted, over which that mean is taken.
    pub contradictory_images: usize,
}

/// Two images in one, and a prompt for either lesion by its place, its pathology or both: mean Dice with the lesion that
/// the prompt names and with the other one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct PairStudy {
    pub named: f64,
    pub other: f64,
    /// The number of composed images.
    pub pairs: usize,
    /// The number of prompts, two for each image.
    pub prompts: usize,
    /// Figures of the prompts that name a place.
    pub by_place: Option<NamedOther>,
    /// Figures of the prompts that name the pathology alone, in pairs of a benign and a malignant lesion.
    pub by_pathology: Option<NamedOther>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct NamedOther {
    pub named: f64,
    pub other: f64,
    pub prompts: usize,
}

/// Prompts for what the image does not show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct AbsentStudy {
    #[serde(flatten)]
    pub all: EmptyAnswers,
    /// A lesion in a half of the image that has none.
    pub by_place: Option<EmptyAnswers>,
    /// The pathology that the lesion does not have.
    pub by_pathology: Option<EmptyAnswers>,
    /// Another organ.
    pub by_organ: Option<EmptyAnswers>,
    /// The reference for wrong pathologies: the right pathology alone, whose mask is the lesion's.
    pub right_pathology: Option<EmptyAnswers>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct EmptyAnswers {
    pub prompts: usize,
    /// The share, 0 to 1, of empty masks.
    pub empty_fraction: f64,
}

/// The other prompts for an image.
pub(super) struct Questions {
    /// Empty, shuffled, for something absent, the pathology alone or empty again, and contradictory if there is one.
    pub prompts: Vec<String>,
    absence: Absence,
    knows_pathology: bool,
}

/// The results of one image under other prompts than its own.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Variants {
    empty: f64,
    shuffled: f64,
    absence: Absence,
    absent_is_empty: bool,
    right_pathology_is_empty: Option<bool>,
    contradictory: Option<f64>,
}

impl Questions {
    pub fn of(model: &Model, sample: &Sample, index: usize, seed: u64) -> Result<Self, EvaluateError> {
        let mut rng = stream(seed, index as u64);
        let own = own_sentence(sample);
        let picture = prepare(sample, model.description().input_size, &Fit::Stretch)?;
        let shuffled = shuffle_words(own, &mut rng);
        let (absence, absent) = wrong_request(&picture, &[sample.pathology], &mut rng);
        let adjective = sample.pathology.map(Pathology::adjective);
        let right = adjective.map_or_else(String::new, |adjective| image_prompt(&[adjective], None, &mut rng));
        let knows_pathology = adjective.is_some();
        let prompts = [String::new(), shuffled, absent, right].into_iter().chain(contradict_prompt(own)).collect();
        Ok(Self { prompts, absence, knows_pathology })
    }

    /// Makes them of the masks found for each of the prompts.
    pub fn judge(&self, found: &[Mask], truth: &Mask) -> Variants {
        let dice = |at: usize| found.get(at).map(|mask| dice_of(mask, truth));
        let is_empty = |at: usize| found.get(at).is_some_and(|mask| mask.area() == 0);
        Variants {
            empty: dice(0).unwrap_or(0.0),
            shuffled: dice(1).unwrap_or(0.0),
            absence: self.absence,
            absent_is_empty: is_empty(2),
            // On an image without a lesion the right mask is empty.
            right_pathology_is_empty: (self.knows_pathology && truth.area() > 0).then(|| is_empty(3)),
            contradictory: dice(4),
        }
    }
}

/// A random generator for one image or pair, so that neither threads nor other images change its numbers.
fn stream(seed: u64, number: u64) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(number);
    rng
}

fn mean(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.into_iter().fold((0.0, 0usize), |(sum, count), value| (sum + value, count + 1));
    (count > 0).then(|| sum / count as f64)
}

pub(super) fn summarise_prompts(own: f64, variants: &[Variants]) -> Option<PromptStudy> {
    let contradicted = || variants.iter().filter_map(|variant| variant.contradictory);
    Some(PromptStudy {
        own,
        empty: mean(variants.iter().map(|variant| variant.empty))?,
        shuffled: mean(variants.iter().map(|variant| variant.shuffled))?,
        contradictory: mean(contradicted()),
        contradictory_images: contradicted().count(),
    })
}

pub(super) fn summarise_absent(variants: &[Variants]) -> Option<AbsentStudy> {
    let absent = |wanted: Option<Absence>| {
        let of = move |variant: &&Variants| wanted.is_none_or(|wanted| variant.absence == wanted);
        empty_answers(variants.iter().filter(of).map(|variant| variant.absent_is_empty))
    };
    Some(AbsentStudy {
        all: absent(None)?,
        by_place: absent(Some(Absence::Place)),
        by_pathology: absent(Some(Absence::Pathology)),
        by_organ: absent(Some(Absence::Organ)),
        right_pathology: empty_answers(variants.iter().filter_map(|variant| variant.right_pathology_is_empty)),
    })
}

/// `None` for an empty slice.
fn empty_answers(is_empty: impl Iterator<Item = bool> + Clone) -> Option<EmptyAnswers> {
    let empty_fraction = mean(is_empty.clone().map(|is_empty| f64::from(u8::from(is_empty))))?;
    Some(EmptyAnswers { prompts: is_empty.count(), empty_fraction })
}

/// One prompt in a pair.
#[derive(Clone, Copy)]
struct PairResult {
    named: f64,
    other: f64,
    by_place: bool,
}

/// Composes each image that has a lesion with one of another patient, at the network's input size. `None` if fewer than two
/// images have a lesion.
pub(super) fn study_pairs(
    model: &Model,
    samples: &[Sample],
    judged: &[ImageScores],
    options: &EvaluateOptions,
    on_image: &(impl Fn() + Sync),
) -> Result<Option<PairStudy>, EvaluateError> {
    let with_lesion: Vec<&Sample> =
        samples.iter().zip(judged).filter(|(_, image)| image.truth_px > 0).map(|(sample, _)| sample).collect();
    if with_lesion.len() < 2 {
        return Ok(None);
    }
    let prompted = map_indices(model, with_lesion.len(), options.threads, |session, index| {
        let prompted = ask_pair(model, session, &with_lesion, index, options.seed);
        on_image();
        prompted
    })?;
    Ok(Some(summarise_pairs(&prompted)))
}

fn summarise_pairs(pairs: &[[PairResult; 2]]) -> PairStudy {
    let prompted: Vec<PairResult> = pairs.iter().flatten().copied().collect();
    let group = |by_place: Option<bool>| {
        let chosen = || prompted.iter().filter(|prompted| by_place.is_none_or(|wanted| prompted.by_place == wanted));
        let (named, other) =
            (mean(chosen().map(|prompted| prompted.named))?, mean(chosen().map(|prompted| prompted.other))?);
        Some(NamedOther { named, other, prompts: chosen().count() })
    };
    let all = group(None).unwrap_or_default();
    PairStudy {
        named: all.named,
        other: all.other,
        pairs: pairs.len(),
        prompts: all.prompts,
        by_place: group(Some(true)),
        by_pathology: group(Some(false)),
    }
}

/// Prompts for both lesions of one pair.
fn ask_pair(
    model: &Model,
    session: &mut Session,
    samples: &[&Sample],
    index: usize,
    seed: u64,
) -> Result<[PairResult; 2], EvaluateError> {
    // A random stream that no single image uses.
    let mut rng = stream(seed, index as u64 + (1 << 32));
    let first = samples[index];
    let strangers: Vec<&&Sample> = samples.iter().filter(|sample| sample.group() != first.group()).collect();
    let anyone_else = || samples[(index + 1) % samples.len()];
    let second = strangers.choose(&mut rng).map_or_else(anyone_else, |stranger| **stranger);
    let failed = failed_prompt(first);
    let (size, fit) = (model.description().input_size, &model.description().fit);
    let pictures = [prepare(first, size, fit)?, prepare(second, size, fit)?];
    let arrangement = if rng.random_bool(0.5) { Arrangement::SideBySide } else { Arrangement::Stacked };
    let arrangement = arrangement.within(&pictures[0]);
    let pair = compose_pair(&pictures[0], &pictures[1], arrangement, &mut rng);
    let adjectives = [first, second].map(|sample| sample.pathology.map(Pathology::adjective));
    // As often as in training; the same way for both lesions of a pair.
    let [by_place, with_adjective] = match (rng.random_range(0..4), adjectives) {
        (0, [Some(one), Some(other)]) if one != other => [false, true],
        (1, _) => [true, true],
        _ => [true, false],
    };
    let places = arrangement.places();
    let mut prompts = Vec::new();
    for (adjective, place) in adjectives.into_iter().zip(places) {
        let adjective = adjective.filter(|_| with_adjective);
        let text = image_prompt(adjective.as_slice(), by_place.then_some(place), &mut rng);
        prompts.push(encode(model, &text).map_err(&failed)?);
    }
    let (bytes, format) = interleaved(&pair[0]);
    let failed = failed_frame(first);
    let frame = Frame::packed(&bytes, format, pair[0].width, pair[0].height).map_err(|error| failed(error.into()))?;
    let found = &session.run(&frame, &prompts).map_err(failed)?.findings;
    let truths = pair.map(|picture| lesion(&picture));
    Ok([0, 1].map(|named| {
        let dice = |truth: &Mask| found.get(named).map_or(0.0, |found| dice_of(&found_mask(found), truth));
        PairResult { named: dice(&truths[named]), other: dice(&truths[1 - named]), by_place }
    }))
}

/// Interleaves a picture's planes as in a frame.
fn interleaved(picture: &Picture) -> (Vec<u8>, PixelFormat) {
    if picture.channels == 1 {
        return (picture.pixels.clone(), PixelFormat::Gray8);
    }
    let planes = [0, 1, 2].map(|channel| picture.plane(channel));
    ((0..picture.area()).flat_map(|at| planes.map(|plane| plane[at])).collect(), PixelFormat::Rgb8)
}

fn lesion(picture: &Picture) -> Mask {
    let lesion = picture.mask.iter().map(|value| *value != 0).collect();
    Mask { width: picture.width, height: picture.height, lesion }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mask(lesion: &[bool]) -> Mask {
        Mask { width: lesion.len(), height: 1, lesion: lesion.to_vec() }
    }

    #[test]
    fn variants_are_read_in_the_order_they_were_asked() {
        let truth = mask(&[true, true, false]);
        let (right, half, none) = (mask(&[true, true, false]), mask(&[true, false, true]), mask(&[false; 3]));
        let questions = |absence, knows_pathology| Questions { prompts: Vec::new(), absence, knows_pathology };
        let found = [right.clone(), half.clone(), none.clone(), half.clone(), none.clone()];
        let all = questions(Absence::Place, true).judge(&found, &truth);
        let expected = Variants {
            empty: 1.0,
            shuffled: 0.5,
            absence: Absence::Place,
            absent_is_empty: true,
            right_pathology_is_empty: Some(false),
            contradictory: Some(0.0),
        };
        assert_eq!(all, expected);
        let without = questions(Absence::Organ, false).judge(&[none.clone(), half.clone(), half, none], &truth);
        let expected = Variants {
            empty: 0.0,
            absence: Absence::Organ,
            absent_is_empty: false,
            right_pathology_is_empty: None,
            contradictory: None,
            ..expected
        };
        assert_eq!(without, expected);
        let study = summarise_prompts(0.9, &[all, without]).unwrap();
        assert_eq!((study.own, study.empty, study.shuffled), (0.9, 0.5, 0.5));
        assert_eq!((study.contradictory, study.contradictory_images), (Some(0.0), 1));
        let answers = |prompts, empty_fraction| EmptyAnswers { prompts, empty_fraction };
        let expected = AbsentStudy {
            all: answers(2, 0.5),
            by_place: Some(answers(1, 1.0)),
            by_organ: Some(answers(1, 0.0)),
            right_pathology: Some(answers(1, 0.0)),
            ..AbsentStudy::default()
        };
        assert_eq!(summarise_absent(&[all, without]).unwrap(), expected);
        assert_eq!((summarise_prompts(0.9, &[]), summarise_absent(&[])), (None, None));
    }

    #[test]
    fn pairs_are_averaged_over_prompts_and_by_kind() {
        let prompted = |named, other, by_place| PairResult { named, other, by_place };
        let pairs = [
            [prompted(1.0, 0.0, true), prompted(0.5, 0.5, true)],
            [prompted(0.0, 1.0, false), prompted(0.5, 0.5, false)],
        ];
        let study = summarise_pairs(&pairs);
        assert_eq!((study.named, study.other, study.pairs, study.prompts), (0.5, 0.5, 2, 4));
        assert_eq!(study.by_place, Some(NamedOther { named: 0.75, other: 0.25, prompts: 2 }));
        assert_eq!(study.by_pathology, Some(NamedOther { named: 0.25, other: 0.75, prompts: 2 }));
    }

    #[test]
    fn planes_become_pixels() {
        let colour =
            Picture { width: 1, height: 1, channels: 3, pixels: vec![1, 2, 3], mask: vec![1], other_lesions: None };
        assert_eq!(interleaved(&colour), (vec![1, 2, 3], PixelFormat::Rgb8));
        let two = Picture {
            width: 2,
            height: 2,
            channels: 3,
            pixels: (0..12).collect(),
            mask: vec![0, 0, 1, 0],
            other_lesions: None,
        };
        assert_eq!(interleaved(&two).0, [0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11]);
        assert_eq!(lesion(&two).lesion, [false, false, true, false]);
    }
}
