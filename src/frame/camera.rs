//! Pixels as cameras and video decoders give them, converted into those that a [`Frame`](super::Frame) lends.
//!
//! Luma and colour differences are those of ITU-R BT.601 in its limited range (black is 16, white 235), as `ffmpeg` takes them
//! where nothing else is said, and as nearly all capture cards give them. Colours that are halved are repeated, not smoothed.

use super::{FrameError, MAX_SIDE, PixelFormat};

/// How a camera's picture lies in memory. Where colour has half the resolution, odd sides are rounded up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CameraFormat {
    /// A plane of luma, then one of blue and red differences side by side, at half the width and height.
    Nv12,
    /// A plane of luma, then one of blue and one of red differences, each at half the width and height, with half the stride.
    I420,
    /// Luma, blue difference, luma, red difference: two pixels in four bytes.
    Yuyv,
    /// Blue difference, luma, red difference, luma: two pixels in four bytes.
    Uyvy,
    /// Three bytes: blue, green, red.
    Bgr24,
}

/// A camera's picture in memory: its format and size, and the distance from row to row of its first plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CameraLayout {
    format: CameraFormat,
    width: usize,
    height: usize,
    stride_bytes: usize,
}

impl CameraFormat {
    /// Bytes that a row of the first plane takes, without padding.
    pub const fn row_bytes(self, width: usize) -> usize {
        match self {
            Self::Nv12 | Self::I420 => width,
            Self::Yuyv | Self::Uyvy => width.div_ceil(2) * 4,
            Self::Bgr24 => width * 3,
        }
    }
}

impl CameraLayout {
    /// What pictures become.
    pub const CONVERTED: PixelFormat = PixelFormat::Rgb8;

    /// A picture of `width` x `height` pixels whose rows are `stride_bytes` apart.
    ///
    /// # Errors
    /// A side of zero or above [`MAX_SIDE`], a stride shorter than a row, or too long for any memory.
    pub fn new(format: CameraFormat, width: usize, height: usize, stride_bytes: usize) -> Result<Self, FrameError> {
        if width == 0 || height == 0 {
            return Err(FrameError::Empty { width, height });
        }
        if width > MAX_SIDE || height > MAX_SIDE {
            return Err(FrameError::TooLarge { width, height });
        }
        let row_bytes = format.row_bytes(width);
        if stride_bytes < row_bytes {
            return Err(FrameError::Stride { stride_bytes, row_bytes });
        }
        // The colour planes are smaller than the first one, and rows of them no longer.
        stride_bytes.checked_mul(4 * height).ok_or(FrameError::Overflow { stride_bytes })?;
        Ok(Self { format, width, height, stride_bytes })
    }

    /// The distance from row to row of the first plane.
    pub fn stride_bytes(&self) -> usize {
        self.stride_bytes
    }

    /// From row to row of a colour plane, where there is one; in NV12 it holds both differences.
    fn colour_stride_bytes(&self) -> usize {
        match self.format {
            // A pair for every other pixel: one more byte than the luma where the width is odd.
            CameraFormat::Nv12 => self.stride_bytes.max(2 * self.width.div_ceil(2)),
            _ => self.stride_bytes.div_ceil(2),
        }
    }

    /// Bytes of a whole picture, with all padding.
    pub fn frame_bytes(&self) -> usize {
        let luma = self.stride_bytes * self.height;
        let colour = self.colour_stride_bytes() * self.height.div_ceil(2);
        match self.format {
            CameraFormat::Nv12 => luma + colour,
            CameraFormat::I420 => luma + 2 * colour,
            CameraFormat::Yuyv | CameraFormat::Uyvy | CameraFormat::Bgr24 => luma,
        }
    }

    /// Converts a picture into red, green and blue, three bytes a pixel, rows without a gap.
    ///
    /// # Errors
    /// [`FrameError::Buffer`] where `pixels` holds less than [`CameraLayout::frame_bytes`], or `rgb` less than its pixels take.
    pub fn convert(&self, pixels: &[u8], rgb: &mut [u8]) -> Result<(), FrameError> {
        let short = |actual: usize, needed: usize| FrameError::Buffer { actual, needed };
        let needed = self.frame_bytes();
        let pixels = pixels.get(..needed).ok_or_else(|| short(pixels.len(), needed))?;
        let (actual, needed) = (rgb.len(), self.width * self.height * 3);
        let rgb = rgb.get_mut(..needed).ok_or_else(|| short(actual, needed))?;
        let (luma, colour) = pixels.split_at(self.stride_bytes * self.height);
        let colour_stride = self.colour_stride_bytes();
        let rows = luma.chunks_exact(self.stride_bytes).zip(rgb.chunks_exact_mut(self.width * 3));
        for (y, (row, out)) in rows.enumerate() {
            let row = &row[..self.format.row_bytes(self.width)];
            let out = out.as_chunks_mut::<3>().0;
            match self.format {
                CameraFormat::Nv12 => {
                    let pairs = &colour[y / 2 * colour_stride..][..2 * self.width.div_ceil(2)];
                    let pairs = pairs.as_chunks::<2>().0.iter().map(|[blue, red]| (*blue, *red));
                    planar(row, pairs, out);
                }
                CameraFormat::I420 => {
                    let (blue, red) = colour.split_at(colour_stride * self.height.div_ceil(2));
                    let half = self.width.div_ceil(2);
                    let [blue, red] = [blue, red].map(|plane| &plane[y / 2 * colour_stride..][..half]);
                    planar(row, blue.iter().copied().zip(red.iter().copied()), out);
                }
                CameraFormat::Yuyv => packed(row, out, |[y0, blue, y1, red]| [y0, y1, blue, red]),
                CameraFormat::Uyvy => packed(row, out, |[blue, y0, red, y1]| [y0, y1, blue, red]),
                CameraFormat::Bgr24 => {
                    for (pixel, [blue, green, red]) in out.iter_mut().zip(row.as_chunks::<3>().0) {
                        *pixel = [*red, *green, *blue];
                    }
                }
            }
        }
        Ok(())
    }
}

/// A row of luma with one pair of differences for two pixels.
fn planar(luma: &[u8], colours: impl Iterator<Item = (u8, u8)>, out: &mut [[u8; 3]]) {
    for ((luma, pixels), (blue, red)) in luma.chunks(2).zip(out.chunks_mut(2)).zip(colours) {
        for (luma, pixel) in luma.iter().zip(pixels) {
            *pixel = to_rgb(*luma, blue, red);
        }
    }
}

/// A row of four bytes for two pixels; `order` finds both lumas, the blue and the red difference among them.
fn packed(row: &[u8], out: &mut [[u8; 3]], order: impl Fn([u8; 4]) -> [u8; 4]) {
    for (four, pixels) in row.as_chunks::<4>().0.iter().zip(out.chunks_mut(2)) {
        let [first, second, blue, red] = order(*four);
        for (luma, pixel) in [first, second].into_iter().zip(pixels) {
            *pixel = to_rgb(luma, blue, red);
        }
    }
}

/// BT.601, limited range, in 16 bits behind the point.
fn to_rgb(luma: u8, blue: u8, red: u8) -> [u8; 3] {
    let (y, u, v) = (i32::from(luma) - 16, i32::from(blue) - 128, i32::from(red) - 128);
    let y = 76_309 * y + (1 << 15);
    [y + 104_597 * v, y - 25_675 * u - 53_279 * v, y + 132_201 * u].map(|value| (value >> 16).clamp(0, 255) as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bytes of one picture in each format: greys from left to right, one colour.
    fn picture(format: CameraFormat, width: usize, height: usize, stride: usize) -> Vec<u8> {
        let luma = |x: usize| (16 + x * 20 % 220) as u8;
        let padded = |row: Vec<u8>, stride: usize| row.into_iter().chain(std::iter::repeat(0xee)).take(stride);
        let half = width.div_ceil(2);
        let mut bytes = Vec::new();
        for _ in 0..height {
            let row: Vec<u8> = match format {
                CameraFormat::Nv12 | CameraFormat::I420 => (0..width).map(luma).collect(),
                CameraFormat::Yuyv => (0..half).flat_map(|x| [luma(2 * x), 90, luma(2 * x + 1), 160]).collect(),
                CameraFormat::Uyvy => (0..half).flat_map(|x| [90, luma(2 * x), 160, luma(2 * x + 1)]).collect(),
                CameraFormat::Bgr24 => (0..width).flat_map(|x| [x as u8, 2, 3]).collect(),
            };
            bytes.extend(padded(row, stride));
        }
        match format {
            CameraFormat::Nv12 => {
                for _ in 0..height.div_ceil(2) {
                    bytes.extend(padded([90, 160].repeat(half), stride.max(2 * half)));
                }
            }
            CameraFormat::I420 => {
                for difference in [90, 160] {
                    for _ in 0..height.div_ceil(2) {
                        bytes.extend(padded(vec![difference; half], stride.div_ceil(2)));
                    }
                }
            }
            _ => {}
        }
        bytes
    }

    #[test]
    fn all_formats_show_the_same_picture() {
        use CameraFormat::{Bgr24, I420, Nv12, Uyvy, Yuyv};
        for (width, height) in [(1, 1), (2, 2), (5, 3), (8, 4), (7, 1)] {
            for format in [Nv12, I420, Yuyv, Uyvy] {
                for padding in [0, 1, 4] {
                    let stride = format.row_bytes(width) + padding;
                    let layout = CameraLayout::new(format, width, height, stride).unwrap();
                    let bytes = picture(format, width, height, stride);
                    assert_eq!(layout.frame_bytes(), bytes.len(), "{format:?} {width} x {height}, stride {stride}");
                    let mut rgb = vec![0; width * height * 3];
                    layout.convert(&bytes, &mut rgb).unwrap();
                    for (at, pixel) in rgb.as_chunks::<3>().0.iter().enumerate() {
                        let luma = (16 + at % width * 20 % 220) as u8;
                        assert_eq!(*pixel, to_rgb(luma, 90, 160), "{format:?} {width} x {height}, {at}");
                    }
                    assert!(layout.convert(&bytes[1..], &mut rgb).is_err());
                    assert!(layout.convert(&bytes, &mut rgb[1..]).is_err());
                }
            }
        }
        let layout = CameraLayout::new(Bgr24, 3, 2, 11).unwrap();
        let mut rgb = [0; 18];
        layout.convert(&picture(Bgr24, 3, 2, 11), &mut rgb).unwrap();
        assert_eq!(rgb, [3, 2, 0, 3, 2, 1, 3, 2, 2, 3, 2, 0, 3, 2, 1, 3, 2, 2]);
    }

    /// The standard's formula in floating-point numbers.
    #[test]
    fn colours_are_those_of_the_standard() {
        for luma in (0..=255).step_by(5) {
            for blue in (0..=255).step_by(15) {
                for red in (0..=255).step_by(15) {
                    let (y, u, v) = (f64::from(luma) - 16.0, f64::from(blue) - 128.0, f64::from(red) - 128.0);
                    let (y, u, v) = (y * 255.0 / 219.0, u * 255.0 / 224.0, v * 255.0 / 224.0);
                    let green = y - 1.772 * 0.114 / 0.587 * u - 1.402 * 0.299 / 0.587 * v;
                    let expected = [y + 1.402 * v, green, y + 1.772 * u].map(|value| value.clamp(0.0, 255.0));
                    let found = to_rgb(luma as u8, blue as u8, red as u8);
                    for (found, expected) in found.iter().zip(expected) {
                        assert!((f64::from(*found) - expected).abs() <= 0.51, "{luma} {blue} {red}");
                    }
                }
            }
        }
        assert_eq!([to_rgb(16, 128, 128), to_rgb(235, 128, 128)], [[0; 3], [255; 3]]);
    }

    #[test]
    fn sizes_are_checked() {
        let new = |width, height, stride| CameraLayout::new(CameraFormat::Nv12, width, height, stride);
        assert_eq!(new(0, 1, 9), Err(FrameError::Empty { width: 0, height: 1 }));
        assert_eq!(new(4, 1, 3), Err(FrameError::Stride { stride_bytes: 3, row_bytes: 4 }));
        assert!(matches!(new(MAX_SIDE + 1, 1, usize::MAX), Err(FrameError::TooLarge { .. })));
        assert!(matches!(new(4, 4, usize::MAX / 4), Err(FrameError::Overflow { .. })));
    }
}
