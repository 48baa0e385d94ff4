//! An image and its mask at the network's input size, small enough that thousands fit in memory.
//!
//! A picture is what an image fills of the network's square input, without padding: everything that changes pictures
//! sees the image alone, and [`Picture::into_input`] pads it at the end.

use super::pixels::{Image, MAX_SIDE, Mask, load_image, load_masks, load_other_masks};
use super::{DataError, Sample};
use causalclipseg::frame::{Fit, Frame, FrameError, Normalisation, PixelFormat, Preprocessor, Region, fitted_region};
use image::imageops::{self, FilterType};

/// An image with its mask. Stretched images are square; others have their longer side in common with the input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// The width in pixels.
    pub width: usize,
    /// The height in pixels.
    pub height: usize,
    /// 1 (grey) or 3 (red, green, blue).
    pub channels: usize,
    /// The pixels, `[channels, height, width]`, 0..255.
    pub pixels: Vec<u8>,
    /// The mask, `[height, width]`, 1 is lesion and 0 is not.
    pub mask: Vec<u8>,
    /// A mask, `[height, width]`, 1 is a lesion that the prompt does not name; `None` where no such lesion is known.
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
        self.width * self.height
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
            let (x, y) = (index % self.width, index / self.width);
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
        let (before, area) = (self.width, self.area());
        let (width, height) = (self.width / factor, self.height / factor);
        let count = (factor * factor) as u32;
        let means = |planes: &[u8], finish: fn(u32, u32) -> u8| -> Vec<u8> {
            let mut sums = vec![0u32; width * height];
            let mut result = Vec::with_capacity(planes.len() / factor / factor);
            for plane in planes.chunks_exact(area) {
                sums.fill(0);
                for (y, line) in plane.chunks_exact(before).take(height * factor).enumerate() {
                    let sums = &mut sums[y / factor * width..(y / factor + 1) * width];
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
        (self.width, self.height) = (width, height);
    }

    /// The network's input of `size` x `size` pixels, and the part of it that the picture fills: the picture itself if it
    /// is that large, else the picture in the place where the runtime puts it, with the padding around it. Grey stays
    /// grey if the padding is.
    pub(crate) fn into_input(self, size: usize, fit: &Fit) -> (Self, Region) {
        let whole = Region::whole(self.width, self.height);
        let Fit::Letterbox { padding } = fit else { return (self, whole) };
        if (self.width, self.height) == (size, size) {
            return (self, whole);
        }
        let fitted = fitted_region(fit, whole, size);
        let levels = padding.map(|level| (level * 255.0).round() as u8);
        let picture = if levels == [levels[0]; 3] { self } else { self.in_color() };
        let place = |planes: &[u8], levels: &[u8]| -> Vec<u8> {
            let mut input = Vec::with_capacity(levels.len() * size * size);
            for (plane, level) in planes.chunks_exact(picture.area()).zip(levels) {
                let start = input.len();
                input.resize(start + size * size, *level);
                let rows = input[start..].chunks_exact_mut(size).skip(fitted.y);
                for (to, from) in rows.zip(plane.chunks_exact(picture.width)) {
                    to[fitted.x..fitted.x + picture.width].copy_from_slice(from);
                }
            }
            input
        };
        let input = Self {
            width: size,
            height: size,
            channels: picture.channels,
            pixels: place(&picture.pixels, &levels[..picture.channels]),
            mask: place(&picture.mask, &[0]),
            other_lesions: picture.other_lesions.as_deref().map(|others| place(others, &[0])),
        };
        (input, fitted)
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

/// Decodes a sample and scales image and mask to what they fill of an input of `size` x `size` pixels.
pub fn prepare(sample: &Sample, size: usize, fit: &Fit) -> Result<Picture, DataError> {
    if size == 0 || size > MAX_SIDE as usize {
        return Err(DataError::InputSize { size, max: MAX_SIDE as usize });
    }
    let image = load_image(&sample.image)?;
    let mask = load_masks(sample, image.size())?;
    let others = load_other_masks(sample, image.size())?;
    let Scaled { width, height, channels, pixels } = scale(&image, size, fit)
        .map_err(|error| DataError::Decode { path: sample.image.clone(), reason: error.to_string() })?;
    let scale_mask = |mask: &Mask| scale_mask(mask, width as u32, height as u32);
    let other_lesions = others.as_ref().map(scale_mask);
    Ok(Picture { width, height, channels, pixels, mask: scale_mask(&mask), other_lesions })
}

/// An image's planes.
struct Scaled {
    width: usize,
    height: usize,
    channels: usize,
    pixels: Vec<u8>,
}

/// The image's planes at the network's size, without padding, by the runtime's own preprocessor: training and runtime
/// have the same input, to half a grey level.
fn scale(image: &Image, size: usize, fit: &Fit) -> Result<Scaled, FrameError> {
    /// Keeps values in 0..1.
    const PLAIN: Normalisation = Normalisation { mean: [0.0; 3], std: [1.0; 3] };
    let (width, height) = image.size();
    let (channels, frame) = match image {
        Image::Gray(image) => (1, Frame::packed(image.as_raw(), PixelFormat::Gray8, width, height)?),
        Image::Rgb(image) => (3, Frame::packed(image.as_raw(), PixelFormat::Rgb8, width, height)?),
    };
    let mut planes = vec![0.0; 3 * size * size];
    let placement = Preprocessor::new(size, PLAIN, *fit)?.prepare(&frame, &mut planes)?;
    let Region { x, y, width, height } = placement.fitted();
    let mut pixels = Vec::with_capacity(channels * width * height);
    for plane in planes.chunks_exact(size * size).take(channels) {
        for row in plane.chunks_exact(size).skip(y).take(height) {
            pixels.extend(row[x..x + width].iter().map(|value| (value * 255.0).round() as u8));
        }
    }
    Ok(Scaled { width, height, channels, pixels })
}

/// A pixel of the small mask is lesion where at least half of its area is.
fn scale_mask(mask: &Mask, width: u32, height: u32) -> Vec<u8> {
    let values = mask.lesion.iter().map(|lesion| if *lesion { 255 } else { 0 }).collect();
    let full = image::GrayImage::from_raw(mask.width as u32, mask.height as u32, values).unwrap_or_default();
    let coverage = imageops::resize(&full, width, height, FilterType::Triangle).into_raw();
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
        let picture = prepare(&sample, 32, &Fit::Stretch).unwrap();
        assert_eq!((picture.channels, picture.pixels.len(), picture.mask.len()), (1, 1024, 1024));
        assert_eq!(picture.lesion_fraction(), 0.5);
        assert_eq!(picture.lesion_box(), Some(LesionBox { left: 0, top: 0, right: 16, bottom: 32 }));
        assert!(picture.plane(2).iter().zip(&picture.mask).all(|(pixel, lesion)| (*pixel > 127) == (*lesion == 1)));
        assert!(matches!(prepare(&sample, 0, &Fit::Stretch), Err(DataError::InputSize { .. })));
    }

    /// The input that training sees is the runtime's, byte for byte, and the mask lies where the image does.
    #[test]
    fn an_input_is_fitted_as_in_the_runtime() {
        const PLAIN: Normalisation = Normalisation { mean: [0.0; 3], std: [1.0; 3] };
        let directory = tempfile::tempdir().unwrap();
        let (image, mask) = (directory.path().join("i.png"), directory.path().join("m.png"));
        let grey = Fit::Letterbox { padding: [124.0 / 255.0; 3] };
        let color = Fit::Letterbox { padding: Normalisation::CLIP.mean };
        for (width, height) in [
            (1, 1),
            (1, 90),
            (90, 1),
            (2, 3),
            (31, 33),
            (33, 31),
            (32, 32),
            (64, 40),
            (41, 64),
            (97, 61),
            (300, 7),
            (5, 200),
        ] {
            for fit in [Fit::Stretch, grey, color] {
                for is_color in [false, true] {
                    let level = |x: u32, y: u32| ((x * 37 + y * 101) % 241) as u8;
                    let pixel = |x, y| Rgb([level(x, y), level(x, y) / 2, 255 - level(x, y)]);
                    match is_color {
                        false => GrayImage::from_fn(width, height, |x, y| Luma([level(x, y)])).save(&image).unwrap(),
                        true => RgbImage::from_fn(width, height, pixel).save(&image).unwrap(),
                    }
                    GrayImage::from_pixel(width, height, Luma([255])).save(&mask).unwrap();
                    let mut sample = Sample::new("i".into(), image.clone(), MaskRule::AboveHalf);
                    sample.masks.push(mask.clone());
                    sample.other_masks.push(mask.clone());
                    let (input, fitted) = prepare(&sample, 32, &fit).unwrap().into_input(32, &fit);

                    let frame = causalclipseg::io::Image::open(&image).unwrap();
                    let mut expected = vec![0.0; 3 * 32 * 32];
                    let placement =
                        Preprocessor::new(32, PLAIN, fit).unwrap().prepare(&frame.frame(), &mut expected).unwrap();
                    let case = format!("{width} x {height}, {fit:?}, colour {is_color}");
                    assert_eq!((input.width, input.height, fitted), (32, 32, placement.fitted()), "{case}");
                    for (channel, expected) in expected.chunks_exact(32 * 32).enumerate() {
                        let levels: Vec<u8> = expected.iter().map(|value| (value * 255.0).round() as u8).collect();
                        assert_eq!(input.plane(channel), levels, "{case}, channel {channel}");
                    }
                    let is_image = |index: usize| {
                        let Region { x, y, width, height } = fitted;
                        (x..x + width).contains(&(index % 32)) && (y..y + height).contains(&(index / 32))
                    };
                    let inside: Vec<u8> = (0..32 * 32).map(|index| u8::from(is_image(index))).collect();
                    assert_eq!((&input.mask, input.other_lesions.as_ref()), (&inside, Some(&inside)), "{case}");
                }
            }
        }
    }

    #[test]
    fn colour_is_kept_in_planes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("i.png");
        RgbImage::from_pixel(20, 10, Rgb([10, 20, 30])).save(&path).unwrap();
        let picture = prepare(&Sample::new("i".into(), path, MaskRule::AboveHalf), 8, &Fit::Stretch).unwrap();
        assert_eq!(picture.channels, 3);
        for channel in 0..3 {
            assert!(picture.plane(channel).iter().all(|value| *value == 10 * (channel as u8 + 1)));
        }
        assert_eq!(picture.lesion_box(), None);
    }
}
