//! Draws the found and the true contour on the best, median and worst images.

use super::ReportError;
use crate::data::{Sample, load_masks};
use crate::evaluate::sentence::encode;
use crate::evaluate::{EvaluateError, Evaluation, ImageScores, failed_frame, failed_prompt, session};
use causalclipseg::io::{Image, write_overlay};
use causalclipseg::mask::{Annotation, Mask, Measurements, Overlay};
use causalclipseg::{Model, Session};
use image::RgbImage;
use ndarray::Array2;
use std::path::Path;

/// The number of images of each kind.
const SHOWN: usize = 3;

/// Some images under a heading.
pub struct Gallery<'a> {
    pub title: &'static str,
    pub pictures: Vec<Shown<'a>>,
}

pub struct Shown<'a> {
    /// The picture's file name in the report's folder.
    pub file_name: String,
    pub image: &'a ImageScores,
}

/// Draws the images and writes them into `folder`.
pub fn write<'a>(
    folder: &Path,
    evaluation: &'a Evaluation,
    model: &Model,
    samples: &[Sample],
) -> Result<Vec<Gallery<'a>>, ReportError> {
    let mut session = session(model)?;
    let mut galleries = Vec::new();
    for (title, stem, chosen) in choose(&evaluation.per_image) {
        let mut pictures = Vec::new();
        for (number, index) in (1..).zip(chosen) {
            let (Some(image), Some(sample)) = (evaluation.per_image.get(index), samples.get(index)) else { continue };
            let file_name = format!("{stem}_{number}.png");
            write_overlay(&folder.join(&file_name), &draw(model, &mut session, sample, image)?)?;
            pictures.push(Shown { file_name, image });
        }
        galleries.push(Gallery { title, pictures });
    }
    Ok(galleries)
}

/// Indices of the images to show, by Dice. No kind takes more than its share of a short list.
fn choose(images: &[ImageScores]) -> [(&'static str, &'static str, Vec<usize>); 3] {
    let mut order: Vec<usize> = (0..images.len()).collect();
    order.sort_by(|a, b| images[*b].scores.dice.total_cmp(&images[*a].scores.dice));
    let count = images.len().div_ceil(3).min(SHOWN);
    let middle = (images.len() - count) / 2;
    [
        ("Best", "best", order[..count].to_vec()),
        ("Median", "median", order[middle..middle + count].to_vec()),
        ("Worst", "worst", order.iter().rev().take(count).copied().collect()),
    ]
}

fn draw(
    model: &Model,
    session: &mut Session,
    sample: &Sample,
    scores: &ImageScores,
) -> Result<RgbImage, EvaluateError> {
    let failed = failed_frame(sample);
    let image = Image::open(&sample.image)?;
    let frame = image.frame();
    let prompt = encode(model, &scores.prompt).map_err(failed_prompt(sample))?;
    let report = session.run(&frame, &[prompt]).map_err(&failed)?;
    let truth = load_masks(sample, (frame.width(), frame.height()))?;
    let lesion = |(y, x): (usize, usize)| u8::from(truth.lesion[y * truth.width + x]);
    let truth = Mask::from_pixels(Array2::from_shape_fn((truth.height, truth.width), lesion));
    let found = report.findings.first().map(|found| found.mask().clone()).unwrap_or_default();
    let named = [(scores.prompt.as_str(), found), ("drawn by an expert", truth)];
    let mut parts = Vec::new();
    for (text, mask) in named {
        let contours = mask.contours();
        let measurements =
            Measurements::of(&mask, &contours, None, frame.mm_per_pixel()).map_err(|error| failed(error.into()))?;
        parts.push((text, mask, contours, measurements));
    }
    let findings: Vec<Annotation> = parts
        .iter()
        .map(|(prompt, mask, contours, measurements)| Annotation { prompt, mask, contours, measurements })
        .collect();
    let description = model.description();
    let overlay = Overlay {
        frame: &frame,
        findings: &findings,
        confounders: None,
        threshold: description.threshold,
        model: &description.name,
    };
    overlay.draw().map_err(|error| failed(error.into()))
}

#[cfg(test)]
mod tests {
    use super::super::super::scores::tests::image;
    use super::*;

    #[test]
    fn best_median_and_worst_are_chosen() {
        let images: Vec<ImageScores> = (0..11).map(|i| image("p", None, f64::from(i) / 10.0)).collect();
        let [best, median, worst] = choose(&images).map(|(_, _, chosen)| chosen);
        assert_eq!((best, median, worst), (vec![10, 9, 8], vec![6, 5, 4], vec![0, 1, 2]));
        for count in 0..9 {
            let [best, median, worst] = choose(&images[..count]).map(|(_, _, chosen)| chosen.len());
            assert!(best == count.div_ceil(3).min(3) && median == best && worst == best, "{count}");
        }
    }
}
