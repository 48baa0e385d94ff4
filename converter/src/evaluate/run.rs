//! Runs a model on a split.

use super::answer::found_mask;
use super::bootstrap::mean_of_patients;
use super::interventions;
use super::metric::Comparison;
use super::prompt_study::{Questions, Variants, study_pairs, summarise_absent, summarise_prompts};
use super::requests;
use super::scores::{by_group, by_patient};
use super::sentence::{encode, own_sentence};
use super::workers::map_indices;
use super::{
    EvaluateError, EvaluateOptions, Evaluation, ImageScores, Intervals, ReliabilityTable, Scores, failed_frame,
    failed_prompt,
};
use crate::data::{Mask, Pathology, Sample, load_masks};
use causalclipseg::io::Image;
use causalclipseg::{Finding, Model, Session};
use std::time::Instant;

/// The most calls of `on_image` by [`evaluate`].
pub fn images_to_run(samples: usize, options: &EvaluateOptions) -> usize {
    let study = if options.prompt_study { samples } else { 0 };
    let interventions = if options.interventions { interventions::passes(samples) } else { 0 };
    let requests = if options.requests { samples } else { 0 };
    samples + study + interventions + requests
}

/// The result of one image.
struct Judged {
    image: ImageScores,
    variants: Option<Variants>,
}

/// Runs the model as users do, on every sample's image at its own size, and compares at that size. `on_image` is called
/// after each pass over an image, from several threads.
///
/// # Errors
/// [`EvaluateError::NoImages`] without samples, else the error of the first sample that can't be read or run.
pub fn evaluate(
    model: &Model,
    samples: &[Sample],
    options: &EvaluateOptions,
    on_image: impl Fn() + Sync,
) -> Result<Evaluation, EvaluateError> {
    let begun = Instant::now();
    let judged = map_indices(model, samples.len(), options.threads, |session, index| {
        let judged = judge(model, session, &samples[index], index, options);
        on_image();
        judged
    })?;
    let (per_image, variants): (Vec<_>, Vec<_>) =
        judged.into_iter().map(|judged| (judged.image, judged.variants)).unzip();
    let variants: Vec<Variants> = variants.into_iter().flatten().collect();
    let pairs = if options.prompt_study { study_pairs(model, samples, &per_image, options, &on_image)? } else { None };
    let interventions = match options.interventions {
        true => Some(interventions::study(model, samples, options, &on_image)?),
        false => None,
    };
    let requests = match options.requests {
        true => Some(requests::study(model, samples, options, &on_image)?),
        false => None,
    };

    let means = Scores::mean(per_image.iter().map(|image| image.scores)).ok_or(EvaluateError::NoImages)?;
    let patients = by_patient(&per_image);
    let of_patients = mean_of_patients(&patients).ok_or(EvaluateError::NoImages)?;
    let description = model.description();
    Ok(Evaluation {
        images: per_image.len(),
        patients: patients.len(),
        means,
        dice_by_patient: of_patients.dice,
        iou_by_patient: of_patients.iou,
        nsd_by_patient: of_patients.nsd,
        hd95_by_patient: of_patients.hd95,
        intervals: Intervals::draw(&patients, options.resamples, options.seed),
        by_pathology: by_group(&per_image, |image| image.pathology),
        by_device: by_group(&per_image, |image| image.device.as_deref()),
        reliability: ReliabilityTable::of(&per_image),
        prompts: summarise_prompts(means.dice, &variants),
        pairs,
        absent: summarise_absent(&variants),
        interventions,
        requests,
        model: description.name.clone(),
        model_sha256: model.sha256().to_string(),
        trained: description.trained,
        input_size: description.input_size,
        threshold: description.threshold,
        seed: options.seed,
        seconds: begun.elapsed().as_secs_f64(),
        per_image,
    })
}

/// One pass over the image for its own prompt and, in a study, the others.
fn judge(
    model: &Model,
    session: &mut Session,
    sample: &Sample,
    index: usize,
    options: &EvaluateOptions,
) -> Result<Judged, EvaluateError> {
    let failed = failed_prompt(sample);
    let image = Image::open(&sample.image)?;
    let frame = image.frame();
    let truth = load_masks(sample, (frame.width(), frame.height()))?;
    let sentence = own_sentence(sample);
    let mut prompts = vec![encode(model, sentence).map_err(&failed)?];
    let questions = if options.prompt_study { Some(Questions::of(model, sample, index, options.seed)?) } else { None };
    for question in questions.iter().flat_map(|questions| &questions.prompts) {
        prompts.push(encode(model, question).map_err(&failed)?);
    }
    let report = session.run(&frame, &prompts).map_err(failed_frame(sample))?;
    let masks: Vec<Mask> = report.findings.iter().map(found_mask).collect();
    let own_quality = report.findings.first().and_then(Finding::quality);
    // The runtime returns a mask for every prompt, at the frame's size.
    let compare = |mask: Option<&'_ Mask>| -> Scores {
        mask.and_then(|mask| Comparison::new(mask, &truth).map(|pair| Scores::of(&pair))).unwrap_or_default()
    };
    let image = ImageScores {
        image: sample.image.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        prompt: sentence.to_string(),
        patient: sample.group().to_string(),
        pathology: sample.pathology.map(Pathology::adjective),
        device: sample.device.clone(),
        scores: compare(masks.first()),
        score: own_quality.map_or(0.0, |quality| quality.score),
        area_px: masks.first().map_or(0, Mask::area),
        truth_px: truth.area(),
    };
    Ok(Judged { image, variants: questions.map(|questions| questions.judge(&masks[1..], &truth)) })
}
