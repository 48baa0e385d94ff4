//! An image and its mask at the network's input size, small enough that thousands fit in memory.

use super::pixels::{Image, MAX_SIDE, Mask, load_image, load_masks, load_other_masks};
use super::{DataError, Sample};
use causalclipseg::frame::{Fit, Frame, FrameError, Normalisation, PixelFormat, Preprocessor};
use image::imageops::{self, FilterType};

/// An image of `size` x `size` pixels with its mask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// Width and height in pixels.
    pub size: usize,
    /// 1 (grey) or 3 (red, green, blue).
    pub channels: usize,
    /// The pixels, `[channels, size, size]`, 0..255.
    pub pixels: Vec<u8>,
    /// The mask, `[size, size]`, 1 is lesion and 0 is not.
    pub mask: Vec<u8>,
    /// A mask, `[size, size]`, 1 is a lesion that the prompt does not name; `None` where no such lesion is known.
    pub other_lesions: Option<Vec<u8>>,
}

/// A picture with the prompt of its mask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Example {
    pub picture: Picture,
    pub prompt: String,
}

impl Picture {
    pub fn area(&self) -> usize {
        self.size * self.size
    }

    /// Plane 0, 1 or 2 of red, green and blue, 0..255, row by row; a grey picture has the same for each.
    pub fn plane(&self, channel: usize) -> &[u8] {
        let start = channel.min(self.channels - 1) * self.area();
        &self.pixels[start..start + self.area()]
    }

    /// The share of the picture that is lesion, 0..1.
    pub fn lesion_fraction(&self) -> f32 {
        self.mask.iter().map(|lesion| f32::from(*lesion)).sum::<f32>() / self.area() as f32
    }

    /// The lesion's bounding box, or `None` where there is no lesion.
    pub(super) fn lesion_box(&self) -> Option<LesionBox> {
        self.box_around(|index| self.mask[index] != 0)
    }

    /// The box around every known lesion, named or not.
    pub(super) fn box_of_all_lesions(&self) -> Option<LesionBox> {
        let others = self.other_lesions.as_deref().unwrap_or_default();
        self.box_around(|index| self.mask[index] != 0 || others.get(index).is_some_and(|lesion| *lesion != 0))
    }

    fn box_around(&self, is_inside: impl Fn(usize) -> bool) -> Option<LesionBox> {
        let mut found: Option<LesionBox> = None;
        for index in (0..self.area()).filter(|index| is_inside(*index)) {
            let (x, y) = (index % self.size, index / self.size);
            let b = found.get_or_insert(LesionBox { left: x, top: y, right: x + 1, bottom: y + 1 });
            b.left = b.left.min(x);
            b.right = b.right.max(x + 1);
            b.bottom = y + 1;
        }
        found
    }

    /// Replaces each square of `factor` x `factor` pixels by one: its mean, and lesion where at least half of it is.
    pub(super) fn shrink(&mut self, factor: usize) {
        if factor <= 1 {
            return;
        }
        let (before, size) = (self.size, self.size / factor);
        let count = (factor * factor) as u32;
        let means = |planes: &[u8], finish: fn(u32, u32) -> u8| -> Vec<u8> {
            let mut sums = vec![0u32; size * size];
            let mut result = Vec::with_capacity(planes.len() / factor / factor);
            for plane in planes.chunks_exact(before * before) {
                sums.fill(0);
                for (y, line) in plane.chunks_exact(before).take(size * factor).enumerate() {
                    let sums = &mut sums[y / factor * size..(y / factor + 1) * size];
                    for (sum, values) in sums.iter_mut().zip(line.chunks_exact(factor)) {
                        *sum += values.iter().map(|value| u32::from(*value)).sum::<u32>();
                    }
                }
                result.extend(sums.iter().map(|sum| finish(*sum, count)));
            }
            result
        };
        let is_lesion: fn(u32, u32) -> u8 = |sum, count| u8::from(2 * sum >= count);
        self.pixels = means(&self.pixels, |sum, count| ((sum + count / 2) / count) as u8);
        self.mask = means(&self.mask, is_lesion);
        self.other_lesions = self.other_lesions.as_deref().map(|others| means(others, is_lesion));
        self.size = size;
    }

    /// The same picture in colour, where another picture with which it is combined has colour.
    pub(super) fn in_color(mut self) -> Self {
        if self.channels == 1 {
            self.pixels = self.pixels.repeat(3);
            self.channels = 3;
        }
        self
    }
}

/// A box in pixels; `right` and `bottom` are the first outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LesionBox {
    pub left: usize,
    pub top: usize,
    pub right: usize,
    pub bottom: usize,
}

/// Decodes a sample and scales image and mask to `size` x `size` pixels; the aspect ratio is lost.
pub fn prepare(sample: &Sample, size: usize) -> Result<Picture, DataError> {
    if size == 0 || size > MAX_SIDE as usize {
        return Err(DataError::InputSize { size, max: MAX_SIDE as usize });
    }
    let image = load_image(&sample.image)?;
    let mask = load_masks(sample, image.size())?;
    let others = load_other_masks(sample, image.size())?;
    let (channels, pixels) = stretch(&image, size)
        .map_err(|error| DataError::Decode { path: sample.image.clone(), reason: error.to_string() })?;
    let stretch_mask = |mask: &Mask| stretch_mask(mask, size as u32);
    Ok(Picture { size, channels, pixels, mask: stretch_mask(&mask), other_lesions: others.as_ref().map(stretch_mask) })
}

/// The image's planes at the network's size, by the runtime's own preprocessor: training and runtime have the same
/// input, to half a grey level.
fn stretch(image: &Image, size: usize) -> Result<(usize, Vec<u8>), FrameError> {
    /// Keeps values in 0..1.
    const PLAIN: Normalisation = Normalisation { mean: [0.0; 3], std: [1.0; 3] };
    let (width, height) = image.size();
    let (channels, frame) = match image {
        Image::Gray(image) => (1, Frame::packed(image.as_raw(), PixelFormat::Gray8, width, height)?),
        Image::Rgb(image) => (3, Frame::packed(image.as_raw(), PixelFormat::Rgb8, width, height)?),
    };
    let mut planes = vec![0.0; 3 * size * size];
    Preprocessor::new(size, PLAIN, Fit::Stretch)?.prepare(&frame, &mut planes)?;
    planes.truncate(channels * size * size);
    Ok((channels, planes.into_iter().map(|value| (value * 255.0).round() as u8).collect()))
}

/// A pixel of the small mask is lesion where at least half of its area is.
fn stretch_mask(mask: &Mask, size: u32) -> Vec<u8> {
    let values = mask.lesion.iter().map(|lesion| if *lesion { 255 } else { 0 }).collect();
    let full = image::GrayImage::from_raw(mask.width as u32, mask.height as u32, values).unwrap_or_default();
    let coverage = imageops::resize(&full, size, size, FilterType::Triangle).into_raw();
    coverage.into_iter().map(|value| u8::from(value > 127)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::MaskRule;
    use image::{GrayImage, Luma, Rgb, RgbImage};

    #[test]
    fn image_and_mask_keep_together() {
        let directory = tempfile::tempdir().unwrap();
        let left = |x: u32| if x < 50 { 255 } else { 0 };
        let (image, mask) = (directory.path().join("i.png"), directory.path().join("m.png"));
        GrayImage::from_fn(100, 60, |x, _| Luma([left(x)])).save(&image).unwrap();
        GrayImage::from_fn(100, 60, |x, _| Luma([left(x)])).save(&mask).unwrap();
        let mut sample = Sample::new("i".into(), image, MaskRule::AboveHalf);
        sample.masks.push(mask);
        let picture = prepare(&sample, 32).unwrap();
        assert_eq!((picture.channels, picture.pixels.len(), picture.mask.len()), (1, 1024, 1024));
        assert_eq!(picture.lesion_fraction(), 0.5);
        assert_eq!(picture.lesion_box(), Some(LesionBox { left: 0, top: 0, right: 16, bottom: 32 }));
        assert!(picture.plane(2).iter().zip(&picture.mask).all(|(pixel, lesion)| (*pixel > 127) == (*lesion == 1)));
        assert!(matches!(prepare(&sample, 0), Err(DataError::InputSize { .. })));
    }

    #[test]
    fn colour_is_kept_in_planes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("i.png");
        RgbImage::from_pixel(20, 10, Rgb([10, 20, 30])).save(&path).unwrap();
        let picture = prepare(&Sample::new("i".into(), path, MaskRule::AboveHalf), 8).unwrap();
        assert_eq!(picture.channels, 3);
        for channel in 0..3 {
            assert!(picture.plane(channel).iter().all(|value| *value == 10 * (channel as u8 + 1)));
        }
        assert_eq!(picture.lesion_box(), None);
    }
}
