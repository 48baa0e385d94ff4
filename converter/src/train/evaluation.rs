//! Dice and IoU of a network on a source, at the network's own size.

use super::error::TrainError;
use super::network::{Leaves, MaskMode, Mode, Network, PassPlan, TokenBatch, UpsampledConv, to_numbers};
use super::run::check_prompts;
use super::source::{Batch, Source};
use crate::model::{Architecture, stage};
use std::sync::atomic::{AtomicBool, Ordering};

/// Means over images.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Score {
    pub dice: f64,
    pub iou: f64,
}

/// Compares pixels of probability 0.5 and above with the masks. `None` if `stop` was set meanwhile.
pub fn evaluate(
    network: &mut Network,
    architecture: &Architecture,
    source: &dyn Source,
    batch: usize,
    upsampled: UpsampledConv,
    stop: &AtomicBool,
) -> Result<Option<Score>, TrainError> {
    let size = architecture.input_size;
    let plan = PassPlan::new(network.graph(), &[stage::PRED], MaskMode::Learned, upsampled, false)?;
    let indices: Vec<usize> = (0..source.count()).collect();
    let (mut dice, mut iou, mut count) = (0.0, 0.0, 0.0);
    for part in indices.chunks(batch) {
        if stop.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let batch =
            Batch::draw(source, 0, part, size).map_err(|source| TrainError::Source { split: "validation", source })?;
        check_prompts(architecture, &batch, "validation")?;
        let tokens = TokenBatch::new(&batch.tokens, network.device());
        let images = batch.normalised_images(network.device());
        let logits =
            to_numbers(&network.forward(&plan, images, &tokens, Mode::Evaluation, &Leaves::none()).map(stage::PRED));
        for (logits, mask) in logits.chunks(size * size).zip(batch.masks.chunks(size * size)) {
            let score = overlap(logits, mask);
            dice += score.dice;
            iou += score.iou;
            count += 1.0;
        }
    }
    Ok(Some(Score { dice: dice / count, iou: iou / count }))
}

/// 2 |A and B| / (|A| + |B|) and |A and B| / |A or B|. Both empty is 1, one empty 0.
fn overlap(logits: &[f32], mask: &[u8]) -> Score {
    let (mut both, mut predicted, mut lesion) = (0usize, 0usize, 0usize);
    for (logit, mask) in logits.iter().zip(mask) {
        let (p, y) = (*logit >= 0.0, *mask != 0);
        predicted += usize::from(p);
        lesion += usize::from(y);
        both += usize::from(p && y);
    }
    if predicted + lesion == 0 {
        return Score { dice: 1.0, iou: 1.0 };
    }
    let (both, sizes) = (both as f64, (predicted + lesion) as f64);
    Score { dice: 2.0 * both / sizes, iou: both / (sizes - both) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_overlap() {
        let score = overlap(&[1.0, 1.0, -1.0, -1.0], &[1, 0, 1, 0]);
        assert_eq!(score, Score { dice: 0.5, iou: 1.0 / 3.0 });
        assert_eq!(overlap(&[-1.0; 4], &[0; 4]), Score { dice: 1.0, iou: 1.0 });
        assert_eq!(overlap(&[1.0, -1.0], &[0, 0]), Score { dice: 0.0, iou: 0.0 });
    }
}
