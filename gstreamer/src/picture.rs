//! A buffer's pixels as the runtime's frame: borrowed where the runtime reads the format, converted otherwise.

use crate::planes::Planes;
use causalclipseg::frame::{CameraFormat, CameraPicture, CameraPlane, Frame, FrameError, PixelFormat, Region};
use gst_video::{VideoFormat, VideoInfo};

/// The formats that the element takes.
pub(crate) const FORMATS: [VideoFormat; 11] = [
    VideoFormat::Gray8,
    VideoFormat::Nv12,
    VideoFormat::I420,
    VideoFormat::Yuy2,
    VideoFormat::Uyvy,
    VideoFormat::Rgb,
    VideoFormat::Bgr,
    VideoFormat::Bgra,
    VideoFormat::Bgrx,
    VideoFormat::Rgba,
    VideoFormat::Rgbx,
];

/// How the runtime gets a format's pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Pixels {
    /// Read where they are.
    Borrowed(PixelFormat),
    /// Converted by the runtime.
    Camera(CameraFormat),
    /// Four bytes: red, green, blue, and a fourth that is ignored.
    Rgba,
}

impl Pixels {
    /// `None` for a format that is not among [`FORMATS`].
    pub(crate) fn of(format: VideoFormat) -> Option<Self> {
        Some(match format {
            VideoFormat::Gray8 => Self::Borrowed(PixelFormat::Gray8),
            VideoFormat::Rgb => Self::Borrowed(PixelFormat::Rgb8),
            VideoFormat::Bgra | VideoFormat::Bgrx => Self::Borrowed(PixelFormat::Bgra8),
            VideoFormat::Nv12 => Self::Camera(CameraFormat::Nv12),
            VideoFormat::I420 => Self::Camera(CameraFormat::I420),
            VideoFormat::Yuy2 => Self::Camera(CameraFormat::Yuyv),
            VideoFormat::Uyvy => Self::Camera(CameraFormat::Uyvy),
            VideoFormat::Bgr => Self::Camera(CameraFormat::Bgr24),
            VideoFormat::Rgba | VideoFormat::Rgbx => Self::Rgba,
            _ => return None,
        })
    }
}

/// Memory for converted pixels, used again for the next frame.
#[derive(Default)]
pub(crate) struct Picture {
    rgb: Vec<u8>,
}

impl Picture {
    /// The frame in a mapped buffer, limited to a region.
    pub(crate) fn frame<'a>(
        &'a mut self,
        buffer: &'a [u8],
        planes: &Planes,
        pixels: Pixels,
        info: &VideoInfo,
        region: Option<Region>,
    ) -> Result<Frame<'a>, FrameError> {
        let (width, height) = (info.width() as usize, info.height() as usize);
        let region = region.unwrap_or(Region::whole(width, height));
        let plane =
            |plane| CameraPlane { bytes: planes.bytes(plane, buffer), stride_bytes: planes.stride_bytes(plane) };
        let frame = match pixels {
            Pixels::Borrowed(format) => {
                let CameraPlane { bytes, stride_bytes } = plane(0);
                Frame::new(bytes, format, width, height, stride_bytes)?
            }
            Pixels::Camera(format) => {
                let all =
                    [0, 1, 2].map(|index| if index < planes.count() { plane(index) } else { CameraPlane::default() });
                let picture = CameraPicture::new(format, width, height, &all[..format.planes()])?;
                self.rgb.resize(width * height * 3, 0);
                picture.convert(region, &mut self.rgb)?;
                Frame::packed(&self.rgb, PixelFormat::Rgb8, width, height)?
            }
            Pixels::Rgba => {
                let CameraPlane { bytes, stride_bytes } = plane(0);
                // BGRA has the same size, and its checks are the same.
                Frame::new(bytes, PixelFormat::Bgra8, width, height, stride_bytes)?.with_region(region)?;
                self.rgb.resize(width * height * 3, 0);
                for y in region.y..region.y + region.height {
                    let row = &bytes[y * stride_bytes + 4 * region.x..][..4 * region.width];
                    let out = &mut self.rgb[3 * (y * width + region.x)..][..3 * region.width];
                    for ([red, green, blue, _], out) in row.as_chunks::<4>().0.iter().zip(out.as_chunks_mut::<3>().0) {
                        *out = [*red, *green, *blue];
                    }
                }
                Frame::packed(&self.rgb, PixelFormat::Rgb8, width, height)?
            }
        };
        frame.with_region(region)
    }
}
