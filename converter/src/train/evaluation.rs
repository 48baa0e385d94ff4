//! Dice and IoU of a network on a source, at the network's own size, without padding.

use super::error::TrainError;
use super::loader;
use super::network::{Leaves, MaskMode, Mode, Network, PassPlan, TokenBatch, UpsampledConv, to_numbers};
use super::run::check_prompts;
use super::source::Source;
use crate::model::{Architecture, stage};
use causalclipseg::frame::Region;
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
            loader::draw(source, 0, part, size).map_err(|source| TrainError::Source { split: "validation", source })?;
        check_prompts(architecture, &batch, "validation")?;
        let tokens = TokenBatch::new(&batch.tokens, network.device());
        let images = batch.normalised_images(network.device());
        let logits =
            to_numbers(&network.forward(&plan, images, &tokens, Mode::Evaluation, &Leaves::none()).map(stage::PRED));
        let prompts = batch.tokens.len() / batch.len().max(1);
        for (asked, (logits, mask)) in logits.chunks(size * size).zip(batch.masks.chunks(size * size)).enumerate() {
            let score = overlap(logits, mask, size, batch.fitted_of(asked / prompts.max(1)));
            dice += score.dice;
            iou += score.iou;
            count += 1.0;
        }
    }
    Ok(Some(Score { dice: dice / count, iou: iou / count }))
}

/// 2 |A and B| / (|A| + |B|) and |A and B| / |A or B| of the pixels in `part` of a square of `size` pixels a side. Both empty
/// is 1, one empty 0.
fn overlap(logits: &[f32], mask: &[u8], size: usize, part: Region) -> Score {
    let (mut both, mut predicted, mut lesion) = (0usize, 0usize, 0usize);
    for row in part.y..part.y + part.height {
        let row = row * size + part.x..row * size + part.x + part.width;
        for (logit, mask) in logits[row.clone()].iter().zip(&mask[row]) {
            let (p, y) = (*logit >= 0.0, *mask != 0);
            predicted += usize::from(p);
            lesion += usize::from(y);
            both += usize::from(p && y);
        }
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
        let whole = Region::whole(2, 2);
        let score = overlap(&[1.0, 1.0, -1.0, -1.0], &[1, 0, 1, 0], 2, whole);
        assert_eq!(score, Score { dice: 0.5, iou: 1.0 / 3.0 });
        assert_eq!(overlap(&[-1.0; 4], &[0; 4], 2, whole), Score { dice: 1.0, iou: 1.0 });
        assert_eq!(overlap(&[1.0, -1.0, -1.0, -1.0], &[0; 4], 2, whole), Score { dice: 0.0, iou: 0.0 });
    }

    #[test]
    fn padding_does_not_count() {
        let right = Region { x: 1, y: 0, width: 1, height: 2 };
        let score = overlap(&[1.0, 1.0, 1.0, -1.0], &[0, 1, 0, 0], 2, right);
        assert_eq!(score, Score { dice: 1.0, iou: 1.0 });
    }
}
