//! Compares accuracy beside speed: whether this configuration's masks equal those of the reference engine in f32.

use super::super::{Failure, model_source};
use super::clock::Stop;
use super::job::{Agreement, CheckJob};
use super::model_workload::sentences;
use causalclipseg::engine::{EngineChoice, EngineOptions};
use causalclipseg::io::Image;
use causalclipseg::mask::Mask;
use causalclipseg::{Finding, Model, ModelFile, ModelOptions, Session, SessionOptions};
use std::path::{Path, PathBuf};

const EXTENSIONS: [&str; 6] = ["png", "jpg", "jpeg", "bmp", "tif", "tiff"];

/// The pictures of a folder, in the order of their names.
pub(super) fn pictures(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let refuse = |reason: String| format!("cannot check against {}: {reason}", folder.display());
    let entries = std::fs::read_dir(folder).map_err(|error| refuse(format!("{error}; give a folder of images")))?;
    let paths = entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>();
    let mut paths = paths.map_err(|error| refuse(error.to_string()))?;
    let is_picture = |path: &PathBuf| {
        let extension = path.extension().and_then(|extension| extension.to_str()).map(str::to_lowercase);
        extension.is_some_and(|extension| EXTENSIONS.contains(&extension.as_str()))
    };
    paths.retain(is_picture);
    paths.sort();
    if paths.is_empty() {
        return Err(refuse("it contains no PNG, JPEG, BMP or TIFF".into()).into());
    }
    Ok(paths)
}

/// Compares the masks of `model` with those of the reference engine, for every picture and the benchmark's own prompts.
pub(super) fn run(
    job: &CheckJob,
    model: &Model,
    file: &ModelFile,
    prompts: usize,
    stop: &Stop,
) -> Result<Agreement, Failure> {
    let other = job.against.as_deref().map(|path| model_source::open(Some(path))).transpose()?;
    let against = other.unwrap_or_else(|| file.clone());
    let options = ModelOptions::from(EngineOptions::default().with_choice(EngineChoice::Reference));
    let options = options.with_cached_prompts(prompts);
    let reference = Model::from_file(against, options)?;
    let sentences = sentences(prompts);
    let encode = |model: &Model| sentences.iter().map(|text| model.prompt(text)).collect::<Result<Vec<_>, _>>();
    let (ours, theirs) = (encode(model)?, encode(&reference)?);
    let session = |model| Session::new(model, SessionOptions::default().with_quality(false));
    let (mut session, mut reference_session) = (session(model)?, session(&reference)?);
    let (mut dices, mut both_empty, mut images) = (Vec::new(), 0, 0);
    let mut difference = 0.0f32;
    for path in job.images.iter().take_while(|_| !stop.is_requested()) {
        let image = Image::open(path)?;
        let found = session.run(&image.frame(), &ours)?;
        let expected = reference_session.run(&image.frame(), &theirs)?;
        for (found, expected) in found.findings.iter().zip(&expected.findings) {
            both_empty += usize::from(area(found.mask()) + area(expected.mask()) == 0);
            dices.push(dice(found.mask(), expected.mask()));
            difference = difference.max(largest_difference(found, expected));
        }
        images += 1;
    }
    Ok(Agreement {
        images,
        masks: dices.len(),
        both_empty,
        dice_mean: super::statistics::mean(&dices),
        dice_min: dices.iter().copied().reduce(f64::min).unwrap_or(0.0),
        probability_difference_max: difference.into(),
        reference_sha256: reference.sha256().to_string(),
    })
}

fn area(mask: &Mask) -> usize {
    mask.pixels().iter().filter(|pixel| **pixel > 0).count()
}

/// The Dice coefficient, 2 |A and B| / (|A| + |B|); 1 where both are empty.
fn dice(a: &Mask, b: &Mask) -> f64 {
    let both = a.pixels().iter().zip(b.pixels()).filter(|(a, b)| **a > 0 && **b > 0).count();
    match area(a) + area(b) {
        0 => 1.0,
        sum => 2.0 * both as f64 / sum as f64,
    }
}

fn largest_difference(a: &Finding, b: &Finding) -> f32 {
    let pairs = a.probability().values().into_iter().zip(b.probability().values());
    pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn dice_of_masks() {
        let mask = |pixels| Mask::from_pixels(pixels);
        let (a, b) = (mask(array![[255, 255, 0], [0, 0, 0]]), mask(array![[0, 255, 0], [0, 0, 0]]));
        let empty = mask(array![[0, 0, 0], [0, 0, 0]]);
        assert_eq!((dice(&a, &a), dice(&empty, &empty), dice(&a, &empty)), (1.0, 1.0, 0.0));
        assert!((dice(&a, &b) - 2.0 / 3.0).abs() < 1e-12);
    }

    #[test]
    fn folders_without_pictures_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("notes.txt"), "x").unwrap();
        assert!(pictures(folder.path()).unwrap_err().to_string().contains("contains no PNG"));
        assert!(pictures(&folder.path().join("missing")).unwrap_err().to_string().contains("give a folder"));
        for name in ["b.PNG", "a.jpg"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        let names: Vec<_> =
            pictures(folder.path()).unwrap().iter().filter_map(|p| p.file_name()?.to_str().map(String::from)).collect();
        assert_eq!(names, ["a.jpg", "b.PNG"]);
    }
}
