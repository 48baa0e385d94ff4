//! The GPU engine: the step list of the image pass on a device of Vulkan, Metal or DX12, through wgpu.
//!
//! A step list becomes a plan of dispatches before there is a device; then buffers are created, weights uploaded and
//! shaders compiled once, and a frame is one submission. Maps are channels-last with channels in groups of four, in f32
//! or f16; weights of int8 models stay integers in memory; sums are in f32. Sentences are encoded on the CPU.
//!
//! Every failure is a [`GpuError`], and the engine falls back to the CPU: see `accelerator.rs`.

mod adapter;
mod constants;
mod context;
mod cost;
mod error;
mod frame;
mod mask;
mod peak;
mod pipeline_cache;
mod plan;
mod product;
mod program;
mod read_back;
mod search;
mod sentences;
mod shader;
mod slots;
mod step_list;
mod step_times;
mod stopwatch;
mod tail;
mod template;
#[cfg(test)]
mod tests;
mod tile;
mod tile_file;
mod times;

pub use adapter::{AdapterDescription, adapters};
pub use cost::{GpuRates, GpuStep};
pub use error::GpuError;
pub(super) use frame::GpuRun;
pub use peak::GpuPeaks;

use super::wanted_masks::WantedMasks;
use super::{EngineError, EngineOptions, GpuPrecision, PromptKernel, StepTime, WeightSource};
use crate::bundle::Precision;
use crate::graph::{Graph, Parts, stage};
use crate::lower::steps::{StepKind, StepList, lower};
use context::GpuContext;
use frame::Frames;
use plan::GpuPlan;
use program::Program;
use search::search;
use shader::{Pipelines, Storage};
use std::sync::Arc;
use std::time::Instant;
use tail::TailBuffers;
use tile::Abilities;
use tile_file::TileFile;

/// The properties of a GPU engine.
#[derive(Clone, Debug, PartialEq)]
pub struct GpuSummary {
    pub adapter: AdapterDescription,
    /// `f32` or `f16`.
    pub precision: &'static str,
    /// Bytes of device memory in use, the last frames' sentences and masks included.
    pub bytes: u64,
    /// The part of `bytes` that weights and constant maps take.
    pub weight_bytes: u64,
    /// The number of compiled shader variants.
    pub shaders: usize,
    /// Seconds from opening the device to the last compiled shader.
    pub ready_seconds: f64,
}

/// A network's image pass on a GPU. Frames of several threads may be in flight; the device computes them in turn.
pub struct GpuEngine {
    program: Program,
    frames: Frames,
    /// The number of compiled shader variants.
    shaders: usize,
    ready_seconds: f64,
}

/// The steps from the image to the logits of the heads, all in float: a quantised network's scales and zero points are
/// dropped.
fn image_steps(graph: &Graph, confounders: bool) -> Result<StepList, GpuError> {
    let mut graph = graph.clone();
    graph.nodes.iter_mut().for_each(|node| node.quantisation = None);
    let parts = Parts::find(&graph, confounders).map_err(EngineError::from)?;
    let list = lower(&parts.image_pass().map_err(EngineError::from)?)?;
    let tails = list.steps.iter().filter(|step| matches!(step.kind, StepKind::PromptTail { .. })).count();
    if tails != parts.heads().len() {
        let reason = "a head of another form than products, blend and the sentence's convolution".into();
        return Err(GpuError::Unsupported { node: stage::PRED.into(), reason });
    }
    Ok(list)
}

/// The GPU memory that a network needs, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct GpuMemory {
    /// Bytes of weights and constant maps.
    pub weights: u64,
    /// Bytes of the maps of a frame with one sentence, its pixels and its logits.
    pub maps: u64,
}

impl GpuMemory {
    /// Computes it without a GPU, for f16 or f32.
    ///
    /// # Errors
    /// [`GpuError::Unsupported`] where a step has no shader.
    pub fn of<'a>(graph: &Graph, source: impl Into<WeightSource<'a>>, f16: bool) -> Result<Self, GpuError> {
        let storage = if f16 { Storage::F16 } else { Storage::F32 };
        let list = image_steps(graph, false)?;
        let plan = GpuPlan::new(&list, &source.into(), storage, &Abilities::UNKNOWN)?;
        let heads: u64 = plan.tails().map(|tail| TailBuffers::bytes(tail, 1)).sum();
        let maps = plan.tensor_bytes() + plan.partial_bytes + 4 * plan.image_floats as u64 + heads;
        Ok(Self { weights: plan.constant_bytes(), maps })
    }
}

impl GpuEngine {
    pub(super) fn new(graph: &Graph, source: WeightSource, options: &EngineOptions) -> Result<Self, GpuError> {
        let begun = Instant::now();
        let list = image_steps(graph, options.confounders)?;
        let gpu = Arc::new(GpuContext::open(options.device)?);
        let is_wide = match source {
            WeightSource::Memory(_) => true,
            WeightSource::Bundle(bundle) => bundle.manifest().precision == Precision::F32,
        };
        let storage = match options.gpu_precision {
            GpuPrecision::F16 if !gpu.adapter.f16 => {
                log::warn!("{} has no f16; it computes in f32", gpu.adapter.name);
                Storage::F32
            }
            GpuPrecision::F16 => Storage::F16,
            GpuPrecision::Auto if gpu.adapter.f16 && !is_wide => Storage::F16,
            GpuPrecision::Auto | GpuPrecision::F32 => Storage::F32,
        };
        let abilities = gpu.abilities(storage);
        let folder = options.pipeline_cache.as_deref();
        let mut tiles = TileFile::load(&gpu, storage, folder);
        let plan = GpuPlan::new(&list, &source, storage, &abilities)?;
        let cache = pipeline_cache::load(&gpu, folder);
        let mut program = Program::new(gpu.clone(), plan, &source)?;
        let mut pipelines = Pipelines::new(&gpu, storage, cache.as_ref().map(|cache| cache.pipelines()));
        if let Some(tiles) = &mut tiles {
            // A software driver's times depend on what else the CPU does.
            if gpu.adapter.kind != "software" {
                search(&mut program, &mut pipelines, abilities, tiles.choices_mut())?;
            }
            program.plan.choose(&tiles.choose(abilities));
        }
        program.make_ready(&mut pipelines)?;
        let frames = Frames::new(&program, &mut pipelines)?;
        let shaders = pipelines.len();
        if let Some(cache) = cache {
            cache.store();
        }
        if let Some(tiles) = tiles {
            tiles.store();
        }
        let ready_seconds = begun.elapsed().as_secs_f64();
        let engine = Self { program, frames, shaders, ready_seconds };
        let GpuSummary { adapter, precision, bytes, shaders, .. } = engine.summary();
        log::info!(
            "{} ({}) in {precision}: {} steps an image, {shaders} shaders, {:.1} MB, ready in {:.0} ms",
            adapter.name,
            adapter.backend,
            engine.program.jobs.len(),
            bytes as f64 / 1e6,
            1e3 * ready_seconds,
        );
        Ok(engine)
    }

    pub fn summary(&self) -> GpuSummary {
        GpuSummary {
            adapter: self.program.gpu.adapter.clone(),
            precision: self.program.plan.storage.name(),
            bytes: self.program.bytes + self.frames.bytes(),
            weight_bytes: self.program.plan.constant_bytes(),
            shaders: self.shaders,
            ready_seconds: self.ready_seconds,
        }
    }

    /// Measures the rates that the device reaches at most; it takes some tenths of a second.
    ///
    /// # Errors
    /// [`GpuError::Driver`], [`GpuError::Lost`]: the device fails.
    pub fn peaks(&self) -> Result<GpuPeaks, GpuError> {
        peak::measure(&self.program.gpu)
    }

    /// Runs a checked image for all prompts, and draws the wanted masks.
    pub(super) fn run<'k>(
        &self,
        run: &mut GpuRun,
        image: &[f32],
        prompts: impl ExactSizeIterator<Item = &'k PromptKernel> + Clone,
        wanted: Option<&WantedMasks>,
    ) -> Result<(), GpuError> {
        self.frames.run(&self.program, image, prompts, wanted, run)
    }

    /// Runs each step separately: the time by the device's own clock where it has one, else the time that the host sees,
    /// submission included.
    pub(super) fn time_steps<'k>(
        &self,
        image: &[f32],
        prompts: impl ExactSizeIterator<Item = &'k PromptKernel> + Clone,
    ) -> Result<Vec<StepTime>, GpuError> {
        let nanoseconds = self.frames.time_jobs(&self.program, image, prompts)?;
        let plan = &self.program.plan;
        let mut times: Vec<StepTime> = Vec::with_capacity(plan.jobs.len());
        for (index, (job, nanoseconds)) in plan.jobs.iter().zip(nanoseconds).enumerate() {
            let gmac = job.multiply_accumulates as f64 / 1e9;
            // The second step of a pair ran in the first one's dispatch.
            let joined = index.checked_sub(1).filter(|before| plan.joined.contains(before));
            if let (Some(_), Some(first)) = (joined, times.last_mut()) {
                first.name = format!("{} + {}", first.name, job.name);
                first.gmac += gmac;
                first.bytes += job.bytes;
                continue;
            }
            times.push(StepTime {
                name: job.name.clone(),
                kind: format!("{}, {}", job.kind, plan.storage.name()),
                gmac,
                bytes: job.bytes,
                nanoseconds,
            });
        }
        Ok(times)
    }

    /// Drops the device, as a driver that resets it does.
    pub(super) fn lose(&self) {
        self.program.gpu.device.destroy();
    }
}
