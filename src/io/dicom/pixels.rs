//! How pixels are stored, and the way from there into a frame (DICOM PS3.3, C.7.6.3).

use super::DicomError;
use super::palette::Palette;
use super::values::{integer, real, text};
use crate::frame::{MAX_SIDE, PixelFormat};
use crate::io::MAX_DECODED_BYTES;
use crate::io::source::FrameBuffer;
use dicom_dictionary_std::tags;
use dicom_object::InMemDicomObject;

/// What the stored samples mean.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Samples {
    /// Grey; every stored value as 8 bits, where a window or a scale says how.
    Grey {
        table: Option<Vec<u8>>,
        inverted: bool,
    },
    Palette(Palette),
    Rgb {
        planar: bool,
    },
    /// Luma and two chromas of every pixel.
    YbrFull {
        planar: bool,
    },
    /// Two pixels share their chromas: Y, Y, Cb, Cr.
    YbrFull422,
}

/// One frame's layout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PixelLayout {
    pub width: usize,
    pub height: usize,
    pub frames: u64,
    /// 1 or 2.
    pub bytes_per_sample: usize,
    /// Of the two bytes, the bits that carry the value.
    bits_stored: u32,
    samples: Samples,
}

impl PixelLayout {
    pub fn read(root: &InMemDicomObject) -> Result<Self, DicomError> {
        let side = |tag, name| {
            let side = integer(root, tag).ok_or(DicomError::Missing(name))?;
            usize::try_from(side).ok().filter(|side| *side > 0).ok_or(DicomError::Value(name))
        };
        let (width, height) = (side(tags::COLUMNS, "its width")?, side(tags::ROWS, "its height")?);
        if width > MAX_SIDE || height > MAX_SIDE {
            return Err(DicomError::TooLarge { width, height });
        }
        let frames = match root.get(tags::NUMBER_OF_FRAMES).and_then(|_| text(root, tags::NUMBER_OF_FRAMES)) {
            None => 1,
            Some(_) => integer(root, tags::NUMBER_OF_FRAMES)
                .and_then(|frames| u64::try_from(frames).ok())
                .filter(|frames| *frames > 0)
                .ok_or(DicomError::Value("the number of frames"))?,
        };
        let bits_allocated = integer(root, tags::BITS_ALLOCATED).ok_or(DicomError::Missing("its bits per pixel"))?;
        let bits_stored = integer(root, tags::BITS_STORED).unwrap_or(bits_allocated);
        let (bytes_per_sample, bits_stored) = match (bits_allocated, bits_stored) {
            (8, bits @ 1..=8) => (1, bits as u32),
            (16, bits @ 1..=16) => (2, bits as u32),
            _ => return Err(DicomError::Unsupported(format!("{bits_stored} of {bits_allocated} bits per sample"))),
        };
        if integer(root, tags::HIGH_BIT).is_some_and(|bit| bit != i64::from(bits_stored) - 1) {
            return Err(DicomError::Unsupported("its samples do not begin at the lowest bit".into()));
        }
        if integer(root, tags::PIXEL_REPRESENTATION).is_some_and(|signed| signed != 0) {
            return Err(DicomError::Unsupported("its samples are signed".into()));
        }
        let planar = integer(root, tags::PLANAR_CONFIGURATION) == Some(1);
        let photometric = text(root, tags::PHOTOMETRIC_INTERPRETATION).ok_or(DicomError::Missing("its colours"))?;
        let count = integer(root, tags::SAMPLES_PER_PIXEL).unwrap_or(1);
        let samples = match (photometric.as_str(), count) {
            ("MONOCHROME1" | "MONOCHROME2", 1) => {
                let table = grey_table(root, bits_stored)?;
                Samples::Grey { table, inverted: photometric == "MONOCHROME1" }
            }
            ("PALETTE COLOR", 1) => Samples::Palette(Palette::read(root)?),
            ("RGB", 3) if bytes_per_sample == 1 => Samples::Rgb { planar },
            ("YBR_FULL", 3) if bytes_per_sample == 1 => Samples::YbrFull { planar },
            ("YBR_FULL_422", 3) if bytes_per_sample == 1 => Samples::YbrFull422,
            (other, count) => {
                // A name of the standard's, or something like one.
                let name: String = other.chars().filter(|c| c.is_ascii_alphanumeric() || "_ ".contains(*c)).collect();
                let name: String = name.chars().take(16).collect();
                return Err(DicomError::Unsupported(format!("its colours are {count} x {bits_allocated} bits {name}")));
            }
        };
        let layout = Self { width, height, frames, bytes_per_sample, bits_stored, samples };
        // Stored and in the frame: whichever is more.
        if (layout.frame_bytes() as u64).max((width * height) as u64 * 3) > MAX_DECODED_BYTES {
            return Err(DicomError::Memory);
        }
        Ok(layout)
    }

    /// Samples of one pixel in as many planes; 4:2:2 counts as three, as RLE and JPEG have it.
    pub fn planes(&self) -> usize {
        match self.samples {
            Samples::Grey { .. } | Samples::Palette(_) => self.bytes_per_sample,
            _ => 3,
        }
    }

    /// Of an uncompressed frame.
    pub fn frame_bytes(&self) -> usize {
        let pixels = self.width * self.height;
        match self.samples {
            Samples::Grey { .. } | Samples::Palette(_) => pixels * self.bytes_per_sample,
            Samples::Rgb { .. } | Samples::YbrFull { .. } => 3 * pixels,
            Samples::YbrFull422 => 4 * self.width.div_ceil(2) * self.height,
        }
    }

    /// Puts stored bytes, low byte first, into a frame. Missing ones would be black; there are none.
    pub fn convert(&self, stored: &[u8], into: &mut FrameBuffer) -> Result<(), crate::frame::FrameError> {
        let (width, height) = (self.width, self.height);
        match &self.samples {
            Samples::Grey { table: Some(table), inverted } => {
                let pixels = into.reset(PixelFormat::Gray8, width, height)?;
                let mask = if *inverted { 0xff } else { 0 };
                for (pixel, value) in pixels.iter_mut().zip(self.values(stored)) {
                    *pixel = table.get(usize::from(value)).or(table.last()).copied().unwrap_or(0) ^ mask;
                }
            }
            Samples::Grey { table: None, inverted } if self.bits_stored <= 8 => {
                let pixels = into.reset(PixelFormat::Gray8, width, height)?;
                let mask = if *inverted { 0xff } else { 0 };
                for (pixel, value) in pixels.iter_mut().zip(self.values(stored)) {
                    *pixel = widen(value, self.bits_stored, 8) as u8 ^ mask;
                }
            }
            Samples::Grey { table: None, inverted } => {
                let pixels = into.reset(PixelFormat::Gray16Le, width, height)?;
                let mask = if *inverted { 0xffff } else { 0 };
                for (pixel, value) in pixels.as_chunks_mut().0.iter_mut().zip(self.values(stored)) {
                    *pixel = (widen(value, self.bits_stored, 16) ^ mask).to_le_bytes();
                }
            }
            Samples::Palette(palette) => {
                let pixels = into.reset(PixelFormat::Rgb8, width, height)?;
                for (pixel, value) in pixels.as_chunks_mut().0.iter_mut().zip(self.values(stored)) {
                    *pixel = palette.colour(value);
                }
            }
            Samples::Rgb { planar } => {
                triples(stored, *planar, into.reset(PixelFormat::Rgb8, width, height)?, |rgb| rgb)
            }
            Samples::YbrFull { planar } => {
                triples(stored, *planar, into.reset(PixelFormat::Rgb8, width, height)?, rgb_of);
            }
            Samples::YbrFull422 => {
                let pixels = into.reset(PixelFormat::Rgb8, width, height)?;
                let rows = pixels.chunks_exact_mut(3 * width).zip(stored.chunks_exact(4 * width.div_ceil(2)));
                for (row, stored) in rows {
                    for (pair, [y0, y1, cb, cr]) in row.chunks_mut(6).zip(stored.as_chunks().0) {
                        for (pixel, luma) in pair.as_chunks_mut().0.iter_mut().zip([y0, y1]) {
                            *pixel = rgb_of([*luma, *cb, *cr]);
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// The same for a frame whose byte planes follow each other, high byte first, as RLE has them.
    pub fn convert_planes(&self, planes: &[u8], into: &mut FrameBuffer) -> Result<(), crate::frame::FrameError> {
        let pixels = self.width * self.height;
        match &self.samples {
            Samples::Grey { .. } | Samples::Palette(_) if self.bytes_per_sample == 2 => {
                let (high, low) = planes.split_at(pixels.min(planes.len()));
                let stored: Vec<u8> = low.iter().zip(high).flat_map(|(low, high)| [*low, *high]).collect();
                self.convert(&stored, into)
            }
            Samples::Grey { .. } | Samples::Palette(_) => self.convert(planes, into),
            Samples::Rgb { .. } => {
                triples(planes, true, into.reset(PixelFormat::Rgb8, self.width, self.height)?, |rgb| rgb);
                Ok(())
            }
            Samples::YbrFull { .. } | Samples::YbrFull422 => {
                triples(planes, true, into.reset(PixelFormat::Rgb8, self.width, self.height)?, rgb_of);
                Ok(())
            }
        }
    }

    /// Puts a decoded JPEG into a frame: grey as grey, colours as they are.
    pub fn convert_jpeg(&self, grey: bool, decoded: &[u8], into: &mut FrameBuffer) -> Result<(), &'static str> {
        let failed = |_| "its size is none";
        match &self.samples {
            _ if self.bytes_per_sample != 1 => Err("it has eight bits and its pixels sixteen"),
            Samples::Grey { .. } | Samples::Palette(_) if grey => self.convert(decoded, into).map_err(failed),
            Samples::Grey { .. } | Samples::Palette(_) => Err("it is in colour and its pixels grey"),
            _ if grey => Err("it is grey and its pixels in colour"),
            _ => {
                into.reset(PixelFormat::Rgb8, self.width, self.height).map_err(failed)?.copy_from_slice(decoded);
                Ok(())
            }
        }
    }

    /// The stored values, bits that do not belong to them cleared.
    fn values<'a>(&self, stored: &'a [u8]) -> impl Iterator<Item = u16> + 'a {
        let mask = (((1u32 << self.bits_stored) - 1) & 0xffff) as u16;
        let bytes = self.bytes_per_sample;
        stored.chunks_exact(bytes).map(move |sample| match *sample {
            [value] => u16::from(value) & mask,
            [low, high] => u16::from_le_bytes([low, high]) & mask,
            _ => 0,
        })
    }
}

/// Spreads `bits` over `to`: the largest value of the one is the largest of the other.
fn widen(value: u16, bits: u32, to: u32) -> u16 {
    let most = |bits: u32| (1u32 << bits) - 1;
    if bits >= to { value } else { (u32::from(value) * most(to) / most(bits).max(1)) as u16 }
}

/// Rescale slope and intercept, then the linear window (PS3.3, C.11.2.1.2), as a table; `None` where nothing is asked for.
fn grey_table(root: &InMemDicomObject, bits_stored: u32) -> Result<Option<Vec<u8>>, DicomError> {
    let (Some(centre), Some(width)) = (real(root, tags::WINDOW_CENTER), real(root, tags::WINDOW_WIDTH)) else {
        return Ok(None);
    };
    if width < 1.0 {
        return Err(DicomError::Value("the window's width"));
    }
    let slope = real(root, tags::RESCALE_SLOPE).unwrap_or(1.0);
    let intercept = real(root, tags::RESCALE_INTERCEPT).unwrap_or(0.0);
    let shade = |stored: u32| {
        let value = f64::from(stored) * slope + intercept;
        let share = if width > 1.0 {
            (value - (centre - 0.5)) / (width - 1.0) + 0.5
        } else {
            f64::from(u8::from(value > centre - 0.5))
        };
        (share.clamp(0.0, 1.0) * 255.0).round() as u8
    };
    Ok(Some((0..1u32 << bits_stored).map(shade).collect()))
}

/// Three samples a pixel, in planes or side by side.
fn triples(stored: &[u8], planar: bool, pixels: &mut [u8], colour: impl Fn([u8; 3]) -> [u8; 3]) {
    let pixels = pixels.as_chunks_mut().0;
    if planar {
        let (first, rest) = stored.split_at(pixels.len().min(stored.len()));
        let (second, third) = rest.split_at(pixels.len().min(rest.len()));
        for (((pixel, a), b), c) in pixels.iter_mut().zip(first).zip(second).zip(third) {
            *pixel = colour([*a, *b, *c]);
        }
    } else {
        for (pixel, sample) in pixels.iter_mut().zip(stored.as_chunks().0) {
            *pixel = colour(*sample);
        }
    }
}

/// ITU-R BT.601 at full range, as PS3.3, C.7.6.3.1.2 gives it.
fn rgb_of([y, cb, cr]: [u8; 3]) -> [u8; 3] {
    let (y, cb, cr) = (f32::from(y), f32::from(cb) - 128.0, f32::from(cr) - 128.0);
    // A float as a byte is cut to 0..255.
    [y + 1.402 * cr, y - 0.344_136 * cb - 0.714_136 * cr, y + 1.772 * cb].map(|value| value.round() as u8)
}
