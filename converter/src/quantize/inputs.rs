//! The inputs of calibration: images in the network's form, each with a prompt.

use super::QuantiseError;
use crate::data::Sample;
use crate::phantom::Phantom;
use causalclipseg::frame::{Fit, Frame, Normalisation, PixelFormat, Preprocessor};
use causalclipseg::io::Image;
use causalclipseg::prompt::{PromptError, Tokenizer, Tokens};
use ndarray::ArrayD;

/// The least share of the grey range that the images together must span: an 8-bit image stored in 16 bits spans less.
const LEAST_CONTRAST: f32 = 0.02;

/// An image with a sentence about it.
#[derive(Clone, Debug)]
pub struct CalibrationItem {
    /// The image, 3 x size x size, normalised.
    pub image: ArrayD<f32>,
    /// The prompt's tokens, start and end of text included.
    pub tokens: Tokens,
}

/// The items of calibration.
#[derive(Clone, Debug, Default)]
pub struct CalibrationSet {
    pub items: Vec<CalibrationItem>,
}

/// Converts pictures and sentences to the network's form.
pub struct CalibrationReader {
    preprocessor: Preprocessor,
    tokenizer: Tokenizer,
    size: usize,
    context: usize,
    set: CalibrationSet,
}

impl CalibrationReader {
    /// A reader for a network of this input size, which images fill by `fit`, and context.
    pub fn new(size: usize, fit: Fit, context: usize, tokenizer_json: &[u8]) -> Result<Self, QuantiseError> {
        let preprocessor = Preprocessor::new(size, Normalisation::CLIP, fit)?;
        let tokenizer = Tokenizer::from_json(tokenizer_json)?;
        Ok(Self { preprocessor, tokenizer, size, context, set: CalibrationSet::default() })
    }

    /// Adds an image file of a data set with its sample's first prompt.
    pub fn add_sample(&mut self, sample: &Sample) -> Result<(), QuantiseError> {
        let image = Image::open(&sample.image)?;
        self.add(&image.frame(), sample.prompts.first().map_or("", String::as_str))
    }

    /// Adds a synthetic image with the prompt for one of its lesions.
    pub fn add_phantom(&mut self, phantom: &Phantom) -> Result<(), QuantiseError> {
        let frame = Frame::packed(&phantom.pixels, PixelFormat::Gray8, phantom.width, phantom.height)?;
        self.add(&frame, &phantom.requests[0].prompt)
    }

    fn add(&mut self, frame: &Frame, prompt: &str) -> Result<(), QuantiseError> {
        let mut pixels = vec![0.0; 3 * self.size * self.size];
        self.preprocessor.prepare(frame, &mut pixels)?;
        let shape = vec![3, self.size, self.size];
        let image = ArrayD::from_shape_vec(shape, pixels).map_err(|error| QuantiseError::Shape(error.to_string()))?;
        let tokens = tokens(&self.tokenizer, prompt, self.context)?;
        self.set.items.push(CalibrationItem { image, tokens });
        Ok(())
    }

    /// The items that were read, after a check that they are useful.
    ///
    /// # Errors
    /// The set has no images, or all images are nearly constant.
    pub fn finish(self) -> Result<CalibrationSet, QuantiseError> {
        if self.set.items.is_empty() {
            return Err(QuantiseError::NoImages);
        }
        let Normalisation { std, .. } = Normalisation::CLIP;
        // Channels are shifted against each other by the normalisation; the largest range describes the picture all the
        // same.
        let span = |item: &CalibrationItem| {
            let channels = item.image.outer_iter().zip(std);
            let spans = channels.map(|(channel, std)| {
                let (low, high) =
                    channel.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(l, h), v| (l.min(*v), h.max(*v)));
                (high - low) * std
            });
            spans.fold(0f32, f32::max)
        };
        let widest = self.set.items.iter().map(span).fold(0f32, f32::max);
        match widest {
            widest if widest < 1e-6 => Err(QuantiseError::Constant { images: self.set.items.len() }),
            widest if widest < LEAST_CONTRAST => Err(QuantiseError::Contrast { percent: 100.0 * widest }),
            _ => Ok(self.set),
        }
    }
}

/// The tokens of a prompt. Without words, they are the start and the end of text; a prompt that is too long loses words
/// at its end, as in training.
pub(super) fn tokens(tokenizer: &Tokenizer, prompt: &str, context: usize) -> Result<Tokens, PromptError> {
    let mut words: Vec<&str> = prompt.split_whitespace().collect();
    loop {
        match tokenizer.encode(&words.join(" "), context) {
            Err(PromptError::TooLong { .. } | PromptError::TooLarge { .. }) if !words.is_empty() => {
                words.truncate(words.len().saturating_sub(1 + words.len() / 8));
            }
            tokens => return tokens,
        }
    }
}

impl CalibrationSet {
    /// `count` of the items at even distances.
    pub fn spread(&self, count: usize) -> Self {
        let total = self.items.len();
        let count = count.min(total);
        let is_chosen = |index: usize| (index + 1) * count / total.max(1) > index * count / total.max(1);
        let items = self.items.iter().enumerate().filter(|(index, _)| is_chosen(*index)).map(|(_, item)| item.clone());
        Self { items: items.collect() }
    }

    /// Every fifth item to measure with, the others to calibrate with. A single item is used for both.
    pub fn split(self) -> (Self, Self) {
        if self.items.len() < 2 {
            return (self.clone(), self);
        }
        let (mut kept, mut held_out) = (Self::default(), Self::default());
        for (index, item) in self.items.into_iter().enumerate() {
            // The second of two items is held out.
            if index % 5 == 1 { &mut held_out } else { &mut kept }.items.push(item);
        }
        (kept, held_out)
    }

    /// The sentences, each once.
    pub fn prompts(&self) -> Vec<&Tokens> {
        let mut prompts: Vec<&Tokens> = Vec::new();
        for item in &self.items {
            if !prompts.contains(&&item.tokens) {
                prompts.push(&item.tokens);
            }
        }
        prompts
    }
}
