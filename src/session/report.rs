//! The result of one frame.

use super::Finding;
use crate::engine::{GpuTimes, RanOn};

/// The result of one frame: what each prompt found, and what it took.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct FrameReport {
    /// One a prompt, in the prompts' order.
    pub findings: Vec<Finding>,
    /// A pixel is lesion where its probability is above this.
    pub threshold: f32,
    /// Where the time went.
    pub seconds: StageSeconds,
    /// What ran the network.
    pub ran_on: RanOn,
    /// Where the time on a GPU went, if one ran it.
    pub gpu_times: Option<GpuTimes>,
}

/// Where the time of one frame went, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
#[non_exhaustive]
pub struct StageSeconds {
    /// From pixels to the network's input; a look at the frame's own condition is part of it.
    pub preprocess: f64,
    /// The network up to what depends on a prompt.
    pub image: f64,
    /// Of all prompts together: what follows. The fast engine streams from the decoder's last low-resolution map on.
    pub head: f64,
    /// Of all prompts together: probabilities, masks and their quality.
    pub postprocess: f64,
}

impl StageSeconds {
    /// All stages.
    pub fn total(&self) -> f64 {
        self.preprocess + self.image + self.head + self.postprocess
    }
}
