//! The device that computes, as the command line names it.

use super::Failure;
use causalclipseg::ModelOptions;
use causalclipseg::engine::{Device, GpuPrecision};
use clap::ValueEnum;
use std::path::PathBuf;

#[derive(clap::Args)]
pub(super) struct DeviceArguments {
    /// Device to run on: cpu, gpu, gpu:N with a number from `inspect`, or auto for a GPU where there is one; a GPU that
    /// cannot be used falls back to the CPU
    #[arg(long, default_value = "cpu", value_name = "DEVICE")]
    device: Device,
    /// Number format for weights and feature maps on a GPU
    #[arg(long, value_enum, default_value = "auto")]
    gpu_precision: PrecisionName,
    /// Folder for a GPU's compiled shaders and measured tiles [default: causalclipseg in the user's cache folder]
    #[arg(long, value_name = "DIR")]
    gpu_cache: Option<PathBuf>,
}

/// Number format for weights and feature maps on a GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum PrecisionName {
    /// f16 for a model in f16 or int8, where the GPU has it
    Auto,
    F32,
    F16,
}

impl From<PrecisionName> for GpuPrecision {
    fn from(name: PrecisionName) -> Self {
        match name {
            PrecisionName::Auto => GpuPrecision::Auto,
            PrecisionName::F32 => GpuPrecision::F32,
            PrecisionName::F16 => GpuPrecision::F16,
        }
    }
}

impl DeviceArguments {
    /// Adds the device to model options.
    pub(crate) fn options(&self, mut options: ModelOptions) -> Result<ModelOptions, Failure> {
        refuse_without_engine(self.device)?;
        let pipeline_cache = match self.device {
            Device::Cpu => None,
            _ => self.gpu_cache.clone().or_else(cache_folder),
        };
        options.engine = options
            .engine
            .with_device(self.device)
            .with_gpu_precision(self.gpu_precision.into())
            .with_pipeline_cache(pipeline_cache);
        Ok(options)
    }
}

/// Refuses a GPU in a build that has no GPU engine.
pub(super) fn refuse_without_engine(device: Device) -> Result<(), Failure> {
    match device {
        Device::Gpu { .. } if cfg!(not(feature = "gpu")) => {
            Err("this build has no GPU engine; use --device cpu".into())
        }
        _ => Ok(()),
    }
}

/// The user's cache folder.
pub(super) fn cache_folder() -> Option<PathBuf> {
    let folder = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let own = folder("XDG_CACHE_HOME").or_else(|| Some(folder("HOME")?.join(".cache")));
    let own = if cfg!(windows) { folder("LOCALAPPDATA") } else { own };
    own.map(|folder| folder.join("causalclipseg"))
}
