//! A network between two others: a weighted mean of the weights of a checkpoint and of one that was trained from it.
//!
//! Fine-tuning for new data loses some of the old accuracy. On the line between both networks most of either is kept
//! (Wortsman and others, "Robust fine-tuning of zero-shot models", CVPR 2022).

use crate::checkpoint::Checkpoint;
use crate::train::{EnlargeError, enlarge};
use causalclipseg::bundle::Note;

/// Why two checkpoints cannot be interpolated.
#[derive(Debug, thiserror::Error)]
pub enum InterpolateError {
    #[error("the checkpoints are of different networks; give one and another that was trained from it")]
    Networks,
    #[error("a share of {0} is not between 0 and 1")]
    Share(f32),
    #[error("the first checkpoint cannot become what the second was trained from: {0}")]
    Enlarge(#[from] EnlargeError),
}

/// The first checkpoint with the sizes of the second, as the second's training began: `train --init` enlarges a checkpoint by
/// the seed that it records.
pub fn enlarged_as(from: Checkpoint, to: &Checkpoint) -> Result<Checkpoint, InterpolateError> {
    let (image, seed) = (&to.architecture.image, to.provenance.seed().unwrap_or_default());
    Ok(enlarge(from, image.layers, [image.width, to.architecture.decoder], seed)?)
}

/// `1 - share` of `from` plus `share` of `to`, with the metadata of `to`; the training words of both count as known.
pub fn interpolate(from: &Checkpoint, to: Checkpoint, share: f32) -> Result<Checkpoint, InterpolateError> {
    if !(0.0..=1.0).contains(&share) {
        return Err(InterpolateError::Share(share));
    }
    let fits = |name: &String, shape: &[usize]| from.weights.get(name).is_some_and(|value| value.shape() == shape);
    let is_same = from.architecture == to.architecture && from.weights.len() == to.weights.len();
    if !is_same || !to.weights.iter().all(|(name, value)| fits(name, value.shape())) {
        return Err(InterpolateError::Networks);
    }
    let Checkpoint { architecture, mut weights, mut provenance } = to;
    for (name, value) in &mut weights {
        if let Some(before) = from.weights.get(name) {
            value.zip_mut_with(before, |after, before| *after = (1.0 - share) * before + share * *after);
        }
    }
    let mut words = from.provenance.words().clone();
    words.extend(provenance.words().iter().cloned());
    provenance.set_words(words);
    // These describe the network at the end, not this one.
    provenance.remove(Note::BestValidationDice.key());
    Ok(Checkpoint { architecture, weights, provenance })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Architecture;
    use crate::train::random_start;

    #[test]
    fn a_smaller_network_is_enlarged_as_in_training() {
        let mini = random_start(Architecture::mini(), 1).unwrap();
        let mut trained = enlarge(mini.clone(), [1, 2, 1, 1], [16, 32], 9).unwrap();
        trained.provenance.set_seed(9);
        let begun = enlarged_as(mini.clone(), &trained).unwrap();
        assert_eq!((&begun.architecture, &begun.weights), (&trained.architecture, &trained.weights));
        assert_eq!(interpolate(&begun, trained.clone(), 0.5).unwrap().weights, trained.weights);
        trained.provenance.set_seed(8);
        assert_ne!(enlarged_as(mini.clone(), &trained).unwrap().weights, trained.weights);
        assert!(matches!(enlarged_as(trained, &mini), Err(InterpolateError::Enlarge(_))));
    }

    #[test]
    fn a_share_lies_between_and_words_come_together() {
        let mini = |seed, words: &str| {
            let mut checkpoint = random_start(Architecture::mini(), seed).unwrap();
            checkpoint.provenance.set("words", words).unwrap();
            checkpoint
        };
        let (one, other) = (mini(1, "lesion mass"), mini(2, "mass nerve"));
        let half = interpolate(&one, other.clone(), 0.25).unwrap();
        for (name, value) in &half.weights {
            for ((between, from), to) in value.iter().zip(&one.weights[name]).zip(&other.weights[name]) {
                assert!((between - (0.75 * from + 0.25 * to)).abs() < 1e-6, "{name}");
            }
        }
        assert_eq!(half.provenance.get("words"), Some("lesion mass nerve"));
        assert_eq!(interpolate(&one, other.clone(), 0.0).unwrap().weights, one.weights);
        assert!(matches!(interpolate(&one, other.clone(), 1.5), Err(InterpolateError::Share(_))));
        assert!(matches!(interpolate(&one, other.clone(), f32::NAN), Err(InterpolateError::Share(_))));
        let mut smaller = other;
        smaller.weights.pop_first();
        assert!(matches!(interpolate(&one, smaller, 0.5), Err(InterpolateError::Networks)));
    }
}
