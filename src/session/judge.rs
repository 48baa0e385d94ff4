//! Sets the flags: what makes a result doubtful, by the frame, the prompt and the result together. No other module sets one.

use super::Finding;
use crate::bundle::Reliability;
use crate::frame::FrameCondition;
use crate::mask::{Flag, LOW_SCORE, MaskError};

/// The most flags that a result can have, so that a warm frame allocates nothing for them.
const MOST_FLAGS: usize = 8;

/// Properties of a frame that do not depend on prompts.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct FrameFacts {
    pub condition: FrameCondition,
    /// False if the source marked the frame as lost.
    pub is_valid: bool,
    /// Whether the frame is unlike the images that the model was trained on.
    pub is_unfamiliar: bool,
}

/// Measures how far a finding can be trusted, and flags it.
pub(super) fn judge(
    finding: &mut Finding,
    frame: FrameFacts,
    has_unknown_words: bool,
    reliability: Option<&Reliability>,
) -> Result<(), MaskError> {
    let quality = finding.measure_quality()?;
    let is_empty = quality.mean_probability.is_none();
    if let Some(reliability) = reliability {
        quality.expected_dice = (!is_empty).then(|| reliability.expected_dice(quality.score));
        quality.present = Some(reliability.is_present(quality.max_probability));
    }
    let FrameFacts { condition, is_valid, is_unfamiliar } = frame;
    quality.flags.clear();
    quality.flags.reserve(MOST_FLAGS);
    let doubts = [
        (is_empty, Flag::NothingFound),
        (!is_empty && quality.score < LOW_SCORE, Flag::LowScore),
        (condition.blank, Flag::BlankFrame),
        (condition.noise, Flag::NoiseFrame),
        (condition.frozen, Flag::FrozenFrame),
        (is_unfamiliar, Flag::UnfamiliarFrame),
        (!is_valid, Flag::InvalidFrame),
        (has_unknown_words, Flag::UnknownWords),
    ];
    quality.flags.extend(doubts.into_iter().filter(|(applies, _)| *applies).map(|(_, flag)| flag));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Fit, Frame, Normalisation, PixelFormat, Preprocessor};
    use ndarray::Array2;

    /// A finding of given logits, 4 x 4.
    fn finding(logits: [f32; 16]) -> Finding {
        let data = [0; 16];
        let frame = Frame::packed(&data, PixelFormat::Gray8, 4, 4).unwrap();
        let mut preprocessor = Preprocessor::new(4, Normalisation::CLIP, Fit::Stretch).unwrap();
        let placement = preprocessor.prepare(&frame, &mut [0.0; 48]).unwrap();
        let logits = Array2::from_shape_vec((4, 4), logits.to_vec()).unwrap();
        let mut finding = Finding::default();
        finding.take_logits(None, logits.view(), None, &placement, None).unwrap();
        finding.draw_mask(0.5).unwrap();
        finding
    }

    fn flags(logits: [f32; 16], frame: FrameFacts, has_unknown_words: bool) -> Vec<Flag> {
        let mut finding = finding(logits);
        judge(&mut finding, frame, has_unknown_words, None).unwrap();
        finding.quality().unwrap().flags.clone()
    }

    const GOOD: FrameFacts = FrameFacts {
        condition: FrameCondition { blank: false, noise: false, frozen: false },
        is_valid: true,
        is_unfamiliar: false,
    };

    #[test]
    fn the_answer_is_flagged() {
        assert_eq!(flags([9.0; 16], GOOD, false), []);
        assert_eq!(flags([-9.0; 16], GOOD, false), [Flag::NothingFound]);
        // sigmoid(0.5) = 0.62: inside at 0.5, outside at 0.7.
        assert_eq!(flags([0.5; 16], GOOD, false), [Flag::LowScore]);
    }

    #[test]
    fn what_the_model_tells_of_its_answers_is_told_of_this_one() {
        let told = r#"{"calibration":[[0.5,0.4],[0.9,0.8]],"presence_threshold":0.99,"sensitivity":1,"specificity":1,"images":9}"#;
        let reliability = Reliability::from_json(told).unwrap();
        let judged = |logits: [f32; 16], reliability: Option<&Reliability>| {
            let mut finding = finding(logits);
            judge(&mut finding, GOOD, false, reliability).unwrap();
            let quality = finding.quality().unwrap();
            (quality.expected_dice, quality.present)
        };
        let (dice, present) = judged([9.0; 16], Some(&reliability));
        assert!((dice.unwrap() - 0.8).abs() < 1e-9 && present == Some(true));
        // sigmoid(3) = 0.953, below the threshold for being there at all.
        assert_eq!(judged([3.0; 16], Some(&reliability)), (Some(0.8), Some(false)));
        assert_eq!(judged([-9.0; 16], Some(&reliability)), (None, Some(false)));
        assert_eq!(judged([9.0; 16], None), (None, None));
    }

    #[test]
    fn frame_and_prompt_are_flagged() {
        let condition = FrameCondition { blank: true, noise: false, frozen: true };
        let bad = FrameFacts { condition, is_valid: false, is_unfamiliar: true };
        let expected = [
            Flag::NothingFound,
            Flag::BlankFrame,
            Flag::FrozenFrame,
            Flag::UnfamiliarFrame,
            Flag::InvalidFrame,
            Flag::UnknownWords,
        ];
        assert_eq!(flags([-9.0; 16], bad, true), expected);
        let noise = FrameFacts { condition: FrameCondition { noise: true, ..GOOD.condition }, ..GOOD };
        assert_eq!(flags([9.0; 16], noise, false), [Flag::NoiseFrame]);
    }
}
