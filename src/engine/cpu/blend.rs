//! From nine tap products a channel, at low resolution, to an upsampled convolution's output, row by row.
//!
//! The output at (Y, X) is the sum over the taps (ky, kx) of the upsampled product of that tap at (Y + ky - 1, X + kx - 1),
//! zero outside the frame. Upsampling is separable, so a row of outputs first mixes rows of products, for each of the three
//! kx by itself, and then columns: six terms each time, three taps between two neighbours.

use super::EngineError;
use super::layout::TensorLayout;
use super::rows::{Operand, each_row};
use super::step::{Context, RunStep, StepMemory};
use super::weights::WeightSource;
use crate::graph::TAPS;
use crate::kernels::Kernels;
use crate::kernels::elementwise::{
    ColumnTerms, RowTerm, ScaleZeroPoint, TERMS, blend_columns, blend_rows_f32, blend_rows_u8,
};
use crate::lower::steps::{Step, StepKind, StepList};

/// One of the six terms: a low-resolution row or column, the tap, and the product's weight.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Term {
    source: usize,
    tap: usize,
    weight: f32,
}

/// The terms of an output position along one axis (bilinear, align_corners = false, edges repeated).
fn terms(position: usize, size: usize, scale: usize) -> [Term; TERMS] {
    let mut terms = [Term::default(); TERMS];
    for tap in 0..3 {
        let pair = &mut terms[2 * tap..2 * tap + 2];
        pair.iter_mut().for_each(|term| term.tap = tap);
        let Some(read) = (position + tap).checked_sub(1).filter(|read| *read < size * scale) else { continue };
        let at = ((read as f64 + 0.5) / scale as f64 - 0.5).max(0.0);
        let lower = (at.floor() as usize).min(size - 1);
        let fraction = (at - lower as f64) as f32;
        pair[0].source = lower;
        pair[0].weight = 1.0 - fraction;
        pair[1].source = (lower + 1).min(size - 1);
        pair[1].weight = fraction;
    }
    terms
}

/// The geometry of one blend: the terms of each output row and column.
pub(super) struct Blending {
    pub channels: usize,
    pub scale: usize,
    /// Low-resolution columns.
    pub width: usize,
    pub height: usize,
    rows: Vec<[Term; TERMS]>,
    columns: Vec<ColumnTerms>,
    pub bias: Vec<f32>,
}

/// How tap products are stored.
#[derive(Clone, Copy)]
pub(super) enum Products<'a> {
    F32(&'a [f32]),
    U8(&'a [u8], ScaleZeroPoint),
}

impl Blending {
    pub(crate) fn new([height, width, channels]: [usize; 3], scale: usize, bias: Option<Vec<f32>>) -> Self {
        let column = |terms: [Term; TERMS]| ColumnTerms {
            starts: terms.map(|term| ((term.source * 3 + term.tap) * channels) as u32),
            weights: terms.map(|term| term.weight),
        };
        Self {
            channels,
            scale,
            width,
            height,
            rows: (0..height * scale).map(|row| terms(row, height, scale)).collect(),
            columns: (0..width * scale).map(|position| column(terms(position, width, scale))).collect(),
            bias: bias.unwrap_or_else(|| vec![0.0; channels]),
        }
    }

    /// The lowest and the highest row of products that an output row reads.
    pub(crate) fn sources(&self, row: usize) -> (usize, usize) {
        let used = || self.rows[row].iter().filter(|term| term.weight != 0.0).map(|term| term.source);
        (used().min().unwrap_or(0), used().max().unwrap_or(0))
    }

    /// Floats of the mixed row.
    pub(crate) fn mixed_floats(&self) -> usize {
        self.width * 3 * self.channels
    }

    /// Mixes rows of products; `start` says where a low-resolution row begins in `products`.
    pub(crate) fn mix_rows(
        &self,
        kernels: Kernels,
        row: usize,
        products: Products,
        start: impl Fn(usize) -> usize,
        mixed: &mut [f32],
    ) {
        let terms = &self.rows[row];
        let length = self.width * TAPS * self.channels;
        // A term of weight zero reads another term's row: its own may not exist.
        let (fallback, _) = self.sources(row);
        let at = |term: &Term| start(if term.weight == 0.0 { fallback } else { term.source });
        let first = |term: &Term| 3 * term.tap * self.channels;
        match products {
            Products::F32(all) => {
                let terms = terms.map(|term| RowTerm {
                    products: &all[at(&term)..][..length],
                    first: first(&term),
                    weight: term.weight,
                });
                blend_rows_f32(kernels, &terms, self.channels, mixed);
            }
            Products::U8(all, quantisation) => {
                let terms = terms.map(|term| RowTerm {
                    products: &all[at(&term)..][..length],
                    first: first(&term),
                    weight: term.weight,
                });
                blend_rows_u8(kernels, &terms, self.channels, quantisation.zero_point, quantisation.scale, mixed);
            }
        }
    }

    /// Mixes columns of a mixed row into the output's columns from `first` on, as many as `out` holds.
    pub(crate) fn mix_columns(&self, kernels: Kernels, mixed: &[f32], first: usize, relu: bool, out: &mut [f32]) {
        let count = out.len() / self.channels;
        blend_columns(kernels, &self.columns[first..first + count], mixed, &self.bias, relu, out);
    }
}

/// A blend whose products and output are tensors.
pub(super) struct Blend {
    x: Operand,
    y: Operand,
    blending: Blending,
    relu: bool,
}

impl Blend {
    pub(crate) fn prepare(list: &StepList, step: &Step, source: &WeightSource) -> Result<Self, EngineError> {
        let StepKind::Blend { scale, bias, relu } = &step.kind else {
            return Err(EngineError::Internal(format!("`{}` is not a blend step", step.name)));
        };
        let (x, y) = (Operand::read(list, step, 0), Operand::written(list, step)?);
        let TensorLayout { height, width, channels, .. } = x.layout(0);
        let bias = bias.as_ref().map(|name| Ok::<_, EngineError>(source.values(name)?.iter().copied().collect()));
        let blending = Blending::new([height, width, channels / TAPS], *scale, bias.transpose()?);
        Ok(Self { x, y, blending, relu: *relu })
    }
}

impl RunStep for Blend {
    fn run(&self, memory: StepMemory<'_>, context: &mut Context<'_>) -> Result<(), EngineError> {
        let x = self.x.layout(0);
        let source = memory.reads[0];
        each_row(&self.y, memory, context, |kernels, row, out, scratch| {
            let mixed = &mut scratch[..self.blending.mixed_floats()];
            let products = match self.x.is_u8 {
                true => Products::U8(source, x.quantisation),
                false => Products::F32(bytemuck::cast_slice(source)),
            };
            self.blending.mix_rows(kernels, row, products, |low| x.row(low), mixed);
            self.blending.mix_columns(kernels, mixed, 0, self.relu, out);
        })
    }

    fn scratch_floats(&self, _prompts: usize) -> usize {
        self.y.row_elements() + self.blending.mixed_floats()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::reference::interpolation;

    /// Compares the terms with the reference engine's dense matrices.
    #[test]
    fn terms_are_those_of_the_reference() {
        for (size, scale) in [(1, 4), (2, 2), (5, 4), (7, 3), (14, 4)] {
            for (tap, shift) in [-1, 0, 1].into_iter().enumerate() {
                let dense = interpolation(size, scale, shift);
                for position in 0..size * scale {
                    let mut column = vec![0.0; size];
                    for term in terms(position, size, scale).iter().filter(|term| term.tap == tap) {
                        column[term.source] += term.weight;
                    }
                    let expected = dense.column(position).to_vec();
                    assert!(column.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-6), "{column:?} {expected:?}");
                }
            }
        }
    }
}
