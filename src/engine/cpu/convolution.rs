//! Products with weights: convolutions, linear layers, projections.

use super::EngineError;
use super::layout::{Rows, TensorLayout, divide};
use super::step::{Context, RunStep, StepMemory, exact, floats_mut};
use super::weights::{Int8Filters, Packed, WeightSource};
use crate::kernels::Kernels;
use crate::kernels::conv::{Addend, BLOCK, ConvF32, ConvU8, EpilogueU8, GROUP, OutputU8, Target, Window, blocks};
use crate::lower::steps::{CHANNEL_GROUP, Element, Filters, Step, StepKind, StepList};
use ndarray::Ix3;

/// Lowering pads an image to the number of channels that int8 kernels read at once.
const _: () = assert!(CHANNEL_GROUP == GROUP);

pub(super) struct Convolution {
    x: TensorLayout,
    y: TensorLayout,
    first_channel: usize,
    per_token: bool,
    stride: usize,
    padding: usize,
    taps: Vec<usize>,
    depth: usize,
    out_channels: usize,
    relu: bool,
    arithmetic: Arithmetic,
    /// Rows x columns x channels, in units of the output.
    map: Option<Vec<f32>>,
    residual: Option<Residual>,
    /// Inputs and outputs both have contiguous pixels, so a product of one tap is one long row.
    flat: bool,
}

struct Residual {
    layout: TensorLayout,
    element: Element,
}

enum Arithmetic {
    Int8 {
        weights: Packed<i8>,
        narrow_pairs: bool,
        bias: Vec<i32>,
        multiplier: Vec<f32>,
        residual_scale: f32,
        offset: f32,
        bytes: bool,
    },
    F32 {
        weights: Packed<f32>,
        bias: Vec<f32>,
    },
}

/// Fills a vector up to whole blocks.
pub(super) fn padded<T: Clone + Default>(mut values: Vec<T>, out_channels: usize) -> Vec<T> {
    values.resize(blocks(out_channels) * BLOCK, T::default());
    values
}

/// Offsets of a kernel's taps in a tensor.
fn taps(kernel: usize, x: &TensorLayout) -> Vec<usize> {
    (0..kernel * kernel).map(|tap| tap / kernel * x.row_stride() + tap % kernel * x.channels).collect()
}

/// The constants of a channel in int8 arithmetic: the bias with the inputs' zero point, and the multiplier from sums to outputs.
///
/// value = x_scale * w_scale * (sum of w * stored - zero_point * sum of w) + b, divided by the output's scale.
pub(super) fn fold_int8(
    filters: &Int8Filters,
    bias: Option<&[f32]>,
    x: &TensorLayout,
    y_scale: f32,
    out_channels: usize,
) -> (Vec<i32>, Vec<f32>) {
    let zero_point = x.quantisation.zero_point as i64;
    let channel = |index: usize| {
        let sum_scale = f64::from(x.quantisation.scale) * f64::from(filters.scales[index]);
        let in_sums = bias.map_or(0.0, |bias| (f64::from(bias[index]) / sum_scale).round_ties_even());
        let correction = zero_point * i64::from(filters.sums[index]);
        // `as` saturates: a bias beyond the sums' range saturates the output too.
        let bias = (in_sums - correction as f64) as i32;
        (bias, (sum_scale / f64::from(y_scale)) as f32)
    };
    let (biases, multipliers) = (0..out_channels).map(channel).unzip();
    (padded(biases, out_channels), padded(multipliers, out_channels))
}

impl Convolution {
    pub(crate) fn prepare(
        list: &StepList,
        step: &Step,
        source: &WeightSource,
        kernels: Kernels,
    ) -> Result<Self, EngineError> {
        let StepKind::Convolution { filters, stride, padding, map, residual, relu } = &step.kind else {
            return Err(EngineError::Internal(format!("`{}` is not a product step", step.name)));
        };
        let unsupported =
            |reason: &str| EngineError::Unsupported { node: step.name.clone(), reason: reason.to_string() };
        let written = step.destination()?;
        let (x_tensor, y_tensor) = (list.tensor(step.reads[0]), list.tensor(written.tensor));
        let (x, y) = (TensorLayout::of(x_tensor), TensorLayout::of(y_tensor));
        let residual = match residual {
            true => {
                let tensor = list.tensor(step.reads[1]);
                Some(Residual { layout: TensorLayout::of(tensor), element: tensor.element })
            }
            false => None,
        };
        let bias = source.bias(filters)?;
        let bytes = y_tensor.element != Element::F32;
        let out_channels = filters.out_channels;
        let y_scale = y.quantisation.scale;
        let (arithmetic, depth) = match (x_tensor.element, source.is_int8(filters)) {
            (Element::U8(_), true) => {
                let weights = source.int8(filters, kernels)?;
                let (bias, multiplier) = fold_int8(&weights, bias.as_deref(), &x, y_scale, out_channels);
                let (residual_scale, offset) = match &residual {
                    Some(Residual { layout, element: Element::U8(_) }) => {
                        let scale = layout.quantisation.scale / y_scale;
                        (scale, -layout.quantisation.zero_point * scale)
                    }
                    Some(_) if bytes => return Err(unsupported("a residual in f32 to an output in bytes")),
                    _ => (0.0, 0.0),
                };
                let Int8Filters { packed: weights, narrow_pairs, .. } = weights;
                let int8 = Arithmetic::Int8 { weights, narrow_pairs, bias, multiplier, residual_scale, offset, bytes };
                (int8, filters.in_channels.next_multiple_of(GROUP))
            }
            (Element::F32, _) if !bytes && residual.as_ref().is_none_or(|r| r.element == Element::F32) => {
                let bias = padded(bias.unwrap_or_default(), out_channels);
                // An image in bytes has a fourth channel.
                let depth = x.channels.max(filters.in_channels);
                (Arithmetic::F32 { weights: source.f32(filters, depth)?, bias }, depth)
            }
            _ => return Err(unsupported("a product whose operands are of different kinds")),
        };
        if depth != x.channels {
            return Err(unsupported("channels that are not a multiple of the kernels' groups"));
        }
        let map =
            map.as_ref().map(|name| channels_last(source, name, if bytes { y_scale } else { 1.0 })).transpose()?;
        let flat = filters.kernel == 1
            && *stride == 1
            && x.is_flat()
            && y.is_flat()
            && residual.as_ref().is_none_or(|residual| residual.layout.is_flat());
        Ok(Self {
            taps: taps(filters.kernel, &x),
            x,
            y,
            first_channel: written.first_channel,
            per_token: y_tensor.per_token,
            stride: *stride,
            padding: *padding,
            depth,
            out_channels,
            relu: *relu,
            arithmetic,
            map,
            residual,
            flat,
        })
    }

    /// The window of a run: as many pixels as the prompt has tokens, and a single row if pixels are contiguous.
    fn layouts(&self, tokens: usize) -> (TensorLayout, TensorLayout, Option<TensorLayout>) {
        let settle = |layout: TensorLayout| {
            let layout = if self.per_token { layout.with_width(tokens) } else { layout };
            match self.flat {
                // Threads divide rows, so the long row is treated as a column of pixels.
                true => TensorLayout { height: layout.height * layout.width, width: 1, ..layout },
                false => layout,
            }
        };
        (settle(self.x), settle(self.y), self.residual.as_ref().map(|residual| settle(residual.layout)))
    }

    fn window<'a>(&'a self, x: &TensorLayout, y: &TensorLayout, rows: usize) -> Window<'a> {
        let (rows, columns) = if self.flat { (1, rows) } else { (rows, y.width) };
        Window {
            rows,
            columns,
            row_stride: self.stride * x.row_stride(),
            column_stride: self.stride * x.channels,
            taps: &self.taps,
            depth: self.depth,
        }
    }

    /// The element of the first tap of an output row's first pixel.
    fn first_tap(&self, x: &TensorLayout, row: usize) -> usize {
        (row * self.stride + x.border - self.padding) * x.row_stride() + (x.border - self.padding) * x.channels
    }

    fn map_addend<'a>(&'a self, y: &TensorLayout, row: usize) -> Option<Addend<'a, f32>> {
        let row_stride = y.width * self.out_channels;
        let layout = Target { row_stride, column_stride: self.out_channels };
        self.map.as_ref().map(|map| Addend { values: &map[row * row_stride..], layout })
    }

    fn run_int8<T: Output>(
        &self,
        memory: &StepMemory,
        context: &mut Context,
        parts: &mut [Rows<T>],
    ) -> Result<(), EngineError> {
        let Arithmetic::Int8 { weights, narrow_pairs, bias, multiplier, residual_scale, offset, .. } = &self.arithmetic
        else {
            return Ok(());
        };
        let (x, y, residual) = self.layouts(context.tokens.len());
        let kernels = context.kernels;
        let (weights, reads) = (weights.as_slice(), memory.reads);
        context.crew.run(parts, |part| {
            if part.rows.is_empty() {
                return;
            }
            let first = part.rows.start;
            let mut map = self.map_addend(&y, first);
            let mut bytes = None;
            if let (Some(layout), Some(residual)) = (residual, &self.residual) {
                let start = layout.row(first);
                match residual.element {
                    Element::U8(_) => bytes = Some(Addend { values: &reads[1][start..], layout: layout.target() }),
                    Element::F32 => {
                        let values: &[f32] = bytemuck::cast_slice(reads[1]);
                        map = Some(Addend { values: &values[start..], layout: layout.target() });
                    }
                }
            }
            let start = y.row(first) - part.first_element + self.first_channel;
            kernels.conv_u8(&mut ConvU8 {
                window: self.window(&x, &y, part.rows.len()),
                x: &reads[0][self.first_tap(&x, first)..],
                weights,
                narrow_pairs: *narrow_pairs,
                out_channels: self.out_channels,
                epilogue: EpilogueU8 {
                    bias,
                    multiplier,
                    map,
                    residual: bytes,
                    residual_scale: *residual_scale,
                    offset: *offset,
                },
                target: y.target(),
                output: T::output(&mut part.elements[start..], y.quantisation.zero_point as i32, self.relu),
            });
            part.fill_border(T::border(y.quantisation.zero_point));
        });
        Ok(())
    }
}

/// The outputs of int8 sums.
trait Output: Copy + Send {
    fn output(y: &mut [Self], zero_point: i32, relu: bool) -> OutputU8<'_>
    where
        Self: Sized;
    fn border(zero_point: f32) -> Self;
}

impl Output for u8 {
    fn output(y: &mut [u8], zero_point: i32, relu: bool) -> OutputU8<'_> {
        OutputU8::U8 { y, zero_point, lowest: if relu { zero_point } else { 0 } }
    }

    fn border(zero_point: f32) -> u8 {
        zero_point as u8
    }
}

impl Output for f32 {
    fn output(y: &mut [f32], _: i32, relu: bool) -> OutputU8<'_> {
        OutputU8::F32 { y, relu }
    }

    fn border(_: f32) -> f32 {
        0.0
    }
}

impl RunStep for Convolution {
    fn run(&self, mut memory: StepMemory<'_>, context: &mut Context<'_>) -> Result<(), EngineError> {
        let (x, y, residual) = self.layouts(context.tokens.len());
        let length = (y.height + 2 * y.border) * y.row_stride();
        let write = std::mem::take(&mut memory.write);
        let threads = context.crew.threads();
        match &self.arithmetic {
            Arithmetic::Int8 { bytes: true, .. } => {
                self.run_int8(&memory, context, &mut divide(exact(write, length), y, threads))
            }
            Arithmetic::Int8 { .. } => {
                self.run_int8(&memory, context, &mut divide(exact(floats_mut(write), length), y, threads))
            }
            Arithmetic::F32 { weights, bias } => {
                let kernels = context.kernels;
                let weights = weights.as_slice();
                let inputs = memory.floats(0);
                let residuals = residual.map(|layout| (memory.floats(1), layout));
                let mut parts = divide(exact(floats_mut(write), length), y, threads);
                context.crew.run(&mut parts, |part| {
                    if part.rows.is_empty() {
                        return;
                    }
                    let first = part.rows.start;
                    let residual = residuals.map(|(values, layout)| Addend {
                        values: &values[layout.row(first)..],
                        layout: layout.target(),
                    });
                    let start = y.row(first) - part.first_element + self.first_channel;
                    kernels.conv_f32(&mut ConvF32 {
                        window: self.window(&x, &y, part.rows.len()),
                        x: &inputs[self.first_tap(&x, first)..],
                        weights,
                        out_channels: self.out_channels,
                        bias,
                        map: self.map_addend(&y, first),
                        residual,
                        relu: self.relu,
                        target: y.target(),
                        y: &mut part.elements[start..],
                    });
                    part.fill_border(0.0);
                });
                Ok(())
            }
        }
    }

    fn owned_bytes(&self) -> usize {
        let weights = match &self.arithmetic {
            Arithmetic::Int8 { weights, .. } => weights.owned_bytes(),
            Arithmetic::F32 { weights, .. } => weights.owned_bytes(),
        };
        weights + self.map.as_ref().map_or(0, |map| 4 * map.len())
    }
}

/// Converts a constant map from channels x height x width to rows x columns x channels, divided by `scale`.
fn channels_last(source: &WeightSource, name: &str, scale: f32) -> Result<Vec<f32>, EngineError> {
    let values = source.values(name)?;
    let refuse = |_| EngineError::Internal(format!("weight `{name}` is not a map"));
    let map = values.view().into_dimensionality::<Ix3>().map_err(refuse)?;
    Ok(map.permuted_axes([1, 2, 0]).iter().map(|value| value / scale).collect())
}

/// Whether a step's product runs in int8.
pub(super) fn is_int8(list: &StepList, step: &Step, filters: &Filters, source: &WeightSource) -> bool {
    list.tensor(step.reads[0]).element != Element::F32 && source.is_int8(filters)
}
