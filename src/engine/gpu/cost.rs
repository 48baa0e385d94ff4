//! The work of a network's steps on a GPU, counted without one, and the time that a device needs for it at least.

use super::GpuError;
use super::plan::{Binding, Dispatch, GpuPlan, Work};
use super::shader::Storage;
use super::tail::TailBuffers;
use super::tile::Abilities;
use crate::engine::WeightSource;
use crate::graph::Graph;
use serde::Serialize;

/// The work of one step for one frame with one sentence.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GpuStep {
    /// The node of the network that it computes, or the first of those that it fuses.
    pub name: String,
    /// The operator, or the fused operators.
    pub kind: &'static str,
    /// Multiply-accumulates.
    pub macs: u64,
    /// Bytes of maps and weights, each read or written once.
    pub bytes: u64,
    /// Bytes that its workgroups read and write together: what memory would move if no cache kept what another group
    /// has read.
    pub uncached_bytes: u64,
    pub dispatches: usize,
    pub workgroups: u64,
}

/// The rates of a device.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct GpuRates {
    /// Multiply-accumulates in 10⁹ a second.
    pub gmac_per_s: f64,
    /// Bytes of memory in 10⁹ a second.
    pub gigabytes_per_s: f64,
}

impl GpuRates {
    /// The data sheet of a Jetson Orin NX 16 GB: 102 GB/s, 2.6 TFLOP/s in f32 (two operations for each multiply-accumulate).
    pub const JETSON_ORIN: Self = Self { gmac_per_s: 1300.0, gigabytes_per_s: 102.0 };
}

impl GpuStep {
    /// The steps of a network in the order in which they run, with maps in f16 or f32, for tiles that are chosen
    /// without a device.
    ///
    /// # Errors
    /// [`GpuError::Unsupported`] where a step has no shader.
    pub fn all<'a>(graph: &Graph, source: impl Into<WeightSource<'a>>, f16: bool) -> Result<Vec<Self>, GpuError> {
        let storage = if f16 { Storage::F16 } else { Storage::F32 };
        let list = super::image_steps(graph, false)?;
        let plan = GpuPlan::new(&list, &source.into(), storage, &Abilities::UNKNOWN)?;
        let follows = |job: usize| job.checked_sub(1).is_some_and(|before| plan.joined.contains(&before));
        let jobs = (0..plan.jobs.len()).filter(|job| !follows(*job));
        Ok(jobs.filter_map(|job| Self::of(job, &plan)).collect())
    }

    fn of(index: usize, plan: &GpuPlan) -> Option<Self> {
        let job = plan.jobs.get(index)?;
        let dispatches = plan.dispatches(index);
        let constants = |dispatch: &Dispatch| {
            let used = dispatch.bindings.iter().filter_map(|binding| match binding {
                Binding::Constant(index) => plan.constants.get(*index),
                Binding::Image | Binding::Tensor(_) | Binding::Partials => None,
            });
            used.map(|constant| constant.bytes(plan.storage)).sum::<u64>()
        };
        let groups = |dispatch: &Dispatch| dispatch.groups.iter().map(|count| u64::from(*count)).product::<u64>();
        let bytes = job.bytes + dispatches.iter().map(constants).sum::<u64>();
        let mut step = Self {
            name: job.name.clone(),
            kind: job.kind,
            macs: job.multiply_accumulates,
            bytes,
            uncached_bytes: bytes,
            dispatches: dispatches.len(),
            workgroups: dispatches.iter().map(groups).sum(),
        };
        let quad_bytes = plan.storage.quad_bytes();
        match (&job.work, plan.pair(index).filter(|_| plan.joined.contains(&index))) {
            (_, Some([first, second])) => {
                let next = plan.jobs.get(index + 1)?;
                // What lies between the two is neither written nor read.
                let between = 2 * (first.pixels * first.out_quads) as u64 * quad_bytes;
                step.name = format!("{} + {}", job.name, next.name);
                step.kind = "pair of products";
                step.macs += next.multiply_accumulates;
                step.bytes += next.bytes.saturating_sub(between);
                let rereads = step.workgroups.saturating_sub(1) * (first.weight_bytes() + second.weight_bytes());
                step.uncached_bytes = step.bytes + rereads;
            }
            (Work::Product(product, tile), None) => {
                step.bytes += 2 * product.partial_bytes(*tile);
                step.uncached_bytes = product.traffic(*tile, quad_bytes).max(step.bytes);
            }
            (Work::Tail(tail), None) => {
                step.bytes += TailBuffers::bytes(tail, 1);
                step.uncached_bytes = step.bytes;
                step.dispatches = 2;
                step.workgroups = (tail.width().div_ceil(64) * tail.height()) as u64;
            }
            (Work::Dispatch(_), None) => {}
        }
        Some(step)
    }

    /// The least time on a device of these rates, in seconds: a step takes as long as its arithmetic or its memory,
    /// whichever takes longer, and nothing else takes time (the roofline model of Williams, Waterman and Patterson,
    /// Communications of the ACM 52, 2009).
    pub fn least_seconds(&self, rates: GpuRates) -> f64 {
        let arithmetic = self.macs as f64 / 1e9 / rates.gmac_per_s;
        arithmetic.max(self.bytes as f64 / 1e9 / rates.gigabytes_per_s)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_takes_as_long_as_its_slower_part() {
        let step = |macs, bytes| GpuStep {
            name: String::new(),
            kind: "",
            macs,
            bytes,
            uncached_bytes: bytes,
            dispatches: 1,
            workgroups: 1,
        };
        let rates = GpuRates { gmac_per_s: 1000.0, gigabytes_per_s: 100.0 };
        assert!((step(1_000_000_000, 1_000).least_seconds(rates) - 1e-3).abs() < 1e-9);
        assert!((step(1_000, 1_000_000_000).least_seconds(rates) - 1e-2).abs() < 1e-9);
    }
}
