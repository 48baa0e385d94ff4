//! The parts of a frame's time on the device, measured by the device's own clock where it has one.

use super::context::GpuContext;
use super::error::GpuError;
use super::plan::GpuPlan;
use crate::engine::GpuTimes;
use std::ops::Range;
use wgpu::{BufferUsages, Features};

/// Jobs that run in one pass.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Segment {
    pub jobs: Range<usize>,
    pub is_head: bool,
    index: u32,
}

struct Queries {
    set: wgpu::QuerySet,
    resolved: wgpu::Buffer,
    /// Nanoseconds per tick.
    period: f64,
}

pub(super) struct Clock {
    segments: Vec<Segment>,
    queries: Option<Queries>,
}

/// The passes of a frame: a new one begins wherever jobs change between the image and a head.
fn segments(is_head: impl Iterator<Item = bool>) -> Vec<Segment> {
    let mut segments: Vec<Segment> = Vec::new();
    for (job, is_head) in is_head.enumerate() {
        match segments.last_mut() {
            Some(segment) if segment.is_head == is_head => segment.jobs.end = job + 1,
            _ => segments.push(Segment { jobs: job..job + 1, is_head, index: segments.len() as u32 }),
        }
    }
    segments
}

impl Clock {
    pub(crate) fn new(gpu: &GpuContext, plan: &GpuPlan) -> Result<Self, GpuError> {
        let segments = segments(plan.jobs.iter().map(|job| job.is_head));
        // The masks' pass comes after all others.
        let count = 2 * (segments.len() as u32 + 1);
        let has_clock = gpu.device.features().contains(Features::TIMESTAMP_QUERY);
        let queries = match has_clock && count <= wgpu::QUERY_SET_MAX_QUERIES {
            true => Some(Queries {
                set: gpu.device.create_query_set(&wgpu::QuerySetDescriptor {
                    label: None,
                    ty: wgpu::QueryType::Timestamp,
                    count,
                }),
                resolved: gpu.buffer(
                    "times",
                    8 * u64::from(count),
                    BufferUsages::QUERY_RESOLVE | BufferUsages::COPY_SRC,
                )?,
                period: f64::from(gpu.queue.get_timestamp_period()),
            }),
            false => None,
        };
        Ok(Self { segments, queries })
    }

    pub(crate) fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// The number of passes of a frame.
    fn passes(&self, has_mask: bool) -> u32 {
        self.segments.len() as u32 + u32::from(has_mask)
    }

    /// Bytes of a frame's timestamps.
    pub(crate) fn bytes(&self, has_mask: bool) -> u64 {
        self.queries.as_ref().map_or(0, |_| 16 * u64::from(self.passes(has_mask)))
    }

    pub(crate) fn descriptor(&self, segment: &Segment) -> wgpu::ComputePassDescriptor<'_> {
        self.pass(if segment.is_head { "head" } else { "image" }, segment.index)
    }

    pub(crate) fn mask_descriptor(&self) -> wgpu::ComputePassDescriptor<'_> {
        self.pass("masks", self.segments.len() as u32)
    }

    fn pass(&self, label: &'static str, index: u32) -> wgpu::ComputePassDescriptor<'_> {
        wgpu::ComputePassDescriptor {
            label: Some(label),
            timestamp_writes: self.queries.as_ref().map(|queries| wgpu::ComputePassTimestampWrites {
                query_set: &queries.set,
                beginning_of_pass_write_index: Some(2 * index),
                end_of_pass_write_index: Some(2 * index + 1),
            }),
        }
    }

    /// Copies the ticks of the passes that ran: a tick that no pass wrote is never available, and would be waited for.
    pub(crate) fn resolve(&self, encoder: &mut wgpu::CommandEncoder, into: &wgpu::Buffer, offset: u64, has_mask: bool) {
        let passes = self.passes(has_mask);
        if let Some(queries) = self.queries.as_ref().filter(|_| passes > 0) {
            encoder.resolve_query_set(&queries.set, 0..2 * passes, &queries.resolved, 0);
            encoder.copy_buffer_to_buffer(&queries.resolved, 0, into, offset, self.bytes(has_mask));
        }
    }

    /// Reads the ticks that [`Self::resolve`] left.
    pub(crate) fn read(&self, bytes: &[u8]) -> GpuTimes {
        let mut times = GpuTimes::default();
        let Some(queries) = &self.queries else { return times };
        let word = |bytes: &[u8]| bytes.try_into().map_or(0, u64::from_le_bytes);
        let ticks: Vec<u64> = bytes.chunks_exact(8).map(word).collect();
        let mut passes =
            ticks.chunks_exact(2).map(|ticks| ticks[1].saturating_sub(ticks[0]) as f64 * queries.period / 1e9);
        for (segment, seconds) in self.segments.iter().zip(&mut passes) {
            times.compute += seconds;
            times.head += if segment.is_head { seconds } else { 0.0 };
        }
        times.masks = passes.next().unwrap_or(0.0);
        times.compute += times.masks;
        times.head += times.masks;
        // The device claims a clock but reports no times.
        times.by_timestamps = times.compute > 0.0;
        times
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passes_change_between_image_and_head() {
        let found = segments([false, false, true, true, false, true].into_iter());
        let ranges: Vec<(Range<usize>, bool)> = found.iter().map(|s| (s.jobs.clone(), s.is_head)).collect();
        assert_eq!(ranges, [(0..2, false), (2..4, true), (4..5, false), (5..6, true)]);
        assert!(segments(std::iter::empty()).is_empty());
    }
}
