//! The last stage of the decoder, from its low-resolution input to the logits of all prompts, streamed: the full-size map
//! of features never exists.
//!
//! A thread owns a band of low-resolution rows. It computes tap products a row at a time into a ring, mixes them into rows of
//! features at full size, and takes nine dot products a prompt for each pixel: one product with a matrix of nine columns a
//! prompt. A logit is the sum of nine of those, one from each neighbour, so three rows of dot products are kept. Bands
//! compute the rows that they share with their neighbours twice, and no thread waits for another.

use super::EngineError;
use super::blend::{Blending, Products};
use super::convolution::{fold_int8, is_int8, padded};
use super::layout::{TensorLayout, share};
use super::rows::Operand;
use super::step::{Context, HeadRun, RunStep, Scratch, StepMemory};
use super::weights::{Packed, WeightSource};
use crate::graph::TAPS;
use crate::kernels::conv::{BLOCK, ConvF32, ConvU8, EpilogueU8, OutputU8, Target, Window, blocks};
use crate::kernels::elementwise::ScaleZeroPoint;
use crate::kernels::{Kernels, MAX_THREADS};
use crate::lower::steps::{Element, Step, StepKind, StepList};
use crate::machine::clock::Instant;
use heapless::Vec as FixedVec;

pub(super) struct PromptTail {
    x: Operand,
    head: usize,
    /// Channels of the features.
    channels: usize,
    in_channels: usize,
    arithmetic: Arithmetic,
    blending: Blending,
    /// The type of stored products: bytes with scale and zero point, or floats.
    quantisation: Option<ScaleZeroPoint>,
    ring_rows: usize,
}

enum Arithmetic {
    Int8 { weights: Packed<i8>, narrow_pairs: bool, bias: Vec<i32>, multiplier: Vec<f32> },
    F32 { weights: Packed<f32>, bias: Vec<f32> },
}

/// Columns of features computed at a time: they stay in the first-level cache until the dot products have read them.
const COLUMNS: usize = 28;
/// Rows of dot products that a logit sums over.
const DOT_ROWS: usize = 3;

impl PromptTail {
    pub(crate) fn prepare(
        list: &StepList,
        step: &Step,
        source: &WeightSource,
        kernels: Kernels,
    ) -> Result<Self, EngineError> {
        let StepKind::PromptTail { filters, products, scale, bias, head } = &step.kind else {
            return Err(EngineError::Internal(format!("`{}` is not a tail step", step.name)));
        };
        let x = Operand::read(list, step, 0);
        let TensorLayout { height, width, .. } = x.layout(0);
        let out = filters.out_channels;
        let unsupported =
            |reason: &str| EngineError::Unsupported { node: step.name.clone(), reason: reason.to_string() };
        let quantisation = match products {
            Element::F32 => None,
            Element::U8(quantisation) => {
                Some(ScaleZeroPoint { scale: quantisation.scale, zero_point: f32::from(quantisation.zero_point) })
            }
        };
        let arithmetic = if is_int8(list, step, filters, source) {
            let weights = source.int8(filters, kernels)?;
            let y_scale = quantisation.map_or(1.0, |quantisation| quantisation.scale);
            let (bias, multiplier) = fold_int8(&weights, None, &x.layout(0), y_scale, out);
            Arithmetic::Int8 { weights: weights.packed, narrow_pairs: weights.narrow_pairs, bias, multiplier }
        } else if !x.is_u8 && quantisation.is_none() {
            Arithmetic::F32 { weights: source.f32(filters, filters.in_channels)?, bias: padded(Vec::new(), out) }
        } else {
            return Err(unsupported("products whose operands differ in type"));
        };
        if x.layout(0).channels != filters.in_channels {
            return Err(unsupported("channels that are not a multiple of the kernels' groups"));
        }
        let bias = bias.as_ref().map(|name| Ok::<_, EngineError>(source.values(name)?.iter().copied().collect()));
        let channels = out / TAPS;
        let blending = Blending::new([height, width, channels], *scale, bias.transpose()?);
        let rows = 0..height * scale;
        let span = |row: usize| blending.sources(row).1 - blending.sources(row).0 + 1;
        let ring_rows = rows.map(span).max().unwrap_or(1);
        Ok(Self {
            x,
            head: *head,
            channels,
            in_channels: filters.in_channels,
            arithmetic,
            blending,
            quantisation,
            ring_rows,
        })
    }

    /// The number of logits in a row.
    fn columns(&self) -> usize {
        self.blending.width * self.blending.scale
    }

    fn product_row(&self) -> usize {
        self.blending.width * TAPS * self.channels
    }

    /// Floats of one thread's ring of products.
    fn ring_floats(&self) -> usize {
        let elements = self.ring_rows * self.product_row();
        if self.quantisation.is_some() { elements.div_ceil(4) } else { elements }
    }

    fn dot_row(&self, prompts: usize) -> usize {
        self.columns() * TAPS * prompts
    }
}

/// Packs the prompts' kernels (9 x channels weights, nine constants and a bias each) side by side.
impl HeadRun {
    /// The bytes for a head of this many channels, rows and columns, and this many prompts.
    pub(super) fn bytes([channels, rows, columns]: [usize; 3], prompts: usize) -> usize {
        let padded = blocks(TAPS * prompts) * BLOCK;
        (padded * channels + padded + prompts + rows * prompts * columns) * size_of::<f32>()
    }

    /// Sets the prompts of a frame. Allocates only if there are more of them than before.
    pub(super) fn set_prompts<'k>(
        &mut self,
        channels: usize,
        rows: usize,
        columns: usize,
        kernels: impl ExactSizeIterator<Item = &'k [f32]>,
    ) -> Result<(), EngineError> {
        let outputs = TAPS * kernels.len();
        let padded = blocks(outputs) * BLOCK;
        self.packed.clear();
        self.packed.resize(padded * channels, 0.0);
        self.constants.clear();
        self.constants.resize(padded, 0.0);
        self.biases.clear();
        self.logits.resize(rows * kernels.len() * columns, 0.0);
        for (prompt, kernel) in kernels.enumerate() {
            if kernel.len() != TAPS * channels + TAPS + 1 {
                return Err(EngineError::Internal(format!("a prompt's kernel has {} numbers", kernel.len())));
            }
            for tap in 0..TAPS {
                let output = prompt * TAPS + tap;
                self.constants[output] = kernel[TAPS * channels + tap];
                for channel in 0..channels {
                    let at = (output / BLOCK * channels + channel) * BLOCK + output % BLOCK;
                    self.packed[at] = kernel[tap * channels + channel];
                }
            }
            self.biases.push(kernel[TAPS * channels + TAPS]);
        }
        Ok(())
    }
}

/// The memory of a thread that runs its band.
struct Band<'a> {
    ring: &'a mut [f32],
    /// The end of the range of product rows in the ring.
    computed: usize,
    mixed: &'a mut [f32],
    features: &'a mut [f32],
    dots: &'a mut [f32],
}

impl PromptTail {
    /// Computes a row of tap products into the ring.
    fn multiply(&self, kernels: Kernels, source: &[u8], low: usize, ring: &mut [f32]) {
        let x = self.x.layout(0);
        let out_channels = TAPS * self.channels;
        let window = Window {
            rows: 1,
            columns: x.width,
            row_stride: x.row_stride(),
            column_stride: x.channels,
            taps: &[0],
            depth: self.in_channels,
        };
        let target = Target { row_stride: 0, column_stride: out_channels };
        let slot = low % self.ring_rows * self.product_row();
        match &self.arithmetic {
            Arithmetic::Int8 { weights, narrow_pairs, bias, multiplier } => {
                let epilogue =
                    EpilogueU8 { bias, multiplier, map: None, residual: None, residual_scale: 0.0, offset: 0.0 };
                let output = match self.quantisation {
                    Some(quantisation) => {
                        let ring: &mut [u8] = bytemuck::cast_slice_mut(ring);
                        OutputU8::U8 { y: &mut ring[slot..], zero_point: quantisation.zero_point as i32, lowest: 0 }
                    }
                    None => OutputU8::F32 { y: &mut ring[slot..], relu: false },
                };
                let x = &source[x.row(low)..];
                kernels.conv_u8(&mut ConvU8 {
                    window,
                    x,
                    weights: weights.as_slice(),
                    narrow_pairs: *narrow_pairs,
                    out_channels,
                    epilogue,
                    target,
                    output,
                });
            }
            Arithmetic::F32 { weights, bias } => {
                let all: &[f32] = bytemuck::cast_slice(source);
                kernels.conv_f32(&mut ConvF32 {
                    window,
                    x: &all[x.row(low)..],
                    weights: weights.as_slice(),
                    out_channels,
                    bias,
                    map: None,
                    residual: None,
                    relu: false,
                    target,
                    y: &mut ring[slot..],
                });
            }
        }
    }

    /// The dot products of one full-size row.
    fn dot(&self, kernels: Kernels, source: &[u8], row: usize, run: &Prompts, band: &mut Band) {
        let (_, last) = self.blending.sources(row);
        while band.computed <= last {
            self.multiply(kernels, source, band.computed, band.ring);
            band.computed += 1;
        }
        let products = match self.quantisation {
            Some(quantisation) => Products::U8(bytemuck::cast_slice(band.ring), quantisation),
            None => Products::F32(band.ring),
        };
        let start = |low: usize| low % self.ring_rows * self.product_row();
        self.blending.mix_rows(kernels, row, products, start, band.mixed);
        let outputs = TAPS * run.count;
        let slot = row % DOT_ROWS * self.dot_row(run.count);
        for first in (0..self.columns()).step_by(COLUMNS) {
            let count = COLUMNS.min(self.columns() - first);
            let features = &mut band.features[..count * self.channels];
            self.blending.mix_columns(kernels, band.mixed, first, true, features);
            kernels.conv_f32(&mut ConvF32 {
                window: Window {
                    rows: 1,
                    columns: count,
                    row_stride: 0,
                    column_stride: self.channels,
                    taps: &[0],
                    depth: self.channels,
                },
                x: features,
                weights: run.packed,
                out_channels: outputs,
                bias: run.constants,
                map: None,
                residual: None,
                relu: false,
                target: Target { row_stride: 0, column_stride: outputs },
                y: &mut band.dots[slot + first * outputs..],
            });
        }
    }

    /// Sums the logits of one row: prompts x columns.
    fn sum(&self, row: usize, run: &Prompts, dots: &[f32], out: &mut [f32]) {
        let columns = self.columns();
        let rows = self.blending.height * self.blending.scale;
        let outputs = TAPS * run.count;
        for (prompt, (line, bias)) in out.chunks_exact_mut(columns).zip(run.biases).enumerate() {
            line.fill(*bias);
            for tap in 0..TAPS {
                let Some(source) = (row + tap / 3).checked_sub(1).filter(|source| *source < rows) else { continue };
                let slot = source % DOT_ROWS * self.dot_row(run.count);
                let from = tap % 3;
                // Columns whose neighbour at this tap lies inside the frame.
                let (first, last) = ((1usize).saturating_sub(from), (columns + 1 - from).min(columns));
                let Some(line) = line.get_mut(first..last) else { continue };
                let start = slot + (first + from - 1) * outputs + prompt * TAPS + tap;
                for (logit, dot) in line.iter_mut().zip(dots[start..].iter().step_by(outputs)) {
                    *logit += dot;
                }
            }
        }
    }
}

/// The prompts of the frame.
struct Prompts<'a> {
    count: usize,
    packed: &'a [f32],
    constants: &'a [f32],
    biases: &'a [f32],
}

impl RunStep for PromptTail {
    fn run(&self, memory: StepMemory<'_>, context: &mut Context<'_>) -> Result<(), EngineError> {
        let head =
            context.heads.get_mut(self.head).ok_or_else(|| EngineError::Internal("a head without prompts".into()))?;
        let begun = Instant::now();
        let count = head.biases.len();
        if count == 0 {
            return Ok(());
        }
        let prompts = Prompts { count, packed: &head.packed, constants: &head.constants, biases: &head.biases };
        let (kernels, source) = (context.kernels, memory.reads[0]);
        let (height, scale) = (self.blending.height, self.blending.scale);
        let row_logits = count * self.columns();
        let threads = context.crew.threads().min(height);
        let mut parts: FixedVec<_, MAX_THREADS> = FixedVec::new();
        let mut rest = &mut head.logits[..height * scale * row_logits];
        for (index, scratch) in (0..threads).zip(context.scratch.iter_mut()) {
            let rows = share(height, threads, index);
            let (part, remaining) = rest.split_at_mut(rows.len() * scale * row_logits);
            rest = remaining;
            let _ = parts.push((rows.start * scale..rows.end * scale, part, scratch));
        }
        context.crew.run(&mut parts, |(rows, logits, scratch)| {
            let mut band = self.band(scratch, count);
            let last = height * scale;
            // The row above the band, and the one below it at the end.
            let mut next = rows.start.saturating_sub(1);
            band.computed = self.blending.sources(next).0;
            for (row, out) in rows.clone().zip(logits.chunks_exact_mut(row_logits)) {
                while next <= (row + 1).min(last - 1) {
                    self.dot(kernels, source, next, &prompts, &mut band);
                    next += 1;
                }
                self.sum(row, &prompts, band.dots, out);
            }
        });
        head.seconds = begun.elapsed().as_secs_f64();
        Ok(())
    }

    fn scratch_floats(&self, prompts: usize) -> usize {
        self.ring_floats() + self.blending.mixed_floats() + COLUMNS * self.channels + DOT_ROWS * self.dot_row(prompts)
    }

    fn owned_bytes(&self) -> usize {
        match &self.arithmetic {
            Arithmetic::Int8 { weights, .. } => weights.owned_bytes(),
            Arithmetic::F32 { weights, .. } => weights.owned_bytes(),
        }
    }
}

impl PromptTail {
    fn band<'a>(&self, scratch: &'a mut Scratch, prompts: usize) -> Band<'a> {
        let (ring, rest) = scratch.floats.split_at_mut(self.ring_floats());
        let (mixed, rest) = rest.split_at_mut(self.blending.mixed_floats());
        let (features, rest) = rest.split_at_mut(COLUMNS * self.channels);
        let dots = &mut rest[..DOT_ROWS * self.dot_row(prompts)];
        Band { ring, computed: 0, mixed, features, dots }
    }
}
