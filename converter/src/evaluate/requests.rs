//! Prompts images with a lesion, and frames without one, in many wordings: measures whether a harmless word loses the lesion, and
//! whether a mask appears where the frame has none.

use super::answer::{dice_of, found_mask};
use super::calibration::{ScoreCalibration, Scored};
use super::presence::{Judged, Presence};
use super::sentence::{encode, own_sentence};
use super::workers::map_indices;
use super::{EvaluateError, EvaluateOptions, failed_frame, failed_prompt};
use crate::data::{
    HELD_OUT_REQUESTS, Image, Mask, PLAIN_REQUESTS, Sample, load_image, load_masks, part_beside_lesions, prepare,
};
use causalclipseg::frame::{Fit, Frame, PixelFormat};
use causalclipseg::{Finding, Model, Session};
use image::imageops::crop_imm;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

/// The results of requests for any lesion.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RequestStudy {
    /// The number of images with a lesion.
    pub lesions: usize,
    /// The number of images without a lesion, including those of other structures.
    pub without_lesion: usize,
    /// The number of windows beside the lesion, of images with one.
    pub beside_lesion: usize,
    /// The images' own sentences.
    pub own: RequestScores,
    /// No prompt at all.
    pub none: RequestScores,
    /// Means over requests in training's wordings, and in wordings held out of training.
    pub plain: RequestScores,
    pub held_out: RequestScores,
    pub by_request: Vec<RequestScores>,
    /// How well the results of plain requests separate images with a lesion from frames without one.
    pub presence: Option<Presence>,
    /// The calibration of scores of plain requests.
    pub calibration: Option<ScoreCalibration>,
}

/// The figures of one request, or means over several.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct RequestScores {
    pub request: String,
    /// On images with a lesion: mean Dice, and the share of empty masks.
    pub dice: Option<f64>,
    pub refused: Option<f64>,
    /// The share of empty masks in windows beside the lesion ...
    pub empty_beside: Option<f64>,
    /// ... and in images without one.
    pub empty_without: Option<f64>,
}

/// The results of one image for every request, its own sentence and the empty prompt first.
struct Answers {
    patient: String,
    /// The results on an image with a lesion.
    dice: Option<Vec<f64>>,
    empty: Vec<bool>,
    quality: Vec<[f64; 2]>,
    beside: Option<Vec<bool>>,
    beside_quality: Vec<[f64; 2]>,
}

/// Requests in the order in which they are run, after the image's own sentence and the empty prompt.
fn requests() -> impl Iterator<Item = &'static str> {
    PLAIN_REQUESTS.into_iter().chain(HELD_OUT_REQUESTS)
}

/// Runs all requests on every image, and on a window of it beside its lesion.
pub(super) fn study(
    model: &Model,
    samples: &[Sample],
    options: &EvaluateOptions,
    on_image: &(impl Fn() + Sync),
) -> Result<RequestStudy, EvaluateError> {
    let answers = map_indices(model, samples.len(), options.threads, |session, index| {
        let answers = ask(model, session, &samples[index], index, options.seed);
        on_image();
        answers
    })?;
    Ok(summarise(&answers))
}

fn ask(
    model: &Model,
    session: &mut Session,
    sample: &Sample,
    index: usize,
    seed: u64,
) -> Result<Answers, EvaluateError> {
    let failed = failed_prompt(sample);
    let mut prompts = Vec::new();
    for text in [own_sentence(sample), ""] {
        prompts.push(encode(model, text).map_err(&failed)?);
    }
    for text in requests() {
        prompts.push(encode(model, text).map_err(&failed)?);
    }
    let image = load_image(&sample.image)?;
    let mut segment = |image: &Image| -> Result<Vec<Found>, EvaluateError> {
        let (width, height) = image.size();
        let frame = match image {
            Image::Gray(image) => Frame::packed(image.as_raw(), PixelFormat::Gray8, width, height),
            Image::Rgb(image) => Frame::packed(image.as_raw(), PixelFormat::Rgb8, width, height),
        };
        let frame = frame.map_err(|error| failed_frame(sample)(error.into()))?;
        let report = session.run(&frame, &prompts).map_err(failed_frame(sample))?;
        Ok(report.findings.iter().map(Found::of).collect())
    };
    let truth = load_masks(sample, image.size())?;
    // A structure's mask is not a lesion.
    let has_lesion = sample.structure.is_none() && truth.area() > 0;
    let found = segment(&image)?;
    let mut answers = Answers {
        patient: sample.group().to_string(),
        dice: has_lesion.then(|| found.iter().map(|found| dice_of(&found.mask, &truth)).collect()),
        empty: found.iter().map(Found::is_empty).collect(),
        quality: found.iter().map(|found| found.quality).collect(),
        beside: None,
        beside_quality: Vec::new(),
    };
    if has_lesion {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(index as u64);
        // Windows are chosen on a downscaled picture, and cut out of the full image.
        if let Some(part) = part_beside_lesions(&prepare(sample, 256, &Fit::Stretch)?, &mut rng) {
            let found = segment(&cut(&image, part))?;
            answers.beside = Some(found.iter().map(Found::is_empty).collect());
            answers.beside_quality = found.iter().map(|found| found.quality).collect();
        }
    }
    Ok(answers)
}

/// The result of one request on one picture.
struct Found {
    mask: Mask,
    /// Score and largest probability.
    quality: [f64; 2],
}

impl Found {
    fn of(finding: &Finding) -> Self {
        let quality = finding.quality().map_or([0.0; 2], |quality| [quality.score, quality.max_probability]);
        Self { mask: found_mask(finding), quality }
    }

    fn is_empty(&self) -> bool {
        self.mask.area() == 0
    }
}

/// `part` is left, top, width and height in parts of the image's sides.
fn cut(image: &Image, part: [f32; 4]) -> Image {
    let (width, height) = image.size();
    let [left, top, right, bottom] = [
        part[0] * width as f32,
        part[1] * height as f32,
        (part[0] + part[2]) * width as f32,
        (part[1] + part[3]) * height as f32,
    ]
    .map(|edge| edge.round() as u32);
    let (across, down) = ((right - left).max(1), (bottom - top).max(1));
    match image {
        Image::Gray(image) => Image::Gray(crop_imm(image, left, top, across, down).to_image()),
        Image::Rgb(image) => Image::Rgb(crop_imm(image, left, top, across, down).to_image()),
    }
}

fn summarise(answers: &[Answers]) -> RequestStudy {
    let names: Vec<&str> = ["own sentence", "no prompt"].into_iter().chain(requests()).collect();
    let scores: Vec<RequestScores> = names.iter().enumerate().map(|(at, name)| score(answers, at, name)).collect();
    let (plain, held_out) = scores[2..].split_at(PLAIN_REQUESTS.len());
    let prompted = 2..2 + PLAIN_REQUESTS.len();
    let (mut judged, mut scored) = (Vec::new(), Vec::new());
    for answer in answers {
        let is_present = answer.dice.is_some();
        judged.extend(answer.quality[prompted.clone()].iter().map(|quality| Judged { quality: *quality, is_present }));
        let beside = answer.beside_quality.get(prompted.clone()).unwrap_or_default();
        judged.extend(beside.iter().map(|quality| Judged { quality: *quality, is_present: false }));
        let mut add = |score: f64, dice: f64| {
            // An empty mask has no score to calibrate.
            if score > 0.0 {
                scored.push(Scored { score, dice, patient: answer.patient.clone() });
            }
        };
        for at in prompted.clone() {
            add(answer.quality[at][0], answer.dice.as_ref().map_or(0.0, |dice| dice[at]));
        }
        beside.iter().for_each(|quality| add(quality[0], 0.0));
    }
    RequestStudy {
        lesions: answers.iter().filter(|answer| answer.dice.is_some()).count(),
        without_lesion: answers.iter().filter(|answer| answer.dice.is_none()).count(),
        beside_lesion: answers.iter().filter(|answer| answer.beside.is_some()).count(),
        own: scores[0].clone(),
        none: scores[1].clone(),
        plain: mean_of(plain, "in words of the training"),
        held_out: mean_of(held_out, "in other words"),
        presence: Presence::of(&judged),
        calibration: ScoreCalibration::of(&scored),
        by_request: scores[2..].to_vec(),
    }
}

fn score(answers: &[Answers], at: usize, name: &str) -> RequestScores {
    let share = |flag: bool| f64::from(u8::from(flag));
    let with_lesion = || answers.iter().filter(|answer| answer.dice.is_some());
    let without = answers.iter().filter(|answer| answer.dice.is_none());
    RequestScores {
        request: name.into(),
        dice: mean(with_lesion().filter_map(|answer| answer.dice.as_ref().map(|dice| dice[at]))),
        refused: mean(with_lesion().map(|answer| share(answer.empty[at]))),
        empty_beside: mean(answers.iter().filter_map(|answer| answer.beside.as_ref().map(|empty| share(empty[at])))),
        empty_without: mean(without.map(|answer| share(answer.empty[at]))),
    }
}

fn mean_of(scores: &[RequestScores], name: &str) -> RequestScores {
    let of = |choose: fn(&RequestScores) -> Option<f64>| mean(scores.iter().filter_map(choose));
    RequestScores {
        request: name.into(),
        dice: of(|scores| scores.dice),
        refused: of(|scores| scores.refused),
        empty_beside: of(|scores| scores.empty_beside),
        empty_without: of(|scores| scores.empty_without),
    }
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0usize), |(sum, count), value| (sum + value, count + 1));
    (count > 0).then(|| sum / count as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_apart_by_what_the_image_shows() {
        let count = 2 + requests().count();
        let answers = |dice: Option<f64>, empty: bool, beside: Option<bool>| Answers {
            patient: "a".into(),
            dice: dice.map(|dice| vec![dice; count]),
            empty: vec![empty; count],
            quality: vec![[if empty { 0.0 } else { 0.9 }; 2]; count],
            beside: beside.map(|empty| vec![empty; count]),
            beside_quality: beside.map_or(Vec::new(), |_| vec![[0.1; 2]; count]),
        };
        let mut all = vec![
            answers(Some(0.8), false, Some(true)),
            answers(Some(0.0), true, Some(false)),
            answers(None, true, None),
        ];
        all[0].empty[2] = true;
        let study = summarise(&all);
        assert_eq!((study.lesions, study.without_lesion, study.beside_lesion), (2, 1, 2));
        assert_eq!(study.own.dice, Some(0.4));
        assert_eq!(
            (study.own.refused, study.own.empty_beside, study.own.empty_without),
            (Some(0.5), Some(0.5), Some(1.0))
        );
        assert_eq!(study.by_request[0].refused, Some(1.0));
        assert_eq!(study.by_request[0].request, PLAIN_REQUESTS[0]);
        assert_eq!(study.held_out.refused, Some(0.5));
        assert!(study.presence.is_some());
    }

    #[test]
    fn windows_are_cut_where_they_were_chosen() {
        let image = image::GrayImage::from_fn(100, 50, |x, y| image::Luma([(x + y) as u8]));
        let Image::Gray(part) = cut(&Image::Gray(image), [0.2, 0.5, 0.3, 0.5]) else { panic!() };
        assert_eq!((part.dimensions(), part.get_pixel(0, 0).0), ((30, 25), [45]));
    }
}
