//! A device's refusals are returned as errors.

use super::super::context::GpuContext;
use super::super::error::GpuError;
use super::rig::gpu;
use crate::engine::Device;
use wgpu::BufferUsages;

#[test]
fn bad_shaders_and_wishes_are_errors() {
    let Some(gpu) = gpu() else { return };
    let broken = gpu.guarded("compile a shader", || {
        Ok(gpu.device.create_shader_module(wgpu::ShaderModuleDescriptor {
            label: None,
            source: wgpu::ShaderSource::Wgsl("fn main() { nonsense }".into()),
        }))
    });
    let message = broken.unwrap_err().to_string();
    assert!(message.contains("compile a shader") && !message.contains('\n'), "{message}");
    let panicked: Result<(), GpuError> = gpu.guarded("panic", || panic!("driver {}", 7));
    assert!(panicked.unwrap_err().to_string().contains("driver 7"));
    let huge = gpu.buffer("a map", u64::MAX / 4, BufferUsages::STORAGE);
    assert!(matches!(huge, Err(GpuError::Limit { .. })));
    assert!(matches!(gpu.check_groups([1, u32::MAX, 1]), Err(GpuError::Limit { .. })));
    // The device is still usable afterwards.
    assert!(gpu.guarded("go on", || Ok(())).is_ok());
}

#[test]
fn a_lost_device_says_so() {
    let Ok(gpu) = GpuContext::open(Device::Gpu { index: None }) else { return };
    gpu.device.destroy();
    let outcome = gpu.guarded("copy", || {
        let buffer = gpu.buffer("a map", 256, BufferUsages::COPY_DST | BufferUsages::COPY_SRC)?;
        gpu.queue.write_buffer(&buffer, 0, &[1; 256]);
        let submission = gpu.queue.submit([]);
        gpu.wait(Some(submission))
    });
    let message = outcome.unwrap_err().to_string();
    assert!(!message.is_empty() && !message.contains('\n'), "{message}");
}
