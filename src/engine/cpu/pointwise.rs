//! Steps that work on each pixel, or each row of a sequence, by itself.

use super::EngineError;
use super::rows::{Operand, each_row, each_row_f32, each_row_u8};
use super::step::{Context, RunStep, StepMemory};
use super::weights::WeightSource;
use crate::graph::{NORM_EPSILON, ScaleZeroPoint};
use crate::kernels::elementwise as kernel;
use crate::lower::steps::{Step, StepKind, StepList};

fn internal(step: &Step, what: &str) -> EngineError {
    EngineError::Internal(format!("step `{}` {what}", step.name))
}

/// Converts the image to channels-last.
pub(super) struct LoadImage {
    y: Operand,
}

impl LoadImage {
    pub(crate) fn prepare(list: &StepList, step: &Step) -> Result<Self, EngineError> {
        Ok(Self { y: Operand::written(list, step)? })
    }
}

impl RunStep for LoadImage {
    fn run(&self, memory: StepMemory<'_>, context: &mut Context<'_>) -> Result<(), EngineError> {
        let layout = self.y.layout(0);
        let (width, area) = (layout.width, layout.width * layout.height);
        let image = context.image;
        let planes = |row: usize| [0, 1, 2].map(|plane| &image[plane * area + row * width..][..width]);
        if self.y.is_u8 {
            each_row_u8(&self.y, memory.write, context, |kernels, row, y, _| {
                kernel::image_row_u8(kernels, planes(row), layout.quantisation, y);
            });
        } else {
            each_row_f32(&self.y, memory.write, context, |kernels, row, y, _| {
                kernel::image_row_f32(kernels, planes(row), y);
            });
        }
        Ok(())
    }
}

/// Multiplies a map by a mask, into a part of each pixel's channels.
pub(super) struct Gate {
    x: Operand,
    logits: Operand,
    y: Operand,
    first_channel: usize,
    complement: bool,
    /// In bytes: the mask of each stored logit.
    masks: [f32; 256],
}

impl Gate {
    pub(crate) fn prepare(list: &StepList, step: &Step) -> Result<Self, EngineError> {
        let StepKind::Gate { complement, mask_quantisation } = step.kind else {
            return Err(internal(step, "is not a gate step"));
        };
        let [x, logits] = [0, 1].map(|index| Operand::read(list, step, index));
        let (y, first_channel) = Operand::written_part(list, step)?;
        if x.is_u8 != y.is_u8 || logits.is_u8 != y.is_u8 {
            return Err(EngineError::Unsupported {
                node: step.name.clone(),
                reason: "a gate whose operands differ in type".into(),
            });
        }
        let masks = masks(logits.layout(0).quantisation, mask_quantisation, complement);
        Ok(Self { x, logits, y, first_channel, complement, masks })
    }
}

/// The sigmoid of each byte, rounded to the mask's scale and zero point if it has them.
fn masks(logits: kernel::ScaleZeroPoint, mask_quantisation: Option<ScaleZeroPoint>, complement: bool) -> [f32; 256] {
    std::array::from_fn(|stored| {
        let logit = (stored as f32 - logits.zero_point) * logits.scale;
        let round = |mask: f32| mask_quantisation.map_or(mask, |quantisation| quantisation.round(mask));
        let mask = round(1.0 / (1.0 + (-logit).exp()));
        if complement { round(1.0 - mask) } else { mask }
    })
}

impl RunStep for Gate {
    fn run(&self, memory: StepMemory<'_>, context: &mut Context<'_>) -> Result<(), EngineError> {
        let [x, logits, y] = [self.x, self.logits, self.y].map(|operand| operand.layout(0));
        let part = self.first_channel..self.first_channel + x.channels;
        if self.y.is_u8 {
            let [sources, gates, _] = memory.reads;
            each_row_u8(&self.y, memory.write, context, |kernels, row, out, _| {
                let pixels = sources[x.pixels(row)].chunks_exact(x.channels);
                let gates = gates[logits.pixels(row)].chunks_exact(x.channels);
                for ((out, x_pixel), gate) in out.chunks_exact_mut(y.channels).zip(pixels).zip(gates) {
                    kernel::gate_u8(
                        kernels,
                        x_pixel,
                        x.quantisation,
                        gate,
                        &self.masks,
                        &mut out[part.clone()],
                        y.quantisation,
                    );
                }
            });
        } else {
            let (sources, gates) = (memory.floats(0), memory.floats(1));
            each_row_f32(&self.y, memory.write, context, |kernels, row, out, _| {
                let pixels = sources[x.pixels(row)].chunks_exact(x.channels);
                let gates = gates[logits.pixels(row)].chunks_exact(x.channels);
                for ((out, x_pixel), gate) in out.chunks_exact_mut(y.channels).zip(pixels).zip(gates) {
                    kernel::gate_f32(kernels, x_pixel, gate, self.complement, &mut out[part.clone()]);
                }
            });
        }
        Ok(())
    }
}

/// Adds two tensors.
pub(super) struct Add {
    a: Operand,
    b: Operand,
    y: Operand,
    relu: bool,
}

impl Add {
    pub(crate) fn prepare(list: &StepList, step: &Step) -> Result<Self, EngineError> {
        let StepKind::Add { relu } = step.kind else { return Err(internal(step, "is not an addition step")) };
        let [a, b] = [0, 1].map(|index| Operand::read(list, step, index));
        Ok(Self { a, b, y: Operand::written(list, step)?, relu })
    }
}

impl RunStep for Add {
    fn run(&self, memory: StepMemory<'_>, context: &mut Context<'_>) -> Result<(), EngineError> {
        let [a, b, y] = [self.a, self.b, self.y].map(|operand| operand.layout(context.tokens.len()));
        let [first, second, _] = memory.reads;
        if self.a.is_u8 && self.b.is_u8 && self.y.is_u8 {
            each_row_u8(&self.y, memory.write, context, |kernels, row, out, _| {
                let (first, second) = (&first[a.pixels(row)], &second[b.pixels(row)]);
                kernel::add_u8(
                    kernels,
                    (first, a.quantisation),
                    (second, b.quantisation),
                    self.relu,
                    out,
                    y.quantisation,
                );
            });
            return Ok(());
        }
        let relu = self.relu;
        each_row(&self.y, memory, context, |kernels, row, out, scratch| {
            let (converted_a, converted_b) = scratch.split_at_mut(self.a.row_elements());
            let first = self.a.floats(kernels, first, &a, row, converted_a);
            let second = self.b.floats(kernels, second, &b, row, converted_b);
            kernel::add_f32(kernels, first, second, relu, out);
        })
    }

    fn scratch_floats(&self, _prompts: usize) -> usize {
        3 * self.y.row_elements()
    }
}

/// Converts values to another element type, into a part of each pixel's channels.
pub(super) struct Convert {
    x: Operand,
    y: Operand,
    first_channel: usize,
}

impl Convert {
    pub(crate) fn prepare(list: &StepList, step: &Step) -> Result<Self, EngineError> {
        let (y, first_channel) = Operand::written_part(list, step)?;
        Ok(Self { x: Operand::read(list, step, 0), y, first_channel })
    }
}

impl RunStep for Convert {
    fn run(&self, memory: StepMemory<'_>, context: &mut Context<'_>) -> Result<(), EngineError> {
        let [x, y] = [self.x, self.y].map(|operand| operand.layout(context.tokens.len()));
        let part = self.first_channel..self.first_channel + x.channels;
        let source = memory.reads[0];
        if self.y.is_u8 {
            each_row_u8(&self.y, memory.write, context, |kernels, row, out, scratch| {
                let values = self.x.floats(kernels, source, &x, row, scratch);
                if x.channels == y.channels {
                    return kernel::quantize(kernels, values, y.quantisation, out);
                }
                for (pixel, out) in values.chunks_exact(x.channels).zip(out.chunks_exact_mut(y.channels)) {
                    kernel::quantize(kernels, pixel, y.quantisation, &mut out[part.clone()]);
                }
            });
        } else {
            each_row_f32(&self.y, memory.write, context, |kernels, row, out, scratch| {
                let values = self.x.floats(kernels, source, &x, row, scratch);
                for (pixel, out) in values.chunks_exact(x.channels).zip(out.chunks_exact_mut(y.channels)) {
                    out[part.clone()].copy_from_slice(pixel);
                }
            });
        }
        Ok(())
    }

    fn scratch_floats(&self, _prompts: usize) -> usize {
        self.x.row_elements()
    }
}

/// Steps from one tensor to another of the same pixels, row by row in f32.
pub(super) struct Rowwise {
    x: Operand,
    y: Operand,
    function: Function,
}

enum Function {
    QuickGelu,
    LayerNorm {
        scale: Vec<f32>,
        shift: Vec<f32>,
    },
    /// Rows of the table, from the first that is added.
    AddPositions {
        table: Vec<f32>,
    },
}

impl Rowwise {
    pub(crate) fn prepare(list: &StepList, step: &Step, source: &WeightSource) -> Result<Self, EngineError> {
        let x = Operand::read(list, step, 0);
        let function = match &step.kind {
            StepKind::QuickGelu => Function::QuickGelu,
            StepKind::LayerNorm { prefix } => {
                let [scale, shift] = ["weight", "bias"].map(|field| source.values(&format!("{prefix}.{field}")));
                Function::LayerNorm { scale: scale?.iter().copied().collect(), shift: shift?.iter().copied().collect() }
            }
            StepKind::AddPositions { table, skip } => {
                let values = source.values(table)?;
                let skipped = skip * x.layout(0).channels;
                Function::AddPositions { table: values.iter().copied().skip(skipped).collect() }
            }
            _ => return Err(internal(step, "is not a row function")),
        };
        Ok(Self { x, y: Operand::written(list, step)?, function })
    }
}

impl RunStep for Rowwise {
    fn run(&self, memory: StepMemory<'_>, context: &mut Context<'_>) -> Result<(), EngineError> {
        let x = self.x.layout(context.tokens.len());
        let source = memory.reads[0];
        each_row(&self.y, memory, context, |kernels, row, out, scratch| {
            let values = self.x.floats(kernels, source, &x, row, scratch);
            match &self.function {
                Function::QuickGelu => kernel::quick_gelu(kernels, values, out),
                Function::LayerNorm { scale, shift } => {
                    let pixels = values.chunks_exact(x.channels).zip(out.chunks_exact_mut(x.channels));
                    for (pixel, out) in pixels {
                        kernel::layer_norm(kernels, pixel, scale, shift, NORM_EPSILON, out);
                    }
                }
                Function::AddPositions { table } => {
                    let positions = &table[row * x.width * x.channels..][..out.len()];
                    kernel::add_f32(kernels, values, positions, false, out);
                }
            }
        })
    }

    fn scratch_floats(&self, _prompts: usize) -> usize {
        2 * self.y.row_elements()
    }

    fn owned_bytes(&self) -> usize {
        match &self.function {
            Function::AddPositions { table } => 4 * table.len(),
            _ => 0,
        }
    }
}

/// The mean of windows that do not overlap.
pub(super) struct AveragePool {
    x: Operand,
    y: Operand,
    first_channel: usize,
    size: usize,
}

/// The largest window's side; the network has 2.
const MAX_POOL: usize = 8;

impl AveragePool {
    pub(crate) fn prepare(list: &StepList, step: &Step) -> Result<Self, EngineError> {
        let StepKind::AveragePool { size } = step.kind else { return Err(internal(step, "is not a pooling step")) };
        let (x, (y, first_channel)) = (Operand::read(list, step, 0), Operand::written_part(list, step)?);
        if size > MAX_POOL || x.is_u8 != y.is_u8 {
            return Err(EngineError::Unsupported {
                node: step.name.clone(),
                reason: "a pooling window of an unsupported size".into(),
            });
        }
        Ok(Self { x, y, first_channel, size })
    }
}

impl RunStep for AveragePool {
    fn run(&self, memory: StepMemory<'_>, context: &mut Context<'_>) -> Result<(), EngineError> {
        let (x, y, size) = (self.x.layout(0), self.y.layout(0), self.size);
        if self.y.is_u8 {
            let source = memory.reads[0];
            each_row_u8(&self.y, memory.write, context, |kernels, row, out, _| {
                let rows: [&[u8]; MAX_POOL] =
                    std::array::from_fn(|index| &source[x.pixels(row * size + index.min(size - 1))]);
                let out = &mut out[self.first_channel..];
                kernel::average_pool_u8(
                    kernels,
                    &rows[..size],
                    x.quantisation,
                    x.channels,
                    out,
                    y.channels,
                    y.quantisation,
                );
            });
        } else {
            let source = memory.floats(0);
            each_row_f32(&self.y, memory.write, context, |kernels, row, out, _| {
                let rows: [&[f32]; MAX_POOL] =
                    std::array::from_fn(|index| &source[x.pixels(row * size + index.min(size - 1))]);
                let out = &mut out[self.first_channel..];
                kernel::average_pool_f32(kernels, &rows[..size], x.channels, out, y.channels);
            });
        }
        Ok(())
    }
}

/// The last token's row.
pub(super) struct LastToken {
    x: Operand,
    y: Operand,
}

impl LastToken {
    pub(crate) fn prepare(list: &StepList, step: &Step) -> Result<Self, EngineError> {
        Ok(Self { x: Operand::read(list, step, 0), y: Operand::written(list, step)? })
    }
}

impl RunStep for LastToken {
    fn run(&self, memory: StepMemory<'_>, context: &mut Context<'_>) -> Result<(), EngineError> {
        let x = self.x.layout(context.tokens.len());
        let source = memory.reads[0];
        each_row(&self.y, memory, context, |kernels, _, out, scratch| {
            let rows = self.x.floats(kernels, source, &x, 0, scratch);
            let start = rows.len().saturating_sub(out.len());
            out.copy_from_slice(&rows[start..]);
        })
    }

    fn scratch_floats(&self, _prompts: usize) -> usize {
        self.y.row_elements() + self.x.row_elements()
    }
}
