//! The result of one frame.

use super::Finding;
use crate::engine::{GpuTimes, RanOn};

/// The result of one frame: a finding for each prompt, and the times.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct FrameReport {
    /// One finding for each prompt, in the prompts' order.
    pub findings: Vec<Finding>,
    /// A pixel is lesion where its probability is above this.
    pub threshold: f32,
    /// The time of each stage.
    pub seconds: StageSeconds,
    /// The device that ran the network.
    pub ran_on: RanOn,
    /// The time of each stage on the GPU, if one ran the network.
    pub gpu_times: Option<GpuTimes>,
}

/// The time that each stage of one frame took, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
#[non_exhaustive]
pub struct StageSeconds {
    /// From pixels to the network's input, with the checks of the frame's own condition.
    pub preprocess: f64,
    /// The part of the network that does not depend on prompts.
    pub image: f64,
    /// The part of the network that depends on prompts, for all prompts together. The fast engine streams from the decoder's last
    /// low-resolution map on.
    pub head: f64,
    /// Probabilities, masks and their quality, for all prompts together.
    pub postprocess: f64,
}

impl StageSeconds {
    /// The sum of all stages.
    pub fn total(&self) -> f64 {
        self.preprocess + self.image + self.head + self.postprocess
    }
}
