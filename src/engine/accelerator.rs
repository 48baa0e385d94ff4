//! A GPU beside the CPU: it runs frames as long as it can; from the first failure on, the engine falls back to the CPU.

use super::cpu::WeightSource;
use super::{Device, EngineOptions};
use crate::graph::Graph;
use std::sync::OnceLock;

/// The state of an engine's device.
#[derive(Default)]
pub(super) struct Accelerator {
    #[cfg(feature = "gpu")]
    gpu: Option<super::gpu::GpuEngine>,
    /// Why the engine fell back to the CPU although a GPU was requested.
    fallback: OnceLock<String>,
}

impl Accelerator {
    /// Never fails: an error becomes a reason to fall back to the CPU, and a line in the log.
    pub(crate) fn new(graph: &Graph, source: WeightSource, options: &EngineOptions) -> Self {
        if options.device == Device::Cpu {
            return Self::default();
        }
        #[cfg(feature = "gpu")]
        match super::gpu::GpuEngine::new(graph, source, options) {
            Ok(gpu) => Self { gpu: Some(gpu), fallback: OnceLock::new() },
            Err(error @ (super::gpu::GpuError::NoAdapter | super::gpu::GpuError::SoftwareOnly))
                if options.device == Device::Auto =>
            {
                log::info!("frames run on the CPU: {error}");
                Self::default()
            }
            Err(error) => Self::without(error.to_string()),
        }
        #[cfg(not(feature = "gpu"))]
        {
            let _ = (graph, source);
            match options.device {
                Device::Gpu { .. } => Self::without("this build has no GPU engine".into()),
                Device::Cpu | Device::Auto => Self::default(),
            }
        }
    }

    /// The state for a network that only tract runs.
    #[cfg(feature = "reference")]
    pub(crate) fn none_for_whole(device: Device) -> Self {
        match device {
            Device::Gpu { .. } => Self::without("this network runs on plain tract".into()),
            Device::Cpu | Device::Auto => Self::default(),
        }
    }

    fn without(reason: String) -> Self {
        let accelerator = Self::default();
        accelerator.fall_back(reason);
        accelerator
    }

    /// Records once that the engine falls back to the CPU from now on.
    fn fall_back(&self, reason: String) {
        if self.fallback.set(reason).is_ok()
            && let Some(reason) = self.fallback.get()
        {
            log::warn!("the GPU is not used: {reason}; frames run on the CPU");
        }
    }

    pub(crate) fn fallback(&self) -> Option<&str> {
        self.fallback.get().map(String::as_str)
    }
}

#[cfg(feature = "gpu")]
mod with_gpu {
    use super::Accelerator;
    use crate::engine::gpu::{GpuEngine, GpuError, GpuRun};
    use crate::engine::wanted_masks::WantedMasks;
    use crate::engine::{MAX_PROMPTS, PromptKernel, StepTime};

    impl Accelerator {
        /// The GPU, as long as it works.
        pub(crate) fn gpu(&self) -> Option<&GpuEngine> {
            self.gpu.as_ref().filter(|_| self.fallback.get().is_none())
        }

        /// Runs a frame. False where the CPU has to.
        pub(crate) fn run<'k>(
            &self,
            run: &mut GpuRun,
            pixels: &[f32],
            prompts: impl ExactSizeIterator<Item = &'k PromptKernel> + Clone,
            wanted: Option<&WantedMasks>,
        ) -> bool {
            // The CPU reports the error for too many prompts.
            let Some(gpu) = self.gpu().filter(|_| prompts.len() <= MAX_PROMPTS) else { return false };
            match gpu.run(run, pixels, prompts, wanted) {
                Ok(()) => true,
                // The error is the caller's, not the device's; the CPU reports the same one.
                Err(GpuError::Engine(_)) => false,
                Err(error) => {
                    self.fall_back(error.to_string());
                    false
                }
            }
        }

        pub(crate) fn time_steps<'k>(
            &self,
            pixels: &[f32],
            prompts: impl ExactSizeIterator<Item = &'k PromptKernel> + Clone,
        ) -> Option<Vec<StepTime>> {
            match self.gpu().filter(|_| prompts.len() <= MAX_PROMPTS)?.time_steps(pixels, prompts) {
                Ok(times) => Some(times),
                Err(GpuError::Engine(_)) => None,
                Err(error) => {
                    self.fall_back(error.to_string());
                    None
                }
            }
        }
    }
}
