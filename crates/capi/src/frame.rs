//! Converts the host's pixels to checked frames.

use crate::failure::Failure;
use crate::types::{Sized32, boolean, elements, read, reserved};
use runtime::frame::{CameraFormat, CameraLayout, CameraPicture, CameraPlane, Frame, PixelFormat, Region};
use std::ffi::c_void;
use std::ptr;

/// The longest side of a frame, in pixels.
pub const CCS_MAX_SIDE: u32 = 16384;

/// One byte a pixel.
pub const CCS_FORMAT_GRAY8: u32 = 0;
/// Two bytes a pixel, low byte first.
pub const CCS_FORMAT_GRAY16: u32 = 1;
/// Three bytes a pixel: red, green, blue.
pub const CCS_FORMAT_RGB8: u32 = 2;
/// Four bytes a pixel: blue, green, red, and one that is ignored.
pub const CCS_FORMAT_BGRA8: u32 = 3;
/// A plane of luma, and one of blue and red differences side by side at half the width and height. As in all formats with
/// luma: ITU-R BT.601, black is 16 and white 235; odd sides are rounded up where they are halved.
pub const CCS_FORMAT_NV12: u32 = 4;
/// A plane of luma, and one of blue and one of red differences, each at half the width and height.
pub const CCS_FORMAT_I420: u32 = 5;
/// Luma, blue difference, luma, red difference: two pixels in four bytes.
pub const CCS_FORMAT_YUYV: u32 = 6;
/// Blue difference, luma, red difference, luma: two pixels in four bytes.
pub const CCS_FORMAT_UYVY: u32 = 7;
/// Three bytes a pixel: blue, green, red.
pub const CCS_FORMAT_BGR24: u32 = 8;

/// A rectangle of whole pixels.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ccs_region {
    /// The left edge.
    pub x: u32,
    /// The upper edge.
    pub y: u32,
    /// From the left edge to the right one.
    pub width: u32,
    /// From the upper edge to the lower one.
    pub height: u32,
}

/// Pixels that the host owns; they are only read, and only during the call.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ccs_frame {
    /// sizeof(ccs_frame).
    pub struct_size: u32,
    /// One of CCS_FORMAT_*.
    pub format: u32,
    /// The first pixel of the first row; in formats with several planes, of the luma plane.
    pub pixels: *const c_void,
    /// Bytes that may be read from `pixels` on.
    pub pixels_bytes: usize,
    /// In pixels, 1 to CCS_MAX_SIDE.
    pub width: u32,
    /// In pixels, 1 to CCS_MAX_SIDE.
    pub height: u32,
    /// From one row to the next, in bytes; 0 for rows without a gap.
    pub stride_bytes: usize,
    /// The part of the frame that the network sees; all zero for the whole frame.
    pub region: ccs_region,
    /// Size of a pixel, x and y, in millimetres; both zero where it is unknown.
    pub mm_per_pixel: [f32; 2],
    /// 1 if the source marked this frame as lost, or 0. Its results are flagged with CCS_FLAG_INVALID_FRAME.
    pub invalid: u32,
    /// Set to 0.
    pub reserved: u32,
    /// The chroma planes: one for CCS_FORMAT_NV12; the blue and the red differences for CCS_FORMAT_I420. Both null if they follow
    /// the luma in `pixels`, whose rows then all have their full stride: those of NV12 with the stride of luma, those of I420
    /// with half of it. Null for all other formats, as are the sizes and strides below.
    pub chroma: [*const c_void; 2],
    /// Bytes that may be read from each pointer in `chroma` on.
    pub chroma_bytes: [usize; 2],
    /// From one row of each plane in `chroma` to the next, in bytes; 0 for rows without a gap.
    pub chroma_stride_bytes: [usize; 2],
}

// SAFETY: a repr(C) struct of numbers and pointers whose first field is its size.
unsafe impl Sized32 for ccs_frame {
    const NAME: &'static str = "ccs_frame";
    const LEAST_BYTES: usize = std::mem::offset_of!(ccs_frame, invalid);
}

/// Checks the host's pixels and makes a frame of them. Pixels in a camera's format are converted into `converted`, whose memory
/// is reused.
///
/// # Safety
/// `pointer` is null or a frame whose pixels can be read as long as `converted` is lent.
pub(super) unsafe fn frame<'a>(pointer: *const ccs_frame, converted: &'a mut Vec<u8>) -> Result<Frame<'a>, Failure> {
    // SAFETY: as promised.
    let given = unsafe { read(pointer) }?;
    reserved("ccs_frame.reserved", given.reserved)?;
    let is_valid = !boolean("ccs_frame.invalid", given.invalid)?;
    // SAFETY: as promised.
    let mut frame = match kind(given.format)? {
        Kind::Pixels(format) => {
            check_no_chroma(&given, 0)?;
            // SAFETY: as promised.
            let data = unsafe { plane(given.pixels, given.pixels_bytes, "ccs_frame.pixels") }?;
            let (width, height) = (given.width as usize, given.height as usize);
            match given.stride_bytes {
                0 => Frame::packed(data, format, width, height)?,
                stride_bytes => Frame::new(data, format, width, height, stride_bytes)?,
            }
        }
        // SAFETY: as promised.
        Kind::Camera(format) => unsafe { camera(&given, format, converted) }?,
    };
    if let Some(region) = region(&given) {
        frame = frame.with_region(region)?;
    }
    if given.mm_per_pixel != [0.0; 2] {
        frame = frame.with_mm_per_pixel(given.mm_per_pixel)?;
    }
    Ok(frame.with_valid(is_valid))
}

enum Kind {
    Pixels(PixelFormat),
    Camera(CameraFormat),
}

fn kind(format: u32) -> Result<Kind, Failure> {
    Ok(match format {
        CCS_FORMAT_GRAY8 => Kind::Pixels(PixelFormat::Gray8),
        CCS_FORMAT_GRAY16 => Kind::Pixels(PixelFormat::Gray16Le),
        CCS_FORMAT_RGB8 => Kind::Pixels(PixelFormat::Rgb8),
        CCS_FORMAT_BGRA8 => Kind::Pixels(PixelFormat::Bgra8),
        CCS_FORMAT_NV12 => Kind::Camera(CameraFormat::Nv12),
        CCS_FORMAT_I420 => Kind::Camera(CameraFormat::I420),
        CCS_FORMAT_YUYV => Kind::Camera(CameraFormat::Yuyv),
        CCS_FORMAT_UYVY => Kind::Camera(CameraFormat::Uyvy),
        CCS_FORMAT_BGR24 => Kind::Camera(CameraFormat::Bgr24),
        other => return Err(Failure::argument(format!("{other} is not a pixel format: give one of CCS_FORMAT_*"))),
    })
}

/// The region that the host limits the frame to.
fn region(given: &ccs_frame) -> Option<Region> {
    let ccs_region { x, y, width, height } = given.region;
    let [x, y, width, height] = [x, y, width, height].map(|side| side as usize);
    (given.region != ccs_region::default()).then_some(Region { x, y, width, height })
}

/// Refuses chroma planes that the format does not have, starting at `first`.
fn check_no_chroma(given: &ccs_frame, first: usize) -> Result<(), Failure> {
    let is_none = |index: &usize| {
        let ccs_frame { chroma, chroma_bytes, chroma_stride_bytes, .. } = given;
        chroma[*index].is_null() && chroma_bytes[*index] == 0 && chroma_stride_bytes[*index] == 0
    };
    match (first..2).find(|index| !is_none(index)) {
        None => Ok(()),
        Some(index) => Err(Failure::argument(format!(
            "ccs_frame.chroma[{index}] is set, and the format has no such plane: leave pointer, size and stride zero"
        ))),
    }
}

/// Returns the bytes of one plane.
///
/// # Safety
/// `pointer` is null or has this many readable bytes.
unsafe fn plane<'a>(pointer: *const c_void, bytes: usize, what: &str) -> Result<&'a [u8], Failure> {
    if pointer.is_null() {
        return Err(Failure::null(what));
    }
    // SAFETY: as promised.
    unsafe { elements(pointer.cast::<u8>(), bytes, what) }
}

/// Converts a camera's picture within the region that the network sees.
///
/// # Safety
/// The frame's pixels can be read.
unsafe fn camera<'a>(
    given: &ccs_frame,
    format: CameraFormat,
    converted: &'a mut Vec<u8>,
) -> Result<Frame<'a>, Failure> {
    let (width, height) = (given.width as usize, given.height as usize);
    let or_packed = |stride_bytes: usize, row_bytes: usize| if stride_bytes == 0 { row_bytes } else { stride_bytes };
    // No product of these overflows; larger sides are refused below.
    let row_width = width.min(CCS_MAX_SIDE as usize);
    let stride_bytes = or_packed(given.stride_bytes, format.row_bytes(row_width));
    // SAFETY: as promised.
    let bytes = unsafe { plane(given.pixels, given.pixels_bytes, "ccs_frame.pixels") }?;
    let chroma_planes = format.planes() - 1;
    let picture = if chroma_planes == 0 || given.chroma == [ptr::null(); 2] {
        check_no_chroma(given, 0)?;
        let layout = CameraLayout::new(format, width, height, stride_bytes)?;
        match chroma_planes {
            // The last row may end with its pixels.
            0 => CameraPicture::new(format, width, height, &[CameraPlane { bytes, stride_bytes }])?,
            _ => layout.picture(bytes)?,
        }
    } else {
        check_no_chroma(given, chroma_planes)?;
        let mut planes = [CameraPlane { bytes, stride_bytes }; 3];
        let row_bytes = row_width.div_ceil(2) * if chroma_planes == 1 { 2 } else { 1 };
        for index in 0..chroma_planes {
            let name = format!("ccs_frame.chroma[{index}]");
            // SAFETY: as promised.
            let bytes = unsafe { plane(given.chroma[index], given.chroma_bytes[index], &name) }?;
            let stride_bytes = or_packed(given.chroma_stride_bytes[index], row_bytes);
            planes[index + 1] = CameraPlane { bytes, stride_bytes };
        }
        CameraPicture::new(format, width, height, &planes[..=chroma_planes])?
    };
    converted.resize(width * height * 3, 0);
    picture.convert(region(given).unwrap_or(Region::whole(width, height)), converted)?;
    Ok(Frame::packed(converted, CameraLayout::CONVERTED, width, height)?)
}

const _: () = assert!(CCS_MAX_SIDE as usize == runtime::frame::MAX_SIDE);
