//! Pictures from files: PNG, JPEG, BMP and TIFF, told by their content and not by their name.

use super::source::FrameBuffer;
use crate::frame::{Frame, FrameError, MAX_SIDE, PixelFormat};
use image::{DynamicImage, ImageDecoder, ImageError, ImageReader, Limits};
use std::fs;
use std::io::{self, BufRead, BufReader, Cursor, Seek};
use std::path::{Path, PathBuf};

/// The most memory that decoding one picture may take, in bytes.
pub const MAX_DECODED_BYTES: u64 = 512 << 20;

/// Pixels read from a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    pixels: Vec<u8>,
    format: PixelFormat,
    width: usize,
    height: usize,
}

/// Why a picture was not read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    #[error("{}: no such file; check the path", .0.display())]
    Missing(PathBuf),
    #[error("{}: not a file; give the path of a picture", .0.display())]
    NotAFile(PathBuf),
    #[error("{}: cannot be read ({source}); check its permissions", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{}: the file is empty; copy it again from its source", .0.display())]
    Empty(PathBuf),
    #[error("{}: not a picture that can be read, whatever its name says; give PNG, JPEG, BMP or TIFF", .0.display())]
    Format(PathBuf),
    #[error("{}: {width} x {height} pixels, more than {MAX_SIDE} a side; crop or shrink it first", path.display())]
    TooLarge { path: PathBuf, width: u32, height: u32 },
    #[error(
        "{}: decoding it takes more than {} MiB of memory; crop or shrink it first",
        .0.display(), MAX_DECODED_BYTES >> 20
    )]
    Memory(PathBuf),
    #[error("{}: the picture is damaged or cut short ({reason}); copy it again from its source", path.display())]
    Damaged { path: PathBuf, reason: String },
    #[error("{}: a kind of this format that is not supported ({reason}); save it as a plain 8- or 16-bit PNG", path.display())]
    Unsupported { path: PathBuf, reason: String },
}

impl Image {
    /// Reads the picture in a file. Grey stays grey, 8 or 16 bit (1 to 4 bit are scaled to 8); palettes and all colours
    /// become 8-bit RGB. Transparency is ignored, and so is an orientation noted beside the pixels: results lie on the
    /// pixels as they are stored.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, ReadError> {
        let path = path.as_ref();
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::NotFound => ReadError::Missing(path.into()),
            _ => ReadError::Io { path: path.into(), source },
        };
        let metadata = fs::metadata(path).map_err(failed)?;
        if !metadata.is_file() {
            return Err(ReadError::NotAFile(path.into()));
        }
        Self::decode(path, BufReader::new(fs::File::open(path).map_err(failed)?))
    }

    /// Reads the picture in a file's bytes; `name` is what errors call it. As [`Image::open`] otherwise.
    pub fn from_bytes(name: impl AsRef<Path>, bytes: &[u8]) -> Result<Self, ReadError> {
        Self::decode(name.as_ref(), Cursor::new(bytes))
    }

    /// Packed pixels in memory. Errors as [`Frame::packed`].
    pub fn new(pixels: Vec<u8>, format: PixelFormat, width: usize, height: usize) -> Result<Self, FrameError> {
        Frame::packed(&pixels, format, width, height)?;
        Ok(Self { pixels, format, width, height })
    }

    /// Lends the pixels, all of them, of unknown size in millimetres.
    pub fn frame(&self) -> Frame<'_> {
        Frame::packed(&self.pixels, self.format, self.width, self.height).expect("checked when the image was made")
    }

    /// Gives the pixels to a buffer, without a copy.
    pub(super) fn move_into(self, buffer: &mut FrameBuffer) -> Result<(), FrameError> {
        buffer.replace(self.pixels, self.format, self.width, self.height)
    }

    fn decode(path: &Path, mut source: impl BufRead + Seek) -> Result<Self, ReadError> {
        let io_failed = |source| ReadError::Io { path: path.into(), source };
        if source.fill_buf().map_err(io_failed)?.is_empty() {
            return Err(ReadError::Empty(path.into()));
        }
        let mut reader = ImageReader::new(source).with_guessed_format().map_err(io_failed)?;
        if reader.format().is_none() {
            return Err(ReadError::Format(path.into()));
        }
        let mut limits = Limits::no_limits();
        limits.max_alloc = Some(MAX_DECODED_BYTES);
        reader.limits(limits.clone());
        let mut decoder = reader.into_decoder().map_err(|error| refused(path, error))?;
        // Before anything is allocated for pixels: the header alone says how large they are.
        let (width, height) = decoder.dimensions();
        if width as usize > MAX_SIDE || height as usize > MAX_SIDE {
            return Err(ReadError::TooLarge { path: path.into(), width, height });
        }
        if decoder.total_bytes() > MAX_DECODED_BYTES {
            return Err(ReadError::Memory(path.into()));
        }
        decoder.set_limits(limits).map_err(|error| refused(path, error))?;
        let decoded = DynamicImage::from_decoder(decoder).map_err(|error| refused(path, error))?;
        let (pixels, format) = into_pixels(decoded);
        Self::new(pixels, format, width as usize, height as usize)
            .map_err(|error| ReadError::Damaged { path: path.into(), reason: error.to_string() })
    }
}

fn into_pixels(decoded: DynamicImage) -> (Vec<u8>, PixelFormat) {
    match decoded {
        DynamicImage::ImageLuma8(grey) => (grey.into_raw(), PixelFormat::Gray8),
        DynamicImage::ImageLumaA8(_) => (decoded.into_luma8().into_raw(), PixelFormat::Gray8),
        DynamicImage::ImageLuma16(_) | DynamicImage::ImageLumaA16(_) => {
            let samples = decoded.into_luma16().into_raw();
            (samples.into_iter().flat_map(u16::to_le_bytes).collect(), PixelFormat::Gray16Le)
        }
        colour => (colour.into_rgb8().into_raw(), PixelFormat::Rgb8),
    }
}

fn refused(path: &Path, error: ImageError) -> ReadError {
    let path = path.to_path_buf();
    // One line, whatever the decoder says.
    let reason = error.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
    match error {
        ImageError::Limits(_) => ReadError::Memory(path),
        ImageError::Unsupported(_) => ReadError::Unsupported { path, reason },
        ImageError::IoError(source) if source.kind() != io::ErrorKind::UnexpectedEof => ReadError::Io { path, source },
        _ => ReadError::Damaged { path, reason },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::codecs::png::PngEncoder;
    use image::{ExtendedColorType, ImageEncoder, ImageFormat};

    fn png(pixels: &[u8], width: u32, height: u32, colour: ExtendedColorType) -> Vec<u8> {
        let mut bytes = Vec::new();
        PngEncoder::new(&mut bytes).write_image(pixels, width, height, colour).unwrap();
        bytes
    }

    fn read(bytes: &[u8]) -> Result<Image, ReadError> {
        Image::from_bytes("scan.png", bytes)
    }

    /// The bytes of a PNG chunk, checksum included.
    fn chunk(kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
        let body = [kind, data].concat();
        let mut crc = !0u32;
        for byte in &body {
            crc ^= u32::from(*byte);
            for _ in 0..8 {
                crc = if crc & 1 == 1 { 0xedb8_8320 ^ (crc >> 1) } else { crc >> 1 };
            }
        }
        [&(data.len() as u32).to_be_bytes()[..], &body, &(!crc).to_be_bytes()].concat()
    }

    fn header(width: u32, height: u32, bits: u8, colour: u8) -> Vec<u8> {
        let data = [&width.to_be_bytes()[..], &height.to_be_bytes(), &[bits, colour, 0, 0, 0]].concat();
        [b"\x89PNG\r\n\x1a\n".to_vec(), chunk(b"IHDR", &data)].concat()
    }

    /// Stored, not compressed: `lines` with their filter bytes, as zlib.
    fn stored(lines: &[u8]) -> Vec<u8> {
        let length = lines.len() as u16;
        let (mut a, mut b) = (1u32, 0u32);
        for byte in lines {
            a = (a + u32::from(*byte)) % 65_521;
            b = (b + a) % 65_521;
        }
        let block = [&[0x78, 1, 1][..], &length.to_le_bytes(), &(!length).to_le_bytes(), lines].concat();
        [block, ((b << 16) | a).to_be_bytes().to_vec()].concat()
    }

    #[test]
    fn every_kind_of_pixel_arrives() {
        let cases: [(ExtendedColorType, &[u8], PixelFormat, &[u8]); 6] = [
            (ExtendedColorType::L8, &[1, 2], PixelFormat::Gray8, &[1, 2]),
            (ExtendedColorType::La8, &[1, 9, 2, 0], PixelFormat::Gray8, &[1, 2]),
            (ExtendedColorType::L16, &[1, 2, 3, 4], PixelFormat::Gray16Le, &[1, 2, 3, 4]),
            (ExtendedColorType::Rgb8, &[1, 2, 3, 4, 5, 6], PixelFormat::Rgb8, &[1, 2, 3, 4, 5, 6]),
            (ExtendedColorType::Rgba8, &[1, 2, 3, 0, 4, 5, 6, 9], PixelFormat::Rgb8, &[1, 2, 3, 4, 5, 6]),
            (ExtendedColorType::Rgb16, &[0; 12], PixelFormat::Rgb8, &[0; 6]),
        ];
        for (colour, written, format, pixels) in cases {
            let image = read(&png(written, 2, 1, colour)).unwrap();
            assert_eq!((image.format, &image.pixels[..]), (format, pixels), "{colour:?}");
            assert_eq!((image.frame().width(), image.frame().height()), (2, 1));
        }
    }

    #[test]
    fn one_bit_and_palette_are_expanded() {
        let end = chunk(b"IEND", &[]);
        let one_bit = [header(3, 1, 1, 0), chunk(b"IDAT", &stored(&[0, 0b1010_0000])), end.clone()].concat();
        let image = read(&one_bit).unwrap();
        assert_eq!((image.format, image.pixels), (PixelFormat::Gray8, vec![255, 0, 255]));
        let palette = chunk(b"PLTE", &[9, 8, 7, 6, 5, 4]);
        let indexed = [header(2, 1, 8, 3), palette, chunk(b"IDAT", &stored(&[0, 1, 0])), end].concat();
        let image = read(&indexed).unwrap();
        assert_eq!((image.format, image.pixels), (PixelFormat::Rgb8, vec![6, 5, 4, 9, 8, 7]));
    }

    #[test]
    fn the_content_tells_the_format() {
        let picture = DynamicImage::new_luma8(5, 4);
        for format in [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::Bmp, ImageFormat::Tiff] {
            let mut bytes = Cursor::new(Vec::new());
            picture.write_to(&mut bytes, format).unwrap();
            let image = Image::from_bytes("named.txt", bytes.get_ref()).unwrap();
            assert_eq!((image.width, image.height), (5, 4), "{format:?}");
            assert!(image.pixels.iter().all(|pixel| *pixel == 0), "{format:?}");
        }
    }

    #[test]
    fn bad_files_say_what_to_do() {
        let whole = png(&[7; 64 * 64], 64, 64, ExtendedColorType::L8);
        let message = |bytes: &[u8]| {
            let message = read(bytes).unwrap_err().to_string();
            assert!(!message.contains('\n'), "{message}");
            message
        };
        assert_eq!(message(b""), "scan.png: the file is empty; copy it again from its source");
        let text = "scan.png: not a picture that can be read, whatever its name says; give PNG, JPEG, BMP or TIFF";
        assert_eq!(message(b"This is text.\nTwo lines."), text);
        assert_eq!(
            message(&[header(20_000, 20_000, 8, 0), chunk(b"IDAT", &[])].concat()),
            "scan.png: 20000 x 20000 pixels, more than 16384 a side; crop or shrink it first"
        );
        let rgb = [header(16_000, 16_000, 8, 2), chunk(b"IDAT", &[])].concat();
        assert_eq!(message(&rgb), "scan.png: decoding it takes more than 512 MiB of memory; crop or shrink it first");
        assert!(matches!(read(&header(0, 5, 8, 0)), Err(ReadError::Damaged { .. })));
        assert!(matches!(read(b"GIF89a\x01\x00\x01\x00"), Err(ReadError::Unsupported { .. } | ReadError::Format(_))));
        for length in [1, 8, 20, 40, whole.len() / 2, whole.len() - 14] {
            let error = read(&whole[..length]).unwrap_err();
            assert!(matches!(error, ReadError::Damaged { .. } | ReadError::Format(_)), "{length}: {error}");
        }
    }

    #[test]
    fn a_flipped_byte_never_panics() {
        let picture = DynamicImage::new_rgb8(9, 7);
        for format in [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::Bmp, ImageFormat::Tiff] {
            let mut bytes = Cursor::new(Vec::new());
            picture.write_to(&mut bytes, format).unwrap();
            let bytes = bytes.into_inner();
            for position in 0..bytes.len().min(300) {
                let mut damaged = bytes.clone();
                damaged[position] ^= 0xff;
                let _ = read(&damaged);
            }
        }
    }

    #[test]
    fn paths_that_are_no_files() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(Image::open(folder.path()), Err(ReadError::NotAFile(_))));
        let missing = Image::open(folder.path().join("none.png")).unwrap_err();
        assert!(missing.to_string().ends_with("none.png: no such file; check the path"), "{missing}");
        fs::write(folder.path().join("file"), b"").unwrap();
        assert!(matches!(Image::open(folder.path().join("file")), Err(ReadError::Empty(_))));
        assert!(Image::open(folder.path().join("file/below.png")).is_err());
    }
}
