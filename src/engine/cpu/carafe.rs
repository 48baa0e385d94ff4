//! CARAFE's reassembly.

use super::EngineError;
use super::rows::{Operand, each_row};
use super::step::{Context, RunStep, StepMemory};
use crate::graph::TAPS;
use crate::kernels::elementwise::{reassemble, softmax_taps};
use crate::lower::steps::{Step, StepKind, StepList};

pub(super) struct Carafe {
    x: Operand,
    logits: Operand,
    y: Operand,
    scale: usize,
}

impl Carafe {
    pub(crate) fn prepare(list: &StepList, step: &Step) -> Result<Self, EngineError> {
        let StepKind::Carafe { scale } = step.kind else {
            return Err(EngineError::Internal(format!("`{}` is not a reassembly step", step.name)));
        };
        let [x, logits] = [0, 1].map(|index| Operand::read(list, step, index));
        Ok(Self { x, logits, y: Operand::written(list, step)?, scale })
    }
}

impl RunStep for Carafe {
    fn run(&self, memory: StepMemory<'_>, context: &mut Context<'_>) -> Result<(), EngineError> {
        let [x, logits] = [self.x, self.logits].map(|operand| operand.layout(0));
        let (channels, scale, places) = (x.channels, self.scale, self.scale * self.scale);
        let [sources, gates, _] = memory.reads;
        each_row(&self.y, memory, context, |kernels, row, out, scratch| {
            let (neighbours, rest) = scratch.split_at_mut(3 * self.x.row_elements());
            let (weights, converted) = rest.split_at_mut(self.logits.row_elements());
            let low = row / scale;
            // The three source rows under this output row; those outside the frame are left out below.
            for (tap_row, slot) in neighbours.chunks_exact_mut(self.x.row_elements()).enumerate() {
                if let Some(source) = (low + tap_row).checked_sub(1).filter(|source| *source < x.height) {
                    slot.copy_from_slice(self.x.floats(kernels, sources, &x, source, converted));
                }
            }
            weights.copy_from_slice(self.logits.floats(kernels, gates, &logits, low, converted));
            out.fill(0.0);
            for (column, weights) in weights.chunks_exact_mut(logits.channels).enumerate() {
                softmax_taps(kernels, weights, places);
                for dx in 0..scale {
                    let place = row % scale * scale + dx;
                    let pixel = &mut out[(column * scale + dx) * channels..][..channels];
                    for tap in 0..TAPS {
                        let source_row = (low + tap / 3).checked_sub(1).filter(|row| *row < x.height);
                        let source_column = (column + tap % 3).checked_sub(1).filter(|column| *column < x.width);
                        let (Some(_), Some(source_column)) = (source_row, source_column) else { continue };
                        let start = tap / 3 * self.x.row_elements() + source_column * channels;
                        let weight = weights[tap * places + place];
                        reassemble(kernels, &neighbours[start..start + channels], weight, pixel);
                    }
                }
            }
        })
    }

    fn scratch_floats(&self, _prompts: usize) -> usize {
        let converted = self.x.row_elements().max(self.logits.row_elements());
        self.y.row_elements() + 3 * self.x.row_elements() + self.logits.row_elements() + converted
    }
}
