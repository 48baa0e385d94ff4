//! Facts about a list of samples: its identity, and possible mistakes in it.

use super::{DataError, Dataset, Sample};
use sha2::{Digest, Sha256};
use std::collections::{BTreeSet, HashMap};
use std::path::Path;

/// A digest that identifies lists of samples by the names of their images and masks, their prompts and structures, in
/// their order; not by their paths or pixels. 64 hexadecimal digits.
pub fn digest(lists: &[&[Sample]]) -> String {
    let mut digest = Sha256::new();
    let mut add = |text: &str| {
        digest.update((text.len() as u64).to_le_bytes());
        digest.update(text.as_bytes());
    };
    let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    for list in lists {
        add(&list.len().to_string());
        for sample in *list {
            add(&sample.case_id);
            add(&name(&sample.image));
            sample.masks.iter().for_each(|mask| add(&name(mask)));
            sample.prompts.iter().for_each(|prompt| add(prompt));
            add(sample.structure.as_deref().unwrap_or_default());
        }
    }
    digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Divides samples into those of other devices and those of devices whose names contain `devices`: one name or several,
/// separated by commas, in upper or lower case.
///
/// # Errors
/// A name that no sample's device contains, or every sample is of such a device ([`DataError::Device`]).
pub fn split_device(samples: Vec<Sample>, devices: &str) -> Result<(Vec<Sample>, Vec<Sample>), DataError> {
    let wanted: Vec<String> = devices.split(',').map(|name| name.trim().to_lowercase()).collect();
    let found: BTreeSet<String> = samples.iter().filter_map(|sample| sample.device.clone()).collect();
    let is_known =
        |name: &String| !name.is_empty() && found.iter().any(|device| device.to_lowercase().contains(name.as_str()));
    let all_known = wanted.iter().all(is_known);
    let is_of = |sample: &Sample| {
        let device = sample.device.as_deref().unwrap_or_default().to_lowercase();
        wanted.iter().any(|name| device.contains(name.as_str()))
    };
    let (held, others): (Vec<_>, Vec<_>) = samples.into_iter().partition(is_of);
    if !all_known || held.is_empty() || others.is_empty() {
        let found: Vec<String> = found.into_iter().collect();
        return Err(DataError::Device { device: devices.into(), found: found.join(", ") });
    }
    Ok((others, held))
}

/// Warnings about possible mistakes: images that occur twice among the samples under other names, training images among
/// the validation's, and data whose masks are all empty.
pub fn doubts(training: &Dataset, validation: &Dataset) -> Vec<String> {
    let mut doubts = Vec::new();
    let mut names: HashMap<Vec<u8>, &Path> = HashMap::new();
    let mut twice: Vec<(&Path, &Path)> = Vec::new();
    for image in images(training) {
        let Some(content) = content(image) else { continue };
        let first = *names.entry(content).or_insert(image);
        if first != image {
            twice.push((first, image));
        }
    }
    if let Some((one, other)) = twice.first() {
        doubts.push(format!(
            "{} training images equal others under another name, first {} and {}",
            twice.len(),
            one.display(),
            other.display()
        ));
    }
    let leaked: Vec<&Path> =
        images(validation).filter(|image| content(image).is_some_and(|content| names.contains_key(&content))).collect();
    if let Some(first) = leaked.first() {
        doubts.push(format!(
            "{} validation images are training images as well, first {}: validation will be too optimistic",
            leaked.len(),
            first.display()
        ));
    }
    for (name, data) in [("training", training), ("validation", validation)] {
        if !data.is_empty() && data.iter().all(|(_, picture)| picture.lesion_fraction() == 0.0) {
            doubts
                .push(format!("every mask of the {name} data is empty: check that masks are brighter than 127 of 255"));
        }
    }
    doubts
}

/// The images of a data set, each once, though several samples may share one.
fn images(data: &Dataset) -> impl Iterator<Item = &Path> {
    let mut seen = BTreeSet::new();
    data.iter().map(|(sample, _)| sample.image.as_path()).filter(move |image| seen.insert(*image))
}

/// A digest of the file, equal for files of equal bytes. Sizes stored for training and validation differ, so pictures
/// cannot be compared.
fn content(image: &Path) -> Option<Vec<u8>> {
    Some(Sha256::digest(std::fs::read(image).ok()?).to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::MaskRule;
    use image::{GrayImage, Luma};

    fn sample(case: &str, device: Option<&str>) -> Sample {
        let mut sample = Sample::new(case.into(), format!("{case}.png").into(), MaskRule::AboveHalf);
        sample.prompts.push("a mass".into());
        sample.device = device.map(str::to_string);
        sample
    }

    #[test]
    fn a_digest_follows_samples_prompts_and_order_and_no_folder() {
        let (one, other) = ([sample("a", None), sample("b", None)], [sample("b", None), sample("a", None)]);
        assert_eq!(digest(&[&one, &other]), digest(&[&one.clone(), &other]));
        assert_ne!(digest(&[&one, &other]), digest(&[&other, &one]));
        assert_ne!(digest(&[&one, &[]]), digest(&[&one[..1], &one[1..]]));
        let mut moved = one.clone();
        moved[0].image = "elsewhere/a.png".into();
        assert_eq!(digest(&[&moved]), digest(&[&one]));
        moved[0].prompts[0].push('!');
        assert_ne!(digest(&[&moved]), digest(&[&one]));
    }

    #[test]
    fn a_device_is_left_out_by_a_part_of_its_name() {
        let samples = || vec![sample("a", Some("GE Logiq 7")), sample("b", Some("Toshiba Aplio")), sample("c", None)];
        let (others, held) = split_device(samples(), "toshiba").unwrap();
        assert_eq!((others.len(), held[0].case_id.as_str()), (2, "b"));
        let (others, held) = split_device(samples(), "Toshiba, ge logiq").unwrap();
        assert_eq!((others[0].case_id.as_str(), held.len()), ("c", 2));
        for unknown in ["Philips", "Toshiba,Philips", "Toshiba,", "", ","] {
            let error = split_device(samples(), unknown).unwrap_err().to_string();
            assert!(error.contains("GE Logiq 7, Toshiba Aplio"), "{error}");
        }
        // Nothing would be left to train on.
        assert!(split_device(samples()[..2].to_vec(), "ge,toshiba").is_err());
    }

    #[test]
    fn duplicates_leaks_and_empty_masks_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let saved = |case: &str, level: u8| {
            let path = folder.path().join(format!("{case}.png"));
            GrayImage::from_pixel(16, 16, Luma([level])).save(&path).unwrap();
            let mut sample = sample(case, None);
            sample.image = path;
            sample
        };
        let prepare = |samples: Vec<Sample>| Dataset::prepare(samples, 8, || ()).unwrap();
        let training = prepare(vec![saved("a", 50), saved("b", 60), saved("c", 50)]);
        let told = doubts(&training, &prepare(vec![saved("d", 60)])).join("\n");
        assert!(told.contains("1 training images") && told.contains("a.png") && told.contains("c.png"), "{told}");
        assert!(told.contains("1 validation images") && told.contains("d.png"), "{told}");
        assert!(told.contains("every mask of the training data"), "{told}");
    }
}
