//! How pixels are stored, and their conversion to a frame (DICOM PS3.3, C.7.6.3).

use super::DicomError;
use super::grey::Grey;
use super::palette::Palette;
use super::values::{Elements, integer, text};
use crate::frame::{FrameError, MAX_SIDE, PixelFormat};
use crate::io::MAX_DECODED_BYTES;
use crate::io::source::FrameBuffer;
use dicom_dictionary_std::tags;

/// The meaning of the stored samples.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Samples {
    Grey(Grey),
    Palette(Palette),
    Rgb,
    /// Luma and two chromas.
    Ybr,
}

/// One frame's layout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PixelLayout {
    pub width: usize,
    pub height: usize,
    pub frames: u64,
    /// The name in the file.
    pub photometric: String,
    /// 1 or 3.
    pub samples_per_pixel: usize,
    /// 1 or 2.
    pub bytes_per_sample: usize,
    /// The bits that carry a value, and the unused ones below them.
    pub bits_stored: u32,
    shift: u32,
    signed: bool,
    /// Colours one after the other, a plane each.
    planar: bool,
    /// Two pixels share their chromas: Y, Y, Cb, Cr.
    halved: bool,
    samples: Samples,
    spread: Spread,
}

impl PixelLayout {
    pub fn read(root: &Elements, notes: &mut Vec<String>) -> Result<Self, DicomError> {
        let side = |tag, name| {
            let side = integer(root, tag).ok_or(DicomError::Missing(name))?;
            usize::try_from(side).ok().filter(|side| *side > 0).ok_or(DicomError::Value(name))
        };
        let (width, height) = (side(tags::COLUMNS, "its width")?, side(tags::ROWS, "its height")?);
        if width > MAX_SIDE || height > MAX_SIDE {
            return Err(DicomError::TooLarge { width, height });
        }
        let frames = match text(root, tags::NUMBER_OF_FRAMES) {
            None => 1,
            // Some writers put 0 for a picture.
            Some(_) => integer(root, tags::NUMBER_OF_FRAMES)
                .and_then(|frames| u64::try_from(frames).ok())
                .ok_or(DicomError::Value("the number of frames"))?
                .max(1),
        };
        let bits_allocated = integer(root, tags::BITS_ALLOCATED).ok_or(DicomError::Missing("its bits per pixel"))?;
        let bits_stored = integer(root, tags::BITS_STORED).unwrap_or(bits_allocated);
        let (bytes_per_sample, bits_stored) = match (bits_allocated, bits_stored) {
            (8, bits @ 1..=8) => (1, bits as u32),
            (16, bits @ 1..=16) => (2, bits as u32),
            _ => return Err(DicomError::Unsupported(format!("{bits_stored} of {bits_allocated} bits per sample"))),
        };
        let unused = 8 * bytes_per_sample as i64 - i64::from(bits_stored);
        let shift = integer(root, tags::HIGH_BIT).map_or(0, |bit| bit + 1 - i64::from(bits_stored));
        if !(0..=unused).contains(&shift) {
            notes.push("its High Bit contradicts its Bits Stored and was ignored".into());
        }
        let shift = if (0..=unused).contains(&shift) { shift as u32 } else { 0 };
        let mut signed = integer(root, tags::PIXEL_REPRESENTATION) == Some(1);
        let photometric = text(root, tags::PHOTOMETRIC_INTERPRETATION).ok_or(DicomError::Missing("its colours"))?;
        let count = integer(root, tags::SAMPLES_PER_PIXEL).unwrap_or(1);
        if signed && count == 3 {
            notes.push("its colours claim to be signed, which was ignored".into());
            signed = false;
        }
        let lowest = if signed { -(1i32 << (bits_stored - 1)) } else { 0 };
        let samples = match (photometric.as_str(), count) {
            ("MONOCHROME1" | "MONOCHROME2", 1) => {
                Samples::Grey(Grey::read(root, bits_stored, lowest, photometric == "MONOCHROME1", notes))
            }
            ("PALETTE COLOR", 1) => Samples::Palette(Palette::read(root, signed)?),
            // A decoder of JPEG 2000 turns the latter two into RGB.
            ("RGB" | "YBR_RCT" | "YBR_ICT", 3) => Samples::Rgb,
            ("YBR_FULL" | "YBR_FULL_422", 3) if bytes_per_sample == 1 => Samples::Ybr,
            (other, count) => {
                // A name of the standard's, or a similar one.
                let name: String = other.chars().filter(|c| c.is_ascii_alphanumeric() || "_ ".contains(*c)).collect();
                let name: String = name.chars().take(16).collect();
                return Err(DicomError::Unsupported(format!("its colours are {count} x {bits_allocated} bits {name}")));
            }
        };
        let layout = Self {
            width,
            height,
            frames,
            samples_per_pixel: count as usize,
            bytes_per_sample,
            bits_stored,
            shift,
            signed,
            planar: count == 3 && integer(root, tags::PLANAR_CONFIGURATION) == Some(1),
            halved: photometric == "YBR_FULL_422",
            photometric,
            samples,
            spread: Spread::default(),
        };
        // The larger of the stored size and the size in the frame.
        if (layout.frame_bytes().max(layout.interleaved_bytes()) as u64).max((width * height) as u64 * 3)
            > MAX_DECODED_BYTES
        {
            return Err(DicomError::Memory);
        }
        Ok(layout)
    }

    /// Compares the length of uncompressed Pixel Data with the description.
    pub fn check_length(&mut self, bytes: u64, notes: &mut Vec<String>) -> Result<(), DicomError> {
        if matches!(self.photometric.as_str(), "YBR_RCT" | "YBR_ICT") {
            return Err(DicomError::Unsupported(format!(
                "its colours are {} and it is not JPEG 2000",
                self.photometric
            )));
        }
        let (height, frames) = (self.height as u64, self.frames);
        // Padding to an even length; some writers pad a picture to four bytes. More, or a byte a row, would be another
        // layout.
        let fits = |frame_bytes: usize| {
            let described = (frame_bytes as u64).saturating_mul(frames);
            let most = if frames == 1 { 3.min(height.saturating_sub(1)).max(described % 2) } else { described % 2 };
            bytes.checked_sub(described).is_some_and(|surplus| surplus <= most)
        };
        if fits(self.frame_bytes()) {
            return Ok(());
        }
        if self.halved && fits(self.interleaved_bytes()) {
            notes.push("it claims YBR_FULL_422 and has three bytes a pixel: it was read as YBR_FULL".into());
            self.halved = false;
            return Ok(());
        }
        let described = (self.frame_bytes() as u64).saturating_mul(frames);
        Err(match bytes < described {
            true => DicomError::CutShort { announced: described, actual: bytes },
            false => DicomError::Contradiction { described, actual: bytes, photometric: self.photometric.clone() },
        })
    }

    /// The number of byte planes of one frame; 4:2:2 counts as three, as in RLE.
    pub fn planes(&self) -> usize {
        self.samples_per_pixel * self.bytes_per_sample
    }

    /// The bytes of a frame whose pixels have all their samples.
    pub fn interleaved_bytes(&self) -> usize {
        self.width * self.height * self.planes()
    }

    /// The bytes of an uncompressed frame.
    pub fn frame_bytes(&self) -> usize {
        if self.halved { 4 * self.width.div_ceil(2) * self.height } else { self.interleaved_bytes() }
    }

    /// Whether the file calls its samples red, green and blue.
    pub fn is_rgb(&self) -> bool {
        self.photometric == "RGB"
    }

    /// Converts stored bytes, low byte first, to a frame. Missing ones would be black; there are none.
    pub fn convert(&mut self, stored: &[u8], into: &mut FrameBuffer) -> Result<(), FrameError> {
        if self.halved {
            let width = self.width;
            let pixels = into.reset(PixelFormat::Rgb8, width, self.height)?;
            let rows = pixels.chunks_exact_mut(3 * width).zip(stored.chunks_exact(4 * width.div_ceil(2)));
            for (row, stored) in rows {
                for (pair, [y0, y1, cb, cr]) in row.chunks_mut(6).zip(stored.as_chunks().0) {
                    for (pixel, luma) in pair.as_chunks_mut().0.iter_mut().zip([y0, y1]) {
                        *pixel = rgb_of([*luma, *cb, *cr]);
                    }
                }
            }
            return Ok(());
        }
        self.convert_samples(stored, self.planar, into)
    }

    /// As [`Self::convert`], for a frame whose byte planes follow each other, high byte first, as in RLE.
    pub fn convert_planes(&mut self, planes: &[u8], into: &mut FrameBuffer) -> Result<(), FrameError> {
        if self.bytes_per_sample == 1 {
            return self.convert_samples(planes, true, into);
        }
        let pixels = self.width * self.height;
        let mut stored = Vec::with_capacity(planes.len());
        for sample in planes.chunks(2 * pixels) {
            let (high, low) = sample.split_at(pixels.min(sample.len()));
            stored.extend(low.iter().zip(high).flat_map(|(low, high)| [*low, *high]));
        }
        self.convert_samples(&stored, true, into)
    }

    /// As [`Self::convert`], for a decoder's output: all samples of every pixel, pixel by pixel.
    pub fn convert_interleaved(&mut self, stored: &[u8], into: &mut FrameBuffer) -> Result<(), FrameError> {
        self.convert_samples(stored, false, into)
    }

    fn convert_samples(&mut self, stored: &[u8], planar: bool, into: &mut FrameBuffer) -> Result<(), FrameError> {
        let (width, height) = (self.width, self.height);
        let mut spread = self.spread;
        match &self.samples {
            Samples::Grey(Grey { table: Some(table), inverted }) => {
                let pixels = into.reset(PixelFormat::Gray8, width, height)?;
                let mask = if *inverted { 0xff } else { 0 };
                let lowest = if self.signed { 1i32 << (self.bits_stored - 1) } else { 0 };
                for (pixel, value) in pixels.iter_mut().zip(self.values(stored)) {
                    let index = (value + lowest).max(0) as usize;
                    *pixel = table.get(index).or(table.last()).copied().unwrap_or(0) ^ mask;
                }
            }
            Samples::Grey(Grey { table: None, inverted }) => {
                let pixels = into.reset(PixelFormat::Gray16Le, width, height)?;
                let mask = if *inverted { 0xffff } else { 0 };
                spread.include(self.values(stored));
                for (pixel, value) in pixels.as_chunks_mut().0.iter_mut().zip(self.values(stored)) {
                    *pixel = (spread.share(value, 0xffff) as u16 ^ mask).to_le_bytes();
                }
            }
            Samples::Palette(palette) => {
                let pixels = into.reset(PixelFormat::Rgb8, width, height)?;
                for (pixel, value) in pixels.as_chunks_mut().0.iter_mut().zip(self.values(stored)) {
                    *pixel = palette.colour(value);
                }
            }
            Samples::Rgb if self.bytes_per_sample == 2 => {
                spread.include(self.values(stored));
                let bytes: Vec<u8> = self.values(stored).map(|value| spread.share(value, 0xff) as u8).collect();
                triples(&bytes, planar, into.reset(PixelFormat::Rgb8, width, height)?, |rgb| rgb);
            }
            Samples::Rgb => triples(stored, planar, into.reset(PixelFormat::Rgb8, width, height)?, |rgb| rgb),
            Samples::Ybr => triples(stored, planar, into.reset(PixelFormat::Rgb8, width, height)?, rgb_of),
        }
        self.spread = spread;
        Ok(())
    }

    /// Converts a decoded JPEG to a frame: grey as grey, colours unchanged.
    pub fn convert_jpeg(&mut self, grey: bool, decoded: &[u8], into: &mut FrameBuffer) -> Result<(), &'static str> {
        let failed = |_| "its size is zero";
        match &self.samples {
            _ if self.bytes_per_sample != 1 => Err("it has eight bits and its pixels sixteen"),
            Samples::Grey { .. } | Samples::Palette(_) if grey => {
                self.convert_samples(decoded, false, into).map_err(failed)
            }
            Samples::Grey { .. } | Samples::Palette(_) => Err("it is in colour and its pixels grey"),
            _ if grey => Err("it is grey and its pixels in colour"),
            _ => {
                into.reset(PixelFormat::Rgb8, self.width, self.height).map_err(failed)?.copy_from_slice(decoded);
                Ok(())
            }
        }
    }

    /// A black frame, in place of one that cannot be decoded.
    pub fn blank(&self, into: &mut FrameBuffer) -> Result<(), FrameError> {
        let format = match &self.samples {
            Samples::Grey(Grey { table: Some(_), .. }) => PixelFormat::Gray8,
            Samples::Grey(_) => PixelFormat::Gray16Le,
            _ => PixelFormat::Rgb8,
        };
        into.reset(format, self.width, self.height)?.fill(0);
        Ok(())
    }

    /// The stored values, without the bits that do not belong to them.
    fn values<'a>(&self, stored: &'a [u8]) -> impl Iterator<Item = i32> + use<'a> {
        let (bytes, shift) = (self.bytes_per_sample, self.shift);
        let mask = (1i32 << self.bits_stored) - 1;
        let sign = if self.signed { 1i32 << (self.bits_stored - 1) } else { 0 };
        stored.chunks_exact(bytes).map(move |sample| {
            let value = match *sample {
                [value] => i32::from(value),
                [low, high] => i32::from(u16::from_le_bytes([low, high])),
                _ => 0,
            };
            (((value >> shift) & mask) ^ sign) - sign
        })
    }
}

/// The number of bits in use where nothing else gives a scale: files allocate sixteen and fill eight, ten or twelve. It
/// grows from frame to frame, so that a clip keeps one scale as soon as its brightest pixel was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Spread {
    bits: u32,
    /// Whether a value was below zero: then zero is in the middle.
    signed: bool,
}

impl Default for Spread {
    fn default() -> Self {
        Self { bits: 8, signed: false }
    }
}

impl Spread {
    fn include(&mut self, values: impl Iterator<Item = i32>) {
        // A negative value needs as many bits as the positive one that mirrors it.
        let (mut all, mut below) = (0, false);
        for value in values {
            all |= value ^ (value >> 31);
            below |= value < 0;
        }
        self.signed |= below;
        let bits = 32 - all.leading_zeros() + u32::from(self.signed);
        self.bits = self.bits.max(bits).min(16);
    }

    /// `value` on a scale from 0 to `most`.
    fn share(self, value: i32, most: u32) -> u32 {
        let highest = (1u32 << self.bits) - 1;
        let zero = if self.signed { 1i32 << (self.bits - 1) } else { 0 };
        let value = (value + zero).clamp(0, highest as i32) as u32;
        (value * most + highest / 2) / highest
    }
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

/// ITU-R BT.601 at full range, as in PS3.3, C.7.6.3.1.2.
fn rgb_of([y, cb, cr]: [u8; 3]) -> [u8; 3] {
    let (y, cb, cr) = (f32::from(y), f32::from(cb) - 128.0, f32::from(cr) - 128.0);
    // A float to byte cast saturates at 0 and 255.
    [y + 1.402 * cr, y - 0.344_136 * cb - 0.714_136 * cr, y + 1.772 * cb].map(|value| value.round() as u8)
}
