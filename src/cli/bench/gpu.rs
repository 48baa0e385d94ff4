//! Data that a GPU reports about itself and its frames.

use super::job::Outcome;
use super::statistics::median;
use causalclipseg::{FrameReport, Model};
use serde::{Deserialize, Serialize};

/// Facts about a GPU that ran every frame. Times are means of the measured frames, in milliseconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct GpuFacts {
    pub adapter: String,
    pub backend: String,
    /// `discrete`, `integrated`, `virtual`, `software` or `other`.
    pub kind: String,
    pub driver: String,
    /// `f32` or `f16`.
    pub precision: String,
    /// Bytes of device memory in use.
    pub bytes: u64,
    /// The part of `bytes` that weights and constant maps take.
    pub weight_bytes: u64,
    /// The number of compiled shader variants.
    pub shaders: usize,
    /// Time from opening the device to the last compiled shader; part of `open_ms`.
    pub ready_ms: f64,
    /// Time until pixels, sentences and commands were handed over.
    pub upload_ms: f64,
    pub compute_ms: f64,
    /// The part of `compute_ms` that draws masks; rows of older versions have none.
    #[serde(default)]
    pub masks_ms: f64,
    /// Time until logits and masks were in the host's memory.
    pub read_back_ms: f64,
    /// Whether the device measured its own time; otherwise `compute_ms` is how long the host waited.
    pub timestamps: bool,
    /// The most multiply-accumulates that the device makes in a second, in 10⁹, in f32 and in f16, and the bytes of
    /// memory that it moves, measured after the frames; `null` where that failed.
    pub peak_f32_gmac_per_s: Option<f64>,
    pub peak_f16_gmac_per_s: Option<f64>,
    pub peak_gigabytes_per_s: Option<f64>,
}

/// Sums over frames, in seconds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct GpuTimes {
    frames: u64,
    upload: f64,
    compute: f64,
    masks: f64,
    read_back: f64,
    by_timestamps: bool,
    /// The number of frames that the CPU ran.
    others: u64,
}

impl GpuTimes {
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Adds a frame.
    pub(crate) fn note(&mut self, report: &FrameReport) {
        match report.gpu_times {
            Some(times) => {
                self.frames += 1;
                self.upload += times.upload;
                self.compute += times.compute;
                self.masks += times.masks;
                self.read_back += times.read_back;
                self.by_timestamps = times.by_timestamps;
            }
            None => self.others += 1,
        }
    }

    #[cfg(feature = "gpu")]
    fn mean_ms(&self, seconds: f64) -> f64 {
        1e3 * seconds / self.frames.max(1) as f64
    }
}

impl GpuFacts {
    /// The facts of a model's GPU; `None` where the CPU ran frames.
    #[cfg(feature = "gpu")]
    pub(crate) fn of(model: &Model, times: &GpuTimes) -> Option<Self> {
        let engine = model.engine().gpu().filter(|_| times.others == 0)?;
        let summary = engine.summary();
        let peaks = engine.peaks().map_err(|error| log::warn!("the device's own rates are not known: {error}")).ok();
        Some(Self {
            adapter: summary.adapter.name,
            backend: summary.adapter.backend,
            kind: summary.adapter.kind.to_string(),
            driver: summary.adapter.driver,
            precision: summary.precision.to_string(),
            bytes: summary.bytes,
            weight_bytes: summary.weight_bytes,
            shaders: summary.shaders,
            ready_ms: 1e3 * summary.ready_seconds,
            upload_ms: times.mean_ms(times.upload),
            compute_ms: times.mean_ms(times.compute),
            masks_ms: times.mean_ms(times.masks),
            read_back_ms: times.mean_ms(times.read_back),
            timestamps: times.by_timestamps,
            peak_f32_gmac_per_s: peaks.map(|peaks| peaks.f32_gmac_per_s),
            peak_f16_gmac_per_s: peaks.and_then(|peaks| peaks.f16_gmac_per_s),
            peak_gigabytes_per_s: peaks.map(|peaks| peaks.gigabytes_per_s),
        })
    }

    #[cfg(not(feature = "gpu"))]
    pub(crate) fn of(_: &Model, _: &GpuTimes) -> Option<Self> {
        None
    }

    /// The rate that a network's own is compared with: that of the format of its maps.
    pub(crate) fn peak_gmac_per_s(&self) -> Option<f64> {
        if self.precision == "f16" { self.peak_f16_gmac_per_s } else { self.peak_f32_gmac_per_s }
    }

    /// Medians of the rounds; `None` where the CPU ran one.
    pub(crate) fn of_rounds(outcomes: &[Outcome]) -> Option<Self> {
        let rounds: Vec<&Self> = outcomes.iter().map(|outcome| outcome.gpu.as_ref()).collect::<Option<_>>()?;
        let of = |figure: fn(&Self) -> f64| median(&rounds.iter().map(|facts| figure(facts)).collect::<Vec<f64>>());
        Some(Self {
            ready_ms: of(|facts| facts.ready_ms),
            upload_ms: of(|facts| facts.upload_ms),
            compute_ms: of(|facts| facts.compute_ms),
            masks_ms: of(|facts| facts.masks_ms),
            read_back_ms: of(|facts| facts.read_back_ms),
            ..(*rounds.first()?).clone()
        })
    }
}
