//! Results as structures: for messages on the bus, and as parameters of a region-of-interest meta.

use causalclipseg::Finding;
use causalclipseg::mask::Flag;
use gst_video::VideoRegionOfInterestMeta;

/// The name of the structures.
pub(crate) const NAME: &str = "causalclipseg";
/// The type of the regions of interest.
pub(crate) const REGION_TYPE: &str = "lesion";

/// What the findings of one frame have in common.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FrameFacts {
    /// Frames that arrived before this one.
    pub sequence: u64,
    pub pts: Option<gst::ClockTime>,
    pub running_time: Option<gst::ClockTime>,
    pub threshold: f32,
    pub engine_ms: f64,
    /// From the frame's arrival at the element.
    pub latency_ms: f64,
}

/// The finding of one prompt. Fields whose value is unknown are left out.
pub(crate) fn structure(facts: &FrameFacts, prompt_index: usize, prompt: &str, finding: &Finding) -> gst::Structure {
    let measurements = finding.measurements();
    let mut structure = gst::Structure::builder(NAME)
        .field("sequence", facts.sequence)
        .field("pts", facts.pts)
        .field("running_time", facts.running_time)
        .field("prompt_index", prompt_index as u32)
        .field("prompt", prompt)
        .field("threshold", facts.threshold)
        .field("area_px", measurements.area_px as u64)
        .field("area_fraction", measurements.area_fraction)
        .field("engine_ms", facts.engine_ms)
        .field("latency_ms", facts.latency_ms)
        .build();
    let mut set = |name: &str, value: Option<f64>| {
        if let Some(value) = value {
            structure.set(name, value);
        }
    };
    set("area_mm2", measurements.area_mm2);
    set("mean_probability", measurements.mean_probability);
    if let Some(longest) = &measurements.longest_diameter {
        set("longest_diameter_px", Some(longest.length_px));
        set("longest_diameter_mm", longest.length_mm);
    }
    if let Some(quality) = finding.quality() {
        set("score", Some(quality.score));
        set("expected_dice", quality.expected_dice);
        structure.set_if_some("present", quality.present);
        structure.set("flags", gst::Array::new(quality.flags.iter().map(|flag| flag_name(*flag))));
    }
    if let Some(bbox) = measurements.bbox {
        structure.set("box", gst::Array::new(bbox.map(|side| side as i32)));
    }
    structure
}

/// Attaches a finding to its frame; an empty mask has no region.
pub(crate) fn attach(buffer: &mut gst::BufferRef, finding: &Finding, structure: gst::Structure) {
    if let Some(bbox) = finding.measurements().bbox {
        let [x, y, width, height] = bbox.map(|side| side as u32);
        let mut meta = VideoRegionOfInterestMeta::add(buffer, REGION_TYPE, (x, y, width, height));
        meta.add_param(structure);
    }
}

/// As in the command's JSON.
fn flag_name(flag: Flag) -> &'static str {
    match flag {
        Flag::BlankFrame => "blank_frame",
        Flag::FrozenFrame => "frozen_frame",
        Flag::NoiseFrame => "noise_frame",
        Flag::UnfamiliarFrame => "unfamiliar_frame",
        Flag::InvalidFrame => "invalid_frame",
        Flag::NothingFound => "nothing_found",
        Flag::LowScore => "low_score",
        Flag::UnknownWords => "unknown_words",
    }
}
