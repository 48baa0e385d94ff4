//! Where the tensors live.

use burn::tensor::Device;

/// The backend that computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Backend {
    /// Pure Rust on the CPU; always there.
    Flex,
    /// PyTorch's library on the CPU (cargo feature `libtorch`).
    Libtorch,
    /// NVIDIA GPUs, the first or as many as there are replicas (cargo feature `cuda`).
    Cuda,
}

/// A backend that this build does not hold.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("this build has no {backend} backend; build it with `cargo build --release --features {backend}`")]
pub struct MissingBackend {
    backend: &'static str,
}

impl Backend {
    /// Opens a device for each of so many replicas, without automatic differentiation: the network asks for that where it
    /// needs it. On a CPU replicas are threads on one device; NVIDIA's GPUs are taken in their order.
    pub fn devices(self, replicas: usize) -> Result<Vec<Device>, MissingBackend> {
        (0..replicas.max(1)).map(|index| self.device(index)).collect()
    }

    #[cfg_attr(not(feature = "cuda"), expect(unused_variables, reason = "a CPU is one device"))]
    fn device(self, index: usize) -> Result<Device, MissingBackend> {
        match self {
            Backend::Flex => Ok(Device::flex()),
            #[cfg(feature = "libtorch")]
            #[expect(deprecated, reason = "burn keeps libtorch for now, and it is the fastest on a CPU")]
            Backend::Libtorch => Ok(Device::libtorch()),
            #[cfg(not(feature = "libtorch"))]
            Backend::Libtorch => Err(MissingBackend { backend: "libtorch" }),
            #[cfg(feature = "cuda")]
            Backend::Cuda => Ok(Device::cuda(index)),
            #[cfg(not(feature = "cuda"))]
            Backend::Cuda => Err(MissingBackend { backend: "cuda" }),
        }
    }
}
