//! Image and mask files, decoded.

use super::{DataError, MaskRule, Sample};
use image::{DynamicImage, ImageReader, Limits};
use std::path::{Path, PathBuf};

/// The longest side that is decoded, in pixels, as in the runtime.
pub(super) const MAX_SIDE: u32 = 16_384;
/// The most memory that a decoder may allocate, in bytes: an RGB picture of 10,000 x 10,000.
const MAX_DECODED_BYTES: u64 = 300_000_000;

/// A decoded image, 0..255.
#[derive(Clone, Debug, PartialEq)]
pub enum Image {
    Gray(image::GrayImage),
    Rgb(image::RgbImage),
}

impl Image {
    /// Width and height in pixels.
    pub fn size(&self) -> (usize, usize) {
        let (width, height) = match self {
            Self::Gray(image) => image.dimensions(),
            Self::Rgb(image) => image.dimensions(),
        };
        (width as usize, height as usize)
    }
}

/// A decoded mask: row by row, `true` is lesion.
#[derive(Clone, Debug, PartialEq)]
pub struct Mask {
    pub width: usize,
    pub height: usize,
    pub lesion: Vec<bool>,
}

impl Mask {
    pub fn size(&self) -> (usize, usize) {
        (self.width, self.height)
    }

    /// The number of lesion pixels.
    pub fn area(&self) -> usize {
        self.lesion.iter().filter(|lesion| **lesion).count()
    }
}

/// Decodes an image of any bit depth. 16-bit values keep their high byte, as in the runtime; transparency is dropped;
/// a colour file that is grey everywhere becomes grey.
pub fn load_image(path: &Path) -> Result<Image, DataError> {
    let decoded = decode(path)?;
    if !decoded.color().has_color() {
        return Ok(Image::Gray(decoded.into_luma8()));
    }
    let rgb = decoded.into_rgb8();
    if rgb.pixels().all(|pixel| pixel.0[0] == pixel.0[1] && pixel.0[1] == pixel.0[2]) {
        return Ok(Image::Gray(DynamicImage::ImageRgb8(rgb).into_luma8()));
    }
    Ok(Image::Rgb(rgb))
}

/// Decodes a mask of any bit depth. The brightest channel counts, since some masks are drawn in red; transparency does
/// not.
pub fn load_mask(path: &Path, rule: MaskRule) -> Result<Mask, DataError> {
    let decoded = decode(path)?;
    let (width, height) = (decoded.width() as usize, decoded.height() as usize);
    // 16 bits represent every depth without loss: 255 becomes 65535, and half of the range stays half.
    let values: Vec<u16> = if decoded.color().has_color() {
        decoded.into_rgb16().pixels().map(|pixel| pixel.0[0].max(pixel.0[1]).max(pixel.0[2])).collect()
    } else {
        decoded.into_luma16().into_raw()
    };
    let threshold = threshold(&values, rule);
    Ok(Mask { width, height, lesion: values.into_iter().map(|value| value > threshold).collect() })
}

/// The largest 16-bit value that is still background.
fn threshold(values: &[u16], rule: MaskRule) -> u16 {
    const ONE_OF_8_BITS: u16 = 257;
    match rule {
        MaskRule::Nonzero => 0,
        MaskRule::LabelOrHalf if values.iter().all(|value| *value <= ONE_OF_8_BITS) => 0,
        MaskRule::AboveHalf | MaskRule::LabelOrHalf => u16::MAX / 2,
    }
}

/// The union of a sample's masks; an empty mask where it has none.
///
/// # Errors
/// A mask cannot be read, or has another size than `image_size` (width, height).
pub fn load_masks(sample: &Sample, image_size: (usize, usize)) -> Result<Mask, DataError> {
    load_union(sample, &sample.masks, image_size)
}

/// The union of the masks of the lesions that the sample does not name; `None` where the data set has none.
pub(super) fn load_other_masks(sample: &Sample, image_size: (usize, usize)) -> Result<Option<Mask>, DataError> {
    match sample.other_masks.as_slice() {
        [] => Ok(None),
        masks => load_union(sample, masks, image_size).map(Some),
    }
}

fn load_union(sample: &Sample, masks: &[PathBuf], image_size: (usize, usize)) -> Result<Mask, DataError> {
    let (width, height) = image_size;
    let mut union = Mask { width, height, lesion: vec![false; width * height] };
    for path in masks {
        let mask = load_mask(path, sample.mask_rule)?;
        if mask.size() != image_size {
            return Err(DataError::SizeMismatch {
                mask: path.clone(),
                mask_size: mask.size(),
                image: sample.image.clone(),
                image_size,
            });
        }
        union.lesion.iter_mut().zip(mask.lesion).for_each(|(union, lesion)| *union |= lesion);
    }
    Ok(union)
}

fn decode(path: &Path) -> Result<DynamicImage, DataError> {
    let read = |source| DataError::Read { path: path.into(), source };
    let mut reader = ImageReader::open(path).map_err(read)?.with_guessed_format().map_err(read)?;
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    limits.max_alloc = Some(MAX_DECODED_BYTES);
    reader.limits(limits);
    reader.decode().map_err(|error| DataError::Decode { path: path.into(), reason: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{GrayImage, ImageBuffer, Luma, Rgb, RgbImage};

    fn saved(image: impl Into<DynamicImage>) -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("mask.png");
        image.into().save(&path).unwrap();
        (directory, path)
    }

    #[test]
    fn masks_of_every_kind_agree() {
        let columns = [0u8, 127, 128, 255];
        let gray = GrayImage::from_fn(4, 1, |x, _| Luma([columns[x as usize]]));
        let red = RgbImage::from_fn(4, 1, |x, _| Rgb([columns[x as usize], 0, 0]));
        let deep = ImageBuffer::<Luma<u16>, _>::from_fn(4, 1, |x, _| Luma([u16::from(columns[x as usize]) * 257]));
        for image in [DynamicImage::from(gray), red.into(), deep.into()] {
            let (_directory, path) = saved(image);
            assert_eq!(load_mask(&path, MaskRule::AboveHalf).unwrap().lesion, [false, false, true, true]);
            assert_eq!(load_mask(&path, MaskRule::Nonzero).unwrap().lesion, [false, true, true, true]);
        }
    }

    /// PNGs that the image crate cannot write, of 4 x 1 pixels, assembled from their chunks: 0, 1, 1, 0.
    fn hand_made_png(bit_depth: u8, color_type: u8, palette: Option<&[u8]>) -> (tempfile::TempDir, PathBuf) {
        let mut bytes = b"\x89PNG\r\n\x1a\n".to_vec();
        let mut chunk = |kind: &[u8; 4], data: &[u8]| {
            let body = [kind.as_slice(), data].concat();
            bytes.extend((data.len() as u32).to_be_bytes());
            bytes.extend(&body);
            bytes.extend(crc32(&body).to_be_bytes());
        };
        chunk(b"IHDR", &[0, 0, 0, 4, 0, 0, 0, 1, bit_depth, color_type, 0, 0, 0]);
        if let Some(palette) = palette {
            chunk(b"PLTE", palette);
        }
        // One stored deflate block: filter byte 0 and the row's packed bits, with its Adler-32.
        let row = 0b0110_0000u8;
        let adler = ((2 + u32::from(row)) << 16) | (1 + u32::from(row));
        chunk(b"IDAT", &[&[0x78, 1, 1, 2, 0, 0xfd, 0xff, 0, row], adler.to_be_bytes().as_slice()].concat());
        chunk(b"IEND", &[]);
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("mask.png");
        std::fs::write(&path, bytes).unwrap();
        (directory, path)
    }

    fn crc32(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(!0u32, |crc, byte| {
            (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg()))
        })
    }

    #[test]
    fn one_bit_and_palette_masks_are_read() {
        for (bit_depth, color_type, palette) in [(1, 0, None), (1, 3, Some([0, 0, 0, 200, 0, 0].as_slice()))] {
            let (_directory, path) = hand_made_png(bit_depth, color_type, palette);
            let mask = load_mask(&path, MaskRule::AboveHalf).unwrap();
            assert_eq!(mask.lesion, [false, true, true, false], "colour type {color_type}");
        }
    }

    #[test]
    fn a_label_map_of_zeros_and_ones_is_recognised() {
        let (_directory, path) = saved(GrayImage::from_fn(3, 1, |x, _| Luma([u8::from(x == 1)])));
        assert_eq!(load_mask(&path, MaskRule::LabelOrHalf).unwrap().area(), 1);
        assert_eq!(load_mask(&path, MaskRule::AboveHalf).unwrap().area(), 0);
        let (_directory, path) = saved(GrayImage::from_fn(3, 1, |x, _| Luma([[0, 90, 200][x as usize]])));
        assert_eq!(load_mask(&path, MaskRule::LabelOrHalf).unwrap().area(), 1);
    }

    #[test]
    fn sixteen_bits_keep_the_high_byte_and_grey_colour_becomes_grey() {
        let deep = ImageBuffer::<Luma<u16>, _>::from_fn(2, 1, |x, _| Luma([[0x1234, 0xffff][x as usize]]));
        let (_directory, path) = saved(deep);
        let Image::Gray(gray) = load_image(&path).unwrap() else { panic!("a grey file became colour") };
        assert_eq!(gray.as_raw(), &[0x12, 0xff]);
        let (_directory, path) = saved(RgbImage::from_pixel(2, 2, Rgb([7, 7, 7])));
        assert!(matches!(load_image(&path).unwrap(), Image::Gray(_)));
        let (_directory, path) = saved(RgbImage::from_pixel(2, 2, Rgb([7, 8, 7])));
        assert!(matches!(load_image(&path).unwrap(), Image::Rgb(_)));
    }

    #[test]
    fn masks_are_united_and_sizes_compared() {
        let (_first, first) = saved(GrayImage::from_fn(3, 1, |x, _| Luma([if x == 0 { 255 } else { 0 }])));
        let (_second, second) = saved(GrayImage::from_fn(3, 1, |x, _| Luma([if x == 2 { 255 } else { 0 }])));
        let mut sample = Sample::new("case".into(), "image.png".into(), MaskRule::AboveHalf);
        assert_eq!(load_masks(&sample, (3, 1)).unwrap().area(), 0);
        sample.masks = vec![first.clone(), second];
        assert_eq!(load_masks(&sample, (3, 1)).unwrap().lesion, [true, false, true]);
        let error = load_masks(&sample, (4, 2)).unwrap_err().to_string();
        assert!(error.contains(first.to_str().unwrap()) && error.contains("image.png"), "{error}");
        assert!(error.contains("3 x 1") && error.contains("4 x 2"), "{error}");
    }

    #[test]
    fn broken_files_are_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("text.png");
        for content in [b"no picture".as_slice(), b"", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"] {
            std::fs::write(&path, content).unwrap();
            let error = load_image(&path).unwrap_err();
            assert!(matches!(error, DataError::Decode { .. }) && error.to_string().contains("text.png"), "{error}");
        }
        let missing = directory.path().join("missing.png");
        assert!(matches!(load_image(&missing), Err(DataError::Read { .. })));
    }
}
