//! Natural confounding: leaves out images until a device correlates with a pathology.

use super::{ConfoundError, Set};
use crate::data::{Pathology, Sample, Split};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeSet;

/// The samples of a split to keep in a set, ascending: a sample agrees if it is malignant and of the device, or benign and of
/// another. The share that agrees is then the requested one for both pathologies, as nearly as whole images allow. The unmarked
/// set keeps all.
pub(super) fn choose(
    samples: &[Sample],
    device: Option<&str>,
    set: Set,
    split: Split,
    probability: f64,
    seed: u64,
) -> Result<Vec<usize>, ConfoundError> {
    let devices: BTreeSet<&str> = samples.iter().filter_map(|sample| sample.device.as_deref()).collect();
    let found = || devices.iter().copied().collect::<Vec<_>>().join(", ");
    let wanted = device.ok_or_else(|| ConfoundError::NoDeviceName { found: found() })?.to_lowercase();
    let Some(agreement) = set.agreement(probability) else { return Ok((0..samples.len()).collect()) };
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut kept = Vec::new();
    for pathology in [Pathology::Benign, Pathology::Malignant] {
        let mut cells = [Vec::new(), Vec::new()];
        for (index, sample) in samples.iter().enumerate().filter(|(_, sample)| sample.pathology == Some(pathology)) {
            let is_of = sample.device.as_ref().is_some_and(|name| name.to_lowercase().contains(&wanted));
            cells[usize::from(is_of == (pathology == Pathology::Malignant))].push(index);
        }
        let sizes = cells.each_ref().map(|cell| cell.len() as f64);
        let shares = [1.0 - agreement, agreement];
        // As many as possible in the requested shares.
        let total = sizes.iter().zip(shares).filter(|(_, share)| *share > 0.0).map(|(size, share)| size / share);
        let total = total.fold(f64::INFINITY, f64::min);
        for (cell, share) in cells.iter_mut().zip(shares) {
            cell.shuffle(&mut rng);
            cell.truncate((total * share).round() as usize);
            kept.extend_from_slice(cell);
        }
    }
    if kept.is_empty() {
        return Err(ConfoundError::NothingLeft { split, what: "agree and disagree as asked", found: found() });
    }
    kept.sort_unstable();
    Ok(kept)
}

/// Whether device and pathology agree; `None` if either is unknown.
pub(super) fn agrees(pathology: Option<Pathology>, device: Option<&str>, wanted: Option<&str>) -> Option<bool> {
    let is_of = device?.to_lowercase().contains(&wanted?.to_lowercase());
    Some(is_of == (pathology? == Pathology::Malignant))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::MaskRule;

    #[test]
    fn a_device_goes_with_a_pathology_as_often_as_asked() {
        let samples: Vec<Sample> = (0..400)
            .map(|index| {
                let mut sample = Sample::new(index.to_string(), "x.png".into(), MaskRule::AboveHalf);
                sample.pathology = Some([Pathology::Benign, Pathology::Malignant][index % 2]);
                sample.device = Some(["GE Logiq", "Toshiba"][index / 2 % 2].into());
                sample
            })
            .collect();
        for (set, expected) in [(Set::Confounded, 0.9), (Set::Neutral, 0.5), (Set::Reversed, 0.1)] {
            let kept = choose(&samples, Some("toshiba"), set, Split::Train, 0.9, 3).unwrap();
            for pathology in [Pathology::Benign, Pathology::Malignant] {
                let of: Vec<bool> = kept
                    .iter()
                    .map(|index| &samples[*index])
                    .filter(|sample| sample.pathology == Some(pathology))
                    .filter_map(|sample| agrees(sample.pathology, sample.device.as_deref(), Some("toshiba")))
                    .collect();
                let share = of.iter().filter(|agrees| **agrees).count() as f64 / of.len() as f64;
                assert!((share - expected).abs() < 0.01 && of.len() > 100, "{set:?} {pathology:?}: {share}");
            }
            assert_eq!(kept, choose(&samples, Some("toshiba"), set, Split::Train, 0.9, 3).unwrap());
        }
        assert_eq!(choose(&samples, Some("toshiba"), Set::Unmarked, Split::Val, 0.9, 3).unwrap().len(), 400);
        let error = choose(&samples, None, Set::Neutral, Split::Val, 0.9, 3).unwrap_err().to_string();
        assert!(error.contains("GE Logiq, Toshiba"), "{error}");
        let error = choose(&samples, Some("Acuson"), Set::Confounded, Split::Train, 0.9, 3).unwrap_err();
        assert!(matches!(error, ConfoundError::NothingLeft { .. }), "{error}");
    }
}
