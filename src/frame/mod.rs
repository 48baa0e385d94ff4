//! Borrowed pixels, their conversion to the network's input, and back.
//!
//! A [`Frame`] checks the caller's buffer once. The preprocessor resamples its region of interest into the network's
//! square input and describes its position with a placement; the placement restores a map of the network to the
//! region's own size.

mod camera;
mod orientation;
mod placement;
mod preprocessor;
mod resample;
mod watch;

pub use camera::{CameraFormat, CameraLayout, CameraPicture, CameraPlane};
#[doc(hidden)]
pub use causalclipseg_bundle::{Appearance, FamiliarInputs, INPUTS_KEY};
pub use causalclipseg_bundle::{Fit, Normalisation};
pub use orientation::Orientation;
#[doc(hidden)]
pub use placement::{Placement, fitted_region};
#[doc(hidden)]
pub use preprocessor::Preprocessor;
pub(crate) use watch::{FrameCondition, FrameWatch};

use serde::{Deserialize, Serialize};

/// The longest side of a frame, in pixels. Any product of sides and bytes below it fits 64 bits by a wide margin, and
/// ultrasound machines are far below.
pub const MAX_SIDE: usize = 16_384;

/// How a pixel is stored in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PixelFormat {
    /// One byte, 0 to 255.
    Gray8,
    /// Two bytes, low byte first, 0 to 65535.
    Gray16Le,
    /// Three bytes: red, green, blue.
    Rgb8,
    /// Four bytes: blue, green, red, and a fourth that is ignored.
    Bgra8,
}

impl PixelFormat {
    /// The number of bytes of one pixel.
    pub const fn bytes_per_pixel(self) -> usize {
        match self {
            Self::Gray8 => 1,
            Self::Gray16Le => 2,
            Self::Rgb8 => 3,
            Self::Bgra8 => 4,
        }
    }
}

/// A rectangle of complete pixels; `x` and `y` are its left and upper edge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Region {
    /// The left edge, in pixels.
    pub x: usize,
    /// The upper edge, in pixels.
    pub y: usize,
    /// The width, in pixels.
    pub width: usize,
    /// The height, in pixels.
    pub height: usize,
}

impl Region {
    /// The rectangle that covers all of a `width` x `height` picture.
    pub const fn whole(width: usize, height: usize) -> Self {
        Self { x: 0, y: 0, width, height }
    }

    /// The area, in pixels.
    pub const fn area(&self) -> usize {
        self.width * self.height
    }

    fn fits(&self, width: usize, height: usize) -> bool {
        let inside = |start: usize, length: usize, limit| start.checked_add(length).is_some_and(|end| end <= limit);
        self.width > 0 && self.height > 0 && inside(self.x, self.width, width) && inside(self.y, self.height, height)
    }
}

/// Why pixels, or a buffer for them, are refused.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages say it")]
pub enum FrameError {
    #[error("the frame is {width} x {height} pixels: give it at least one pixel a side")]
    Empty { width: usize, height: usize },
    #[error("the frame is {width} x {height} pixels, more than {MAX_SIDE} a side: crop or shrink it first")]
    TooLarge { width: usize, height: usize },
    #[error("a stride of {stride_bytes} bytes is shorter than a row of {row_bytes}: give the distance from row to row")]
    Stride { stride_bytes: usize, row_bytes: usize },
    #[error("the buffer holds {actual} bytes and the frame needs {needed}: check its size, stride and pixel format")]
    Buffer { actual: usize, needed: usize },
    #[error("the size of the frame overflows with a stride of {stride_bytes} bytes: check the stride")]
    Overflow { stride_bytes: usize },
    #[error(
        "the region of interest {}x{} at ({}, {}) is empty or leaves the {width} x {height} frame: keep it inside",
        region.width, region.height, region.x, region.y
    )]
    Region { region: Region, width: usize, height: usize },
    #[error("{given} planes were given and the format has {expected}: give a pointer and a stride for each of them")]
    Planes { given: usize, expected: usize },
    #[error("{value:?} mm per pixel is not a pixel size: both numbers have to be finite and above zero")]
    PixelSize { value: [f32; 2] },
    #[error("the network's input is {size} pixels a side: give 1 to {MAX_SIDE}")]
    InputSize { size: usize },
    #[error("the normalisation is not usable: mean and padding have to be finite, std above zero")]
    Normalisation,
    #[error("the network's input takes {expected} numbers and the buffer holds {actual}: give 3 x size x size")]
    Output { expected: usize, actual: usize },
    #[error("the map is {} x {}, the network's input {size} x {size}: pass the map of the same network", shape[0], shape[1])]
    Map { shape: [usize; 2], size: usize },
}

/// Pixels that the caller owns: a screen buffer, a decoded file, a frame grabber's memory.
///
/// ```
/// use causalclipseg::frame::{Frame, PixelFormat, Region};
///
/// // A scan of 480 x 360 in a screen of 640 x 480, pixels of 0.1 mm, from a source that lost this frame.
/// let screen = vec![0; 640 * 480 * 4];
/// let frame = Frame::packed(&screen, PixelFormat::Bgra8, 640, 480)?
///     .with_region(Region { x: 80, y: 60, width: 480, height: 360 })?
///     .with_mm_per_pixel([0.1, 0.1])?
///     .with_valid(false);
/// assert_eq!((frame.width(), frame.region().width, frame.is_valid()), (640, 480, false));
/// assert!(frame.with_region(Region { x: 600, y: 0, width: 41, height: 1 }).is_err());
/// # Ok::<(), causalclipseg::frame::FrameError>(())
/// ```
///
/// Every field has been checked against the buffer, so reading a frame cannot fail.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    data: &'a [u8],
    format: PixelFormat,
    width: usize,
    height: usize,
    stride_bytes: usize,
    region: Region,
    orientation: Orientation,
    mm_per_pixel: Option<[f32; 2]>,
    valid: bool,
}

impl<'a> Frame<'a> {
    /// Borrows `height` rows of `width` pixels, each `stride_bytes` after the last. The last row may end with its pixels:
    /// its stride need not be filled.
    ///
    /// # Errors
    /// A side is zero or above [`MAX_SIDE`], the stride is shorter than a row, or the buffer is shorter than the rows.
    pub fn new(
        data: &'a [u8],
        format: PixelFormat,
        width: usize,
        height: usize,
        stride_bytes: usize,
    ) -> Result<Self, FrameError> {
        if width == 0 || height == 0 {
            return Err(FrameError::Empty { width, height });
        }
        if width > MAX_SIDE || height > MAX_SIDE {
            return Err(FrameError::TooLarge { width, height });
        }
        let row_bytes = width * format.bytes_per_pixel();
        if stride_bytes < row_bytes {
            return Err(FrameError::Stride { stride_bytes, row_bytes });
        }
        let needed = (height - 1)
            .checked_mul(stride_bytes)
            .and_then(|bytes| bytes.checked_add(row_bytes))
            .ok_or(FrameError::Overflow { stride_bytes })?;
        if data.len() < needed {
            return Err(FrameError::Buffer { actual: data.len(), needed });
        }
        let region = Region::whole(width, height);
        let orientation = Orientation::Upright;
        Ok(Self { data, format, width, height, stride_bytes, region, orientation, mm_per_pixel: None, valid: true })
    }

    /// Borrows rows that follow each other without a gap. Errors as [`Frame::new`].
    pub fn packed(data: &'a [u8], format: PixelFormat, width: usize, height: usize) -> Result<Self, FrameError> {
        Self::new(data, format, width, height, width.saturating_mul(format.bytes_per_pixel()))
    }

    /// Limits what the network sees to `region`: for example the scan without the machine's menus.
    ///
    /// # Errors
    /// [`FrameError::Region`] where the region is empty or leaves the frame.
    pub fn with_region(mut self, region: Region) -> Result<Self, FrameError> {
        if !region.fits(self.width, self.height) {
            return Err(FrameError::Region { region, width: self.width, height: self.height });
        }
        self.region = region;
        Ok(self)
    }

    /// States the size of one pixel, `[x, y]` in millimetres, so that results have areas and lengths.
    ///
    /// # Errors
    /// [`FrameError::PixelSize`] where a number is not finite or not above zero.
    pub fn with_mm_per_pixel(mut self, mm_per_pixel: [f32; 2]) -> Result<Self, FrameError> {
        if !mm_per_pixel.iter().all(|mm| mm.is_finite() && *mm > 0.0) {
            return Err(FrameError::PixelSize { value: mm_per_pixel });
        }
        self.mm_per_pixel = Some(mm_per_pixel);
        Ok(self)
    }

    /// States whether the source marks the picture as valid, which is the default. A recorder keeps a place for each
    /// frame that it lost; a result on such a frame is flagged as [`InvalidFrame`](crate::mask::Flag::InvalidFrame).
    pub fn with_valid(mut self, valid: bool) -> Self {
        self.valid = valid;
        self
    }

    /// Sets how the pixels are turned to be upright. The network gets them upright; results, region, sizes and
    /// coordinates are those of the stored pixels.
    pub fn with_orientation(mut self, orientation: Orientation) -> Self {
        self.orientation = orientation;
        self
    }

    /// The format of its pixels.
    pub fn format(&self) -> PixelFormat {
        self.format
    }

    /// The width in pixels, 1 to [`MAX_SIDE`].
    pub fn width(&self) -> usize {
        self.width
    }

    /// The height in pixels, 1 to [`MAX_SIDE`].
    pub fn height(&self) -> usize {
        self.height
    }

    /// The part of the frame that the network sees; all of it unless [`Frame::with_region`] limits it.
    pub fn region(&self) -> Region {
        self.region
    }

    /// The size of a pixel in millimetres, `[x, y]`, where it is known.
    pub fn mm_per_pixel(&self) -> Option<[f32; 2]> {
        self.mm_per_pixel
    }

    /// Whether the source marks the picture as valid.
    pub fn is_valid(&self) -> bool {
        self.valid
    }

    /// The orientation; [`Orientation::Upright`] unless [`Frame::with_orientation`] sets another.
    pub fn orientation(&self) -> Orientation {
        self.orientation
    }

    /// The bytes of row `y` of the region, counted from the region's upper edge.
    pub(crate) fn region_row(&self, y: usize) -> &'a [u8] {
        let pixel = self.format.bytes_per_pixel();
        let start = (self.region.y + y) * self.stride_bytes + self.region.x * pixel;
        &self.data[start..start + self.region.width * pixel]
    }

    /// Writes the complete frame as 8-bit red, green, blue and opaque alpha, row by row without gaps, for a screen. Replaces the
    /// content of `out` by width x height x 4 bytes.
    pub fn write_rgba(&self, out: &mut Vec<u8>) {
        out.clear();
        out.reserve(self.width * self.height * 4);
        for row in self.rows() {
            match self.format {
                PixelFormat::Gray8 => out.extend(row.iter().flat_map(|grey| [*grey, *grey, *grey, 255])),
                // The high byte of the little-endian pair.
                PixelFormat::Gray16Le => {
                    out.extend(row.as_chunks().0.iter().flat_map(|[_, grey]| [*grey, *grey, *grey, 255]));
                }
                PixelFormat::Rgb8 => {
                    out.extend(row.as_chunks().0.iter().flat_map(|[red, green, blue]| [*red, *green, *blue, 255]));
                }
                PixelFormat::Bgra8 => {
                    out.extend(row.as_chunks().0.iter().flat_map(|[blue, green, red, _]| [*red, *green, *blue, 255]));
                }
            }
        }
    }

    /// The bytes of each row of the complete frame, without padding.
    pub(crate) fn rows(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let (data, stride_bytes, row_bytes) =
            (self.data, self.stride_bytes, self.width * self.format.bytes_per_pixel());
        (0..self.height).map(move |y| &data[y * stride_bytes..][..row_bytes])
    }

    /// One pixel of the complete frame as 8-bit red, green and blue, for drawing.
    pub(crate) fn rgb(&self, x: usize, y: usize) -> [u8; 3] {
        let at = y * self.stride_bytes + x * self.format.bytes_per_pixel();
        match self.format {
            PixelFormat::Gray8 => [self.data[at]; 3],
            // The high byte of the little-endian pair.
            PixelFormat::Gray16Le => [self.data[at + 1]; 3],
            PixelFormat::Rgb8 => [self.data[at], self.data[at + 1], self.data[at + 2]],
            PixelFormat::Bgra8 => [self.data[at + 2], self.data[at + 1], self.data[at]],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_checked() {
        let data = [0; 100];
        let new = |width, height, stride| Frame::new(&data, PixelFormat::Rgb8, width, height, stride).unwrap_err();
        assert_eq!(new(0, 4, 100), FrameError::Empty { width: 0, height: 4 });
        assert_eq!(new(4, 0, 100), FrameError::Empty { width: 4, height: 0 });
        assert_eq!(new(MAX_SIDE + 1, 1, usize::MAX), FrameError::TooLarge { width: MAX_SIDE + 1, height: 1 });
        assert_eq!(new(usize::MAX, usize::MAX, 1), FrameError::TooLarge { width: usize::MAX, height: usize::MAX });
        assert_eq!(new(4, 2, 11), FrameError::Stride { stride_bytes: 11, row_bytes: 12 });
        assert_eq!(new(4, 5, 25), FrameError::Buffer { actual: 100, needed: 112 });
        assert_eq!(new(4, 3, usize::MAX / 2 + 1), FrameError::Overflow { stride_bytes: usize::MAX / 2 + 1 });
        assert!(Frame::packed(&data, PixelFormat::Gray8, usize::MAX, 1).is_err());
    }

    #[test]
    fn the_last_row_needs_no_full_stride() {
        let data = [0; 4 * 30 + 12];
        assert!(Frame::new(&data, PixelFormat::Rgb8, 4, 5, 30).is_ok());
        assert!(Frame::new(&data[1..], PixelFormat::Rgb8, 4, 5, 30).is_err());
    }

    #[test]
    fn regions_stay_inside() {
        let data = [0; 20];
        let frame = Frame::packed(&data, PixelFormat::Gray8, 5, 4).unwrap();
        let region = |x, y, width, height| frame.with_region(Region { x, y, width, height });
        assert!(region(0, 0, 5, 4).is_ok());
        assert!(region(4, 3, 1, 1).is_ok());
        for bad in [region(0, 0, 0, 1), region(1, 0, 5, 4), region(0, 4, 1, 1), region(usize::MAX, 0, 2, 1)] {
            assert!(matches!(bad, Err(FrameError::Region { .. })));
        }
    }

    #[test]
    fn a_screen_gets_every_format_without_its_padding() {
        let rgba = |data: &[u8], format, stride| {
            let mut out = vec![9; 3];
            Frame::new(data, format, 2, 2, stride).unwrap().write_rgba(&mut out);
            out
        };
        let grey = [1, 1, 1, 255, 2, 2, 2, 255, 3, 3, 3, 255, 4, 4, 4, 255];
        assert_eq!(rgba(&[1, 2, 0, 3, 4], PixelFormat::Gray8, 3), grey);
        assert_eq!(rgba(&[9, 1, 9, 2, 9, 3, 9, 4], PixelFormat::Gray16Le, 4), grey);
        let colour = [1, 2, 3, 255, 4, 5, 6, 255, 7, 8, 9, 255, 10, 11, 12, 255];
        let rgb = [1, 2, 3, 4, 5, 6, 0, 7, 8, 9, 10, 11, 12];
        assert_eq!(rgba(&rgb, PixelFormat::Rgb8, 7), colour);
        let bgra = [3, 2, 1, 0, 6, 5, 4, 0, 9, 8, 7, 0, 12, 11, 10, 0];
        assert_eq!(rgba(&bgra, PixelFormat::Bgra8, 8), colour);
    }

    #[test]
    fn pixel_sizes_are_positive() {
        let frame = Frame::packed(&[0], PixelFormat::Gray8, 1, 1).unwrap();
        assert_eq!(frame.with_mm_per_pixel([0.1, 0.2]).unwrap().mm_per_pixel(), Some([0.1, 0.2]));
        for bad in [[0.0, 1.0], [1.0, -1.0], [f32::NAN, 1.0], [1.0, f32::INFINITY]] {
            assert!(frame.with_mm_per_pixel(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn rows_and_pixels_follow_stride_region_and_format() {
        let data: Vec<u8> = (0..60).collect();
        let frame = Frame::new(&data, PixelFormat::Bgra8, 3, 4, 16).unwrap();
        assert_eq!(frame.rgb(1, 2), [38, 37, 36]);
        let frame = frame.with_region(Region { x: 1, y: 2, width: 2, height: 1 }).unwrap();
        assert_eq!(frame.region_row(0), [36, 37, 38, 39, 40, 41, 42, 43]);
        let grey = Frame::packed(&data, PixelFormat::Gray16Le, 2, 2).unwrap();
        assert_eq!(grey.rgb(1, 1), [7; 3]);
    }

    #[test]
    fn manifest_spelling() {
        assert_eq!(serde_json::to_string(&Fit::Stretch).unwrap(), r#""stretch""#);
        let letterbox = r#"{"letterbox":{"padding":[0.5,0.25,0.0]}}"#;
        assert_eq!(serde_json::from_str::<Fit>(letterbox).unwrap(), Fit::Letterbox { padding: [0.5, 0.25, 0.0] });
        assert_eq!(serde_json::to_string(&Fit::Letterbox { padding: [0.5, 0.25, 0.0] }).unwrap(), letterbox);
    }
}
