//! Runs a network: one image pass for any number of prompts, and one prompt pass for any number of images.
//!
//! The fast engine runs fused steps on SIMD kernels; a network that it does not know runs on plain tract (feature
//! `reference`), in three parts, with a line in the log. A [`Device`] other than the CPU runs image passes on a GPU (feature `gpu`); where
//! that fails, the engine falls back to the CPU. The reference runs any graph, complete or in part, on plain tract
//! operators: the fast engine is tested against it.

mod accelerator;
#[doc(hidden)]
pub mod cpu;
mod device;
mod error;
#[cfg(feature = "gpu")]
#[doc(hidden)]
pub mod gpu;
mod gpu_times;
mod limit;
mod options;
#[cfg(feature = "reference")]
mod plain;
#[cfg(not(feature = "reference"))]
#[path = "plain_absent.rs"]
mod plain;
#[cfg(feature = "reference")]
mod reference;
mod step_time;
#[cfg(test)]
mod tests;
mod thread_start;
mod wanted_masks;

pub use crate::kernels::{Isa, UnknownIsa};
pub use cpu::MAX_PROMPTS;
#[doc(hidden)]
pub use cpu::WeightSource;
pub use device::{Device, GpuPrecision, RanOn, UnknownDevice};
pub use error::EngineError;
#[cfg(feature = "gpu")]
pub use gpu::{AdapterDescription, adapters};
#[cfg(feature = "gpu")]
#[doc(hidden)]
pub use gpu::{GpuEngine, GpuMemory, GpuPeaks, GpuRates, GpuStep, GpuSummary};
pub use gpu_times::GpuTimes;
pub use limit::Canceller;
pub(crate) use limit::Limit;
pub use options::{EngineChoice, EngineOptions};
#[doc(hidden)]
pub use plain::is_contained;
#[cfg(feature = "onnx")]
pub(crate) use reference::contained;
#[cfg(feature = "reference")]
#[doc(hidden)]
pub use reference::{InputValue, ReferencePlan, WholeNetwork};
pub use step_time::StepTime;
pub use thread_start::{ThreadRole, ThreadStart};
#[doc(hidden)]
pub use wanted_masks::{DrawnMask, MaskStatistics, WantedMasks};

use crate::graph::{Graph, GraphError, Op, Shape, stage};
use crate::kernels::{Crew, process_id};
use crate::machine::clock::Instant;
use accelerator::Accelerator;
use cpu::{CpuEngine, CpuWorkspace};
use ndarray::{Array2, ArrayView2};
use plain::PlainEngine;
use std::sync::{Arc, MutexGuard};

/// A network ready to run. Shared freely between threads, each with a separate [`Workspace`].
#[doc(hidden)]
pub struct Engine {
    kind: Kind,
    accelerator: Accelerator,
    input: Shape,
    context: usize,
    vocabulary: usize,
    /// The process whose threads and locks these are: a copy of it, made by a fork, has the locks and not the threads.
    process: u32,
}

enum Kind {
    Cpu(Box<CpuEngine>),
    Plain(PlainEngine),
}

/// The result of a prompt pass: the convolution that its sentence generates, for each head.
#[doc(hidden)]
#[derive(Clone, Debug, Default)]
pub struct PromptKernel {
    vectors: Vec<Arc<[f32]>>,
    /// The sentence itself, where no part of the network can be run for a sentence alone.
    #[cfg(feature = "reference")]
    tokens: Arc<[u32]>,
}

/// Logits by head and prompt.
type Logits = [Vec<Array2<f32>>; 2];

impl PromptKernel {
    fn new(vectors: Vec<Arc<[f32]>>) -> Self {
        Self {
            vectors,
            #[cfg(feature = "reference")]
            tokens: Arc::default(),
        }
    }

    /// The kernel of one head; empty where the engine that encoded it had no such head.
    #[cfg(feature = "gpu")]
    fn of_head(&self, head: usize) -> &[f32] {
        self.vectors.get(head).map_or(&[], |vector| vector)
    }
}

/// The memory of one caller's image passes, and the last one's logits.
#[doc(hidden)]
#[derive(Default)]
pub struct Workspace {
    cpu: CpuWorkspace,
    /// The reference engine's logits of each prompt, for each head.
    reference: Logits,
    reference_head_seconds: f64,
    #[cfg(feature = "gpu")]
    gpu: gpu::GpuRun,
    ran_on: RanOn,
    limit: Limit,
}

impl Workspace {
    /// The device that ran the last pass.
    pub fn ran_on(&self) -> RanOn {
        self.ran_on
    }

    /// The conditions that end a pass early.
    pub(crate) fn limit(&self) -> &Limit {
        &self.limit
    }

    pub(crate) fn limit_mut(&mut self) -> &mut Limit {
        &mut self.limit
    }

    /// The times of the last pass, if a GPU ran it.
    pub fn gpu_times(&self) -> Option<GpuTimes> {
        #[cfg(feature = "gpu")]
        if self.ran_on == RanOn::Gpu {
            return Some(self.gpu.times);
        }
        None
    }
}

impl Engine {
    /// Plans a network that has the inputs `image` and `tokens` and the output `pred` (`pred_ad` too, for confounders).
    pub fn new<'a>(
        graph: &Graph,
        weights: impl Into<WeightSource<'a>>,
        options: EngineOptions,
    ) -> Result<Self, EngineError> {
        let begun = Instant::now();
        let source = weights.into();
        graph.validate()?;
        let input = graph.node(graph.find(stage::IMAGE)?).shape;
        let tokens = graph.node(graph.find(stage::TOKENS)?).shape;
        let Shape::Tokens { context } = tokens else {
            let reason = format!("this input is {tokens}, not the ids of a sentence");
            return Err(GraphError::Node { node: stage::TOKENS.into(), reason }.into());
        };
        let kind = match options.choice {
            EngineChoice::Auto => match CpuEngine::new(graph, source, &options) {
                Ok(engine) => Kind::Cpu(Box::new(engine)),
                Err(EngineError::Unsupported { node, reason }) => {
                    let plain = match PlainEngine::new(graph, source, &options) {
                        Err(EngineError::NoReference) => return Err(EngineError::Unsupported { node, reason }),
                        plain => plain?,
                    };
                    log::warn!("`{node}` runs on plain tract, slowly: {reason}");
                    Kind::Plain(plain)
                }
                Err(error) => return Err(error),
            },
            EngineChoice::Reference => Kind::Plain(PlainEngine::new(graph, source, &options)?),
        };
        let accelerator = match options.choice {
            EngineChoice::Auto => Accelerator::new(graph, source, &options),
            EngineChoice::Reference => Accelerator::default(),
        };
        let vocabulary = vocabulary(graph).unwrap_or(usize::MAX);
        log::debug!("engine ready after {:.0} ms", begun.elapsed().as_secs_f64() * 1e3);
        Ok(Self { kind, accelerator, input, context, vocabulary, process: process_id() })
    }

    /// Runs an unknown network in tract's own operators: all of it for each prompt, text encoder and image encoder
    /// alike. It has no confounders and runs on the CPU only: for another device, [`Self::fallback`] says so.
    #[cfg(feature = "reference")]
    pub fn whole(network: Arc<WholeNetwork>, device: Device) -> Self {
        let (input, context) = (network.input(), network.context());
        let accelerator = Accelerator::none_for_whole(device);
        let (kind, process) = (Kind::Plain(PlainEngine::Whole(network)), process_id());
        Self { kind, accelerator, input, context, vocabulary: usize::MAX, process }
    }

    /// Why the engine fell back to the CPU although a GPU was requested; `None` as long as it did not.
    pub fn fallback(&self) -> Option<&str> {
        self.accelerator.fallback()
    }

    /// The GPU that runs image passes, as long as one does.
    #[cfg(feature = "gpu")]
    pub fn gpu(&self) -> Option<&GpuEngine> {
        self.accelerator.gpu()
    }

    /// Drops the GPU, as a driver that resets it does, so that a host can test what follows: the next frame runs on the
    /// CPU.
    #[cfg(feature = "gpu")]
    pub fn lose_gpu(&self) {
        if let Some(gpu) = self.accelerator.gpu() {
            gpu.lose();
        }
    }

    /// The shape of an image pass's input: channels, height and width.
    pub fn input(&self) -> Shape {
        self.input
    }

    /// The most tokens that a prompt may have, start and end of text included.
    pub fn context(&self) -> usize {
        self.context
    }

    /// Whether [`Engine::confounder_logits`] yields a map.
    pub fn has_confounders(&self) -> bool {
        match &self.kind {
            Kind::Cpu(engine) => engine.has_confounders(),
            Kind::Plain(engine) => engine.has_confounders(),
        }
    }

    /// Bytes that the engine and one workspace hold once `prompts` prompts were run in it, the bundle left out; `None`
    /// where plain tract runs the network, whose memory is unknown.
    pub fn memory_bytes(&self, prompts: usize) -> Option<usize> {
        match &self.kind {
            Kind::Cpu(engine) => Some(engine.memory_bytes(prompts)),
            Kind::Plain(_) => None,
        }
    }

    /// The fast engine, where it runs this network.
    pub fn cpu(&self) -> Option<&CpuEngine> {
        match &self.kind {
            Kind::Cpu(engine) => Some(engine),
            Kind::Plain(_) => None,
        }
    }

    /// Runs the text encoder on token ids (start and end of text included; tokens after the end are not run, since a
    /// causal encoder's state does not depend on them).
    pub fn encode_prompt(&self, tokens: &[u32]) -> Result<PromptKernel, EngineError> {
        self.check_process()?;
        let begun = Instant::now();
        // The end of text is the vocabulary's largest id.
        let end = tokens.iter().position(|id| *id as usize + 1 == self.vocabulary);
        let tokens = end.map_or(tokens, |end| &tokens[..=end]);
        if tokens.is_empty() || tokens.len() > self.context {
            return Err(EngineError::TokenCount { count: tokens.len(), context: self.context });
        }
        if let Some(id) = tokens.iter().find(|id| **id as usize >= self.vocabulary) {
            return Err(EngineError::TokenId { id: *id, vocabulary: self.vocabulary });
        }
        let kernel = match &self.kind {
            // Without an end the state is that of the largest id, which only the reference looks for.
            Kind::Cpu(engine) if end.is_some() => engine.encode_prompt(tokens)?,
            Kind::Cpu(_) => return Err(EngineError::NoEndOfText { end: self.vocabulary.saturating_sub(1) }),
            Kind::Plain(engine) => engine.encode_prompt(tokens)?,
        };
        log::debug!("prompt of {} tokens: {:.1} ms", tokens.len(), begun.elapsed().as_secs_f64() * 1e3);
        Ok(kernel)
    }

    /// Runs one image pass for all prompts; their logits are in the workspace after it. `pixels`: normalised, channel
    /// by channel, row by row.
    pub fn run<'k>(
        &self,
        workspace: &mut Workspace,
        pixels: &[f32],
        prompts: impl ExactSizeIterator<Item = &'k PromptKernel> + Clone,
    ) -> Result<(), EngineError> {
        self.run_with(workspace, pixels, prompts, None, false)
    }

    /// As [`Self::run`]. Where a GPU runs the pass, it also draws the wanted masks: [`Self::drawn_mask`].
    pub fn run_for_masks<'k>(
        &self,
        workspace: &mut Workspace,
        pixels: &[f32],
        prompts: impl ExactSizeIterator<Item = &'k PromptKernel> + Clone,
        wanted: Option<&WantedMasks>,
    ) -> Result<(), EngineError> {
        self.run_with(workspace, pixels, prompts, wanted, false)
    }

    /// As [`Self::run`], but times each step, in the order in which they run.
    pub fn time_steps<'k>(
        &self,
        workspace: &mut Workspace,
        pixels: &[f32],
        prompts: impl ExactSizeIterator<Item = &'k PromptKernel> + Clone,
    ) -> Result<Vec<StepTime>, EngineError> {
        #[cfg(feature = "gpu")]
        {
            self.check_image(pixels)?;
            if let Some(times) = self.accelerator.time_steps(pixels, prompts.clone()) {
                return Ok(times);
            }
        }
        match &self.kind {
            Kind::Cpu(engine) => {
                self.run_with(workspace, pixels, prompts, None, true)?;
                Ok(engine.step_times(&workspace.cpu))
            }
            Kind::Plain(engine) => {
                self.check_process()?;
                self.check_image(pixels)?;
                engine.time_steps(pixels, prompts, &workspace.limit)
            }
        }
    }

    fn run_with<'k>(
        &self,
        workspace: &mut Workspace,
        pixels: &[f32],
        prompts: impl ExactSizeIterator<Item = &'k PromptKernel> + Clone,
        #[cfg_attr(not(feature = "gpu"), expect(unused_variables, reason = "the CPU draws no masks"))] wanted: Option<
            &WantedMasks,
        >,
        timed: bool,
    ) -> Result<(), EngineError> {
        self.check_process()?;
        self.check_image(pixels)?;
        workspace.limit.check()?;
        #[cfg(feature = "gpu")]
        if !timed && self.accelerator.run(&mut workspace.gpu, pixels, prompts.clone(), wanted) {
            workspace.ran_on = RanOn::Gpu;
            return Ok(());
        }
        workspace.ran_on = RanOn::Cpu;
        match &self.kind {
            Kind::Cpu(engine) => engine.run(&mut workspace.cpu, pixels, prompts, &workspace.limit, timed),
            Kind::Plain(engine) => {
                let found = engine.run(pixels, prompts, &workspace.limit)?;
                (workspace.reference, workspace.reference_head_seconds) = found;
                Ok(())
            }
        }
    }

    /// The threads that share image passes, for the work after a pass; `None` if there are none, or another session's pass has them.
    pub(crate) fn free_crew(&self) -> Option<MutexGuard<'_, Crew>> {
        match &self.kind {
            Kind::Cpu(engine) => engine.free_crew(),
            Kind::Plain(_) => None,
        }
    }

    /// The seconds of a workspace's last pass that were spent where image and prompts meet.
    pub fn head_seconds(&self, workspace: &Workspace) -> f64 {
        #[cfg(feature = "gpu")]
        if workspace.ran_on == RanOn::Gpu {
            return workspace.gpu.times.head;
        }
        match &self.kind {
            Kind::Cpu(_) => workspace.cpu.head_seconds(),
            Kind::Plain(_) => workspace.reference_head_seconds,
        }
    }

    /// The last pass's logits of one prompt, height x width of the network's input; the sigmoid of a logit is a
    /// probability.
    pub fn logits<'w>(&self, workspace: &'w Workspace, prompt: usize) -> Result<ArrayView2<'w, f32>, EngineError> {
        self.head_logits(workspace, 0, prompt)
    }

    /// The logits of the adversarial head, which sees only what the masks leave to the confounders.
    pub fn confounder_logits<'w>(
        &self,
        workspace: &'w Workspace,
        prompt: usize,
    ) -> Result<ArrayView2<'w, f32>, EngineError> {
        match self.has_confounders() {
            true => self.head_logits(workspace, 1, prompt),
            false => Err(EngineError::NoConfounders),
        }
    }

    /// The mask of one prompt, if the device that ran the last pass drew it.
    #[cfg_attr(not(feature = "gpu"), expect(unused_variables, reason = "the CPU draws no masks"))]
    pub fn drawn_mask<'w>(&self, workspace: &'w Workspace, prompt: usize) -> Option<DrawnMask<'w>> {
        #[cfg(feature = "gpu")]
        if workspace.ran_on == RanOn::Gpu {
            return workspace.gpu.mask(prompt);
        }
        None
    }

    fn head_logits<'w>(
        &self,
        workspace: &'w Workspace,
        head: usize,
        prompt: usize,
    ) -> Result<ArrayView2<'w, f32>, EngineError> {
        let found = match &self.kind {
            #[cfg(feature = "gpu")]
            _ if workspace.ran_on == RanOn::Gpu => workspace.gpu.logits(head, prompt, self.extent()),
            Kind::Cpu(engine) => engine.logits(&workspace.cpu, head, prompt),
            Kind::Plain(_) => workspace.reference[head].get(prompt).map(|logits| logits.view()),
        };
        found.ok_or_else(|| EngineError::Internal(format!("the last pass had no prompt {prompt}")))
    }

    /// Runs one image and one prompt in a separate workspace: the logits, and the confounders' where enabled.
    pub fn segment(
        &self,
        pixels: &[f32],
        prompt: &PromptKernel,
    ) -> Result<(Array2<f32>, Option<Array2<f32>>), EngineError> {
        let mut workspace = Workspace::default();
        self.run(&mut workspace, pixels, std::iter::once(prompt))?;
        let confounders = match self.has_confounders() {
            true => Some(self.confounder_logits(&workspace, 0)?.to_owned()),
            false => None,
        };
        Ok((self.logits(&workspace, 0)?.to_owned(), confounders))
    }

    /// Rows and columns of logits, which are those of the input.
    #[cfg(feature = "gpu")]
    fn extent(&self) -> [usize; 2] {
        match self.input {
            Shape::Map { height, width, .. } => [height, width],
            _ => [0, 0],
        }
    }

    fn check_process(&self) -> Result<(), EngineError> {
        if process_id() == self.process { Ok(()) } else { Err(EngineError::Forked) }
    }

    fn check_image(&self, pixels: &[f32]) -> Result<(), EngineError> {
        let name = || stage::IMAGE.to_string();
        match self.input {
            Shape::Map { channels, height, width } if channels * height * width == pixels.len() => {}
            expected => {
                return Err(EngineError::Input { name: name(), given: format!("{} numbers", pixels.len()), expected });
            }
        }
        match pixels.iter().position(|value| !value.is_finite()) {
            Some(index) => Err(EngineError::NotFinite { name: name(), index, value: pixels[index] }),
            None => Ok(()),
        }
    }
}

/// The size of the smallest table that tokens are read in; its largest id is the end of text.
fn vocabulary(graph: &Graph) -> Option<usize> {
    let vocabularies = graph.nodes.iter().filter_map(|node| match node.op {
        Op::Embed { vocabulary, .. } => Some(vocabulary),
        _ => None,
    });
    vocabularies.min()
}
