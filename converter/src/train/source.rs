//! Sources of training examples.

use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use causalclipseg::frame::{Normalisation, Region};

/// One image with its questions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Example {
    /// Planes of size x size values, row by row: one of grey, or red, green and blue.
    pub image: Vec<u8>,
    /// At least one; equally many for each image of a source.
    pub questions: Vec<Question>,
    /// The part of the planes that the image fills, the rest being padding; `None`: all of them.
    pub fitted: Option<Region>,
}

/// A prompt and the mask of the lesion that it names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Token ids of the prompt, start and end of text included.
    pub tokens: Vec<u32>,
    /// 1 in the lesion, 0 elsewhere, size x size.
    pub mask: Vec<u8>,
}

/// Why an example is not available.
pub type SourceError = Box<dyn std::error::Error + Send + Sync>;

/// A set of examples that can be drawn in any order, by any thread.
///
/// A draw depends on its arguments and the source alone, so that an interrupted run continues exactly.
pub trait Source: Send + Sync {
    /// The number of examples in an epoch.
    fn count(&self) -> usize;

    /// Example `index` of `epoch` at size x size pixels. Augmentation differs between epochs.
    fn draw(&self, epoch: usize, index: usize, size: usize) -> Result<Example, SourceError>;

    /// The number of confounder kinds of the examples' images; 0 if unknown.
    fn confounders(&self) -> usize {
        0
    }

    /// The confounder kind of example `index` of `epoch`.
    fn confounder(&self, _epoch: usize, _index: usize) -> Option<usize> {
        None
    }
}

/// Examples drawn together.
#[derive(Clone, Debug)]
pub struct Batch {
    pub size: usize,
    /// One plane for each grey image, three for each colour image.
    pub images: Vec<Vec<u8>>,
    /// The same images after an intervention that keeps the answer; empty without interventions.
    pub views: Vec<Vec<u8>>,
    /// Each image's confounder, if known.
    pub confounders: Vec<Option<usize>>,
    /// The part of each image's planes that is not padding; empty if there is no padding.
    pub fitted: Vec<Region>,
    /// The masks of all questions, the first image's first.
    pub masks: Vec<u8>,
    /// The token ids of each question, in the masks' order.
    pub tokens: Vec<Vec<u32>>,
}

impl Batch {
    /// Draws the given examples, checking their sizes.
    pub fn draw(source: &dyn Source, epoch: usize, indices: &[usize], size: usize) -> Result<Self, SourceError> {
        let mut batch = Self {
            size,
            images: Vec::new(),
            views: Vec::new(),
            confounders: Vec::new(),
            fitted: Vec::new(),
            masks: Vec::new(),
            tokens: Vec::new(),
        };
        for index in indices {
            let example = source.draw(epoch, *index, size)?;
            let area = size * size;
            let is_image = example.image.len() == area || example.image.len() == 3 * area;
            let is_question = |question: &Question| question.mask.len() == area && !question.tokens.is_empty();
            let fitted = example.fitted.unwrap_or(Region::whole(size, size));
            let is_inside = fitted.x + fitted.width <= size && fitted.y + fitted.height <= size;
            if !is_image || !is_inside || example.questions.is_empty() || !example.questions.iter().all(is_question) {
                return Err(format!("example {index} is not {size} x {size} pixels with a prompt").into());
            }
            batch.images.push(example.image);
            batch.fitted.push(fitted);
            batch.confounders.push(source.confounder(epoch, *index));
            for question in example.questions {
                batch.masks.extend(question.mask);
                batch.tokens.push(question.tokens);
            }
        }
        // The network assigns prompts to images by equal counts.
        if !batch.tokens.len().is_multiple_of(batch.images.len().max(1)) {
            return Err("the images of a batch have unequal numbers of prompts".into());
        }
        Ok(batch)
    }

    /// Splits the batch into `count` parts of consecutive images, as equal as possible.
    pub(super) fn split(&self, count: usize) -> Vec<Self> {
        let images = self.len();
        let questions = self.tokens.len() / images.max(1);
        let area = self.size * self.size;
        let edge = |part: usize| part * images / count.max(1);
        (0..count)
            .map(|part| {
                let (from, to) = (edge(part), edge(part + 1));
                let asked = from * questions..to * questions;
                Self {
                    size: self.size,
                    images: self.images[from..to].to_vec(),
                    views: self.views.get(from..to).unwrap_or_default().to_vec(),
                    confounders: self.confounders.get(from..to).unwrap_or_default().to_vec(),
                    fitted: self.fitted.get(from..to).unwrap_or_default().to_vec(),
                    masks: self.masks[asked.start * area..asked.end * area].to_vec(),
                    tokens: self.tokens[asked].to_vec(),
                }
            })
            .collect()
    }

    /// Replaces the padding of changed images by that of this batch's images.
    pub(super) fn pad_as_images(&self, changed: &mut [Vec<u8>]) {
        for (index, (changed, image)) in changed.iter_mut().zip(&self.images).enumerate() {
            let Region { x, y, width, height } = self.fitted_of(index);
            if width * height == self.size * self.size {
                continue;
            }
            let rows = changed.chunks_exact_mut(self.size).zip(image.chunks_exact(self.size));
            for (row, (changed, image)) in rows.enumerate() {
                if (y..y + height).contains(&(row % self.size)) {
                    changed[..x].copy_from_slice(&image[..x]);
                    changed[x + width..].copy_from_slice(&image[x + width..]);
                } else {
                    changed.copy_from_slice(image);
                }
            }
        }
    }

    /// The part of an image's planes that is not padding.
    pub(super) fn fitted_of(&self, image: usize) -> Region {
        self.fitted.get(image).copied().unwrap_or(Region::whole(self.size, self.size))
    }

    /// The number of images in the batch.
    pub fn len(&self) -> usize {
        self.images.len()
    }

    pub fn is_empty(&self) -> bool {
        self.images.is_empty()
    }

    /// Batch x 3 x size x size: grey values in all three channels, normalised as CLIP's images are.
    pub fn normalised_images(&self, device: &Device) -> Tensor<4> {
        self.normalised(&self.images, device)
    }

    /// The images, followed by their views if there are any, normalised as above.
    pub(super) fn normalised_with_views(&self, device: &Device) -> Tensor<4> {
        self.normalised(&[self.images.as_slice(), self.views.as_slice()].concat(), device)
    }

    fn normalised(&self, images: &[Vec<u8>], device: &Device) -> Tensor<4> {
        let area = self.size * self.size;
        let planes = if images.iter().all(|image| image.len() == area) { 1 } else { 3 };
        let mut bytes = Vec::with_capacity(images.len() * planes * area);
        for image in images {
            // A grey plane is repeated three times; three planes are used as they are.
            (0..planes * area / image.len().max(1)).for_each(|_| bytes.extend_from_slice(image));
        }
        let images = self.tensor(bytes, [images.len(), planes], device).div_scalar(255.0);
        let channels =
            |values: [f32; 3]| Tensor::<4>::from_data(TensorData::new(values.to_vec(), [1, 3, 1, 1]), device);
        let Normalisation { mean, std } = Normalisation::CLIP;
        images.sub(channels(mean)).div(channels(std))
    }

    /// Questions x 1 x size x size of 0 and 1.
    pub fn mask_planes(&self, device: &Device) -> Tensor<4> {
        self.tensor(self.masks.clone(), [self.tokens.len(), 1], device)
    }

    /// The device converts bytes to floats if it supports bytes, which are a quarter of the data to send.
    fn tensor(&self, bytes: Vec<u8>, [count, channels]: [usize; 2], device: &Device) -> Tensor<4> {
        let shape = [count, channels, self.size, self.size];
        if !device.supports_dtype(DType::U8) {
            let values: Vec<f32> = bytes.into_iter().map(f32::from).collect();
            return Tensor::from_data(TensorData::new(values, shape), device);
        }
        let data = TensorData::new(bytes, shape);
        Tensor::<4, Int>::from_data(data, (device, DType::U8)).float()
    }
}
