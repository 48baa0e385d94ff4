//! Folds that keep a patient's images together.
//!
//! Two views of one breast look alike: with one in training and one in validation, validation would measure
//! memorisation.

use super::{DataError, Sample};
use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeMap;

/// Distributes samples into `count` folds of about equal size, by patient: for each fold the indices into `samples`,
/// ascending.
///
/// The same seed gives the same folds, whatever the samples' order.
pub fn folds(samples: &[Sample], count: usize, seed: u64) -> Result<Vec<Vec<usize>>, DataError> {
    let mut groups: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (index, sample) in samples.iter().enumerate() {
        groups.entry(sample.group()).or_default().push(index);
    }
    if count < 2 || count > groups.len() {
        return Err(DataError::Folds { folds: count, groups: groups.len() });
    }
    let mut groups: Vec<Vec<usize>> = groups.into_values().collect();
    groups.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
    // Large groups first, each to the smallest fold: the folds' sizes differ by at most one group.
    groups.sort_by_key(|group| std::cmp::Reverse(group.len()));
    let mut folds = vec![Vec::new(); count];
    for group in groups {
        if let Some(smallest) = folds.iter_mut().min_by_key(|fold| fold.len()) {
            smallest.extend(group);
        }
    }
    folds.iter_mut().for_each(|fold| fold.sort_unstable());
    Ok(folds)
}

/// The samples for training and those for validation when fold `fold` of `count`, counted from 0, is held out.
pub fn split_fold(
    samples: Vec<Sample>,
    fold: usize,
    count: usize,
    seed: u64,
) -> Result<(Vec<Sample>, Vec<Sample>), DataError> {
    let dealt = folds(&samples, count, seed)?;
    let held_back = dealt.get(fold).ok_or(DataError::Fold { fold, folds: count })?;
    let (val, train): (Vec<_>, Vec<_>) =
        samples.into_iter().enumerate().partition(|(index, _)| held_back.binary_search(index).is_ok());
    let samples_of = |part: Vec<(usize, Sample)>| part.into_iter().map(|(_, sample)| sample).collect();
    Ok((samples_of(train), samples_of(val)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::MaskRule;
    use std::collections::HashSet;

    fn samples(count: usize) -> Vec<Sample> {
        let sample = |index: usize| {
            let mut sample = Sample::new(format!("case{index}"), "x.png".into(), MaskRule::AboveHalf);
            sample.patient = (!index.is_multiple_of(7)).then(|| format!("patient{}", index / 3));
            sample
        };
        (0..count).map(sample).collect()
    }

    #[test]
    fn no_patient_stands_in_two_folds() {
        let samples = samples(100);
        let folds = folds(&samples, 5, 1).unwrap();
        let mut all: Vec<usize> = folds.iter().flatten().copied().collect();
        all.sort_unstable();
        assert_eq!(all, (0..100).collect::<Vec<_>>());
        let groups: Vec<HashSet<&str>> =
            folds.iter().map(|fold| fold.iter().map(|i| samples[*i].group()).collect()).collect();
        for (index, groups_here) in groups.iter().enumerate() {
            assert!(groups[index + 1..].iter().all(|other| groups_here.is_disjoint(other)));
            assert!((17..=23).contains(&folds[index].len()), "{}", folds[index].len());
        }
    }

    #[test]
    fn folds_follow_the_seed_and_not_the_order() {
        let samples = samples(60);
        let cases = |samples: &[Sample], seed| -> Vec<HashSet<String>> {
            let folds = folds(samples, 4, seed).unwrap();
            folds.iter().map(|fold| fold.iter().map(|i| samples[*i].case_id.clone()).collect()).collect()
        };
        assert_ne!(cases(&samples, 1), cases(&samples, 2));
        let mut reversed = samples.clone();
        reversed.reverse();
        assert_eq!(cases(&samples, 1), cases(&reversed, 1));
    }

    #[test]
    fn impossible_folds_are_refused() {
        assert!(matches!(folds(&samples(4), 1, 0), Err(DataError::Folds { .. })));
        assert!(matches!(folds(&samples(4), 9, 0), Err(DataError::Folds { .. })));
        assert!(matches!(split_fold(samples(60), 4, 4, 0), Err(DataError::Fold { .. })));
        let (train, val) = split_fold(samples(60), 3, 4, 0).unwrap();
        assert_eq!(train.len() + val.len(), 60);
        assert!(train.len() > val.len());
    }
}
