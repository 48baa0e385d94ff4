//! The device that holds the tensors.

use burn::tensor::{Device, Tensor};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// The backend that computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Backend {
    /// Pure Rust on the CPU; always available.
    Flex,
    /// PyTorch's library on the CPU (cargo feature `libtorch`).
    Libtorch,
    /// PyTorch's library on NVIDIA GPUs, as many as there are replicas (cargo feature `libtorch`, with a libtorch that supports
    /// CUDA).
    LibtorchCuda,
    /// NVIDIA GPUs through burn's own kernels (cargo feature `cuda`).
    Cuda,
    /// GPUs with a Vulkan driver through burn's own kernels (cargo feature `vulkan`).
    Vulkan,
}

/// Why a backend is not available.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum BackendError {
    /// This build does not include the backend.
    #[error("this build has no {backend} backend; build it with `cargo build --release --features {feature}`")]
    Missing {
        /// Its name on the command line.
        backend: &'static str,
        /// The cargo feature that includes it.
        feature: &'static str,
    },
    /// The device failed to add two numbers.
    #[error(
        "device {index} of {backend} can't be used: {reason}; look for its driver and library, or give another --device"
    )]
    Unusable {
        /// Its name on the command line.
        backend: &'static str,
        /// The device's index, from 0.
        index: usize,
        /// The backend's message.
        reason: String,
    },
}

impl Backend {
    /// Opens a device for each replica, without automatic differentiation, which the network enables where needed. On a CPU
    /// replicas are threads on one device; GPUs are used in their order.
    ///
    /// # Errors
    /// This build lacks the backend, or the machine lacks the device.
    pub fn devices(self, replicas: usize) -> Result<Vec<Device>, BackendError> {
        (0..replicas.max(1)).map(|index| self.device(index)).collect()
    }

    /// Sets whether cuDNN measures its convolution algorithms for each new shape and uses the fastest, or uses heuristics, which
    /// are made for hundreds of channels. Other backends lack this option.
    pub fn measure_convolutions(self, measures: bool) {
        #[cfg(feature = "libtorch")]
        if self == Backend::LibtorchCuda {
            tch::Cuda::cudnn_set_benchmark(measures);
        }
        let _ = measures;
    }

    fn device(self, index: usize) -> Result<Device, BackendError> {
        match self {
            Backend::Flex => Ok(Device::flex()),
            #[cfg(feature = "libtorch")]
            #[expect(deprecated, reason = "burn keeps libtorch for now, and it is the fastest on a CPU")]
            Backend::Libtorch => Ok(Device::libtorch()),
            #[cfg(feature = "libtorch")]
            #[expect(deprecated, reason = "burn keeps libtorch for now, and its CUDA needs no compiler at hand")]
            Backend::LibtorchCuda => usable("libtorch-cuda", index, || Device::libtorch_cuda(index)),
            #[cfg(feature = "cuda")]
            Backend::Cuda => usable("cuda", index, || Device::cuda(index)),
            #[cfg(feature = "vulkan")]
            Backend::Vulkan => usable("vulkan", index, || Device::vulkan(burn::tensor::DeviceKind::DiscreteGpu(index))),
            #[cfg(not(feature = "libtorch"))]
            Backend::Libtorch => missing("libtorch", "libtorch", index),
            #[cfg(not(feature = "libtorch"))]
            Backend::LibtorchCuda => missing("libtorch-cuda", "libtorch", index),
            #[cfg(not(feature = "cuda"))]
            Backend::Cuda => missing("cuda", "cuda", index),
            #[cfg(not(feature = "vulkan"))]
            Backend::Vulkan => missing("vulkan", "vulkan", index),
        }
    }
}

#[cfg_attr(
    all(feature = "libtorch", feature = "cuda", feature = "vulkan"),
    expect(dead_code, reason = "none is missing")
)]
fn missing(backend: &'static str, feature: &'static str, _index: usize) -> Result<Device, BackendError> {
    Err(BackendError::Missing { backend, feature })
}

/// Backends panic if a device is missing or fails; a test addition detects that before a run begins.
#[cfg_attr(
    not(any(test, feature = "libtorch", feature = "cuda", feature = "vulkan")),
    expect(dead_code, reason = "a CPU is always there")
)]
fn usable(backend: &'static str, index: usize, open: impl Fn() -> Device) -> Result<Device, BackendError> {
    let sum = || {
        let device = open();
        let two = Tensor::<1>::ones([2], &device).sum().into_scalar::<f32>();
        (device, two)
    };
    let unusable = |reason| BackendError::Unusable { backend, index, reason };
    match catch_unwind(AssertUnwindSafe(sum)) {
        Ok((device, 2.0)) => Ok(device),
        Ok((_, two)) => Err(unusable(format!("1 + 1 gave {two}"))),
        Err(panic) => Err(unusable(panic_text(&*panic))),
    }
}

/// The message of a panic: the first line of the innermost message, without the words of an `unwrap` around it.
pub fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no reason was given");
    let text = text.strip_prefix("called `Result::unwrap()` on an `Err` value: ").unwrap_or(text);
    // An error in debug format quotes its message and escapes line ends.
    let text = text.split_once("(\"").map_or(text, |(_, quoted)| quoted);
    text.lines().next().and_then(|line| line.split("\\n").next()).unwrap_or_default().to_string()
}

/// Whether a device is a GPU, where launches and passes over memory have other costs than on a CPU, so that some parts of the
/// network are computed in another form.
pub(super) fn is_gpu(device: &Device) -> bool {
    #[cfg(feature = "libtorch")]
    #[expect(deprecated, reason = "burn keeps libtorch for now, and it is the fastest on a CPU")]
    if *device == Device::libtorch() {
        return false;
    }
    *device != Device::flex()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cpu_is_no_gpu_with_or_without_a_tape() {
        assert!(!is_gpu(&Device::flex()));
        assert!(!is_gpu(&Device::flex().autodiff()));
    }

    #[test]
    fn a_device_that_panics_is_an_error_of_one_line() {
        assert!(usable("a", 0, Device::flex).is_ok());
        let broken = || -> Device { panic!("no such GPU\nwith a long story") };
        let error = usable("vulkan", 3, broken).unwrap_err().to_string();
        assert!(error.starts_with("device 3 of vulkan can't be used: no such GPU;"), "{error}");
        let nested: Result<(), Vec<&str>> = Err(vec!["Found no driver\nframe 0: main"]);
        let unwrapped = || -> Device {
            let wrapped = nested.clone().map_err(|lines| Wrapped(lines[0].into()));
            wrapped.unwrap();
            Device::flex()
        };
        let error = usable("libtorch-cuda", 0, unwrapped).unwrap_err().to_string();
        assert!(error.contains("can't be used: Found no driver;"), "{error}");
    }

    #[derive(Debug)]
    struct Wrapped(#[expect(dead_code, reason = "printed for debugging")] String);

    #[cfg(not(feature = "vulkan"))]
    #[test]
    fn a_backend_that_is_not_built_in_names_its_feature() {
        let error = Backend::Vulkan.devices(1).unwrap_err().to_string();
        assert!(error.contains("--features vulkan"), "{error}");
    }
}
