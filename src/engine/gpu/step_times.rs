//! The time of each step: by the device's own clock where it has one, else by waiting for each step separately.

use super::context::GpuContext;
use super::error::GpuError;
use super::program::Ready;
use super::read_back::{failed, map};
use std::time::Instant;
use wgpu::{BufferUsages, Features};

/// Runs steps once, in their order, and returns the nanoseconds of each.
pub(super) fn measure(gpu: &GpuContext, steps: &[&[Ready]]) -> Result<Vec<u64>, GpuError> {
    let count = 2 * steps.len() as u32;
    let has_clock = gpu.device.features().contains(Features::TIMESTAMP_QUERY);
    if has_clock && count > 0 && count <= wgpu::QUERY_SET_MAX_QUERIES {
        let nanoseconds = gpu.guarded("time the steps", || by_clock(gpu, steps, count))?;
        // A device may claim a clock but report no times.
        if nanoseconds.iter().any(|nanoseconds| *nanoseconds > 0) {
            return Ok(nanoseconds);
        }
    }
    gpu.guarded("time the steps", || by_waiting(gpu, steps))
}

/// One submission, with a pass for each step.
fn by_clock(gpu: &GpuContext, steps: &[&[Ready]], count: u32) -> Result<Vec<u64>, GpuError> {
    let descriptor = wgpu::QuerySetDescriptor { label: None, ty: wgpu::QueryType::Timestamp, count };
    let set = gpu.device.create_query_set(&descriptor);
    let bytes = 8 * u64::from(count);
    let resolved = gpu.buffer("times", bytes, BufferUsages::QUERY_RESOLVE | BufferUsages::COPY_SRC)?;
    let read_back = gpu.buffer("times", bytes, BufferUsages::MAP_READ | BufferUsages::COPY_DST)?;
    let mut encoder = gpu.device.create_command_encoder(&Default::default());
    for (index, step) in steps.iter().enumerate() {
        let begins = 2 * index as u32;
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
            label: None,
            timestamp_writes: Some(wgpu::ComputePassTimestampWrites {
                query_set: &set,
                beginning_of_pass_write_index: Some(begins),
                end_of_pass_write_index: Some(begins + 1),
            }),
        });
        step.iter().for_each(|ready| ready.record(&mut pass));
    }
    encoder.resolve_query_set(&set, 0..count, &resolved, 0);
    encoder.copy_buffer_to_buffer(&resolved, 0, &read_back, 0, bytes);
    let submission = gpu.queue.submit([encoder.finish()]);
    let mapped = map(&read_back);
    gpu.wait(Some(submission))?;
    mapped.outcome()?;
    let view = read_back.get_mapped_range(..bytes).map_err(|error| failed(&error.to_string()))?;
    let period = f64::from(gpu.queue.get_timestamp_period());
    let ticks: Vec<u64> = view.as_chunks().0.iter().map(|word| u64::from_le_bytes(*word)).collect();
    let nanoseconds = |pair: &[u64; 2]| (pair[1].saturating_sub(pair[0]) as f64 * period) as u64;
    Ok(ticks.as_chunks().0.iter().map(nanoseconds).collect())
}

/// A submission for each step: the time that the host sees, submission included.
fn by_waiting(gpu: &GpuContext, steps: &[&[Ready]]) -> Result<Vec<u64>, GpuError> {
    let mut nanoseconds = Vec::with_capacity(steps.len());
    for step in steps {
        let mut encoder = gpu.device.create_command_encoder(&Default::default());
        let mut pass = encoder.begin_compute_pass(&Default::default());
        step.iter().for_each(|ready| ready.record(&mut pass));
        drop(pass);
        let commands = encoder.finish();
        let begun = Instant::now();
        let submission = gpu.queue.submit([commands]);
        gpu.wait(Some(submission))?;
        nanoseconds.push(begun.elapsed().as_nanos() as u64);
    }
    Ok(nanoseconds)
}
