//! Looks up table rows for a prompt's tokens. The table is the largest weight of a small model and few of its rows are read, so
//! it is read in place.

use super::EngineError;
use super::rows::{Operand, each_row};
use super::step::{Context, RunStep, StepMemory};
use super::weights::WeightSource;
use crate::bundle::{Bundle, Dtype};
use crate::lower::steps::{Step, StepKind, StepList};
use half::f16;
use std::sync::Arc;

pub(super) struct Embedding {
    y: Operand,
    width: usize,
    table: Table,
}

enum Table {
    Owned(Vec<f32>),
    /// The table's tensor in the bundle, and in int8 the scale of each row.
    Mapped {
        bundle: Arc<Bundle>,
        name: String,
        scales: Vec<f32>,
    },
}

impl Embedding {
    pub(crate) fn prepare(list: &StepList, step: &Step, source: &WeightSource) -> Result<Self, EngineError> {
        let StepKind::Embed { table: name } = &step.kind else {
            return Err(EngineError::Internal(format!("`{}` is not an embedding step", step.name)));
        };
        let y = Operand::written(list, step)?;
        let table = match source {
            WeightSource::Bundle(bundle) => {
                let tensor = bundle.tensor(name)?;
                match tensor.dtype {
                    Dtype::F32 | Dtype::F16 | Dtype::I8 if tensor.packing.is_none() => {
                        let scales = match tensor.quantisation {
                            Some(quantisation) => bundle.values(&quantisation.scale)?,
                            None => ndarray::arr1(&[1.0f32]).into_dyn(),
                        };
                        let scales = scales.iter().copied().collect();
                        Table::Mapped { bundle: (*bundle).clone(), name: name.clone(), scales }
                    }
                    _ => Table::Owned(source.values(name)?.iter().copied().collect()),
                }
            }
            WeightSource::Memory(_) => Table::Owned(source.values(name)?.iter().copied().collect()),
        };
        Ok(Self { width: y.layout(1).channels, y, table })
    }

    /// Writes a token's row.
    fn row(&self, token: usize, out: &mut [f32]) -> Result<(), EngineError> {
        let width = self.width;
        match &self.table {
            Table::Owned(values) => out.copy_from_slice(&values[token * width..][..width]),
            Table::Mapped { bundle, name, scales } => {
                let tensor = bundle.tensor(name)?;
                let element = tensor.dtype.bytes();
                let bytes = &tensor.bytes[token * width * element..][..width * element];
                let scale = scales.get(token).or(scales.first()).copied().unwrap_or(1.0);
                match tensor.dtype {
                    Dtype::F32 => {
                        for (out, bytes) in out.iter_mut().zip(bytes.chunks_exact(4)) {
                            *out = f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
                        }
                    }
                    Dtype::F16 => {
                        for (out, bytes) in out.iter_mut().zip(bytes.chunks_exact(2)) {
                            *out = f16::from_le_bytes([bytes[0], bytes[1]]).to_f32();
                        }
                    }
                    _ => {
                        for (out, byte) in out.iter_mut().zip(bytes) {
                            *out = f32::from(*byte as i8) * scale;
                        }
                    }
                }
            }
        }
        Ok(())
    }
}

impl RunStep for Embedding {
    fn run(&self, memory: StepMemory<'_>, context: &mut Context<'_>) -> Result<(), EngineError> {
        let tokens = context.tokens;
        // The tokens were checked against the vocabulary, and opening the bundle checked the table's size.
        each_row(&self.y, memory, context, |_, _, out, _| {
            for (token, out) in tokens.iter().zip(out.chunks_exact_mut(self.width)) {
                if self.row(*token as usize, out).is_err() {
                    out.fill(0.0);
                }
            }
        })
    }

    fn scratch_floats(&self, _prompts: usize) -> usize {
        self.y.row_elements()
    }

    fn owned_bytes(&self) -> usize {
        match &self.table {
            Table::Owned(values) => 4 * values.len(),
            Table::Mapped { scales, .. } => 4 * scales.len(),
        }
    }
}
