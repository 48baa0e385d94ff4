//! Writes results as pictures and JSON.

use super::mark::{Marked, mark_png};
use super::source::FrameBuffer;
use super::{WriteError, replace_file};
use crate::frame::PixelFormat;
use crate::mask::{Mask, Probability};
use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder, ImageError, RgbImage};
use serde::Serialize;
use std::io::{self, Write};
use std::path::Path;

/// The bit depth of probabilities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// 255 is 1.
    Eight,
    /// 65535 is 1.
    Sixteen,
}

/// Writes a mask as 8-bit grey PNG, 0 and 255.
pub fn write_mask(path: &Path, mask: &Mask) -> Result<(), WriteError> {
    let pixels = mask.pixels();
    let bytes: Vec<u8> = pixels.iter().copied().collect();
    write_png(path, &bytes, pixels.dim(), ExtendedColorType::L8)
}

/// Writes a frame as it was read, as PNG: grey with 8 or 16 bit, or 8-bit RGB. An empty buffer is an error of the file.
pub fn write_frame(path: &Path, buffer: &FrameBuffer) -> Result<(), WriteError> {
    let frame =
        buffer.frame().map_err(|error| WriteError::Io { path: path.into(), source: io::Error::other(error) })?;
    let size = (frame.height(), frame.width());
    let pixels = buffer.pixels();
    match frame.format() {
        PixelFormat::Gray8 => write_png(path, pixels, size, ExtendedColorType::L8),
        PixelFormat::Gray16Le => {
            // The encoder expects the machine's own byte order.
            let (samples, _) = pixels.as_chunks();
            let samples: Vec<u8> = samples.iter().flat_map(|pair| u16::from_le_bytes(*pair).to_ne_bytes()).collect();
            write_png(path, &samples, size, ExtendedColorType::L16)
        }
        PixelFormat::Rgb8 => write_png(path, pixels, size, ExtendedColorType::Rgb8),
        PixelFormat::Bgra8 => {
            let (colours, _) = pixels.as_chunks();
            let colours: Vec<u8> = colours.iter().flat_map(|[blue, green, red, _]| [*red, *green, *blue]).collect();
            write_png(path, &colours, size, ExtendedColorType::Rgb8)
        }
    }
}

/// Writes probabilities as grey PNG.
pub fn write_probability(path: &Path, probability: &Probability, depth: Depth) -> Result<(), WriteError> {
    let values = probability.values();
    let scaled = |white: f32| values.iter().map(move |p| (p * white).round());
    match depth {
        Depth::Eight => {
            let bytes: Vec<u8> = scaled(255.0).map(|p| p as u8).collect();
            write_png(path, &bytes, values.dim(), ExtendedColorType::L8)
        }
        Depth::Sixteen => {
            // The encoder expects the machine's own byte order.
            let bytes: Vec<u8> = scaled(65_535.0).flat_map(|p| (p as u16).to_ne_bytes()).collect();
            write_png(path, &bytes, values.dim(), ExtendedColorType::L16)
        }
    }
}

/// Writes a picture as 8-bit RGB PNG.
pub fn write_overlay(path: &Path, picture: &RgbImage) -> Result<(), WriteError> {
    let size = (picture.height() as usize, picture.width() as usize);
    write_png(path, picture.as_raw(), size, ExtendedColorType::Rgb8)
}

/// Writes a value as indented JSON with a line end.
pub fn write_json(path: &Path, value: &impl Serialize) -> Result<(), WriteError> {
    replace_file(path, |file| {
        serde_json::to_writer_pretty(&mut *file, value)?;
        file.write_all(b"\n")
    })
}

/// As [`write_json`], for a result: an object whose first key marks it as one.
pub fn write_result_json(path: &Path, value: &impl Serialize) -> Result<(), WriteError> {
    write_json(path, &Marked::new(value))
}

fn write_png(
    path: &Path,
    pixels: &[u8],
    (height, width): (usize, usize),
    colour: ExtendedColorType,
) -> Result<(), WriteError> {
    replace_file(path, |file| {
        // Sides were checked when the frame came in; a mask from the caller may be larger still.
        let side = |length: usize| u32::try_from(length).map_err(io::Error::other);
        let expected = (width * height) as u64 * u64::from(colour.bits_per_pixel()) / 8;
        if expected != pixels.len() as u64 || expected == 0 {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a picture without pixels"));
        }
        let mut png = Vec::new();
        let written = PngEncoder::new(&mut png).write_image(pixels, side(width)?, side(height)?, colour);
        written.map_err(|error| match error {
            ImageError::IoError(source) => source,
            other => io::Error::other(other),
        })?;
        mark_png(&mut png);
        file.write_all(&png)
    })
}

#[cfg(test)]
mod tests {
    use super::super::Image;
    use super::*;
    use crate::frame::{Fit, Frame, Normalisation, Preprocessor};
    use ndarray::array;
    use std::fs;

    fn entries(folder: &Path) -> usize {
        fs::read_dir(folder).unwrap().count()
    }

    fn probability() -> Probability {
        let frame = Frame::packed(&[0; 2], PixelFormat::Gray8, 2, 1).unwrap();
        let mut preprocessor = Preprocessor::new(2, Normalisation::CLIP, Fit::Stretch).unwrap();
        let placement = preprocessor.prepare(&frame, &mut [0.0; 12]).unwrap();
        Probability::from_logits(array![[0.0, 3.0], [0.0, 3.0]].view(), &placement).unwrap()
    }

    #[test]
    fn pictures_come_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.png");
        write_mask(&path, &Mask::from_pixels(array![[0, 1, 0], [1, 1, 0]])).unwrap();
        let expected = Image::new(vec![0, 255, 0, 255, 255, 0], PixelFormat::Gray8, 3, 2).unwrap();
        assert_eq!(Image::open(&path).unwrap(), expected);
        // sigmoid(3) = 0.952574.
        write_probability(&path, &probability(), Depth::Eight).unwrap();
        assert_eq!(Image::open(&path).unwrap(), Image::new(vec![128, 243], PixelFormat::Gray8, 2, 1).unwrap());
        write_probability(&path, &probability(), Depth::Sixteen).unwrap();
        let samples = [32_768u16, 62_427].map(u16::to_le_bytes).concat();
        assert_eq!(Image::open(&path).unwrap(), Image::new(samples, PixelFormat::Gray16Le, 2, 1).unwrap());
        write_overlay(&path, &RgbImage::from_raw(1, 1, vec![1, 2, 3]).unwrap()).unwrap();
        assert_eq!(Image::open(&path).unwrap(), Image::new(vec![1, 2, 3], PixelFormat::Rgb8, 1, 1).unwrap());
        let mut buffer = FrameBuffer::default();
        assert!(write_frame(&path, &buffer).is_err());
        for (format, stored, written) in [
            (PixelFormat::Gray8, vec![7, 8], vec![7, 8]),
            // The largest sample has sixteen bits, so that white is unchanged.
            (PixelFormat::Gray16Le, vec![1, 2, 3, 244], vec![1, 2, 3, 244]),
            (PixelFormat::Rgb8, vec![1, 2, 3, 4, 5, 6], vec![1, 2, 3, 4, 5, 6]),
            (PixelFormat::Bgra8, vec![1, 2, 3, 0, 4, 5, 6, 9], vec![3, 2, 1, 6, 5, 4]),
        ] {
            buffer.reset(format, 2, 1).unwrap().copy_from_slice(&stored);
            write_frame(&path, &buffer).unwrap();
            let expected = if format == PixelFormat::Bgra8 { PixelFormat::Rgb8 } else { format };
            assert_eq!(Image::open(&path).unwrap(), Image::new(written, expected, 2, 1).unwrap());
        }
        assert_eq!(entries(folder.path()), 1);
    }

    #[test]
    fn json_ends_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.json");
        write_json(&path, &[1, 2]).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "[\n  1,\n  2\n]\n");
    }

    #[test]
    fn folders_that_cannot_be_written_to() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "text").unwrap();
        for path in [file.join("x.json"), folder.path().join("none/x.json")] {
            assert!(matches!(write_json(&path, &1), Err(WriteError::Folder { .. })), "{}", path.display());
        }
        assert!(matches!(write_json(folder.path(), &1), Err(WriteError::NotAFile(_))));
        assert_eq!(entries(folder.path()), 1);
    }

    #[test]
    fn what_fails_leaves_the_old_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.json");
        write_json(&path, &"old").unwrap();
        let error = replace_file(&path, |file| {
            file.write_all(b"half of it")?;
            Err(io::Error::from(io::ErrorKind::StorageFull))
        });
        assert!(matches!(error, Err(WriteError::Full(_))));
        assert_eq!(fs::read_to_string(&path).unwrap(), "\"old\"\n");
        assert_eq!(entries(folder.path()), 1);
        assert!(write_mask(&path, &Mask::default()).is_err());
        assert_eq!(entries(folder.path()), 1);
    }

    /// The system's own error for a full disk, from the device that is always full.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_is_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let error = replace_file(&folder.path().join("x"), |_| {
            fs::OpenOptions::new().write(true).open("/dev/full")?.write_all(b"anything")
        });
        assert!(matches!(error, Err(WriteError::Full(_))), "{error:?}");
        assert_eq!(entries(folder.path()), 0);
    }

    #[cfg(unix)]
    #[test]
    fn others_may_read_results() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let ours = folder.path().join("ours");
        let plain = folder.path().join("plain");
        write_json(&ours, &1).unwrap();
        fs::write(&plain, "1").unwrap();
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode();
        assert_eq!(mode(&ours), mode(&plain));
    }
}
