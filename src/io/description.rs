//! The description of an image file, which users can check before they rely on a mask.

use crate::frame::{Orientation, Region};
use serde::Serialize;

/// An image file as it was understood: the same fields for every format, and nothing that identifies the patient.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Description {
    /// The format's name, such as `PNG`, `DICOM` or `MetaImage`; for a folder, `files`.
    pub format: String,
    /// The width of a frame as it is stored, in pixels; of the first one, where sizes may differ.
    pub width: usize,
    /// The height; see `width`.
    pub height: usize,
    /// The number of frames; `None` where it is unknown before the end.
    pub frames: Option<u64>,
    /// How a pixel is stored and converted, such as `16-bit grey, 4095 is white`.
    pub pixels: String,
    /// The meaning of the samples, in the format's own term: DICOM's Photometric Interpretation, TIFF's, NRRD's kinds.
    pub photometric_interpretation: Option<String>,
    /// How pixels are packed, such as `none`, `gzip`, `JPEG baseline`.
    pub compression: String,
    /// DICOM's identifier of the compression and byte order.
    pub transfer_syntax: Option<String>,
    /// The regions of scans that the file states, in stored pixels.
    pub regions: Vec<Region>,
    /// The one of them that the network sees; `None` where it sees the complete frame.
    pub region_used: Option<Region>,
    /// The size of a stored pixel, `[x, y]`.
    pub mm_per_pixel: Option<[f32; 2]>,
    /// The distance from the centre of a slice to the next, where frames are the slices of a volume.
    pub slice_spacing_mm: Option<f32>,
    /// The time from one frame to the next, where the file has one interval for all.
    pub seconds_per_frame: Option<f64>,
    /// How stored pixels are turned before the network sees them.
    pub orientation: Orientation,
    /// The encoding of the file's text: DICOM's Specific Character Set, or an encoding.
    pub character_set: Option<String>,
    /// The contents of the file that are not used, a line each, with the reason.
    pub ignored: Vec<String>,
}
