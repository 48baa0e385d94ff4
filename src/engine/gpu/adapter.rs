//! The GPUs that the system offers, and the choice among them.

use super::error::GpuError;
use crate::engine::Device;
use serde::Serialize;
use wgpu::{DeviceType, Features};

/// A GPU, as its driver describes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AdapterDescription {
    /// Its number in `gpu:N`.
    pub index: usize,
    /// The name that the driver reports.
    pub name: String,
    /// `vulkan`, `metal` or `dx12`.
    pub backend: String,
    /// `discrete`, `integrated`, `virtual`, `software` or `other`.
    pub kind: &'static str,
    /// The driver and its version.
    pub driver: String,
    /// Whether it supports f16 in memory.
    pub f16: bool,
    /// Whether it has matrix units that this program can use: 16 x 16, products in f16, sums in f32.
    pub matrix_units: bool,
    /// Whether it measures its own time.
    pub timestamps: bool,
    /// Whether its compiled shaders can be kept.
    pub pipeline_cache: bool,
    /// The largest size of one tensor, in bytes.
    pub most_bytes: u64,
}

const BACKENDS: wgpu::Backends = wgpu::Backends::VULKAN.union(wgpu::Backends::METAL).union(wgpu::Backends::DX12);

fn enumerate() -> Vec<wgpu::Adapter> {
    let descriptor = wgpu::InstanceDescriptor {
        backends: BACKENDS,
        // Validation layers are for driver developers; wgpu's own checks stay on.
        flags: wgpu::InstanceFlags::empty(),
        ..wgpu::InstanceDescriptor::new_without_display_handle()
    };
    // Drivers run third-party code, and wgpu panics on states that it holds impossible.
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let instance = wgpu::Instance::new(descriptor);
        pollster::block_on(instance.enumerate_adapters(BACKENDS))
    }))
    .unwrap_or_default()
}

fn describe(index: usize, adapter: &wgpu::Adapter) -> AdapterDescription {
    let (info, features, limits) = (adapter.get_info(), adapter.features(), adapter.limits());
    AdapterDescription {
        index,
        name: info.name,
        backend: info.backend.to_str().to_string(),
        kind: match info.device_type {
            DeviceType::DiscreteGpu => "discrete",
            DeviceType::IntegratedGpu => "integrated",
            DeviceType::VirtualGpu => "virtual",
            DeviceType::Cpu => "software",
            DeviceType::Other => "other",
        },
        driver: format!("{} {}", info.driver, info.driver_info).trim().to_string(),
        f16: features.contains(Features::SHADER_F16),
        matrix_units: has_matrix_units(adapter),
        timestamps: features.contains(Features::TIMESTAMP_QUERY),
        pipeline_cache: features.contains(Features::PIPELINE_CACHE),
        most_bytes: limits.max_storage_buffer_binding_size.min(limits.max_buffer_size),
    }
}

/// The shaders for matrix units are written for subgroups of 32 invocations.
const SUBGROUP: u32 = 32;

fn has_matrix_units(adapter: &wgpu::Adapter) -> bool {
    let info = adapter.get_info();
    let needed = Features::SHADER_F16 | Features::EXPERIMENTAL_COOPERATIVE_MATRIX;
    adapter.features().contains(needed)
        && [info.subgroup_min_size, info.subgroup_max_size] == [SUBGROUP; 2]
        && adapter.cooperative_matrix_properties().iter().any(|matrix| {
            [matrix.m_size, matrix.n_size, matrix.k_size] == [16; 3]
                && matrix.ab_type == wgpu::CooperativeScalarType::F16
                && matrix.cr_type == wgpu::CooperativeScalarType::F32
        })
}

/// All GPUs, in the order in which `gpu:N` counts them. Empty where there is no driver.
pub fn adapters() -> Vec<AdapterDescription> {
    enumerate().iter().enumerate().map(|(index, adapter)| describe(index, adapter)).collect()
}

/// The adapter that a device names.
pub(super) fn choose(device: Device) -> Result<(wgpu::Adapter, AdapterDescription), GpuError> {
    let adapters = enumerate();
    let described: Vec<AdapterDescription> =
        adapters.iter().enumerate().map(|(index, adapter)| describe(index, adapter)).collect();
    let index = choice(device, &described)?;
    let mut both = adapters.into_iter().zip(described);
    both.nth(index).ok_or(GpuError::NoAdapter)
}

fn choice(device: Device, adapters: &[AdapterDescription]) -> Result<usize, GpuError> {
    let rank = |adapter: &AdapterDescription| match adapter.kind {
        "discrete" => 0,
        "integrated" => 1,
        "virtual" => 2,
        "other" => 3,
        _ => 4,
    };
    match device {
        Device::Gpu { index: Some(index) } if index < adapters.len() => Ok(index),
        Device::Gpu { index: Some(index) } => Err(GpuError::NoSuchAdapter { index, count: adapters.len() }),
        Device::Gpu { index: None } => {
            adapters.iter().min_by_key(|adapter| rank(adapter)).map(|adapter| adapter.index).ok_or(GpuError::NoAdapter)
        }
        Device::Auto | Device::Cpu if adapters.is_empty() => Err(GpuError::NoAdapter),
        Device::Auto | Device::Cpu => {
            let real = adapters.iter().filter(|adapter| adapter.kind != "software");
            real.min_by_key(|adapter| rank(adapter)).map(|adapter| adapter.index).ok_or(GpuError::SoftwareOnly)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn adapter(index: usize, kind: &'static str) -> AdapterDescription {
        AdapterDescription {
            index,
            name: String::new(),
            backend: "vulkan".into(),
            kind,
            driver: String::new(),
            f16: false,
            matrix_units: false,
            timestamps: false,
            pipeline_cache: false,
            most_bytes: 0,
        }
    }

    #[test]
    fn the_most_capable_adapter_is_chosen() {
        let all = [adapter(0, "software"), adapter(1, "integrated"), adapter(2, "discrete")];
        assert_eq!(choice(Device::Auto, &all).unwrap(), 2);
        assert_eq!(choice(Device::Auto, &all[..2]).unwrap(), 1);
        assert!(matches!(choice(Device::Auto, &all[..1]), Err(GpuError::SoftwareOnly)));
        assert_eq!(choice(Device::Gpu { index: None }, &all[..1]).unwrap(), 0);
        assert_eq!(choice(Device::Gpu { index: Some(1) }, &all).unwrap(), 1);
        let error = choice(Device::Gpu { index: Some(9) }, &all).unwrap_err().to_string();
        assert!(error.contains("adapter 9") && error.contains("3"), "{error}");
        for device in [Device::Auto, Device::Gpu { index: None }] {
            assert!(matches!(choice(device, &[]), Err(GpuError::NoAdapter)));
        }
    }
}
