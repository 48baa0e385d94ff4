//! The device that computes: the CPU, or a GPU that the system offers.

use std::fmt;
use std::str::FromStr;

/// The device that runs the image pass of a network. Sentences are always encoded on the CPU: each is encoded once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Device {
    /// The CPU, in the fast engine's kernels.
    #[default]
    Cpu,
    /// A hardware GPU where there is a usable one, and the CPU otherwise. Software GPU drivers do not count: our own
    /// CPU kernels are faster.
    Auto,
    /// The GPU with this number in the list of adapters; the most capable one where it is `None`. Where it cannot run
    /// the network, or stops working, the engine falls back to the CPU.
    Gpu {
        /// Its number, from 0.
        index: Option<usize>,
    },
}

/// An unknown device name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown device `{name}`; write cpu, gpu, gpu:N or auto")]
pub struct UnknownDevice {
    /// The name as it was written.
    pub name: String,
}

impl FromStr for Device {
    type Err = UnknownDevice;

    fn from_str(name: &str) -> Result<Self, UnknownDevice> {
        let refuse = || UnknownDevice { name: name.into() };
        match name {
            "cpu" => Ok(Device::Cpu),
            "auto" => Ok(Device::Auto),
            "gpu" => Ok(Device::Gpu { index: None }),
            _ => {
                let number = name.strip_prefix("gpu:").ok_or_else(refuse)?;
                // `parse` takes a sign too.
                let is_number = number.bytes().all(|byte| byte.is_ascii_digit());
                let index = number.parse().ok().filter(|_| is_number).ok_or_else(refuse)?;
                Ok(Device::Gpu { index: Some(index) })
            }
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Device::Cpu => f.write_str("cpu"),
            Device::Auto => f.write_str("auto"),
            Device::Gpu { index: None } => f.write_str("gpu"),
            Device::Gpu { index: Some(index) } => write!(f, "gpu:{index}"),
        }
    }
}

/// Number format for weights and feature maps on a GPU. Sums are always in f32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GpuPrecision {
    /// f16 for a model that was packed in f16 or int8, where the GPU has it; f32 otherwise.
    #[default]
    Auto,
    /// 32-bit floats.
    F32,
    /// 16-bit floats: half the memory; f32 where the GPU has no f16.
    F16,
}

/// The device that ran a pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RanOn {
    /// The CPU.
    #[default]
    Cpu,
    /// A GPU.
    Gpu,
}

impl RanOn {
    /// The name in results: cpu or gpu.
    pub fn name(self) -> &'static str {
        match self {
            RanOn::Cpu => "cpu",
            RanOn::Gpu => "gpu",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_devices() {
        for name in ["cpu", "auto", "gpu", "gpu:0", "gpu:12"] {
            assert_eq!(name.parse::<Device>().unwrap().to_string(), name);
        }
        for name in ["", "foo", "GPU", "gpu:", "gpu:-1", "gpu:+1", "gpu:x", "gpu:99999999999999999999999", "cpu:0"] {
            assert!(name.parse::<Device>().unwrap_err().to_string().contains("gpu:N"), "{name}");
        }
    }
}
