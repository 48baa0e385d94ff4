//! Structs that are passed by pointer, and how they are read and written.

use crate::failure::{CCS_STATUS_STRUCT_SIZE, Failure};
use crate::frame::ccs_region;
use runtime::mask::{Diameter, Flag, Measurements, Quality};
use std::ffi::{CStr, c_char};

/// A point in pixels: (0, 0) is the upper left corner of the first pixel, not its centre.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ccs_point {
    /// From the left edge.
    pub x: u32,
    /// From the upper edge.
    pub y: u32,
}

/// One closed boundary along pixel edges, a run of points in the array beside it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ccs_contour {
    /// Index of its first point.
    pub first_point: usize,
    /// The last point joins the first.
    pub point_count: usize,
    /// 1 for the rim of a hole, 0 for an outer boundary.
    pub hole: u32,
    /// Zero.
    pub reserved: u32,
}

/// A straight line across a lesion; NaN for an empty mask.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ccs_diameter {
    /// In pixels.
    pub length_px: f64,
    /// NaN where the pixels' size is unknown.
    pub length_mm: f64,
    /// x and y of both ends, in pixels.
    pub ends: [[f64; 2]; 2],
}

/// Measurements of one mask. Values that are unknown, or undefined for an empty mask, are NaN.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ccs_measurements {
    /// sizeof(ccs_measurements).
    pub struct_size: u32,
    /// Zero.
    pub reserved: u32,
    /// The number of pixels of the mask.
    pub area_px: u64,
    /// The mask's share of the region of interest, 0 to 1.
    pub area_fraction: f64,
    /// NaN where the pixels' size is unknown.
    pub area_mm2: f64,
    /// The mean probability inside the mask, 0 to 1.
    pub mean_probability: f64,
    /// x and y, in pixels.
    pub centroid: [f64; 2],
    /// All zero for an empty mask.
    pub bbox: ccs_region,
    /// Between the two points of the mask that are farthest apart.
    pub longest_diameter: ccs_diameter,
    /// At a right angle to the longest.
    pub perpendicular_diameter: ccs_diameter,
}

/// The frame has no contrast.
pub const CCS_FLAG_BLANK_FRAME: u32 = 1;
/// The frame equals the last one, pixel for pixel.
pub const CCS_FLAG_FROZEN_FRAME: u32 = 2;
/// The frame is noise, not an ultrasound image.
pub const CCS_FLAG_NOISE_FRAME: u32 = 4;
/// The source marked the frame as lost, see ccs_frame.invalid.
pub const CCS_FLAG_INVALID_FRAME: u32 = 8;
/// No pixel is above the threshold.
pub const CCS_FLAG_NOTHING_FOUND: u32 = 16;
/// The score is too low to be relied on.
pub const CCS_FLAG_LOW_SCORE: u32 = 32;
/// The prompt has words that the model was not trained on.
pub const CCS_FLAG_UNKNOWN_WORDS: u32 = 64;
/// The frame is unlike the images that the model was trained on.
pub const CCS_FLAG_UNFAMILIAR_FRAME: u32 = 128;

/// How far one result can be trusted; docs/formats.md gives the measurements. Probabilities and shares are 0 to 1, and NaN for an
/// empty mask.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ccs_quality {
    /// sizeof(ccs_quality).
    pub struct_size: u32,
    /// The sum of CCS_FLAG_*.
    pub flags: u32,
    /// A single score that orders results by how well they agree with a reader. It is not a probability.
    pub score: f64,
    /// The mean probability inside the mask.
    pub mean_probability: f64,
    /// The lowest probability inside the mask.
    pub min_probability: f64,
    /// The highest probability in the frame.
    pub max_probability: f64,
    /// The number of pixels above 0.3, 0.5 and 0.7.
    pub area_px_at: [u64; 3],
    /// The last of these divided by the first.
    pub stability: f64,
    /// The share of the mask that the confounder map covers too; NaN without that map.
    pub confounder_share: f64,
    /// The Dice that results with this score reached on images that the model was not trained on; NaN if the model does not state
    /// it.
    pub expected_dice: f64,
    /// 1 if the prompted lesion is in the image, by the model's own threshold for the largest probability; 0 if it is not, -1 if
    /// the model does not state a threshold.
    pub present: i32,
    /// Zero.
    pub reserved: u32,
}

impl From<&Quality> for ccs_quality {
    fn from(quality: &Quality) -> Self {
        let bit = |flag: &Flag| match flag {
            Flag::BlankFrame => CCS_FLAG_BLANK_FRAME,
            Flag::FrozenFrame => CCS_FLAG_FROZEN_FRAME,
            Flag::NoiseFrame => CCS_FLAG_NOISE_FRAME,
            Flag::UnfamiliarFrame => CCS_FLAG_UNFAMILIAR_FRAME,
            Flag::InvalidFrame => CCS_FLAG_INVALID_FRAME,
            Flag::NothingFound => CCS_FLAG_NOTHING_FOUND,
            Flag::LowScore => CCS_FLAG_LOW_SCORE,
            Flag::UnknownWords => CCS_FLAG_UNKNOWN_WORDS,
        };
        Self {
            struct_size: size_of::<Self>() as u32,
            flags: quality.flags.iter().map(bit).fold(0, |all, bit| all | bit),
            score: quality.score,
            mean_probability: quality.mean_probability.unwrap_or(f64::NAN),
            min_probability: quality.min_probability.unwrap_or(f64::NAN),
            max_probability: quality.max_probability,
            area_px_at: quality.area_px_at.map(|area| area as u64),
            stability: quality.stability,
            confounder_share: quality.confounder_share.unwrap_or(f64::NAN),
            expected_dice: quality.expected_dice.unwrap_or(f64::NAN),
            present: quality.present.map_or(-1, i32::from),
            reserved: 0,
        }
    }
}

impl From<Option<Diameter>> for ccs_diameter {
    fn from(diameter: Option<Diameter>) -> Self {
        match diameter {
            Some(Diameter { length_px, length_mm, ends }) => {
                Self { length_px, length_mm: length_mm.unwrap_or(f64::NAN), ends }
            }
            None => Self { length_px: f64::NAN, length_mm: f64::NAN, ends: [[f64::NAN; 2]; 2] },
        }
    }
}

impl From<&Measurements> for ccs_measurements {
    fn from(measured: &Measurements) -> Self {
        // Sides of a frame fit, see `MAX_SIDE`.
        let [x, y, width, height] = measured.bbox.unwrap_or_default().map(|side| side as u32);
        Self {
            struct_size: size_of::<Self>() as u32,
            reserved: 0,
            area_px: measured.area_px as u64,
            area_fraction: measured.area_fraction,
            area_mm2: measured.area_mm2.unwrap_or(f64::NAN),
            mean_probability: measured.mean_probability.unwrap_or(f64::NAN),
            centroid: measured.centroid.unwrap_or([f64::NAN; 2]),
            bbox: ccs_region { x, y, width, height },
            longest_diameter: measured.longest_diameter.into(),
            perpendicular_diameter: measured.perpendicular_diameter.into(),
        }
    }
}

/// A struct that begins with its own size, as u32.
///
/// # Safety
/// The first field is `struct_size: u32`, and every field may have any value, zero among them.
pub(super) unsafe trait Sized32: Copy {
    const NAME: &'static str;
    /// The smallest size that is accepted, in bytes. Fields beyond it default to zero.
    const LEAST_BYTES: usize = size_of::<Self>();
}

macro_rules! sized {
    ($($name:ident),*) => {
        $(
            // SAFETY: a repr(C) struct of numbers and pointers whose first field is its size.
            unsafe impl $crate::types::Sized32 for $name {
                const NAME: &'static str = stringify!($name);
            }
        )*
    };
}
pub(super) use sized;

/// As `sized!`, for options: every field but the size may be left out.
macro_rules! options {
    ($($name:ident),*) => {
        $(
            // SAFETY: a repr(C) struct of numbers whose first field is its size.
            unsafe impl $crate::types::Sized32 for $name {
                const NAME: &'static str = stringify!($name);
                const LEAST_BYTES: usize = size_of::<u32>();
            }

            impl Default for $name {
                /// All zero except the size, the meaning of null.
                fn default() -> Self {
                    // SAFETY: numbers, for which zero is a value.
                    Self { struct_size: size_of::<Self>() as u32, ..unsafe { std::mem::zeroed() } }
                }
            }
        )*
    };
}
pub(super) use options;

sized!(ccs_measurements, ccs_quality);

/// Checks a pointer to a struct, reading only its size, and returns the size.
///
/// # Safety
/// `pointer` is null or points to memory of at least the size that its first field tells.
unsafe fn check_size<T: Sized32>(pointer: *const T) -> Result<usize, Failure> {
    check_pointer(pointer, T::NAME)?;
    // SAFETY: not null and aligned; the caller promises at least the first field.
    let given = unsafe { pointer.cast::<u32>().read() } as usize;
    let expected = size_of::<T>();
    // A compiler makes each size a multiple of the alignment, so no field ends in the middle.
    let is_shorter = given == T::LEAST_BYTES || (given > T::LEAST_BYTES && given.is_multiple_of(align_of::<T>()));
    if given != expected && !(is_shorter && given < expected) {
        let message = format!(
            "{0}.struct_size is {given} and this library's is {expected}: set it to sizeof({0}), and compile with the \
             header of this version",
            T::NAME
        );
        return Err(Failure::new(CCS_STATUS_STRUCT_SIZE, message));
    }
    Ok(given)
}

/// Copies a struct of the host's. Fields that an older header's shorter struct lacks are zero.
///
/// # Safety
/// As [`check_size`].
pub(super) unsafe fn read<T: Sized32>(pointer: *const T) -> Result<T, Failure> {
    // SAFETY: as promised.
    let given = unsafe { check_size(pointer) }?;
    let mut value = std::mem::MaybeUninit::<T>::zeroed();
    // SAFETY: not null, and as large as it says, which is not more than a `T`; two objects do not overlap.
    unsafe { std::ptr::copy_nonoverlapping(pointer.cast::<u8>(), value.as_mut_ptr().cast::<u8>(), given) };
    // SAFETY: any value is valid, zero too.
    Ok(unsafe { value.assume_init() })
}

/// Copies a struct of options; null means all zero.
///
/// # Safety
/// As [`check_size`].
pub(super) unsafe fn read_options<T: Sized32 + Default>(pointer: *const T) -> Result<T, Failure> {
    if pointer.is_null() {
        return Ok(T::default());
    }
    // SAFETY: as promised.
    unsafe { read(pointer) }
}

/// Reads a field that is 1 for yes and 0 for no.
pub(super) fn boolean(field: &str, value: u32) -> Result<bool, Failure> {
    match value {
        0 => Ok(false),
        1 => Ok(true),
        other => Err(Failure::argument(format!("{field} is {other}: set it to 0 or 1"))),
    }
}

/// Refuses a reserved field that is not zero: a host that sets it expects an effect.
pub(super) fn reserved(field: &str, value: u32) -> Result<(), Failure> {
    match value {
        0 => Ok(()),
        other => Err(Failure::argument(format!("{field} is {other}: set it to 0, or zero the whole struct first"))),
    }
}

/// Converts a threshold from C, where 0 means the model's own, for sessions and streams.
pub(super) fn threshold(value: f32) -> Option<f32> {
    (value != 0.0).then_some(value)
}

/// Writes a struct of the host's.
///
/// # Safety
/// As [`check_size`], and the memory may be written.
pub(super) unsafe fn write<T: Sized32>(pointer: *mut T, value: T) -> Result<(), Failure> {
    // SAFETY: as promised. Results are taken whole, so the size is that of `T`.
    unsafe { check_size(pointer) }?;
    // SAFETY: not null, aligned, large enough and writable.
    unsafe { pointer.write(value) };
    Ok(())
}

pub(super) fn check_pointer<T>(pointer: *const T, what: &str) -> Result<(), Failure> {
    if pointer.is_null() {
        return Err(Failure::null(what));
    }
    if !pointer.is_aligned() {
        return Err(Failure::argument(format!("{what} is not aligned to {} bytes", align_of::<T>())));
    }
    Ok(())
}

/// Borrows an output for one result and clears it at once, so that a failed call leaves no old handle there.
///
/// # Safety
/// `pointer` is null or may be written.
pub(super) unsafe fn place<'a, T: Default>(pointer: *mut T, what: &str) -> Result<&'a mut T, Failure> {
    check_pointer(pointer, what)?;
    // SAFETY: not null, aligned and, as the caller promises, writable and nobody else's during the call.
    unsafe {
        pointer.write(T::default());
        Ok(&mut *pointer)
    }
}

/// Borrows `count` elements of the host's; an empty slice if `count` is 0, whatever the pointer.
///
/// # Safety
/// `pointer` is null or points to `count` elements that nobody writes during the call.
pub(super) unsafe fn elements<'a, T>(pointer: *const T, count: usize, what: &str) -> Result<&'a [T], Failure> {
    if count == 0 {
        return Ok(&[]);
    }
    check_pointer(pointer, what)?;
    check_count::<T>(count, what)?;
    // SAFETY: not null, aligned, within the largest size of an object, and there as the caller promises.
    Ok(unsafe { std::slice::from_raw_parts(pointer, count) })
}

/// As [`elements`], for writing.
///
/// # Safety
/// `pointer` is null or points to `count` elements that are nobody else's during the call.
pub(super) unsafe fn elements_mut<'a, T>(pointer: *mut T, count: usize, what: &str) -> Result<&'a mut [T], Failure> {
    if count == 0 {
        return Ok(&mut []);
    }
    check_pointer(pointer, what)?;
    check_count::<T>(count, what)?;
    // SAFETY: as in `elements`, and writable.
    Ok(unsafe { std::slice::from_raw_parts_mut(pointer, count) })
}

fn check_count<T>(count: usize, what: &str) -> Result<(), Failure> {
    match count.checked_mul(size_of::<T>()) {
        Some(bytes) if isize::try_from(bytes).is_ok() => Ok(()),
        _ => Err(Failure::argument(format!("{count} elements of {what} are more than memory can hold"))),
    }
}

/// Borrows a string of the host's.
///
/// # Safety
/// `text` is null or ends with a zero byte.
pub(super) unsafe fn string<'a>(text: *const c_char, what: &str) -> Result<&'a str, Failure> {
    check_pointer(text, what)?;
    // SAFETY: not null, and ends with a zero as the caller promises.
    let text = unsafe { CStr::from_ptr(text) };
    text.to_str().map_err(|_| Failure::argument(format!("{what} is not UTF-8")))
}
