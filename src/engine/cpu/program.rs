//! A step list prepared for running: each step with its weights and the place of its tensors in memory.

use super::attention::Attention;
use super::blend::Blend;
use super::carafe::Carafe;
use super::convolution::Convolution;
use super::embedding::Embedding;
use super::layout::TensorLayout;
use super::memory::{Arena, Places};
use super::pointwise::{Add, AveragePool, Convert, Gate, LastToken, LoadImage, Rowwise};
use super::step::{Context, HeadRun, RunStep, Scratch, StepMemory};
use super::tail::PromptTail;
use super::weights::WeightSource;
use super::{EngineError, Limit, StepTime};
use crate::kernels::{Crew, Kernels};
use crate::lower::steps::{Element, Step, StepKind, StepList};
use crate::machine::clock::Instant;
use std::ops::Range;

struct ReadyStep {
    name: String,
    kind: &'static str,
    multiply_accumulates: u64,
    int8: bool,
    reads: Vec<Range<usize>>,
    write: Range<usize>,
    work: Box<dyn RunStep>,
}

/// The prepared steps; runs on several threads share it, each in memory of its own.
pub(super) struct Program {
    steps: Vec<ReadyStep>,
    bytes: usize,
    outputs: Vec<(Range<usize>, TensorLayout, Element)>,
}

/// The input of one run.
#[derive(Clone, Copy, Default)]
pub(super) struct PassInput<'a> {
    /// The image, three planes of normalised numbers; empty where a prompt runs.
    pub image: &'a [f32],
    /// The prompt's token ids; empty where an image runs.
    pub tokens: &'a [u32],
    /// The limit that can end the run early.
    pub limit: Option<&'a Limit>,
}

/// The memory of one run.
#[derive(Default)]
pub(super) struct PassMemory {
    arena: Option<Arena>,
    scratch: Vec<Scratch>,
}

/// The name of a kind of step in reports.
pub(in crate::engine) fn kind_name(kind: &StepKind) -> &'static str {
    match kind {
        StepKind::LoadImage => "load_image",
        StepKind::Convolution { filters, .. } if filters.kernel == 1 => "product",
        StepKind::Convolution { .. } => "convolution",
        StepKind::AveragePool { .. } => "average_pool",
        StepKind::Gate { .. } => "gate",
        StepKind::Add { .. } => "add",
        StepKind::AddPositions { .. } => "add_positions",
        StepKind::Attention { .. } => "attention",
        StepKind::Carafe { .. } => "carafe",
        StepKind::Blend { .. } => "blend",
        StepKind::PromptTail { .. } => "prompt_tail",
        StepKind::LayerNorm { .. } => "layer_norm",
        StepKind::QuickGelu => "quick_gelu",
        StepKind::Embed { .. } => "embed",
        StepKind::LastToken => "last_token",
        StepKind::Convert => "convert",
    }
}

fn prepare(
    list: &StepList,
    step: &Step,
    source: &WeightSource,
    kernels: Kernels,
) -> Result<Box<dyn RunStep>, EngineError> {
    Ok(match &step.kind {
        StepKind::LoadImage => Box::new(LoadImage::prepare(list, step)?),
        StepKind::Convolution { .. } => Box::new(Convolution::prepare(list, step, source, kernels)?),
        StepKind::AveragePool { .. } => Box::new(AveragePool::prepare(list, step)?),
        StepKind::Gate { .. } => Box::new(Gate::prepare(list, step)?),
        StepKind::Add { .. } => Box::new(Add::prepare(list, step)?),
        StepKind::Attention { .. } => Box::new(Attention::prepare(list, step)?),
        StepKind::Carafe { .. } => Box::new(Carafe::prepare(list, step)?),
        StepKind::Blend { .. } => Box::new(Blend::prepare(list, step, source)?),
        StepKind::PromptTail { .. } => Box::new(PromptTail::prepare(list, step, source, kernels)?),
        StepKind::Embed { .. } => Box::new(Embedding::prepare(list, step, source)?),
        StepKind::LastToken => Box::new(LastToken::prepare(list, step)?),
        StepKind::Convert => Box::new(Convert::prepare(list, step)?),
        StepKind::AddPositions { .. } | StepKind::LayerNorm { .. } | StepKind::QuickGelu => {
            Box::new(Rowwise::prepare(list, step, source)?)
        }
    })
}

impl Program {
    pub(crate) fn new(list: &StepList, source: &WeightSource, kernels: Kernels) -> Result<Self, EngineError> {
        let places = Places::plan(list);
        let ready = |step: &Step| -> Result<ReadyStep, EngineError> {
            let reads: Vec<Range<usize>> = step.reads.iter().map(|id| places.range(*id)).collect();
            let write = step.writes.map_or(0..0, |written| places.range(written.tensor));
            let int8 = match &step.kind {
                StepKind::Convolution { filters, .. } | StepKind::PromptTail { filters, .. } => source.is_int8(filters),
                _ => false,
            };
            Ok(ReadyStep {
                name: step.name.clone(),
                kind: kind_name(&step.kind),
                multiply_accumulates: step.multiply_accumulates,
                int8,
                reads,
                write,
                work: prepare(list, step, source, kernels)?,
            })
        };
        let output = |id| {
            let tensor = list.tensor(id);
            (places.range(id), TensorLayout::of(tensor), tensor.element)
        };
        Ok(Self {
            steps: list.steps.iter().map(ready).collect::<Result<_, _>>()?,
            bytes: places.bytes(),
            outputs: list.outputs.iter().map(|id| output(*id)).collect(),
        })
    }

    /// Bytes of a run's tensors, without the threads' scratch memory.
    pub(crate) fn arena_bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes of weights outside the bundle.
    pub(crate) fn owned_bytes(&self) -> usize {
        self.steps.iter().map(|step| step.work.owned_bytes()).sum()
    }

    /// Bytes of a run's memory: tensors and the threads' scratch memory.
    pub(crate) fn working_bytes(&self, threads: usize, prompts: usize) -> usize {
        Arena::bytes_of(self.bytes) + threads * self.scratch_floats(prompts) * size_of::<f32>()
    }

    fn scratch_floats(&self, prompts: usize) -> usize {
        self.steps.iter().map(|step| step.work.scratch_floats(prompts)).max().unwrap_or(0)
    }

    /// Prepares memory for this many threads and prompts. Allocates only if earlier runs needed less.
    pub(crate) fn reserve(&self, memory: &mut PassMemory, threads: usize, prompts: usize) {
        if memory.arena.as_ref().is_none_or(|arena| arena.len() < self.bytes) {
            memory.arena = Some(Arena::new(self.bytes));
        }
        let floats = self.scratch_floats(prompts);
        if memory.scratch.len() < threads {
            memory.scratch.resize_with(threads, Scratch::default);
        }
        for scratch in memory.scratch.iter_mut().filter(|scratch| scratch.floats.len() < floats) {
            scratch.floats.resize(floats, 0.0);
        }
    }

    /// Runs all steps. `timed` receives the nanoseconds of each if it is as long as the list.
    pub(crate) fn run(
        &self,
        memory: &mut PassMemory,
        kernels: Kernels,
        crew: &mut Crew,
        PassInput { image, tokens, limit }: PassInput<'_>,
        heads: &mut [HeadRun],
        mut timed: Option<&mut Vec<u64>>,
    ) -> Result<(), EngineError> {
        let Some(arena) = &mut memory.arena else { return Err(EngineError::Internal("a run without an arena".into())) };
        if let Some(timed) = &mut timed {
            timed.clear();
        }
        let mut context = Context { kernels, crew, scratch: &mut memory.scratch, image, tokens, heads };
        for step in &self.steps {
            limit.map_or(Ok(()), Limit::check)?;
            let begun = timed.is_some().then(Instant::now);
            let memory = StepMemory::borrow(arena.bytes(), &step.reads, step.write.clone(), &step.name)?;
            step.work.run(memory, &mut context)?;
            if let (Some(begun), Some(timed)) = (begun, &mut timed) {
                timed.push(begun.elapsed().as_nanos() as u64);
            }
        }
        Ok(())
    }

    /// An output's values after a run, in f32, pixel by pixel.
    pub(crate) fn output(&self, memory: &mut PassMemory, index: usize) -> Option<Vec<f32>> {
        let (range, layout, element) = self.outputs.get(index)?;
        let bytes = &memory.arena.as_mut()?.bytes()[range.clone()];
        let mut values = Vec::with_capacity(layout.height * layout.width * layout.channels);
        for row in 0..layout.height {
            match element {
                Element::F32 => values.extend(bytemuck::cast_slice::<u8, f32>(bytes).get(layout.pixels(row))?),
                Element::U8(quantisation) => {
                    values.extend(bytes.get(layout.pixels(row))?.iter().map(|stored| quantisation.dequantise(*stored)));
                }
            }
        }
        Some(values)
    }

    /// The steps with the times of a run.
    pub(crate) fn step_times(&self, nanoseconds: &[u64]) -> Vec<StepTime> {
        let timed = self.steps.iter().zip(nanoseconds);
        let time = |(step, nanoseconds): (&ReadyStep, &u64)| StepTime {
            name: step.name.clone(),
            kind: format!("{}{}", step.kind, if step.int8 { ", int8" } else { "" }),
            gmac: step.multiply_accumulates as f64 / 1e9,
            bytes: (step.reads.iter().map(|read| read.len()).sum::<usize>() + step.write.len()) as u64,
            nanoseconds: *nanoseconds,
        };
        timed.map(time).collect()
    }
}
