//! The messages that the measuring process receives and sends: one JSON document each way.

use super::super::device::PrecisionName;
use super::configuration::EngineName;
use super::gpu::GpuFacts;
use super::layers::LayerTime;
use super::pace::Pace;
use super::samples::Samples;
use super::warm_up::{WarmUp, Warmed};
use super::workload::Stages;
use causalclipseg::bundle::Precision;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// One round of one configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Job {
    /// The model's file; `None`: the model inside the command.
    pub bundle: Option<PathBuf>,
    pub threads: usize,
    /// Sessions that run at once.
    pub sessions: usize,
    pub prompts: usize,
    /// The device, as the command line names it.
    pub device: String,
    pub gpu_precision: PrecisionName,
    pub gpu_cache: Option<PathBuf>,
    pub engine: EngineName,
    pub isa: Option<String>,
    /// Width and height of the frame, in pixels.
    pub frame: [usize; 2],
    pub warm_up: WarmUp,
    pub pace: Pace,
    pub deadline_ms: Option<f64>,
    /// Cores to stay on; `None`: wherever the system puts it.
    pub cores: Option<Vec<usize>>,
    /// Whether to time every step of the image pass, after the run.
    pub layers: bool,
    pub check: Option<CheckJob>,
}

/// Masks to compare, after the run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct CheckJob {
    pub images: Vec<PathBuf>,
    /// The bundle whose masks are the reference; `None`: the measured one.
    pub against: Option<PathBuf>,
}

/// The results of one round. An unknown figure is `None`, never zero.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Outcome {
    pub model: ModelFacts,
    /// The name of the engine that ran.
    pub engine: String,
    /// The instruction set that its kernels use.
    pub isa: String,
    pub gmac: f64,
    pub open_ms: f64,
    pub first_frame_ms: f64,
    pub prompt_encode_ms: f64,
    pub prompt_cached_ms: f64,
    pub warm_up: Warmed,
    pub latencies_ns: Samples,
    pub frames: u64,
    /// Means over all frames.
    pub stages_ms: Stages,
    pub elapsed_seconds: f64,
    pub deadline_misses: Option<u64>,
    pub allocations: Option<u64>,
    pub peak_gmac_per_s: Option<f64>,
    pub peak_rss_bytes: Option<u64>,
    pub harness_us: f64,
    /// The energy that the machine took in the measured time, in joules, and where that figure comes from.
    pub energy: Option<Energy>,
    pub before: Condition,
    pub after: Condition,
    /// The cores that the process was pinned to, where that was requested and worked.
    pub cores: Option<Vec<usize>>,
    /// Facts about the GPU, where one ran every frame.
    pub gpu: Option<GpuFacts>,
    /// Why the model fell back to the CPU although a GPU was requested.
    pub device_fallback: Option<String>,
    pub layers: Option<Vec<LayerTime>>,
    pub check: Option<Agreement>,
    pub interrupted: bool,
    pub warnings: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct ModelFacts {
    pub name: String,
    pub edition: String,
    pub size: usize,
    pub precision: Precision,
    pub trained: bool,
    pub sha256: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Energy {
    pub joules: f64,
    /// `rapl` or `ina3221`.
    pub source: String,
}

/// The machine's state at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Condition {
    pub governor: Option<String>,
    pub frequency_mhz: Option<f64>,
    pub temperature_c: Option<f64>,
}

/// How much this configuration's masks agree with the reference's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Agreement {
    pub images: usize,
    /// Masks compared: images times prompts.
    pub masks: usize,
    /// The number of these that were empty in both, which counts as a Dice of 1.
    pub both_empty: usize,
    pub dice_mean: f64,
    pub dice_min: f64,
    /// The largest difference of any pixel's probability.
    pub probability_difference_max: f64,
    /// The SHA-256 sum of the reference bundle.
    pub reference_sha256: String,
}
