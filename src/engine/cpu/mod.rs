//! The fast engine: a list of fused steps over channels-last tensors, on SIMD kernels and threads of its own.
//!
//! All memory is planned when the engine and a workspace are created. Once a workspace is warm (at least as many prompts were run
//! before), a frame allocates nothing. Threads divide a step's rows by a fixed rule and each output is summed by one thread in
//! one order, so results are the same bits for any number of them.

mod attention;
mod blend;
mod carafe;
mod convolution;
mod embedding;
mod layout;
mod memory;
mod pointwise;
mod program;
mod rows;
mod stage;
mod step;
mod tail;
mod weights;

#[cfg(feature = "gpu")]
pub(super) use program::kind_name;
pub use stage::stored_value;
pub use step::HeadRun;
pub use weights::WeightSource;

use super::{EngineError, EngineOptions, Limit, PromptKernel, StepTime, ThreadRole};
use crate::graph::{self, Graph, Head, Parts, Shape, TAPS};
use crate::kernels::{Crew, Kernels, MAX_THREADS};
use crate::lower::steps::{StepKind, lower, settle};
use crate::machine::Apart;
use ndarray::{ArrayView2, ShapeBuilder};
use program::{PassInput, PassMemory, Program};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

/// The most prompts of one image pass.
pub const MAX_PROMPTS: usize = 256;

/// A network prepared for this CPU. Threads can share it and run it, each in its own [`CpuWorkspace`].
pub struct CpuEngine {
    kernels: Kernels,
    image: Program,
    prompt: Program,
    /// Each head's channels of features, and rows and columns of logits.
    heads: Vec<[usize; 3]>,
    /// The index of each head's kernel among the outputs of `prompt`.
    vectors: Vec<usize>,
    /// The threads that share a pass if there is more than one; passes then take turns. `None`: each pass runs on its caller's
    /// thread, and any number of passes run at once.
    crew: Option<Mutex<Crew>>,
    /// The memory for encoding prompts, which the calling thread does alone, so that frames do not wait for the crew.
    prompt_memory: Mutex<(PassMemory, Crew)>,
    threads: usize,
}

/// The memory of one caller's runs.
#[derive(Default)]
pub struct CpuWorkspace {
    memory: PassMemory,
    heads: Vec<HeadRun>,
    nanoseconds: Vec<u64>,
    /// Runs a pass on its caller's thread.
    alone: Crew,
}

impl CpuWorkspace {
    pub(super) fn head_seconds(&self) -> f64 {
        self.heads.iter().map(|head| head.seconds).sum()
    }
}

impl CpuEngine {
    /// Lowers a network's image and prompt parts and binds their weights.
    ///
    /// # Errors
    /// [`EngineError::Unsupported`] if a node has no step here; the reference engine may run it.
    pub fn new(graph: &Graph, source: WeightSource, options: &EngineOptions) -> Result<Self, EngineError> {
        let kernels = match options.isa {
            Some(isa) => Kernels::new(isa).ok_or(crate::kernels::IsaError::Missing { isa })?,
            None => Kernels::detect()?,
        };
        let parts = Parts::find(graph, options.confounders)?;
        let heads = parts.heads();
        let image_list = settle(lower(&parts.image_pass()?)?, |filters| source.is_int8(filters));
        let tails = image_list.steps.iter().filter(|step| matches!(step.kind, StepKind::PromptTail { .. })).count();
        if tails != heads.len() {
            let reason = "a head of another form than products, blend and the sentence's convolution".into();
            return Err(EngineError::Unsupported { node: graph::stage::PRED.into(), reason });
        }
        let prompt_list = settle(lower(&parts.prompt_encoder()?)?, |filters| source.is_int8(filters));
        let shape = |head: &Head| match (graph.node(head.vector).shape, graph.node(head.output).shape) {
            (Shape::Vector { width }, Shape::Map { height, width: columns, .. }) => {
                Ok([(width - 1) / TAPS - 1, height, columns])
            }
            _ => Err(EngineError::Internal("a head whose kernel is not a vector".into())),
        };
        let threads = options.threads.max(1);
        if threads > MAX_THREADS {
            return Err(EngineError::Threads { threads, reason: format!("at most {MAX_THREADS} share a pass") });
        }
        let hook = options.on_thread_start.clone();
        let apart = Arc::new(Apart::new(threads));
        let of_workers = apart.clone();
        let on_start = move |index| {
            hook.iter().for_each(|hook| hook.run(ThreadRole::Worker { index }));
            of_workers.add_this_thread();
        };
        let crew = match threads {
            1 => None,
            _ => {
                let mut crew = Crew::new(threads, on_start).map_err(EngineError::threads(threads))?;
                crew.before_step(move || apart.avoid_this_core());
                Some(Mutex::new(crew))
            }
        };
        let engine = Self {
            kernels,
            image: Program::new(&image_list, &source, kernels)?,
            prompt: Program::new(&prompt_list, &source, kernels)?,
            heads: heads.iter().map(shape).collect::<Result<_, _>>()?,
            vectors: parts.vectors_of_heads(),
            threads,
            crew,
            prompt_memory: Mutex::new((PassMemory::default(), Crew::alone())),
        };
        log::debug!(
            "fast engine on {}: {} steps an image, {:.1} MB of tensors, {:.1} MB of weights of its own",
            kernels.isa(),
            image_list.steps.len(),
            engine.image.arena_bytes() as f64 / 1e6,
            (engine.image.owned_bytes() + engine.prompt.owned_bytes()) as f64 / 1e6,
        );
        Ok(engine)
    }

    pub fn kernels(&self) -> Kernels {
        self.kernels
    }

    pub fn threads(&self) -> usize {
        self.threads
    }

    /// Bytes of the engine and one warm workspace: weights that are not in the bundle, tensors, logits.
    pub(super) fn memory_bytes(&self, prompts: usize) -> usize {
        let heads = self.heads.iter().map(|head| HeadRun::bytes(*head, prompts));
        self.image.owned_bytes()
            + self.prompt.owned_bytes()
            + self.image.working_bytes(self.threads, prompts)
            + self.prompt.working_bytes(1, 0)
            + heads.sum::<usize>()
    }

    pub fn has_confounders(&self) -> bool {
        self.heads.len() > 1
    }

    /// Runs the text encoder on checked tokens, the end of text last.
    pub(super) fn encode_prompt(&self, tokens: &[u32]) -> Result<PromptKernel, EngineError> {
        // The next run overwrites whatever a panic left in this memory.
        let mut guard = self.prompt_memory.lock().unwrap_or_else(PoisonError::into_inner);
        let (memory, crew) = &mut *guard;
        self.prompt.reserve(memory, 1, 0);
        self.prompt.run(memory, self.kernels, crew, PassInput { tokens, ..PassInput::default() }, &mut [], None)?;
        let vectors = self.vectors.iter().map(|place| self.prompt.output(memory, *place).map(Into::into));
        let vectors = vectors.collect::<Option<_>>();
        let vectors = vectors.ok_or_else(|| EngineError::Internal("the prompt's kernel is missing".into()))?;
        Ok(PromptKernel::new(vectors))
    }

    /// Runs a checked image for all prompts; the logits stay in the workspace.
    pub(super) fn run<'k>(
        &self,
        workspace: &mut CpuWorkspace,
        image: &[f32],
        prompts: impl ExactSizeIterator<Item = &'k PromptKernel> + Clone,
        limit: &Limit,
        timed: bool,
    ) -> Result<(), EngineError> {
        let count = prompts.len();
        if count > MAX_PROMPTS {
            return Err(EngineError::Prompts { given: count, most: MAX_PROMPTS });
        }
        workspace.heads.resize_with(self.heads.len(), HeadRun::default);
        for (index, (head, [channels, rows, columns])) in workspace.heads.iter_mut().zip(&self.heads).enumerate() {
            let kernels = prompts.clone().map(|prompt| prompt.vectors.get(index).map_or(&[][..], |vector| vector));
            head.set_prompts(*channels, *rows, *columns, kernels)?;
        }
        self.image.reserve(&mut workspace.memory, self.threads, count);
        let mut shared = self.crew.as_ref().map(|crew| crew.lock().unwrap_or_else(PoisonError::into_inner));
        let crew = shared.as_deref_mut().unwrap_or(&mut workspace.alone);
        let nanoseconds = timed.then_some(&mut workspace.nanoseconds);
        let input = PassInput { image, limit: Some(limit), ..PassInput::default() };
        self.image.run(&mut workspace.memory, self.kernels, crew, input, &mut workspace.heads, nanoseconds)
    }

    /// The threads that share a pass, unless one runs.
    pub(super) fn free_crew(&self) -> Option<MutexGuard<'_, Crew>> {
        match self.crew.as_ref()?.try_lock() {
            Ok(crew) => Some(crew),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// The steps of the image pass, with the times of a workspace's last timed run.
    pub(super) fn step_times(&self, workspace: &CpuWorkspace) -> Vec<StepTime> {
        self.image.step_times(&workspace.nanoseconds)
    }

    /// A prompt's logits, height x width of the network's input.
    pub(super) fn logits<'w>(
        &self,
        workspace: &'w CpuWorkspace,
        head: usize,
        prompt: usize,
    ) -> Option<ArrayView2<'w, f32>> {
        let [_, rows, columns] = *self.heads.get(head)?;
        let run = workspace.heads.get(head)?;
        let prompts = run.prompts();
        let first = run.logits().get(prompt * columns..).filter(|_| prompt < prompts)?;
        // Rows of all prompts lie one after the other.
        ArrayView2::from_shape((rows, columns).strides((prompts * columns, 1)), first).ok()
    }
}
