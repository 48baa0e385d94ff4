//! Pictures from files: PNG, JPEG, BMP and TIFF, recognised by their content and not by their name.

mod error;
mod png;
mod tiff;

pub use error::ReadError;
pub use tiff::TiffPages;
pub(super) use tiff::starts_like_one as is_tiff;

use super::Description;
use super::jpeg::check_complete;
use super::levels::{Levels, SampleRange};
use super::source::FrameBuffer;
use crate::frame::{Frame, FrameError, MAX_SIDE, Orientation, PixelFormat};
use image::metadata::Orientation as StoredOrientation;
use image::{ColorType, DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits};
use std::fs;
use std::io::{self, BufRead, BufReader, Cursor, Read, Seek};
use std::path::Path;

/// The most memory that decoding one picture may need, in bytes.
pub const MAX_DECODED_BYTES: u64 = 512 << 20;

/// Pixels read from a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    pixels: Vec<u8>,
    format: PixelFormat,
    width: usize,
    height: usize,
    orientation: Orientation,
}

/// A picture, and its file's description.
struct Decoded {
    image: Image,
    description: Description,
}

impl Image {
    /// Reads the picture in a file; the first one of a TIFF file with several. Grey stays grey, 8 or 16 bit (1 to 4 bit
    /// are scaled to 8); palettes and all colours become 8-bit RGB. White of 16-bit grey is the largest number of as
    /// many bits as are used. Transparency is ignored. Pixels are returned as they are stored: [`Frame::orientation`]
    /// states how they are turned to be upright.
    ///
    /// # Errors
    /// The file is not such a picture, is damaged, incomplete, or too large.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, ReadError> {
        let path = path.as_ref();
        Ok(decode(path, open_file(path)?)?.image)
    }

    /// As [`Image::open`], from a file's bytes; `name` is its name in errors.
    pub fn from_bytes(name: impl AsRef<Path>, bytes: &[u8]) -> Result<Self, ReadError> {
        Ok(decode(name.as_ref(), Cursor::new(bytes))?.image)
    }

    /// An image of packed pixels in memory. Errors as [`Frame::packed`].
    pub fn new(pixels: Vec<u8>, format: PixelFormat, width: usize, height: usize) -> Result<Self, FrameError> {
        Frame::packed(&pixels, format, width, height)?;
        Ok(Self { pixels, format, width, height, orientation: Orientation::Upright })
    }

    /// Borrows all pixels, with an unknown size in millimetres.
    pub fn frame(&self) -> Frame<'_> {
        Frame::packed(&self.pixels, self.format, self.width, self.height)
            .expect("checked when the image was made")
            .with_orientation(self.orientation)
    }

    /// Moves the pixels into a buffer, without a copy.
    pub(super) fn move_into(self, buffer: &mut FrameBuffer) -> Result<(), FrameError> {
        buffer.replace(self.pixels, self.format, self.width, self.height)?;
        buffer.orientation = self.orientation;
        Ok(())
    }
}

/// Describes a picture's file, which is decoded for that.
pub(super) fn describe(name: &Path, source: impl BufRead + Seek) -> Result<Description, ReadError> {
    Ok(decode(name, source)?.description)
}

/// Reads a picture into a buffer.
pub(super) fn decode_into(
    name: &Path,
    source: impl BufRead + Seek,
    into: &mut FrameBuffer,
) -> Result<(), super::source::SourceError> {
    Ok(decode(name, source)?.image.move_into(into)?)
}

pub(super) fn open_file(path: &Path) -> Result<BufReader<fs::File>, ReadError> {
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => ReadError::Missing(path.into()),
        _ => ReadError::Io { path: path.into(), source },
    };
    let metadata = fs::metadata(path).map_err(failed)?;
    if !metadata.is_file() {
        return Err(ReadError::NotAFile(path.into()));
    }
    Ok(BufReader::new(fs::File::open(path).map_err(failed)?))
}

fn decode(path: &Path, mut source: impl BufRead + Seek) -> Result<Decoded, ReadError> {
    let io_failed = |source| ReadError::Io { path: path.into(), source };
    let start = source.fill_buf().map_err(io_failed)?;
    if start.is_empty() {
        return Err(ReadError::Empty(path.into()));
    }
    if tiff::starts_like_one(start) {
        return TiffPages::new(path, source)?.decode_first();
    }
    if start.starts_with(b"GIF8") {
        let instead = "split it into pictures first: ffmpeg -i clip.gif clip_%04d.png";
        return Err(ReadError::KnownFormat { path: path.into(), kind: "a GIF file", instead });
    }
    let format = image::guess_format(start).ok().filter(ImageFormat::reading_enabled);
    let format = format.ok_or_else(|| ReadError::Format(path.into()))?;
    let mut ignored = Vec::new();
    match format {
        ImageFormat::Jpeg => {
            let mut bytes = Vec::new();
            source.take(MAX_DECODED_BYTES).read_to_end(&mut bytes).map_err(io_failed)?;
            check_complete(&bytes)
                .map_err(|fault| ReadError::Damaged { path: path.into(), reason: fault.to_string() })?;
            decode_as(path, format, Cursor::new(bytes), ignored)
        }
        ImageFormat::Png => {
            if let Some(frames) = png::animation_frames(&mut source).map_err(io_failed)? {
                let left_out = format!("{frames} pictures of its animation, except the first");
                log::warn!("{}: left out: {left_out}; split it with ffmpeg -i x.png x_%04d.png", path.display());
                ignored.push(left_out);
            }
            decode_as(path, format, source, ignored)
        }
        _ => decode_as(path, format, source, ignored),
    }
}

/// Decodes a picture of a format that the `image` crate reads completely.
fn decode_as(
    path: &Path,
    format: ImageFormat,
    source: impl BufRead + Seek,
    mut ignored: Vec<String>,
) -> Result<Decoded, ReadError> {
    let refused = |error| ReadError::of_image(path, error);
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(MAX_DECODED_BYTES);
    let mut reader = ImageReader::with_format(source, format);
    reader.limits(limits.clone());
    let mut decoder = reader.into_decoder().map_err(refused)?;
    // Before anything is allocated for pixels: the header states how large they are.
    let (width, height) = decoder.dimensions();
    if width as usize > MAX_SIDE || height as usize > MAX_SIDE {
        return Err(ReadError::TooLarge { path: path.into(), width, height });
    }
    if decoder.total_bytes() > MAX_DECODED_BYTES {
        return Err(ReadError::Memory(path.into()));
    }
    decoder.set_limits(limits).map_err(refused)?;
    // EXIF that cannot be read is ignored, as in other readers.
    let orientation = decoder.orientation().unwrap_or(StoredOrientation::NoTransforms);
    let orientation = Orientation::from_exif(orientation.to_exif().into()).unwrap_or_default();
    let colour = decoder.original_color_type();
    let decoded = DynamicImage::from_decoder(decoder).map_err(refused)?;
    if decoded.color().has_alpha() {
        ignored.push("transparency".into());
    }
    let (pixels, pixel_format, levels) = into_pixels(decoded);
    let mut image = Image::new(pixels, pixel_format, width as usize, height as usize)
        .map_err(|error| ReadError::Damaged { path: path.into(), reason: error.to_string() })?;
    image.orientation = orientation;
    let compression = match format {
        ImageFormat::Jpeg => "JPEG",
        ImageFormat::Png => "deflate",
        _ => "none, or run lengths",
    };
    let name = format.extensions_str().first().copied().unwrap_or_default().to_uppercase();
    let description = Description {
        format: if name == "JPG" { "JPEG".into() } else { name },
        width: image.width,
        height: image.height,
        frames: Some(1),
        pixels: format!("{}{}", describe_pixels(pixel_format, colour.bits_per_pixel()), levels.describe()),
        photometric_interpretation: Some(format!("{colour:?}")),
        compression: compression.into(),
        orientation,
        ignored,
        ..Description::default()
    };
    Ok(Decoded { image, description })
}

/// The stored format of a pixel, and the one that it is read as, for people.
fn describe_pixels(format: PixelFormat, stored_bits: u16) -> String {
    match format {
        PixelFormat::Gray8 => format!("{stored_bits}-bit grey"),
        PixelFormat::Gray16Le => "16-bit grey".into(),
        _ => format!("{stored_bits} bits a pixel, read as 8-bit RGB"),
    }
}

fn into_pixels(decoded: DynamicImage) -> (Vec<u8>, PixelFormat, Levels) {
    let as_they_are = Levels { black: 0.0, white: 65_535.0 };
    match decoded {
        DynamicImage::ImageLuma8(grey) => (grey.into_raw(), PixelFormat::Gray8, as_they_are),
        DynamicImage::ImageLumaA8(_) => (decoded.into_luma8().into_raw(), PixelFormat::Gray8, as_they_are),
        DynamicImage::ImageLuma16(_) | DynamicImage::ImageLumaA16(_) => {
            let samples = decoded.into_luma16().into_raw();
            let levels = SampleRange::of_u16(&samples).levels();
            let scaled = samples.into_iter().flat_map(|sample| levels.to_u16(sample.into()).to_le_bytes());
            (scaled.collect(), PixelFormat::Gray16Le, levels)
        }
        colour if matches!(colour.color(), ColorType::Rgb16 | ColorType::Rgba16) => {
            let samples = colour.into_rgb16().into_raw();
            let levels = SampleRange::of_u16(&samples).levels();
            (samples.into_iter().map(|sample| levels.to_u8(sample.into())).collect(), PixelFormat::Rgb8, levels)
        }
        colour => (colour.into_rgb8().into_raw(), PixelFormat::Rgb8, as_they_are),
    }
}

#[cfg(test)]
mod tests;
