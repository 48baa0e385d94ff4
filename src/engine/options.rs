//! How an engine is created.

use super::{Device, GpuPrecision, ThreadStart};
use crate::kernels::Isa;
use std::path::PathBuf;

/// Which engine runs a network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum EngineChoice {
    /// The fast engine, and plain tract for a network that it does not know.
    #[default]
    Auto,
    /// Plain tract.
    Reference,
}

/// The engine, device, precision and threads that run a network: `EngineOptions::default().with_threads(2)`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct EngineOptions {
    /// Also yield the confounder map: where the adversarial head, which sees only what the causal masks leave over,
    /// would find the lesion. Costs a second head for each image; switched off, it costs nothing.
    pub confounders: bool,
    /// Threads that share the work of one pass, 64 at most. Up to 1, everything runs on the calling thread, and sessions
    /// on several threads run side by side; above, the engine keeps the others, and sessions take turns. Results do not
    /// depend on it.
    pub threads: usize,
    /// The engine to use.
    pub choice: EngineChoice,
    /// The device of image passes, where the fast engine is chosen. Where a GPU cannot be used, or stops working, the
    /// engine falls back to the CPU: [`Model::fallback`](crate::Model::fallback) says so.
    pub device: Device,
    /// Number format for weights and feature maps on a GPU.
    pub gpu_precision: GpuPrecision,
    /// A folder for compiled shaders, kept between runs where the GPU's driver supports it. It must belong to the user:
    /// its content is passed to the driver.
    pub pipeline_cache: Option<PathBuf>,
    /// The fast engine's instruction set; the best that the CPU has where it is `None`.
    pub isa: Option<Isa>,
    /// Runs first in each thread that the fast engine keeps.
    pub on_thread_start: Option<ThreadStart>,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            confounders: false,
            threads: 1,
            choice: EngineChoice::Auto,
            device: Device::Cpu,
            gpu_precision: GpuPrecision::Auto,
            pipeline_cache: None,
            isa: None,
            on_thread_start: None,
        }
    }
}

impl EngineOptions {
    /// See [`Self::confounders`].
    pub fn with_confounders(self, confounders: bool) -> Self {
        Self { confounders, ..self }
    }

    /// See [`Self::threads`].
    pub fn with_threads(self, threads: usize) -> Self {
        Self { threads, ..self }
    }

    /// See [`Self::choice`].
    pub fn with_choice(self, choice: EngineChoice) -> Self {
        Self { choice, ..self }
    }

    /// See [`Self::device`].
    pub fn with_device(self, device: Device) -> Self {
        Self { device, ..self }
    }

    /// See [`Self::gpu_precision`].
    pub fn with_gpu_precision(self, gpu_precision: GpuPrecision) -> Self {
        Self { gpu_precision, ..self }
    }

    /// See [`Self::pipeline_cache`].
    pub fn with_pipeline_cache(self, pipeline_cache: Option<PathBuf>) -> Self {
        Self { pipeline_cache, ..self }
    }

    /// See [`Self::isa`].
    pub fn with_isa(self, isa: Option<Isa>) -> Self {
        Self { isa, ..self }
    }

    /// See [`Self::on_thread_start`].
    pub fn with_on_thread_start(self, on_thread_start: Option<ThreadStart>) -> Self {
        Self { on_thread_start, ..self }
    }
}
