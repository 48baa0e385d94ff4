//! The work of a network's steps on a GPU, counted without one, and the time that a device needs for it at least.

use super::GpuError;
use super::plan::{Binding, Dispatch, GpuPlan, Job, Work};
use super::product::Product;
use super::shader::Storage;
use super::tail::TailBuffers;
use super::tile::{Abilities, Tile};
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
        let guess = |product: &Product| Tile::guess(product.size(), Abilities::UNKNOWN);
        let plan = GpuPlan::new(&list, &source.into(), storage, &guess)?;
        Ok(plan.jobs.iter().map(|job| Self::of(job, &plan)).collect())
    }

    fn of(job: &Job, plan: &GpuPlan) -> Self {
        let dispatches = job.work.dispatches();
        let constants = |dispatch: &Dispatch| {
            let used = dispatch.bindings.iter().filter_map(|binding| match binding {
                Binding::Constant(index) => plan.constants.get(*index),
                Binding::Image | Binding::Tensor(_) | Binding::Partials => None,
            });
            used.map(|constant| constant.bytes(plan.storage)).sum::<u64>()
        };
        let weights: u64 = dispatches.iter().map(constants).sum();
        let groups = |dispatch: &Dispatch| dispatch.groups.iter().map(|count| u64::from(*count)).product::<u64>();
        let (bytes, uncached_bytes, count, workgroups) = match &job.work {
            Work::Dispatch(dispatch) => (job.bytes + weights, job.bytes + weights, 1, groups(dispatch)),
            Work::Product(product, tile) => {
                let partials = 2 * product.partial_bytes(*tile);
                let uncached = product.traffic(*tile, plan.storage.quad_bytes());
                let bytes = job.bytes + weights + partials;
                (bytes, uncached.max(bytes), dispatches.len(), dispatches.iter().map(groups).sum())
            }
            Work::Tail(tail) => {
                let own = job.bytes + TailBuffers::bytes(tail, 1);
                let rows = tail.width().div_ceil(64) * tail.height();
                (own, own, 2, rows as u64)
            }
        };
        Self {
            name: job.name.clone(),
            kind: job.kind,
            macs: job.multiply_accumulates,
            bytes,
            uncached_bytes,
            dispatches: count,
            workgroups,
        }
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
