//! Frames from plain arrays of samples, as in MetaImage, NRRD and NIfTI: each of these formats reads its header, and
//! this module reads the samples.

mod element;
#[cfg(test)]
pub(super) mod fixture;
mod sequence;
mod unpack;

pub(super) use element::Element;
pub use sequence::RasterSequence;
pub(super) use sequence::{About, pixels_of};

use super::MAX_DECODED_BYTES;
use super::levels::{Levels, SampleRange};
use super::source::{Bytes, FrameBuffer};
use crate::frame::{MAX_SIDE, PixelFormat};
use std::io::{self, SeekFrom};
use unpack::Unpacked;

/// zlib's largest compression ratio: a larger announced size cannot be in the file.
const MOST_COMPRESSION: u64 = 1032;

/// The number of extra bytes behind the samples that are accepted: a line end, or padding to an even length.
const MAX_TRAILING_BYTES: u64 = 2;

/// Why an array of samples is not read. The caller knows the file's name.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages say it")]
pub enum RasterError {
    #[error("cannot be read ({0}); check its permissions")]
    Io(#[from] io::Error),
    #[error("it holds no pixels; record or convert it again")]
    Empty,
    #[error("{width} x {height} pixels, more than {MAX_SIDE} a side; crop or shrink it first")]
    TooLarge { width: u64, height: u64 },
    #[error("one frame takes more than {} MiB of memory; crop or shrink it first", MAX_DECODED_BYTES >> 20)]
    Memory,
    #[error("the file is cut short: the header announces {announced} bytes and {actual} are there; copy it again")]
    CutShort { announced: u64, actual: u64 },
    #[error(
        "the header contradicts the data: it announces {announced} bytes of pixels and {actual} are there; \
         check its sizes and its type"
    )]
    Surplus { announced: u64, actual: u64 },
    #[error(
        "the header contradicts the data: more pixels are there than its {frames} frames take; check its sizes and its type"
    )]
    Unannounced { frames: u64 },
    #[error("frame {} of {frames} is damaged or cut short ({reason}); copy it again", .frame + 1)]
    Frame { frame: u64, frames: u64, reason: String },
}

/// The layout of samples in an array: row by row, frame by frame.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Raster {
    pub width: u64,
    pub height: u64,
    pub frames: u64,
    pub element: Element,
    /// The number of samples of a pixel, side by side: 1 is grey, 3 is red, green and blue, 4 has a transparency that
    /// is ignored.
    pub channels: usize,
    /// Whether the high byte of a sample comes first.
    pub big_endian: bool,
    /// Whether the samples of all frames are stored together for each pixel, as in 3D Slicer's sequences, instead of
    /// frame by frame.
    pub frames_first: bool,
    /// The meaning of a stored number: multiplied by the first, plus the second.
    pub scale: Option<[f64; 2]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Packing {
    Plain,
    /// zlib or gzip.
    Compressed,
    /// Numbers separated by white space.
    Text,
}

impl Packing {
    /// The name, for people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plain => "none",
            Self::Compressed => "zlib or gzip",
            Self::Text => "none, numbers as text",
        }
    }
}

/// The position of samples in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The first byte; with `from_end` it is counted back from the end instead, by the size of the samples.
    pub start: u64,
    pub from_end: bool,
    /// The size of the compressed samples; all bytes up to the end where the header does not say.
    pub bytes: u64,
    pub packing: Packing,
    /// Bytes to skip after unpacking.
    pub skip_unpacked: u64,
}

impl Place {
    /// A place from a byte on to the end of the file.
    pub fn new(start: u64, packing: Packing) -> Self {
        Self { start, from_end: false, bytes: u64::MAX, packing, skip_unpacked: 0 }
    }
}

/// Reads frame by frame.
pub(super) struct RasterReader {
    raster: Raster,
    width: usize,
    height: usize,
    /// The unpacked samples; `None` after a failure.
    unpacked: Option<Unpacked>,
    levels: Option<Levels>,
    next: u64,
    /// One frame as stored; all frames where they are stored pixel by pixel.
    stored: Vec<u8>,
}

impl RasterReader {
    /// Checks that the file has exactly the samples that `raster` describes. Compressed samples, and those of more than
    /// eight bits, are read once for that, and for their black and white levels.
    pub fn new(raster: Raster, mut source: Box<dyn Bytes>, mut place: Place) -> Result<Self, RasterError> {
        let Raster { width, height, frames, .. } = raster;
        if width == 0 || height == 0 || frames == 0 {
            return Err(RasterError::Empty);
        }
        let (Some(w), Some(h)) = (side(width), side(height)) else {
            return Err(RasterError::TooLarge { width, height });
        };
        let frame_bytes = raster.frame_bytes();
        let all_bytes = frame_bytes.saturating_mul(frames);
        let kept_bytes = if raster.frames_first { all_bytes } else { frame_bytes };
        if kept_bytes > MAX_DECODED_BYTES
            || width * height * raster.format().bytes_per_pixel() as u64 > MAX_DECODED_BYTES
        {
            return Err(RasterError::Memory);
        }
        let end = source.seek(SeekFrom::End(0))?;
        if place.from_end {
            place.start =
                end.checked_sub(all_bytes).ok_or(RasterError::CutShort { announced: all_bytes, actual: end })?;
        }
        let there = end.saturating_sub(place.start);
        let trailing = |announced: u64| there > announced.saturating_add(MAX_TRAILING_BYTES);
        match place.packing {
            Packing::Plain => {
                if all_bytes > there {
                    return Err(RasterError::CutShort { announced: all_bytes, actual: there });
                }
                if trailing(all_bytes) {
                    return Err(RasterError::Surplus { announced: all_bytes, actual: there });
                }
            }
            Packing::Compressed => {
                if place.bytes != u64::MAX && place.bytes > there {
                    return Err(RasterError::CutShort { announced: place.bytes, actual: there });
                }
                if trailing(place.bytes) {
                    return Err(RasterError::Surplus { announced: place.bytes, actual: there });
                }
                let packed = place.bytes.min(there);
                if all_bytes > packed.saturating_mul(MOST_COMPRESSION) {
                    return Err(RasterError::CutShort { announced: all_bytes / MOST_COMPRESSION, actual: packed });
                }
            }
            Packing::Text => {
                // At least a digit and a space each; the last space may be missing.
                let samples = all_bytes / raster.element.bytes() as u64;
                let least = samples.saturating_mul(2).saturating_sub(1);
                if least > there {
                    return Err(RasterError::CutShort { announced: least, actual: there });
                }
            }
        }
        let unpacked = Some(Unpacked::open(source, &place, raster.element)?);
        let mut reader = Self { raster, width: w, height: h, unpacked, levels: None, next: 0, stored: Vec::new() };
        let plain_bytes = reader.raster.element == Element::U8 && reader.raster.scale.is_none();
        if !plain_bytes || place.packing != Packing::Plain || reader.raster.frames_first {
            reader.read_through(&place, plain_bytes)?;
        }
        Ok(reader)
    }

    /// One pass over all samples, and back to the first.
    fn read_through(&mut self, place: &Place, plain_bytes: bool) -> Result<(), RasterError> {
        let frames = self.raster.frames;
        let mut range = SampleRange::new(self.raster.element.is_float() || self.raster.scale.is_some());
        let mut frame = 0;
        while frame < frames {
            frame += self.read_stored(frame)?;
            if !plain_bytes {
                self.raster.for_each(&self.stored, |sample| range.add(sample));
            }
        }
        let Some(unpacked) = &mut self.unpacked else { return Ok(()) };
        let at_end = match place.packing {
            // The file's length was compared already, and a line end may follow.
            Packing::Plain => true,
            Packing::Compressed | Packing::Text => unpacked.is_at_end().map_err(|error| RasterError::Frame {
                frame: frames - 1,
                frames,
                reason: error.to_string(),
            })?,
        };
        if !at_end {
            return Err(RasterError::Unannounced { frames });
        }
        if !plain_bytes {
            self.levels = Some(range.levels());
        }
        if !self.raster.frames_first
            && let Some(unpacked) = self.unpacked.take()
        {
            self.unpacked = Some(Unpacked::open(unpacked.close(), place, self.raster.element)?);
        }
        Ok(())
    }

    /// Reads the stored samples of one frame, or of all; returns the number of frames.
    fn read_stored(&mut self, frame: u64) -> Result<u64, RasterError> {
        let frames = self.raster.frames;
        let count = if self.raster.frames_first { frames } else { 1 };
        // Both were compared with the memory limit.
        self.stored.resize((self.raster.frame_bytes() * count) as usize, 0);
        let Some(unpacked) = &mut self.unpacked else { return Ok(count) };
        unpacked.fill(&mut self.stored).map_err(|error| RasterError::Frame {
            frame,
            frames,
            reason: error.to_string(),
        })?;
        Ok(count)
    }

    pub fn frames(&self) -> u64 {
        self.raster.frames
    }

    /// The number of the frame that [`RasterReader::read_frame`] reads next.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Width and height of every frame, in pixels.
    pub fn size(&self) -> [usize; 2] {
        [self.width, self.height]
    }

    /// The pixels, for people.
    pub fn describe_pixels(&self) -> String {
        let kind = match self.raster.channels {
            1 => "grey",
            3 => "RGB",
            _ => "RGBA",
        };
        let levels = self.levels.map(|levels| levels.describe()).unwrap_or_default();
        format!("{} {kind}{levels}", self.raster.element.name())
    }

    /// Reads the next frame; `false` after the last one.
    pub fn read_frame(&mut self, into: &mut FrameBuffer) -> Result<bool, RasterError> {
        let frames = self.raster.frames;
        if self.next >= frames {
            return Ok(false);
        }
        let frame = self.next;
        // After a damaged frame there is nothing to read.
        self.next = frames;
        let damaged = |reason: String| RasterError::Frame { frame, frames, reason };
        let pixels =
            into.reset(self.raster.format(), self.width, self.height).map_err(|error| damaged(error.to_string()))?;
        let as_they_are = self.levels.is_none() && self.raster.channels != 4 && !self.raster.frames_first;
        if as_they_are && let Some(unpacked) = &mut self.unpacked {
            unpacked.fill(pixels).map_err(|error| damaged(error.to_string()))?;
        } else {
            if !self.raster.frames_first {
                self.read_stored(frame)?;
            }
            self.convert(frame, pixels);
        }
        self.next = frame + 1;
        Ok(true)
    }

    fn convert(&self, frame: u64, pixels: &mut [u8]) {
        let raster = &self.raster;
        let levels = self.levels.unwrap_or(Levels { black: 0.0, white: 255.0 });
        let pixel_bytes = raster.channels * raster.element.bytes();
        // For every pixel, where it begins: after the last one, or among those of all frames.
        let (step, first) = match raster.frames_first {
            true => (pixel_bytes * raster.frames as usize, pixel_bytes * frame as usize),
            false => (pixel_bytes, 0),
        };
        let stored = self.stored.chunks_exact(step).filter_map(|pixel| pixel.get(first..first + pixel_bytes));
        match raster.format() {
            PixelFormat::Gray16Le => {
                for (pixel, stored) in pixels.as_chunks_mut().0.iter_mut().zip(stored) {
                    raster.for_each(stored, |sample| *pixel = levels.to_u16(sample).to_le_bytes());
                }
            }
            PixelFormat::Gray8 => {
                for (pixel, stored) in pixels.iter_mut().zip(stored) {
                    raster.for_each(stored, |sample| *pixel = levels.to_u8(sample));
                }
            }
            _ => {
                for (pixel, stored) in pixels.chunks_exact_mut(3).zip(stored) {
                    let mut colours = pixel.iter_mut();
                    raster.for_each(stored, |sample| {
                        if let Some(colour) = colours.next() {
                            *colour = levels.to_u8(sample);
                        }
                    });
                }
            }
        }
    }
}

impl Raster {
    /// The bytes of one frame as stored.
    fn frame_bytes(&self) -> u64 {
        // Sides were checked: at most 2^14 each, times 4 x 8.
        self.width.saturating_mul(self.height).saturating_mul((self.channels * self.element.bytes()) as u64)
    }

    /// The pixel format of frames.
    fn format(&self) -> PixelFormat {
        match (self.channels, self.element, self.scale) {
            (1, Element::U8, None) => PixelFormat::Gray8,
            (1, ..) => PixelFormat::Gray16Le,
            _ => PixelFormat::Rgb8,
        }
    }

    /// Calls `each` with the meaning of every sample.
    fn for_each(&self, stored: &[u8], mut each: impl FnMut(f64)) {
        let [slope, intercept] = self.scale.unwrap_or([1.0, 0.0]);
        self.element.for_each(stored, self.big_endian, |sample| each(sample * slope + intercept));
    }
}

fn side(length: u64) -> Option<usize> {
    usize::try_from(length).ok().filter(|length| *length <= MAX_SIDE)
}

#[cfg(test)]
mod tests;
