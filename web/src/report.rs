//! The result of one frame as the page gets it. Keys are those of the command's JSON where it has them.

use causalclipseg::StageSeconds;
use causalclipseg::frame::Region;
use causalclipseg::mask::{Contour, Measurements, Quality};
use serde::Serialize;

/// One frame.
#[derive(Serialize)]
pub(crate) struct Report<'a> {
    pub width: usize,
    pub height: usize,
    pub region: Region,
    pub mm_per_pixel: Option<[f32; 2]>,
    /// EXIF's number, 1 to 8: how the pixels are turned to be upright.
    pub orientation: u8,
    pub timestamp_s: Option<f64>,
    pub threshold: f32,
    pub seconds: StageSeconds,
    pub total_seconds: f64,
    pub findings: Vec<Found<'a>>,
}

/// One prompt's result.
#[derive(Serialize)]
pub(crate) struct Found<'a> {
    pub prompt: &'a str,
    #[serde(flatten)]
    pub measurements: &'a Measurements,
    pub contours: &'a [Contour],
    pub quality: Option<&'a Quality>,
}
