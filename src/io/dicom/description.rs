//! The readable description of a file. Nothing in it identifies the patient.

use super::regions::ScanRegion;
use crate::frame::{Orientation, Region};
use crate::io;

/// A DICOM file as it was understood.
#[derive(Clone, Debug, PartialEq)]
pub struct Description {
    /// The width of every frame, in pixels.
    pub width: usize,
    /// The height of every frame, in pixels.
    pub height: usize,
    /// The number of frames that are read.
    pub frames: u64,
    /// Whether the frames are slices of a volume, which do not follow each other in time.
    pub is_volume: bool,
    /// The UID of the SOP class, empty where the file names none.
    pub sop_class: String,
    /// The UID of the transfer syntax.
    pub transfer_syntax: String,
    /// The standard's name of it.
    pub transfer_syntax_name: Option<&'static str>,
    /// The Photometric Interpretation, such as `MONOCHROME2`.
    pub photometric_interpretation: String,
    /// 1, or 3 for colours.
    pub samples_per_pixel: usize,
    /// Bits in which a sample is stored.
    pub bits_allocated: u32,
    /// Bits of a sample that carry its value.
    pub bits_stored: u32,
    /// All regions that lie in the picture.
    pub regions: Vec<ScanRegion>,
    /// The region that the network sees; `None` is the complete frame.
    pub region: Option<Region>,
    /// The size of a pixel, `[x, y]`; `None` where the file gives none.
    pub mm_per_pixel: Option<[f32; 2]>,
    /// The time from one frame to the next, where it is the same for all.
    pub frame_time_ms: Option<f64>,
    /// Specific Character Set, as the file has it; empty where it has none.
    pub character_set: String,
    /// Repaired and ignored parts, one sentence each.
    pub ignored: Vec<String>,
}

impl From<&Description> for io::Description {
    fn from(dicom: &Description) -> Self {
        let samples = match dicom.samples_per_pixel {
            1 => "one sample a pixel".to_string(),
            samples => format!("{samples} samples a pixel"),
        };
        let volume = if dicom.is_volume { ", slices of a volume" } else { "" };
        Self {
            format: "DICOM".into(),
            width: dicom.width,
            height: dicom.height,
            frames: Some(dicom.frames),
            pixels: format!("{samples}, {} bits of {}{volume}", dicom.bits_stored, dicom.bits_allocated),
            photometric_interpretation: Some(dicom.photometric_interpretation.clone()).filter(|text| !text.is_empty()),
            compression: dicom.transfer_syntax_name.unwrap_or("unknown").into(),
            transfer_syntax: Some(dicom.transfer_syntax.clone()).filter(|uid| !uid.is_empty()),
            regions: dicom.regions.iter().map(|region| region.place).collect(),
            region_used: dicom.region,
            mm_per_pixel: dicom.mm_per_pixel,
            slice_spacing_mm: None,
            seconds_per_frame: dicom.frame_time_ms.map(|ms| ms / 1e3),
            orientation: Orientation::Upright,
            character_set: Some(dicom.character_set.clone()).filter(|text| !text.is_empty()),
            ignored: dicom.ignored.clone(),
        }
    }
}
