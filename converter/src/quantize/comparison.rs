//! Compares the quantised network with the original one, on a split of a data set.

use super::QuantiseError;
use super::inputs::tokens;
use crate::data::{Mask, Sample, load_masks};
use crate::evaluate::metric;
use causalclipseg::engine::{Engine, EngineOptions};
use causalclipseg::frame::{Fit, Normalisation, Placement, Preprocessor};
use causalclipseg::graph::{Graph, Weights};
use causalclipseg::io::Image;
use causalclipseg::mask::Probability;
use causalclipseg::prompt::Tokenizer;
use ndarray::Array2;
use serde::{Deserialize, Serialize};

/// Means over the images of a split, each under its own first prompt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    pub images: usize,
    /// The number of different sentences among the prompts.
    pub prompts: usize,
    /// Dice against the experts' masks, at the image's own size.
    pub dice_f32: f64,
    pub dice_int8: f64,
    pub iou_f32: f64,
    pub iou_int8: f64,
    /// Dice of the int8 mask against the f32 mask.
    pub mask_agreement: f64,
    pub worst_mask_agreement: f64,
    /// The square root of the squared differences' share of the squared logits.
    pub relative_error: f64,
    pub largest_logit_difference: f64,
    pub largest_logit: f64,
}

/// Two networks of one architecture: the original and the quantised one.
pub struct Pair<'a> {
    pub expected: (&'a Graph, &'a Weights),
    pub found: (&'a Graph, &'a Weights),
}

/// The settings of both networks beside their weights.
#[derive(Clone, Copy, Debug)]
pub struct CompareOptions<'a> {
    pub input_size: usize,
    /// How images fill the input.
    pub fit: Fit,
    pub context: usize,
    pub tokenizer_json: &'a [u8],
    /// The probability above which a pixel is lesion.
    pub threshold: f32,
}

/// Runs both networks on every sample. `on_image` is called after each.
pub fn compare(
    pair: &Pair,
    samples: &[Sample],
    options: &CompareOptions,
    mut on_image: impl FnMut(),
) -> Result<Comparison, QuantiseError> {
    if samples.is_empty() {
        return Err(QuantiseError::NoImages);
    }
    let engine = |(graph, weights): (&Graph, &Weights)| Engine::new(graph, weights, EngineOptions::default());
    let engines = [engine(pair.expected)?, engine(pair.found)?];
    let tokenizer = Tokenizer::from_json(options.tokenizer_json)?;
    let mut preprocessor = Preprocessor::new(options.input_size, Normalisation::CLIP, options.fit)?;
    let mut pixels = vec![0.0; 3 * options.input_size * options.input_size];
    let mut sum = Comparison { worst_mask_agreement: 1.0, ..Comparison::default() };
    let mut sentences = std::collections::HashSet::new();
    let (mut noise, mut signal) = (0f64, 0f64);
    for sample in samples {
        let image = Image::open(&sample.image)?;
        let frame = image.frame();
        let truth = load_masks(sample, (frame.width(), frame.height()))?;
        let placement = preprocessor.prepare(&frame, &mut pixels)?;
        let prompt = tokens(&tokenizer, sample.prompts.first().map_or("", String::as_str), options.context)?;
        let mut logits = Vec::with_capacity(2);
        for engine in &engines {
            let (found, _) = engine.segment(&pixels, &engine.encode_prompt(prompt.ids())?)?;
            logits.push(found);
        }
        sentences.insert(prompt);
        let masks = logits.iter().map(|logits| mask_of(logits, &placement, options.threshold));
        let masks = masks.collect::<Result<Vec<Mask>, QuantiseError>>()?;
        if let ([expected, found], [expected_mask, found_mask]) = (&logits[..], &masks[..]) {
            for (expected, found) in expected.iter().zip(found) {
                let difference = f64::from(found - expected);
                noise += difference.powi(2);
                signal += f64::from(*expected).powi(2);
                sum.largest_logit_difference = sum.largest_logit_difference.max(difference.abs());
                sum.largest_logit = sum.largest_logit.max(f64::from(expected.abs()));
            }
            let score = |a: &Mask, b: &Mask| {
                metric::Comparison::new(a, b).map_or((0.0, 0.0), |pair| (metric::dice(&pair), metric::iou(&pair)))
            };
            let (of_expected, of_found) = (score(expected_mask, &truth), score(found_mask, &truth));
            let agreement = score(found_mask, expected_mask).0;
            sum.dice_f32 += of_expected.0;
            sum.iou_f32 += of_expected.1;
            sum.dice_int8 += of_found.0;
            sum.iou_int8 += of_found.1;
            sum.mask_agreement += agreement;
            sum.worst_mask_agreement = sum.worst_mask_agreement.min(agreement);
        }
        sum.images += 1;
        on_image();
    }
    let count = sum.images as f64;
    for total in [&mut sum.dice_f32, &mut sum.dice_int8, &mut sum.iou_f32, &mut sum.iou_int8, &mut sum.mask_agreement] {
        *total /= count;
    }
    sum.prompts = sentences.len();
    sum.relative_error = (noise / signal.max(f64::MIN_POSITIVE)).sqrt();
    Ok(sum)
}

fn mask_of(logits: &Array2<f32>, placement: &Placement, threshold: f32) -> Result<Mask, QuantiseError> {
    let mask = Probability::from_logits(logits.view(), placement)?.mask(threshold)?;
    let pixels = mask.pixels();
    let lesion = pixels.iter().map(|pixel| *pixel != 0).collect();
    Ok(Mask { width: pixels.ncols(), height: pixels.nrows(), lesion })
}
