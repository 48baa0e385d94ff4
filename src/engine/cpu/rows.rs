//! Runs steps row by row: reads rows as floats, distributes rows over threads, and stores floats in the output's type.

use super::EngineError;
use super::layout::{Rows, TensorLayout, divide};
use super::step::{Context, Scratch, StepMemory, exact, floats_mut};
use crate::kernels::elementwise::{dequantize, quantize};
use crate::kernels::{Kernels, MAX_THREADS};
use crate::lower::steps::{Element, Step, StepList, Tensor};
use heapless::Vec as FixedVec;

/// A tensor that a step reads or writes.
#[derive(Clone, Copy)]
pub(super) struct Operand {
    full: TensorLayout,
    pub is_u8: bool,
    per_token: bool,
}

impl Operand {
    pub(crate) fn of(tensor: &Tensor) -> Self {
        Self { full: TensorLayout::of(tensor), is_u8: tensor.element != Element::F32, per_token: tensor.per_token }
    }

    pub(crate) fn read(list: &StepList, step: &Step, index: usize) -> Self {
        Self::of(list.tensor(step.reads[index]))
    }

    /// The tensor that a step writes; fails if another step writes to it too.
    pub(crate) fn written(list: &StepList, step: &Step) -> Result<Self, EngineError> {
        let tensor = step.destination()?.tensor;
        let writes = |other: &&Step| other.writes.is_some_and(|written| written.tensor == tensor);
        if list.steps.iter().filter(writes).count() > 1 {
            let reason = "a part of a concatenation that is computed row by row".into();
            return Err(EngineError::Unsupported { node: step.name.clone(), reason });
        }
        Ok(Self::of(list.tensor(tensor)))
    }

    /// The tensor that a step writes, possibly only a part of each pixel's channels, and the first of these.
    pub(crate) fn written_part(list: &StepList, step: &Step) -> Result<(Self, usize), EngineError> {
        let written = step.destination()?;
        Ok((Self::of(list.tensor(written.tensor)), written.first_channel))
    }

    /// The layout for a prompt of `tokens` tokens; an image's tensors have the same layout for all.
    pub(crate) fn layout(&self, tokens: usize) -> TensorLayout {
        if self.per_token { self.full.with_width(tokens) } else { self.full }
    }

    /// The most pixels of a row.
    pub(crate) fn layout_width(&self) -> usize {
        self.full.width
    }

    /// The most elements of a row's pixels.
    pub(crate) fn row_elements(&self) -> usize {
        self.full.width * self.full.channels
    }

    /// A row's pixels as floats: borrowed, or converted into `converted`.
    pub(crate) fn floats<'a>(
        &self,
        kernels: Kernels,
        memory: &'a [u8],
        layout: &TensorLayout,
        row: usize,
        converted: &'a mut [f32],
    ) -> &'a [f32] {
        let pixels = layout.pixels(row);
        if self.is_u8 {
            let converted = &mut converted[..pixels.len()];
            dequantize(kernels, &memory[pixels], layout.quantisation, converted);
            converted
        } else {
            let all: &[f32] = bytemuck::cast_slice(memory);
            &all[pixels]
        }
    }
}

/// Distributes the rows of an output over the threads, each with its own memory.
pub(super) fn deal<'a, T>(
    elements: &'a mut [T],
    layout: TensorLayout,
    threads: usize,
    scratch: &'a mut [Scratch],
) -> FixedVec<(Rows<'a, T>, &'a mut Scratch), MAX_THREADS> {
    let length = (layout.height + 2 * layout.border) * layout.row_stride();
    divide(exact(elements, length), layout, threads).into_iter().zip(scratch).collect()
}

/// Computes each row of an output in bytes, borders included.
pub(super) fn each_row_u8(
    y: &Operand,
    write: &mut [u8],
    context: &mut Context,
    work: impl Fn(Kernels, usize, &mut [u8], &mut [f32]) + Sync,
) {
    let (kernels, layout) = (context.kernels, y.layout(context.tokens.len()));
    let mut parts = deal(write, layout, context.crew.threads(), context.scratch);
    context.crew.run(&mut parts, |(part, scratch)| {
        for row in part.rows.clone() {
            work(kernels, row, part.pixels(row), &mut scratch.floats);
        }
        part.fill_border(layout.quantisation.zero_point as u8);
    });
}

/// Computes each row of an output in f32, borders included.
pub(super) fn each_row_f32(
    y: &Operand,
    write: &mut [u8],
    context: &mut Context,
    work: impl Fn(Kernels, usize, &mut [f32], &mut [f32]) + Sync,
) {
    let (kernels, layout) = (context.kernels, y.layout(context.tokens.len()));
    let mut parts = deal(floats_mut(write), layout, context.crew.threads(), context.scratch);
    context.crew.run(&mut parts, |(part, scratch)| {
        for row in part.rows.clone() {
            work(kernels, row, part.pixels(row), &mut scratch.floats);
        }
        part.fill_border(0.0);
    });
}

/// Computes each row in f32 and stores it in the output's type. For an output in bytes the row is first computed in the thread's
/// scratch memory: `work` gets the memory behind it, so the scratch must hold one more row.
pub(super) fn each_row(
    y: &Operand,
    memory: StepMemory,
    context: &mut Context,
    work: impl Fn(Kernels, usize, &mut [f32], &mut [f32]) + Sync,
) -> Result<(), EngineError> {
    if !y.is_u8 {
        each_row_f32(y, memory.write, context, work);
        return Ok(());
    }
    let quantisation = y.layout(context.tokens.len()).quantisation;
    each_row_u8(y, memory.write, context, |kernels, row, stored, scratch| {
        let (values, rest) = scratch.split_at_mut(stored.len());
        work(kernels, row, values, rest);
        quantize(kernels, values, quantisation, stored);
    });
    Ok(())
}
