//! Where training examples come from.

use burn::tensor::{Device, Tensor, TensorData};
use causalclipseg::frame::Normalisation;

/// One image, one prompt, and the mask of what the prompt names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Example {
    /// Planes of size x size values, row by row: one of grey, or red, green and blue.
    pub image: Vec<u8>,
    /// 1 in the lesion, 0 elsewhere, size x size.
    pub mask: Vec<u8>,
    /// Token ids of the prompt, start and end of text included.
    pub tokens: Vec<u32>,
}

/// Why an example cannot be had.
pub type SourceError = Box<dyn std::error::Error + Send + Sync>;

/// A set of examples that can be drawn in any order, by any thread.
///
/// A draw depends on its arguments and the source alone: that is what makes an interrupted run continue exactly.
pub trait Source: Send + Sync {
    /// Examples in an epoch.
    fn count(&self) -> usize;

    /// Example `index` of `epoch` at size x size pixels. Sources that augment do it differently in each epoch.
    fn draw(&self, epoch: usize, index: usize, size: usize) -> Result<Example, SourceError>;
}

/// Examples drawn together.
#[derive(Clone, Debug)]
pub struct Batch {
    pub size: usize,
    /// One plane for each image, or three where an image has colour.
    pub images: Vec<Vec<u8>>,
    pub masks: Vec<u8>,
    pub tokens: Vec<Vec<u32>>,
}

impl Batch {
    /// Draws the given examples, checking their sizes.
    pub fn draw(source: &dyn Source, epoch: usize, indices: &[usize], size: usize) -> Result<Self, SourceError> {
        let mut batch = Self { size, images: Vec::new(), masks: Vec::new(), tokens: Vec::new() };
        for index in indices {
            let example = source.draw(epoch, *index, size)?;
            let area = size * size;
            let is_image = example.image.len() == area || example.image.len() == 3 * area;
            if !is_image || example.mask.len() != area || example.tokens.is_empty() {
                return Err(format!("example {index} is not {size} x {size} pixels with a prompt").into());
            }
            batch.images.push(example.image);
            batch.masks.extend(example.mask);
            batch.tokens.push(example.tokens);
        }
        Ok(batch)
    }

    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// Batch x 3 x size x size: grey values in all three channels, normalised as CLIP's images are.
    pub fn normalised_images(&self, device: &Device) -> Tensor<4> {
        let area = self.size * self.size;
        let planes = if self.images.iter().all(|image| image.len() == area) { 1 } else { 3 };
        let values = self.images.iter().flat_map(|image| image.iter().cycle().take(planes * area));
        let images = self.tensor(values, planes, device).div_scalar(255.0);
        let channels =
            |values: [f32; 3]| Tensor::<4>::from_data(TensorData::new(values.to_vec(), [1, 3, 1, 1]), device);
        let Normalisation { mean, std } = Normalisation::CLIP;
        images.sub(channels(mean)).div(channels(std))
    }

    /// Batch x 1 x size x size of 0 and 1.
    pub fn mask_planes(&self, device: &Device) -> Tensor<4> {
        self.tensor(self.masks.iter(), 1, device)
    }

    fn tensor<'a>(&self, bytes: impl Iterator<Item = &'a u8>, planes: usize, device: &Device) -> Tensor<4> {
        let values: Vec<f32> = bytes.map(|byte| f32::from(*byte)).collect();
        Tensor::from_data(TensorData::new(values, [self.len(), planes, self.size, self.size]), device)
    }
}
