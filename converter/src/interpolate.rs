//! A network between two others: a weighted mean of the weights of a checkpoint and of one that was trained from it.
//!
//! Fine-tuning for new data loses some of the old accuracy. On the line between both networks most of either is kept
//! (Wortsman and others, "Robust fine-tuning of zero-shot models", CVPR 2022).

use crate::checkpoint::Checkpoint;
use causalclipseg::bundle::Note;

/// Why two checkpoints cannot be interpolated.
#[derive(Debug, thiserror::Error)]
pub enum InterpolateError {
    #[error("the checkpoints are of different networks; give one and another that was trained from it")]
    Networks,
    #[error("a share of {0} is not between 0 and 1")]
    Share(f32),
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
