//! Pixels as cameras and video decoders give them, converted into those that a [`Frame`](super::Frame) lends.
//!
//! Luma and colour differences are those of ITU-R BT.601 in its limited range (black is 16, white 235), as `ffmpeg` takes them
//! where nothing else is said, and as nearly all capture cards give them. Colours that are halved are repeated, not smoothed.

use super::{FrameError, MAX_SIDE, PixelFormat, Region};

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

/// One plane of a camera's picture: its bytes from the first row on, and the distance from row to row.
#[derive(Clone, Copy, Debug, Default)]
pub struct CameraPlane<'a> {
    /// The last row may end with its pixels.
    pub bytes: &'a [u8],
    /// At least a row's length.
    pub stride_bytes: usize,
}

/// A camera's picture plane by plane, wherever each of them is: what a driver or decoder hands over.
///
/// ```
/// use causalclipseg::frame::{CameraFormat, CameraPicture, CameraPlane, Region};
///
/// // NV12, 4 x 2 pixels: rows of luma 64 bytes apart, colours in memory of their own.
/// let (luma, colours) = (vec![235; 64 + 4], [128; 4]);
/// let planes = [CameraPlane { bytes: &luma, stride_bytes: 64 }, CameraPlane { bytes: &colours, stride_bytes: 4 }];
/// let picture = CameraPicture::new(CameraFormat::Nv12, 4, 2, &planes)?;
/// let mut rgb = vec![0; 4 * 2 * 3];
/// picture.convert(Region::whole(4, 2), &mut rgb)?;
/// assert_eq!(rgb, [255; 24]);
/// # Ok::<(), causalclipseg::frame::FrameError>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct CameraPicture<'a> {
    format: CameraFormat,
    width: usize,
    height: usize,
    planes: [CameraPlane<'a>; 3],
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

    /// How many planes a picture has: one of luma and one or two of colour, or one of all.
    pub const fn planes(self) -> usize {
        match self {
            Self::Nv12 => 2,
            Self::I420 => 3,
            Self::Yuyv | Self::Uyvy | Self::Bgr24 => 1,
        }
    }

    /// Bytes of a row and number of rows of a plane.
    const fn plane_extent(self, plane: usize, width: usize, height: usize) -> [usize; 2] {
        match (self, plane) {
            (_, 0) => [self.row_bytes(width), height],
            (Self::Nv12, _) => [width.div_ceil(2) * 2, height.div_ceil(2)],
            _ => [width.div_ceil(2), height.div_ceil(2)],
        }
    }
}

fn check_sides(width: usize, height: usize) -> Result<(), FrameError> {
    if width == 0 || height == 0 {
        return Err(FrameError::Empty { width, height });
    }
    if width > MAX_SIDE || height > MAX_SIDE {
        return Err(FrameError::TooLarge { width, height });
    }
    Ok(())
}

impl<'a> CameraPicture<'a> {
    /// Borrows the planes of a picture of `width` x `height` pixels, in the order in which [`CameraFormat`] names them.
    ///
    /// # Errors
    /// A side of zero or above [`MAX_SIDE`], another number of planes than the format has, a stride shorter than a row, a plane
    /// shorter than its rows.
    pub fn new(
        format: CameraFormat,
        width: usize,
        height: usize,
        planes: &[CameraPlane<'a>],
    ) -> Result<Self, FrameError> {
        check_sides(width, height)?;
        if planes.len() != format.planes() {
            return Err(FrameError::Planes { given: planes.len(), expected: format.planes() });
        }
        let mut picture = Self { format, width, height, planes: Default::default() };
        for (index, (kept, CameraPlane { bytes, stride_bytes })) in picture.planes.iter_mut().zip(planes).enumerate() {
            let (stride_bytes, [row_bytes, rows]) = (*stride_bytes, format.plane_extent(index, width, height));
            if stride_bytes < row_bytes {
                return Err(FrameError::Stride { stride_bytes, row_bytes });
            }
            let needed = (rows - 1).checked_mul(stride_bytes).and_then(|bytes| bytes.checked_add(row_bytes));
            let needed = needed.ok_or(FrameError::Overflow { stride_bytes })?;
            let bytes = bytes.get(..needed).ok_or(FrameError::Buffer { actual: bytes.len(), needed })?;
            *kept = CameraPlane { bytes, stride_bytes };
        }
        Ok(picture)
    }

    /// Converts the pixels of a region into red, green and blue, three bytes a pixel, to their places in a picture of the same
    /// size whose rows have no gap. The rest of `rgb` is left alone, but for the columns that share a colour with the region's.
    ///
    /// # Errors
    /// A region that leaves the picture, and [`FrameError::Buffer`] where `rgb` holds less than width x height x 3 bytes.
    pub fn convert(&self, region: Region, rgb: &mut [u8]) -> Result<(), FrameError> {
        let Self { format, width, height, planes } = *self;
        if !region.fits(width, height) {
            return Err(FrameError::Region { region, width, height });
        }
        let (actual, needed) = (rgb.len(), width * height * 3);
        let rgb = rgb.get_mut(..needed).ok_or(FrameError::Buffer { actual, needed })?;
        // Whole pairs of pixels: two share a colour.
        let pairs = region.x / 2..(region.x + region.width).div_ceil(2);
        let columns = 2 * pairs.start..width.min(2 * pairs.end);
        let row = |plane: usize, y: usize| {
            let CameraPlane { bytes, stride_bytes } = planes[plane];
            &bytes[y * stride_bytes..][..format.plane_extent(plane, width, height)[0]]
        };
        let rows = rgb.chunks_exact_mut(width * 3).enumerate().skip(region.y).take(region.height);
        for (y, out) in rows {
            let out = &mut out.as_chunks_mut::<3>().0[columns.clone()];
            match format {
                CameraFormat::Nv12 => {
                    let colours = row(1, y / 2).as_chunks::<2>().0[pairs.clone()].iter();
                    planar(&row(0, y)[columns.clone()], colours.map(|[blue, red]| (*blue, *red)), out);
                }
                CameraFormat::I420 => {
                    let [blue, red] = [1, 2].map(|plane| row(plane, y / 2)[pairs.clone()].iter().copied());
                    planar(&row(0, y)[columns.clone()], blue.zip(red), out);
                }
                CameraFormat::Yuyv | CameraFormat::Uyvy => {
                    let fours = &row(0, y).as_chunks::<4>().0[pairs.clone()];
                    match format {
                        CameraFormat::Yuyv => packed(fours, out, |[y0, blue, y1, red]| [y0, y1, blue, red]),
                        _ => packed(fours, out, |[blue, y0, red, y1]| [y0, y1, blue, red]),
                    }
                }
                CameraFormat::Bgr24 => {
                    let row = &row(0, y).as_chunks::<3>().0[columns.clone()];
                    for (pixel, [blue, green, red]) in out.iter_mut().zip(row) {
                        *pixel = [*red, *green, *blue];
                    }
                }
            }
        }
        Ok(())
    }
}

impl CameraLayout {
    /// The format of converted pictures.
    pub const CONVERTED: PixelFormat = PixelFormat::Rgb8;

    /// A picture of `width` x `height` pixels whose rows are `stride_bytes` apart.
    ///
    /// # Errors
    /// A side of zero or above [`MAX_SIDE`], a stride shorter than a row, or too long for any memory.
    pub fn new(format: CameraFormat, width: usize, height: usize, stride_bytes: usize) -> Result<Self, FrameError> {
        check_sides(width, height)?;
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
        self.picture(pixels)?.convert(Region::whole(self.width, self.height), rgb)
    }

    /// Borrows the planes of a picture that lies in one piece.
    ///
    /// # Errors
    /// [`FrameError::Buffer`] where `pixels` holds less than [`CameraLayout::frame_bytes`].
    pub fn picture<'a>(&self, pixels: &'a [u8]) -> Result<CameraPicture<'a>, FrameError> {
        let needed = self.frame_bytes();
        let pixels = pixels.get(..needed).ok_or(FrameError::Buffer { actual: pixels.len(), needed })?;
        let (luma, colour) = pixels.split_at(self.stride_bytes * self.height);
        let stride_bytes = self.colour_stride_bytes();
        let (first, second) = match self.format {
            CameraFormat::I420 => colour.split_at(stride_bytes * self.height.div_ceil(2)),
            _ => (colour, &[][..]),
        };
        let planes = [
            CameraPlane { bytes: luma, stride_bytes: self.stride_bytes },
            CameraPlane { bytes: first, stride_bytes },
            CameraPlane { bytes: second, stride_bytes },
        ];
        let planes = &planes[..self.format.planes()];
        CameraPicture::new(self.format, self.width, self.height, planes)
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
fn packed(row: &[[u8; 4]], out: &mut [[u8; 3]], order: impl Fn([u8; 4]) -> [u8; 4]) {
    for (four, pixels) in row.iter().zip(out.chunks_mut(2)) {
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

    /// A region gets the pixels of the whole picture, odd edges too, and the rest is left alone; planes may be anywhere.
    #[test]
    fn regions_of_separate_planes() {
        use CameraFormat::{Bgr24, I420, Nv12, Uyvy, Yuyv};
        let (width, height) = (9, 7);
        for format in [Nv12, I420, Yuyv, Uyvy, Bgr24] {
            let layout = CameraLayout::new(format, width, height, format.row_bytes(width)).unwrap();
            let bytes: Vec<u8> = (0..layout.frame_bytes()).map(|at| (at * 37 % 251) as u8).collect();
            let mut whole = vec![0; width * height * 3];
            layout.convert(&bytes, &mut whole).unwrap();
            // The same planes, each in memory of its own and with another stride, the last row without its gap.
            let packed = layout.picture(&bytes).unwrap();
            let apart: Vec<(Vec<u8>, usize)> = (0..format.planes())
                .map(|plane| {
                    let ([row, rows], stride) = (format.plane_extent(plane, width, height), 40 + plane);
                    let mut apart = vec![0xee; (rows - 1) * stride + row];
                    let CameraPlane { bytes, stride_bytes } = packed.planes[plane];
                    for y in 0..rows {
                        apart[y * stride..][..row].copy_from_slice(&bytes[y * stride_bytes..][..row]);
                    }
                    (apart, stride)
                })
                .collect();
            let planes: Vec<_> =
                apart.iter().map(|(bytes, stride)| CameraPlane { bytes, stride_bytes: *stride }).collect();
            let picture = CameraPicture::new(format, width, height, &planes).unwrap();
            for region in [
                Region::whole(width, height),
                Region { x: 3, y: 1, width: 4, height: 5 },
                Region { x: 8, y: 6, width: 1, height: 1 },
            ] {
                let mut rgb = vec![7; width * height * 3];
                picture.convert(region, &mut rgb).unwrap();
                for (at, (found, expected)) in rgb.as_chunks::<3>().0.iter().zip(whole.as_chunks::<3>().0).enumerate() {
                    let (x, y) = (at % width, at / width);
                    let rows = region.y..region.y + region.height;
                    if rows.contains(&y) && (region.x..region.x + region.width).contains(&x) {
                        assert_eq!(found, expected, "{format:?} {region:?} ({x}, {y})");
                    } else if !rows.contains(&y) || x + 1 < region.x || x > region.x + region.width {
                        assert_eq!(*found, [7; 3], "{format:?} {region:?} ({x}, {y})");
                    }
                }
            }
            let mut rgb = vec![0; width * height * 3];
            assert!(picture.convert(Region { x: 9, y: 0, width: 1, height: 1 }, &mut rgb).is_err());
            let count = planes.len();
            let given = |planes: &[CameraPlane<'_>]| CameraPicture::new(format, width, height, planes).unwrap_err();
            assert_eq!(given(&planes[1..]), FrameError::Planes { given: count - 1, expected: count });
            for plane in 0..count {
                let mut short = planes.clone();
                short[plane].bytes = &short[plane].bytes[1..];
                assert!(matches!(given(&short), FrameError::Buffer { .. }));
                short[plane] =
                    CameraPlane { stride_bytes: format.plane_extent(plane, width, height)[0] - 1, ..planes[plane] };
                assert!(matches!(given(&short), FrameError::Stride { .. }));
                short[plane] = CameraPlane { stride_bytes: usize::MAX, ..planes[plane] };
                assert!(matches!(given(&short), FrameError::Overflow { .. }));
            }
        }
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
