//! Frames without any header, as `ffmpeg -f rawvideo` writes them to a pipe.

use super::{FrameBuffer, FrameSource, SourceError};
use crate::frame::{MAX_SIDE, PixelFormat};
use std::io::{self, Read};
use std::str::FromStr;

/// What a headerless stream holds, spelled `WIDTHxHEIGHT:FORMAT[@HZ]`, as in `640x480:gray8@30`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RawFormat {
    /// In pixels.
    pub width: usize,
    /// In pixels.
    pub height: usize,
    /// How a pixel lies in the stream.
    pub format: PixelFormat,
    /// Frames a second, for timestamps.
    pub rate_hz: Option<f64>,
}

impl FromStr for RawFormat {
    type Err = String;

    /// Formats have our names or ffmpeg's: `gray8` or `gray`, `gray16` or `gray16le`, `rgb8` or `rgb24`, `bgra8` or `bgra`.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no raw format: write it as 640x480:gray8 or 640x480:bgra8@30");
        let (size, rest) = text.split_once(':').ok_or_else(wrong)?;
        let (width, height) = size.split_once(['x', 'X']).ok_or_else(wrong)?;
        let (format, rate) = rest.split_once('@').map_or((rest, None), |(format, rate)| (format, Some(rate)));
        let side = |text: &str| text.parse().ok().filter(|side| (1..=MAX_SIDE).contains(side));
        let (Some(width), Some(height)) = (side(width), side(height)) else {
            return Err(format!("`{size}` is no size: give 1 to {MAX_SIDE} pixels a side, as in 640x480"));
        };
        let format = match format {
            "gray8" | "gray" => PixelFormat::Gray8,
            "gray16" | "gray16le" => PixelFormat::Gray16Le,
            "rgb8" | "rgb24" => PixelFormat::Rgb8,
            "bgra8" | "bgra" | "bgr0" => PixelFormat::Bgra8,
            other => return Err(format!("`{other}` is no pixel format: use gray8, gray16, rgb8 or bgra8")),
        };
        let rate_hz = rate.map(|rate| rate.parse::<f64>().ok().filter(|hz| hz.is_finite() && *hz > 0.0));
        match rate_hz {
            Some(None) => Err(format!("`{text}` has no usable rate: give frames a second after the @, as in @30")),
            rate_hz => Ok(Self { width, height, format, rate_hz: rate_hz.flatten() }),
        }
    }
}

/// Frames from a pipe.
pub struct RawFrames<R> {
    source: R,
    format: RawFormat,
    /// Frames read so far.
    read: u64,
}

impl<R: Read + Send> RawFrames<R> {
    /// Frames of this format from a stream.
    pub fn new(source: R, format: RawFormat) -> Self {
        Self { source, format, read: 0 }
    }
}

impl<R: Read + Send> FrameSource for RawFrames<R> {
    fn frame_count(&self) -> Option<usize> {
        None
    }

    fn read_frame(&mut self, into: &mut FrameBuffer) -> Result<bool, SourceError> {
        let RawFormat { width, height, format, rate_hz } = self.format;
        // The end may come first: only then is the buffer to stay as it was.
        let mut first = [0; 1];
        if fill(&mut self.source, &mut first).map_err(SourceError::Pipe)? == 0 {
            return if self.read == 0 { Err(SourceError::NoFrames) } else { Ok(false) };
        }
        let pixels = into.reset(format, width, height)?;
        let needed = pixels.len();
        let Some((head, rest)) = pixels.split_first_mut() else { return Ok(false) };
        *head = first[0];
        let actual = 1 + fill(&mut self.source, rest).map_err(SourceError::Pipe)?;
        if actual < needed {
            return Err(SourceError::CutShort { actual, needed });
        }
        into.timestamp_s = rate_hz.map(|hz| self.read as f64 / hz);
        self.read += 1;
        Ok(true)
    }
}

/// Reads until the buffer is full or the source ends; yields how much came.
fn fill(source: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match source.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_spelled() {
        let format = |text: &str| text.parse::<RawFormat>();
        let rate_hz = Some(29.97);
        assert_eq!(
            format("640x480:bgra@29.97"),
            Ok(RawFormat { width: 640, height: 480, format: PixelFormat::Bgra8, rate_hz })
        );
        assert_eq!(format("1x2:gray16").unwrap().format.bytes_per_pixel(), 2);
        for wrong in
            ["", "640x480", "640:gray8", "0x4:gray8", "99999x4:gray8", "4x4:yuv420p", "4x4:gray8@0", "4x4:gray8@x"]
        {
            assert!(format(wrong).is_err(), "{wrong}");
        }
    }

    /// One byte a call, as a slow pipe may do.
    struct Drip(Vec<u8>);

    impl Read for Drip {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            if self.0.is_empty() || buffer.is_empty() {
                return Ok(0);
            }
            buffer[0] = self.0.remove(0);
            Ok(1)
        }
    }

    #[test]
    fn frames_follow_each_other() {
        let mut source = RawFrames::new(Drip((0..12).collect()), "2x1:rgb8@4".parse().unwrap());
        let mut buffer = FrameBuffer::default();
        assert!(source.read_frame(&mut buffer).unwrap());
        assert_eq!((buffer.pixels(), buffer.timestamp_s), (&[0, 1, 2, 3, 4, 5][..], Some(0.0)));
        assert!(source.read_frame(&mut buffer).unwrap());
        assert_eq!((buffer.pixels(), buffer.timestamp_s), (&[6, 7, 8, 9, 10, 11][..], Some(0.25)));
        let last = buffer.clone();
        assert!(!source.read_frame(&mut buffer).unwrap());
        assert_eq!(buffer, last);
    }

    #[test]
    fn pipes_that_end_early() {
        let read = |bytes: usize| {
            RawFrames::new(Drip(vec![1; bytes]), "2x2:gray8".parse().unwrap()).read_frame(&mut FrameBuffer::default())
        };
        assert!(matches!(read(0), Err(SourceError::NoFrames)));
        assert!(matches!(read(3), Err(SourceError::CutShort { actual: 3, needed: 4 })));
    }
}
