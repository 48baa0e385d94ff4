//! Dice of a found mask with the prompted lesion and with other lesions.

use super::answer::{dice_of, found_mask};
use super::sentence::{encode, own_sentence};
use super::workers::map_indices;
use super::{EvaluateError, failed_frame, failed_prompt};
use crate::data::{Mask, Sample, load_masks};
use causalclipseg::Model;
use causalclipseg::io::Image;

/// For each sample, in order, the Dice of its own prompt's result with its lesion and with the image's other lesions, `None` if
/// there are no others.
pub(crate) fn answer_lesions(
    model: &Model,
    samples: &[Sample],
    threads: usize,
) -> Result<Vec<[Option<f64>; 2]>, EvaluateError> {
    map_indices(model, samples.len(), threads, |session, index| {
        let sample = &samples[index];
        let image = Image::open(&sample.image)?;
        let frame = image.frame();
        let size = (frame.width(), frame.height());
        let prompt = encode(model, own_sentence(sample)).map_err(failed_prompt(sample))?;
        let report = session.run(&frame, std::slice::from_ref(&prompt)).map_err(failed_frame(sample))?;
        let empty = || Mask { width: size.0, height: size.1, lesion: vec![false; size.0 * size.1] };
        let found = report.findings.first().map_or_else(empty, found_mask);
        let others = Sample { masks: sample.other_masks.clone(), ..sample.clone() };
        let other = match others.masks.is_empty() {
            true => None,
            false => Some(dice_of(&found, &load_masks(&others, size)?)),
        };
        Ok([Some(dice_of(&found, &load_masks(sample, size)?)), other])
    })
}
