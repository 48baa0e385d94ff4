//! BUSI as it is published: `{benign,malignant,normal}/"benign (1).png"` with `_mask.png`, `_mask_1.png` beside.
//!
//! It has neither splits nor sentences. Splits are derived from the hash of the case's name, so that they never change;
//! the sentences state the class.

use super::{picture_files, stem};
use crate::data::{DataError, MaskRule, Pathology, Sample, Split};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub struct Class {
    pub folder: &'static str,
    pathology: Option<Pathology>,
    prompts: &'static [&'static str],
}

pub const CLASSES: [Class; 3] = [
    Class {
        folder: "benign",
        pathology: Some(Pathology::Benign),
        prompts: &["A benign mass in the breast.", "segment the benign lesion", "A benign tumor is visible."],
    },
    Class {
        folder: "malignant",
        pathology: Some(Pathology::Malignant),
        prompts: &["A malignant mass in the breast.", "segment the malignant lesion", "A malignant tumor is visible."],
    },
    // Healthy tissue: its masks are empty, so the requested target is absent.
    Class {
        folder: "normal",
        pathology: None,
        prompts: &["A mass in the breast.", "segment the lesion", "A tumor is visible."],
    },
];

pub fn load(root: &Path, split: Split) -> Result<Vec<Sample>, DataError> {
    let mut samples = Vec::new();
    for class in &CLASSES {
        let folder = root.join(class.folder);
        if !folder.is_dir() {
            continue;
        }
        for (image, masks) in pair_masks(&folder)? {
            if split_of(&stem(&image)) != split {
                continue;
            }
            let mut sample = Sample::new(stem(&image), image, MaskRule::AboveHalf);
            sample.masks = masks;
            sample.pathology = class.pathology;
            sample.prompts = class.prompts.iter().map(|prompt| prompt.to_string()).collect();
            samples.push(sample);
        }
    }
    Ok(samples)
}

/// Each image of a folder with its masks.
fn pair_masks(folder: &Path) -> Result<BTreeMap<PathBuf, Vec<PathBuf>>, DataError> {
    let files = picture_files(folder)?;
    let (masks, images): (Vec<PathBuf>, Vec<PathBuf>) = files.into_iter().partition(|file| image_of(file).is_some());
    let mut pairs: BTreeMap<PathBuf, Vec<PathBuf>> = images.into_iter().map(|image| (image, Vec::new())).collect();
    for mask in masks {
        let Some(image) = image_of(&mask) else { continue };
        match pairs.get_mut(&image) {
            Some(list) => list.push(mask),
            None => return Err(DataError::OrphanMask { mask, image }),
        }
    }
    Ok(pairs)
}

/// The image that a mask belongs to, or `None` where the file is an image itself.
fn image_of(file: &Path) -> Option<PathBuf> {
    let name = stem(file);
    let (image, number) = name.split_once("_mask")?;
    let is_mask = number.is_empty() || number.strip_prefix('_').is_some_and(|n| n.parse::<u32>().is_ok());
    is_mask.then(|| {
        let ending = file.extension().unwrap_or_default().to_string_lossy();
        file.with_file_name(format!("{image}.{ending}"))
    })
}

/// Eight of ten cases are for training, one for validation, one for testing.
fn split_of(case_id: &str) -> Split {
    match Sha256::digest(case_id.as_bytes())[0] % 10 {
        0 => Split::Test,
        1 => Split::Val,
        _ => Split::Train,
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::Fixture;
    use super::*;

    fn load_all(root: &Path) -> Vec<Sample> {
        Split::ALL.into_iter().flat_map(|split| load(root, split).unwrap()).collect()
    }

    #[test]
    fn masks_of_one_image_are_gathered() {
        let fixture = Fixture::new();
        for file in ["benign/benign (4)", "benign/benign (4)_mask", "benign/benign (4)_mask_1", "normal/normal (1)"] {
            fixture.picture(&format!("{file}.png"), 8, 6);
        }
        let samples = load_all(fixture.root());
        assert_eq!(samples.len(), 2);
        let benign = samples.iter().find(|sample| sample.pathology == Some(Pathology::Benign)).unwrap();
        assert_eq!(benign.case_id, "benign (4)");
        assert_eq!(benign.masks.len(), 2);
        assert!(benign.prompts.iter().all(|prompt| prompt.contains("benign")));
        let normal = samples.iter().find(|sample| sample.pathology.is_none()).unwrap();
        assert!(normal.masks.is_empty());
    }

    #[test]
    fn a_mask_with_no_image_is_an_error() {
        let fixture = Fixture::new();
        fixture.picture("malignant/malignant (9)_mask.png", 8, 6);
        let error = load(fixture.root(), Split::Train).unwrap_err().to_string();
        assert!(error.contains("malignant (9)_mask.png") && error.contains("malignant (9).png"), "{error}");
    }

    #[test]
    fn splits_are_fixed_and_about_eight_to_one_to_one() {
        let count = |split| (0..1000).filter(|n| split_of(&format!("benign ({n})")) == split).count();
        let counts = Split::ALL.map(count);
        assert_eq!(counts.iter().sum::<usize>(), 1000);
        assert!((740..860).contains(&counts[0]) && counts[1] > 60 && counts[2] > 60, "{counts:?}");
    }
}
