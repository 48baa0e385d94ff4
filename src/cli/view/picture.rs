//! One frame and its findings, as the page receives them.

use causalclipseg::mask::{Contour, Flag, Measurements, Quality};
use causalclipseg::stream::FrameResult;
use serde::Serialize;

/// A segmented frame.
#[derive(Serialize)]
pub(super) struct Picture {
    /// The number of the result, from 1; frames that are segmented again get a new one.
    pub number: u64,
    sequence: u64,
    timestamp_us: u64,
    width: usize,
    height: usize,
    /// From the frame's arrival to its result.
    latency_ms: f64,
    late: bool,
    findings: Vec<PromptFinding>,
    /// Red, green, blue and alpha of each pixel, row by row.
    #[serde(skip)]
    pub rgba: Vec<u8>,
}

/// The finding of one prompt.
#[derive(Serialize)]
struct PromptFinding {
    prompt: String,
    #[serde(flatten)]
    measurements: Measurements,
    quality: Option<Quality>,
    /// The mask's boundaries; filled by the even-odd rule they are the mask.
    contours: Vec<Contour>,
}

impl Picture {
    /// `is_repeated` says that the frame was submitted again on request.
    pub(super) fn new(number: u64, result: &FrameResult<'_>, is_repeated: bool) -> Self {
        let quality = |quality: &Quality| {
            let mut quality = quality.clone();
            // The machine did not freeze.
            quality.flags.retain(|flag| !is_repeated || *flag != Flag::FrozenFrame);
            quality
        };
        let findings = result.report.findings.iter().zip(result.prompts).map(|(finding, prompt)| PromptFinding {
            prompt: prompt.text().to_string(),
            measurements: finding.measurements().clone(),
            quality: finding.quality().map(quality),
            contours: finding.contours().to_vec(),
        });
        let mut rgba = Vec::new();
        result.frame.write_rgba(&mut rgba);
        Self {
            number,
            sequence: result.sequence,
            timestamp_us: result.timestamp_us,
            width: result.frame.width(),
            height: result.frame.height(),
            latency_ms: result.latency.as_secs_f64() * 1e3,
            late: result.late,
            findings: findings.collect(),
            rgba,
        }
    }
}
