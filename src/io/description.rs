//! What a reader understood of an image file, for people to check before they trust a mask.

use crate::frame::{Orientation, Region};
use serde::Serialize;

/// An image file as it was understood: the same fields for every format, and nothing that says whose image it is.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Description {
    /// Such as `PNG`, `DICOM` or `MetaImage`; for a folder, `files`.
    pub format: String,
    /// Of a frame as it is stored, in pixels; of the first one, where sizes may differ.
    pub width: usize,
    /// See `width`.
    pub height: usize,
    /// `None` where only the end will tell.
    pub frames: Option<u64>,
    /// How a pixel is stored and what becomes of it, such as `16-bit grey, 4095 is white`.
    pub pixels: String,
    /// What the samples mean, in the format's own word: DICOM's Photometric Interpretation, TIFF's, NRRD's kinds.
    pub photometric_interpretation: Option<String>,
    /// How pixels are packed, such as `none`, `gzip`, `JPEG baseline`.
    pub compression: String,
    /// DICOM's identifier of the compression and byte order.
    pub transfer_syntax: Option<String>,
    /// Where the file says that scans lie, in stored pixels.
    pub regions: Vec<Region>,
    /// Which of them the network sees; `None` where it sees the whole frame.
    pub region_used: Option<Region>,
    /// The size of a stored pixel, `[x, y]`.
    pub mm_per_pixel: Option<[f32; 2]>,
    /// From the centre of a slice to the next, where frames are the slices of a volume.
    pub slice_spacing_mm: Option<f32>,
    /// From one frame to the next, where the file has one interval for all.
    pub seconds_per_frame: Option<f64>,
    /// How stored pixels are turned before the network sees them.
    pub orientation: Orientation,
    /// Of the file's text: DICOM's Specific Character Set, or an encoding.
    pub character_set: Option<String>,
    /// What the file says or holds and is not used, a line each, with the reason.
    pub ignored: Vec<String>,
}
