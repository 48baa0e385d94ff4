//! The interface of a runnable step: the memory of its tensors, the threads, and the run's inputs.

use super::EngineError;
use crate::kernels::{Crew, Kernels};
use std::ops::Range;

/// A step, ready to run.
pub(super) trait RunStep: Send + Sync {
    fn run(&self, memory: StepMemory<'_>, context: &mut Context<'_>) -> Result<(), EngineError>;

    /// Floats of scratch memory that each thread needs for this many prompts.
    fn scratch_floats(&self, _prompts: usize) -> usize {
        0
    }

    /// Bytes of weights that the step holds in memory of its own, not in a mapped file.
    fn owned_bytes(&self) -> usize {
        0
    }
}

/// The most tensors that a step reads.
pub(super) const MAX_READS: usize = 3;

/// The memory of one step's tensors, borders included.
pub(super) struct StepMemory<'a> {
    pub reads: [&'a [u8]; MAX_READS],
    pub write: &'a mut [u8],
}

/// One thread's own memory.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    pub floats: Vec<f32>,
}

/// The data of a run other than tensors.
pub(super) struct Context<'a> {
    pub kernels: Kernels,
    pub crew: &'a mut Crew,
    /// One for each thread.
    pub scratch: &'a mut [Scratch],
    /// The image, three planes of normalised numbers; empty where a prompt runs.
    pub image: &'a [f32],
    /// The prompt's token ids; empty where an image runs.
    pub tokens: &'a [u32],
    /// For each head, the prompts' kernels as packed for the tail, and the memory for its logits.
    pub heads: &'a mut [HeadRun],
}

/// One head's data in an image pass, for all prompts together.
#[derive(Debug, Default)]
pub struct HeadRun {
    /// Nine columns a prompt, packed for the kernels.
    pub(super) packed: Vec<f32>,
    /// The constant that each tap adds inside the frame, nine a prompt, padded to whole blocks.
    pub(super) constants: Vec<f32>,
    /// One for each prompt.
    pub(super) biases: Vec<f32>,
    /// Rows x prompts x columns.
    pub(super) logits: Vec<f32>,
    /// The time of the tail.
    pub(super) seconds: f64,
}

impl HeadRun {
    pub(super) fn prompts(&self) -> usize {
        self.biases.len()
    }

    pub(super) fn logits(&self) -> &[f32] {
        &self.logits
    }
}

impl<'a> StepMemory<'a> {
    /// Borrows a step's tensors out of the arena. A tensor that is read twice is borrowed once.
    pub(crate) fn borrow(
        arena: &'a mut [u8],
        reads: &[Range<usize>],
        write: Range<usize>,
        name: &str,
    ) -> Result<Self, EngineError> {
        let mut distinct: [Range<usize>; MAX_READS + 1] = std::array::from_fn(|_| 0..0);
        let mut place = [0; MAX_READS];
        let mut count = 0;
        for (index, range) in reads.iter().enumerate().take(MAX_READS) {
            place[index] = match distinct[..count].iter().position(|other| other == range) {
                Some(earlier) => earlier,
                None => {
                    distinct[count] = range.clone();
                    count += 1;
                    count - 1
                }
            };
        }
        distinct[MAX_READS] = write;
        let refuse = |_| EngineError::Internal(format!("the memory of step `{name}` overlaps"));
        let [a, b, c, write] = arena.get_disjoint_mut(distinct).map_err(refuse)?;
        let distinct: [&'a [u8]; MAX_READS] = [a, b, c];
        Ok(Self { reads: place.map(|index| distinct[index]), write })
    }

    pub(crate) fn floats(&self, read: usize) -> &'a [f32] {
        // Places are aligned for any element and a multiple of its size.
        bytemuck::cast_slice(self.reads[read])
    }
}

/// The written memory as floats.
pub(super) fn floats_mut(bytes: &mut [u8]) -> &mut [f32] {
    bytemuck::cast_slice_mut(bytes)
}

/// The elements of a tensor without the place's padding at its end.
pub(super) fn exact<T>(elements: &mut [T], length: usize) -> &mut [T] {
    &mut elements[..length]
}
