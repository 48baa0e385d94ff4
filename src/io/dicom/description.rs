//! What was understood of a file, for people who ask. Nothing in it says whose picture it is.

use super::regions::ScanRegion;
use crate::frame::Region;

/// A DICOM file as it was understood.
#[derive(Clone, Debug, PartialEq)]
pub struct Description {
    /// Of every frame, in pixels.
    pub width: usize,
    pub height: usize,
    /// How many frames are read.
    pub frames: u64,
    /// Whether the frames are slices of a volume, which do not follow each other in time.
    pub is_volume: bool,
    /// UID of the kind of instance, empty where the file names none.
    pub sop_class: String,
    /// UID of the transfer syntax, and its name where the standard has one.
    pub transfer_syntax: String,
    pub transfer_syntax_name: Option<&'static str>,
    /// As the file names it, such as `MONOCHROME2`.
    pub photometric_interpretation: String,
    /// Samples of a pixel; bits of a sample, as they are stored and as they carry the value.
    pub samples_per_pixel: usize,
    pub bits_allocated: u32,
    pub bits_stored: u32,
    /// All regions that lie in the picture, and the one that the network sees; `None` is the whole frame.
    pub regions: Vec<ScanRegion>,
    pub region: Option<Region>,
    /// `[x, y]`, `None` where the file gives no size.
    pub mm_per_pixel: Option<[f32; 2]>,
    /// From one frame to the next, where all are equally far apart.
    pub frame_time_ms: Option<f64>,
    /// Specific Character Set, as the file has it; empty where it has none.
    pub character_set: String,
    /// What was mended or ignored, one sentence each.
    pub ignored: Vec<String>,
}
