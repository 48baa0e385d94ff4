//! A device's clock, for a few dispatches.

use super::context::GpuContext;
use super::error::GpuError;
use super::program::Ready;
use super::read_back::{failed, map};
use std::time::Instant;
use wgpu::BufferUsages;

/// Times dispatches that run in one pass: by the device's own clock where it has one, else by waiting.
pub(super) struct Stopwatch<'g> {
    gpu: &'g GpuContext,
    queries: Option<(wgpu::QuerySet, wgpu::Buffer, wgpu::Buffer)>,
}

impl<'g> Stopwatch<'g> {
    pub(crate) fn new(gpu: &'g GpuContext) -> Result<Self, GpuError> {
        let has_clock = gpu.device.features().contains(wgpu::Features::TIMESTAMP_QUERY);
        let queries = has_clock.then(|| {
            let descriptor = wgpu::QuerySetDescriptor { label: None, ty: wgpu::QueryType::Timestamp, count: 2 };
            let set = gpu.device.create_query_set(&descriptor);
            let resolved = gpu.buffer("times", 16, BufferUsages::QUERY_RESOLVE | BufferUsages::COPY_SRC)?;
            let read_back = gpu.buffer("times", 16, BufferUsages::MAP_READ | BufferUsages::COPY_DST)?;
            Ok::<_, GpuError>((set, resolved, read_back))
        });
        Ok(Self { gpu, queries: queries.transpose()? })
    }

    /// Runs dispatches a number of times, and returns the seconds of all.
    pub(crate) fn run(&self, dispatches: &[Ready], runs: usize) -> Result<f64, GpuError> {
        let gpu = self.gpu;
        gpu.guarded("measure a tile", || {
            let mut encoder = gpu.device.create_command_encoder(&Default::default());
            let timestamp_writes = self.queries.as_ref().map(|(set, ..)| wgpu::ComputePassTimestampWrites {
                query_set: set,
                beginning_of_pass_write_index: Some(0),
                end_of_pass_write_index: Some(1),
            });
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor { label: None, timestamp_writes });
            for _ in 0..runs {
                dispatches.iter().for_each(|ready| ready.record(&mut pass));
            }
            drop(pass);
            if let Some((set, resolved, read_back)) = &self.queries {
                encoder.resolve_query_set(set, 0..2, resolved, 0);
                encoder.copy_buffer_to_buffer(resolved, 0, read_back, 0, 16);
            }
            let begun = Instant::now();
            let submission = gpu.queue.submit([encoder.finish()]);
            let mapped = self.queries.as_ref().map(|(_, _, read_back)| map(read_back));
            gpu.wait(Some(submission))?;
            let waited = begun.elapsed().as_secs_f64();
            let (Some((_, _, read_back)), Some(mapped)) = (&self.queries, mapped) else { return Ok(waited) };
            mapped.outcome()?;
            let ticks = {
                let view = read_back.get_mapped_range(..).map_err(|error| failed(&error.to_string()))?;
                let word = |bytes: &[u8]| bytes.try_into().map_or(0, u64::from_le_bytes);
                word(&view[8..16]).saturating_sub(word(&view[..8]))
            };
            read_back.unmap();
            // A device that claims a clock but reports no times is timed by the host.
            Ok(match ticks {
                0 => waited,
                ticks => ticks as f64 * f64::from(gpu.queue.get_timestamp_period()) / 1e9,
            })
        })
    }
}
