//! TIFF and BigTIFF: all pages, grey of any depth, floats, palettes, colours.

mod colour;
mod directory;

pub(in crate::io) use directory::starts_like_one;

use super::{Decoded, Description, Image, MAX_DECODED_BYTES, ReadError, open_file};
use crate::frame::{MAX_SIDE, Orientation};
use crate::io::levels::{Levels, SampleRange};
use crate::io::source::FrameBuffer;
use colour::{Page, Palette, for_each_sample};
use directory::{Directories, Patched};
use std::fs::File;
use std::io::{BufRead, BufReader, Seek};
use std::path::{Path, PathBuf};
use tiff::decoder::{Decoder, DecodingResult, Limits};
use tiff::tags::Tag;

/// The pages of a TIFF file, in their order, decoded on demand. Smaller copies of a page are left out.
pub struct TiffPages<R: BufRead + Seek = BufReader<File>> {
    path: PathBuf,
    decoder: Decoder<Patched<R>>,
    directories: Directories,
    /// The directories that are separate pages.
    pages: Vec<usize>,
    /// The levels of all pages together, where samples have more than 8 bits; found on the first pass over them.
    levels: Option<Levels>,
    next: usize,
}

impl TiffPages {
    /// Opens a file.
    ///
    /// # Errors
    /// The file is not a TIFF file, or is damaged.
    pub fn open(path: &Path) -> Result<Self, ReadError> {
        Self::new(path, open_file(path)?)
    }
}

impl<R: BufRead + Seek> TiffPages<R> {
    /// As [`TiffPages::open`], from any reader; `name` is its name in errors.
    pub fn new(name: &Path, mut source: R) -> Result<Self, ReadError> {
        let damaged = |reason: String| ReadError::Damaged { path: name.into(), reason };
        let directories = Directories::read(&mut source).map_err(|error| damaged(error.to_string()))?;
        let own = |all: bool| {
            let listed = directories.pages.iter().enumerate();
            listed.filter(|(_, page)| all || !page.is_secondary).map(|(index, _)| index).collect::<Vec<_>>()
        };
        let pages = Some(own(false)).filter(|pages| !pages.is_empty()).unwrap_or_else(|| own(true));
        if pages.is_empty() {
            return Err(damaged("it has no page".into()));
        }
        let source = Patched::new(source, directories.patches()).map_err(|error| damaged(error.to_string()))?;
        let mut limits = Limits::default();
        limits.decoding_buffer_size = MAX_DECODED_BYTES as usize;
        limits.intermediate_buffer_size = MAX_DECODED_BYTES as usize;
        limits.ifd_value_size = MAX_DECODED_BYTES as usize;
        let decoder = Decoder::new(source).map_err(|error| ReadError::of_tiff(name, error))?.with_limits(limits);
        Ok(Self { path: name.into(), decoder, directories, pages, levels: None, next: 0 })
    }

    /// The number of pages, at least one.
    pub fn len(&self) -> usize {
        self.pages.len()
    }

    /// Always false: a file without pages is not opened.
    pub fn is_empty(&self) -> bool {
        self.pages.is_empty()
    }

    /// Reads the next page; `false` after the last one.
    ///
    /// # Errors
    /// The page cannot be decoded.
    pub fn read_page(&mut self, into: &mut FrameBuffer) -> Result<bool, ReadError> {
        let Some(page) = self.pages.get(self.next).copied() else { return Ok(false) };
        self.next += 1;
        let image = self.image(page)?;
        image.move_into(into).map_err(|error| self.damaged(&error.to_string()))?;
        Ok(true)
    }

    /// The first page, and what is known about all.
    pub(super) fn decode_first(mut self) -> Result<Decoded, ReadError> {
        if self.pages.len() > 1 {
            log::debug!("{}: one picture is asked for: the first of {} pages", self.path.display(), self.pages.len());
        }
        let first = self.pages.first().copied().unwrap_or_default();
        let image = self.image(first)?;
        Ok(Decoded { description: self.describe(first, &image)?, image })
    }

    fn describe(&mut self, page: usize, image: &Image) -> Result<Description, ReadError> {
        let failed = |error| ReadError::of_tiff(&self.path, error);
        let mut ignored = Vec::new();
        let left_out = self.directories.pages.len() - self.pages.len();
        if left_out > 0 {
            ignored.push(format!("{left_out} smaller copies or masks of pages"));
        }
        if self.decoder.find_tag(Tag::XResolution).map_err(failed)?.is_some() {
            ignored.push("the resolution, which is for printing: pass --mm-per-pixel".into());
        }
        let colour = self.decoder.colortype().map_err(failed)?;
        let is_palette = self.directories.pages.get(page).is_some_and(|page| page.palette_at.is_some());
        let compression = self.decoder.find_tag_unsigned::<u16>(Tag::Compression).map_err(failed)?.unwrap_or(1);
        let levels = self.levels.map(|levels| levels.describe()).unwrap_or_default();
        let (kind, photometric) = match is_palette {
            true => (format!("{}-bit palette", colour.bit_depth()), "palette".to_string()),
            false => (super::describe_pixels(image.format, colour.bit_depth().into()), format!("{colour:?}")),
        };
        Ok(Description {
            format: "TIFF".into(),
            width: image.width,
            height: image.height,
            frames: Some(self.pages.len() as u64),
            pixels: format!("{kind}{levels}"),
            photometric_interpretation: Some(photometric),
            compression: match compression {
                1 => "none".into(),
                5 => "LZW".into(),
                7 => "JPEG".into(),
                8 | 32_946 => "deflate".into(),
                32_773 => "PackBits".into(),
                other => format!("TIFF compression {other}"),
            },
            orientation: image.orientation,
            ignored,
            ..Description::default()
        })
    }

    /// One page in pixels.
    fn image(&mut self, page: usize) -> Result<Image, ReadError> {
        let (samples, layout) = self.samples(page)?;
        let levels = match layout.is_plain(&samples) {
            true => Levels { black: 0.0, white: 255.0 },
            false => match self.levels {
                Some(levels) => levels,
                None => self.common_levels(page, &samples)?,
            },
        };
        let (pixels, format) = layout.pixels(&samples, levels).map_err(|reason| self.damaged(reason))?;
        let mut image = Image::new(pixels, format, layout.width, layout.height)
            .map_err(|error| self.damaged(&error.to_string()))?;
        image.orientation = layout.orientation;
        Ok(image)
    }

    /// The black and white levels of all pages, one of which is decoded already.
    fn common_levels(&mut self, decoded: usize, samples: &DecodingResult) -> Result<Levels, ReadError> {
        let is_float = matches!(samples, DecodingResult::F16(_) | DecodingResult::F32(_) | DecodingResult::F64(_));
        let mut range = SampleRange::new(is_float);
        for_each_sample(samples, |sample| range.add(sample));
        for page in self.pages.clone() {
            if page != decoded {
                let (samples, _) = self.samples(page)?;
                for_each_sample(&samples, |sample| range.add(sample));
            }
        }
        // The decoder is at another page now.
        self.decoder.seek_to_image(decoded).map_err(|error| ReadError::of_tiff(&self.path, error))?;
        Ok(*self.levels.insert(range.levels()))
    }

    fn samples(&mut self, page: usize) -> Result<(DecodingResult, Page), ReadError> {
        let path = self.path.clone();
        let failed = |error| ReadError::of_tiff(&path, error);
        let decoder = &mut self.decoder;
        if page > 0 || self.next > 1 {
            decoder.seek_to_image(page).map_err(failed)?;
        }
        let (width, height) = decoder.dimensions().map_err(failed)?;
        if width as usize > MAX_SIDE || height as usize > MAX_SIDE {
            return Err(ReadError::TooLarge { path, width, height });
        }
        let colour = decoder.colortype().map_err(failed)?;
        let is_palette = self.directories.pages.get(page).is_some_and(|page| page.palette_at.is_some());
        let palette = match is_palette {
            true => {
                let map = decoder.find_tag_unsigned_vec::<u16>(Tag::ColorMap).map_err(failed)?.unwrap_or_default();
                let wrong = || ReadError::Damaged { path: path.clone(), reason: "its palette is damaged".into() };
                Some(Palette::new(&map, colour).ok_or_else(wrong)?)
            }
            false => None,
        };
        let orientation = decoder.find_tag_unsigned::<u16>(Tag::Orientation).map_err(failed)?;
        let orientation = orientation.and_then(|number| Orientation::from_exif(number.into())).unwrap_or_default();
        let layout = decoder.image_buffer_layout().map_err(failed)?;
        if layout.complete_len as u64 > MAX_DECODED_BYTES {
            return Err(ReadError::Memory(path));
        }
        // The decoder reads uncompressed data from the beginning of a strip, however short it is.
        let compression = decoder.find_tag_unsigned::<u16>(Tag::Compression).map_err(failed)?.unwrap_or(1);
        if compression == 1 {
            let strips = decoder.find_tag_unsigned_vec::<u64>(Tag::StripByteCounts).map_err(failed)?;
            let tiles = decoder.find_tag_unsigned_vec::<u64>(Tag::TileByteCounts).map_err(failed)?;
            let there = strips.or(tiles).unwrap_or_default().into_iter().fold(0, u64::saturating_add);
            if there < layout.complete_len as u64 {
                let reason = format!("its strips hold {there} bytes, and {} are announced", layout.complete_len);
                return Err(ReadError::Damaged { path, reason });
            }
        }
        let page = Page::new(width as usize, height as usize, colour, palette, layout.planes, orientation)
            .map_err(|reason| ReadError::Unsupported { path: path.clone(), reason })?;
        let mut samples = DecodingResult::U8(Vec::new());
        decoder.read_image_to_buffer(&mut samples).map_err(failed)?;
        Ok((samples, page))
    }

    fn damaged(&self, reason: &str) -> ReadError {
        ReadError::Damaged { path: self.path.clone(), reason: reason.into() }
    }
}

#[cfg(test)]
mod tests;
