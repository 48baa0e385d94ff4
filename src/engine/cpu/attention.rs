//! Multi-head attention in f32, on the kernels of convolutions: scores are products of queries and keys, outputs are products of
//! softmax weights and values, and both operands are computed from the image or the sentence. So keys and values are packed like
//! weights, head by head; each thread packs them for all heads and runs its own queries.

use super::EngineError;
use super::rows::{Operand, deal};
use super::step::{Context, RunStep, Scratch, StepMemory, floats_mut};
use crate::kernels::Kernels;
use crate::kernels::conv::{BLOCK, ConvF32, Target, Window, blocks};
use crate::kernels::elementwise::{quantize, softmax};
use crate::lower::steps::{Step, StepKind, StepList};
use std::ops::Range;

pub(super) struct Attention {
    q: Operand,
    y: Operand,
    heads: usize,
    causal: bool,
    width: usize,
}

impl Attention {
    pub(crate) fn prepare(list: &StepList, step: &Step) -> Result<Self, EngineError> {
        let StepKind::Attention { heads, causal } = step.kind else {
            return Err(EngineError::Internal(format!("`{}` is not an attention step", step.name)));
        };
        let (q, y) = (Operand::read(list, step, 0), Operand::written(list, step)?);
        let unsupported =
            |reason: &str| Err(EngineError::Unsupported { node: step.name.clone(), reason: reason.to_string() });
        let width = q.layout(1).channels;
        let reads = [0, 1, 2].map(|index| Operand::read(list, step, index));
        if reads.iter().any(|read| read.is_u8 || !read.layout(1).is_flat()) || !y.layout(1).is_flat() {
            return unsupported("attention of bytes, or of maps with borders");
        }
        if heads == 0 || !width.is_multiple_of(heads) {
            return unsupported("heads that do not divide the width");
        }
        Ok(Self { q, y, heads, causal, width })
    }

    /// Pixels or tokens; each is a query, a key and a value.
    fn length(&self, tokens: usize) -> usize {
        let layout = self.q.layout(tokens);
        layout.height * layout.width
    }

    fn head_width(&self) -> usize {
        self.width / self.heads
    }
}

/// A thread's memory for one head.
struct HeadScratch<'a> {
    keys: &'a mut [f32],
    values: &'a mut [f32],
    scores: &'a mut [f32],
    mixed: &'a mut [f32],
    zeros: &'a [f32],
}

/// Floats of each part of a [`HeadScratch`].
fn scratch_sizes(length: usize, head_width: usize) -> [usize; 5] {
    let (padded_length, padded_width) = (blocks(length) * BLOCK, blocks(head_width) * BLOCK);
    [
        padded_length * head_width,
        padded_width * length,
        length * padded_length,
        length * head_width,
        padded_length.max(padded_width),
    ]
}

impl<'a> HeadScratch<'a> {
    fn split(scratch: &'a mut Scratch, length: usize, head_width: usize) -> Self {
        let [keys, values, scores, mixed, zeros] = scratch_sizes(length, head_width);
        let (keys, rest) = scratch.floats.split_at_mut(keys);
        let (values, rest) = rest.split_at_mut(values);
        let (scores, rest) = rest.split_at_mut(scores);
        let (mixed, rest) = rest.split_at_mut(mixed);
        let zeros = &mut rest[..zeros];
        zeros.fill(0.0);
        Self { keys, values, scores, mixed, zeros }
    }
}

/// Packs each key as the weights of one output channel, and values as weights whose inputs are the keys' scores.
fn pack(scratch: &mut HeadScratch, k: &[f32], v: &[f32], width: usize, head: Range<usize>) {
    let (length, head_width) = (k.len() / width, head.len());
    scratch.keys.fill(0.0);
    scratch.values.fill(0.0);
    for (row, (k, v)) in k.chunks_exact(width).zip(v.chunks_exact(width)).enumerate() {
        for (channel, value) in k[head.clone()].iter().enumerate() {
            scratch.keys[(row / BLOCK * head_width + channel) * BLOCK + row % BLOCK] = *value;
        }
        for (block, values) in v[head.clone()].chunks(BLOCK).enumerate() {
            scratch.values[(block * length + row) * BLOCK..][..values.len()].copy_from_slice(values);
        }
    }
}

/// Multiplies `rows` rows of x, `stride` apart, by packed weights, into rows of `out_channels`.
struct Product<'a> {
    x: &'a [f32],
    stride: usize,
    depth: usize,
    rows: usize,
    weights: &'a [f32],
    zeros: &'a [f32],
    out_channels: usize,
}

impl Product<'_> {
    fn run(&self, kernels: Kernels, y: &mut [f32]) {
        let Self { x, stride, depth, rows, weights, zeros, out_channels } = *self;
        kernels.conv_f32(&mut ConvF32 {
            window: Window { rows: 1, columns: rows, row_stride: 0, column_stride: stride, taps: &[0], depth },
            x,
            weights,
            out_channels,
            bias: &zeros[..blocks(out_channels) * BLOCK],
            map: None,
            residual: None,
            relu: false,
            target: Target { row_stride: 0, column_stride: out_channels },
            y,
        });
    }
}

/// Receives one query's output of one head: the query's row within the thread's rows, and the head's channels.
type Store<'a> = &'a mut dyn FnMut(usize, Range<usize>, &[f32]);

impl RunStep for Attention {
    fn run(&self, memory: StepMemory<'_>, context: &mut Context<'_>) -> Result<(), EngineError> {
        let tokens = context.tokens.len();
        let (length, width, head_width) = (self.length(tokens), self.width, self.head_width());
        let all = length * width;
        let [q, k, v] = [0, 1, 2].map(|index| &memory.floats(index)[..all]);
        let scale = 1.0 / (head_width as f32).sqrt();
        let kernels = context.kernels;
        // The row is treated as a column of pixels, so that threads divide the queries.
        let layout = self.y.layout(tokens);
        let layout = super::layout::TensorLayout { height: length, width: 1, ..layout };
        let threads = context.crew.threads();
        let attend = |rows: Range<usize>, scratch: &mut Scratch, store: Store| {
            let mut scratch = HeadScratch::split(scratch, length, head_width);
            let count = rows.len();
            for head in 0..self.heads {
                let channels = head * head_width..(head + 1) * head_width;
                pack(&mut scratch, k, v, width, channels.clone());
                let queries = &q[rows.start * width + channels.start..];
                let scores = Product {
                    x: queries,
                    stride: width,
                    depth: head_width,
                    rows: count,
                    weights: scratch.keys,
                    zeros: scratch.zeros,
                    out_channels: length,
                };
                scores.run(kernels, scratch.scores);
                for (row, scores) in rows.clone().zip(scratch.scores.chunks_exact_mut(length)) {
                    let seen = if self.causal { row + 1 } else { length };
                    softmax(kernels, &mut scores[..seen], scale);
                    scores[seen..].fill(0.0);
                }
                let mix = Product {
                    x: scratch.scores,
                    stride: length,
                    depth: length,
                    rows: count,
                    weights: scratch.values,
                    zeros: scratch.zeros,
                    out_channels: head_width,
                };
                mix.run(kernels, scratch.mixed);
                for (row, mixed) in scratch.mixed.chunks_exact(head_width).take(count).enumerate() {
                    store(row, channels.clone(), mixed);
                }
            }
        };
        if self.y.is_u8 {
            let mut parts = deal(memory.write, layout, threads, context.scratch);
            context.crew.run(&mut parts, |(part, scratch)| {
                let elements = &mut *part.elements;
                attend(part.rows.clone(), scratch, &mut |row, channels, mixed| {
                    let out = &mut elements[row * width..][channels];
                    quantize(kernels, mixed, layout.quantisation, out);
                });
            });
        } else {
            let mut parts = deal(floats_mut(memory.write), layout, threads, context.scratch);
            context.crew.run(&mut parts, |(part, scratch)| {
                let elements = &mut *part.elements;
                attend(part.rows.clone(), scratch, &mut |row, channels, mixed| {
                    elements[row * width..][channels].copy_from_slice(mixed);
                });
            });
        }
        Ok(())
    }

    fn scratch_floats(&self, _prompts: usize) -> usize {
        let layout = self.q.layout(self.q.layout_width());
        scratch_sizes(layout.height * layout.width, self.head_width()).iter().sum()
    }
}
