//! Folders of named structures: `img/` and one folder of masks for each structure, by the structure's name.
//!
//! A mask has its image's name; an image without one does not show the structure, and one without any shows none of them. `structures.csv`, with the columns
//! `folder` and `name`, gives a structure's name where that is not its folder's name. `split.csv`, with the columns
//! `image` and `split`, assigns images to splits; without it, of every ten groups of images one is for validation, one
//! for testing, where a group's names are equal up to the first underscore.

use super::super::table::Table;
use super::{DataLayout, picture_files, stem};
use crate::data::{DataError, MaskRule, Sample, Split};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

const IMAGES: &str = "img";
const SPLITS: &str = "split.csv";
const NAMES: &str = "structures.csv";

/// Whether a folder has this layout: images and at least one folder beside them.
pub fn is_layout(root: &Path) -> bool {
    root.join(IMAGES).is_dir() && mask_folders(root).is_ok_and(|folders| !folders.is_empty())
}

fn mask_folders(root: &Path) -> Result<Vec<String>, DataError> {
    let read = |source| DataError::Read { path: root.into(), source };
    let mut folders = Vec::new();
    for entry in std::fs::read_dir(root).map_err(read)? {
        let entry = entry.map_err(read)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.path().is_dir() && name != IMAGES && !name.starts_with('.') {
            folders.push(name);
        }
    }
    folders.sort();
    Ok(folders)
}

/// A structure's folder and its name in prompts.
struct Structure {
    folder: PathBuf,
    name: String,
    /// The masks by the images' names without their extensions.
    masks: BTreeMap<String, PathBuf>,
}

pub fn load(root: &Path, split: Split) -> Result<Vec<Sample>, DataError> {
    let images = root.join(IMAGES);
    if !images.is_dir() {
        return Err(DataError::Absent { path: images, layout: DataLayout::Structures, split, what: "images" });
    }
    let files = picture_files(&images)?;
    let structures = structures(root, split)?;
    let known: BTreeSet<String> = files.iter().map(|file| stem(file)).collect();
    for structure in &structures {
        warn_of_strangers(structure, &known);
    }
    let splits = splits(root)?;
    let names: Vec<String> = structures.iter().map(|structure| structure.name.clone()).collect();
    let mut samples = Vec::new();
    let mut without = Vec::new();
    for image in files {
        let case = stem(&image);
        let group = case.split('_').next().unwrap_or(&case).to_string();
        let own = match &splits {
            Some(splits) => splits.get(&case).copied(),
            None => Some(dealt(&group)),
        };
        if own != Some(split) {
            continue;
        }
        if !structures.iter().any(|structure| structure.masks.contains_key(&case)) {
            without.push(image.clone());
        }
        for structure in &structures {
            let mut sample = Sample::new(case.clone(), image.clone(), MaskRule::LabelOrHalf);
            sample.masks.extend(structure.masks.get(&case).cloned());
            sample.patient = Some(group.clone());
            sample.prompts.push(format!("the {}", structure.name));
            sample.structure = Some(structure.name.clone());
            sample.shown_structures.clone_from(&names);
            samples.push(sample);
        }
    }
    // They may be meant to show nothing, or their masks may be missing.
    if let Some(first) = without.first() {
        log::warn!(
            "{} images of the {split} split, {} the first, have no mask in any folder: every structure counts as absent in them",
            without.len(),
            first.display()
        );
    }
    Ok(samples)
}

fn structures(root: &Path, split: Split) -> Result<Vec<Structure>, DataError> {
    let path = root.join(NAMES);
    let mut called = HashMap::new();
    if path.is_file() {
        let table = Table::read(&path)?;
        let (folder, name) = (table.column("folder")?, table.column("name")?);
        for row in &table.rows {
            let found = table.required(row, folder, "folder")?;
            if !root.join(found).is_dir() || found.contains(['/', '\\']) {
                let folder = root.to_path_buf();
                return Err(DataError::MissingFile {
                    table: path,
                    row: row.number,
                    what: "folder",
                    name: found.into(),
                    folder,
                });
            }
            called.insert(found.to_string(), table.required(row, name, "name")?.to_lowercase());
        }
    }
    let folders = mask_folders(root)?;
    if folders.is_empty() {
        return Err(DataError::Absent { path: root.into(), layout: DataLayout::Structures, split, what: "masks" });
    }
    let structure = |name: String| -> Result<Structure, DataError> {
        let folder = root.join(&name);
        let masks = picture_files(&folder)?.into_iter().map(|mask| (stem(&mask), mask)).collect();
        let name = called.get(&name).cloned().unwrap_or_else(|| name.to_lowercase().replace(['_', '-'], " "));
        Ok(Structure { folder, name, masks })
    };
    folders.into_iter().map(structure).collect()
}

/// A mask without an image of its name is often misnamed.
fn warn_of_strangers(structure: &Structure, images: &BTreeSet<String>) {
    let strangers: Vec<&PathBuf> =
        structure.masks.iter().filter(|(case, _)| !images.contains(*case)).map(|(_, mask)| mask).collect();
    if let Some(first) = strangers.first() {
        log::warn!(
            "{} masks in {}, {} the first, have no image of their name",
            strangers.len(),
            structure.folder.display(),
            first.display()
        );
    }
    if structure.masks.is_empty() {
        log::warn!("{} contains no mask: the structure counts as absent everywhere", structure.folder.display());
    }
}

fn splits(root: &Path) -> Result<Option<HashMap<String, Split>>, DataError> {
    let path = root.join(SPLITS);
    if !path.is_file() {
        return Ok(None);
    }
    let table = Table::read(&path)?;
    let (image, split) = (table.column("image")?, table.column("split")?);
    let mut splits = HashMap::new();
    for row in &table.rows {
        let name = table.required(row, split, "split")?;
        let found = Split::from_name(name).ok_or_else(|| DataError::Cell {
            path: path.clone(),
            row: row.number,
            column: "split",
            value: name.into(),
            expected: "train, val or test",
        })?;
        splits.insert(stem(Path::new(table.required(row, image, "image")?)), found);
    }
    Ok(Some(splits))
}

/// The split of a group, whatever the other images are.
fn dealt(group: &str) -> Split {
    // FNV-1a (Fowler, Noll and Vo): short, and the same on every machine.
    let hash = group
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    match (hash ^ (hash >> 32)) % 10 {
        0 => Split::Val,
        1 => Split::Test,
        _ => Split::Train,
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::Fixture;
    use super::*;
    use crate::data::{LoadOptions, load_samples};

    fn fixture() -> Fixture {
        let fixture = Fixture::new();
        for case in ["a_1", "a_2", "b_1"] {
            fixture.picture(&format!("img/{case}.png"), 8, 6);
            fixture.picture(&format!("nerve/{case}.png"), 8, 6);
        }
        fixture.picture("blood_vessel/a_1.png", 8, 6);
        fixture.file("split.csv", b"image,split\na_1,train\na_2.png,train\nb_1,val\n");
        fixture
    }

    #[test]
    fn each_structure_of_an_image_is_a_sample() {
        let fixture = fixture();
        let train = load_samples(fixture.root(), Split::Train, &LoadOptions::default()).unwrap();
        let told: Vec<_> = train
            .iter()
            .map(|sample| {
                (sample.case_id.as_str(), sample.structure.as_deref().unwrap(), sample.masks.len(), sample.group())
            })
            .collect();
        assert_eq!(
            told,
            [
                ("a_1", "blood vessel", 1, "a"),
                ("a_1", "nerve", 1, "a"),
                ("a_2", "blood vessel", 0, "a"),
                ("a_2", "nerve", 1, "a")
            ]
        );
        assert_eq!(train[1].prompts, ["the nerve"]);
        assert_eq!(train[1].shown_structures, ["blood vessel", "nerve"]);
        assert_eq!(train[1].other_masks.len(), 1);
        let val = load_samples(fixture.root(), Split::Val, &LoadOptions::default()).unwrap();
        assert_eq!(val.len(), 2);
    }

    #[test]
    fn an_image_without_any_mask_shows_no_structure() {
        let fixture = fixture();
        fixture.picture("img/c_1.png", 8, 6);
        fixture.file("split.csv", b"image,split\na_1,train\nc_1,train\n");
        let train = load_samples(fixture.root(), Split::Train, &LoadOptions::default()).unwrap();
        let of_c: Vec<_> = train.iter().filter(|sample| sample.case_id == "c_1").collect();
        assert_eq!(of_c.len(), 2);
        assert!(of_c.iter().all(|sample| sample.masks.is_empty() && sample.other_masks.is_empty()));
    }

    #[test]
    fn structures_are_called_as_their_table_says() {
        let fixture = fixture();
        fixture.file("structures.csv", b"folder,name\nblood_vessel,Artery\n");
        let train = load(fixture.root(), Split::Train).unwrap();
        assert_eq!(train[0].structure.as_deref(), Some("artery"));
        fixture.file("structures.csv", b"folder,name\nvein,Vein\n");
        let error = load(fixture.root(), Split::Train).unwrap_err().to_string();
        assert!(error.contains("vein") && error.contains("row 2"), "{error}");
    }

    #[test]
    fn without_a_table_groups_stay_together() {
        let fixture = Fixture::new();
        for case in 0..60 {
            for view in ["HC", "2HC"] {
                fixture.picture(&format!("img/{case:03}_{view}.png"), 4, 4);
                fixture.picture(&format!("head/{case:03}_{view}.png"), 4, 4);
            }
        }
        let counts = Split::ALL.map(|split| {
            let samples = load(fixture.root(), split).unwrap();
            assert!(samples.chunks(2).all(|pair| pair[0].group() == pair[1].group()), "{split}");
            samples.len()
        });
        assert_eq!(counts.iter().sum::<usize>(), 120);
        assert!(counts[0] > 70 && counts[1] > 1 && counts[2] > 1, "{counts:?}");
    }

    #[test]
    fn bad_tables_are_named() {
        let fixture = fixture();
        fixture.file("split.csv", b"image,split\na_1,holdout\n");
        let error = load(fixture.root(), Split::Train).unwrap_err().to_string();
        assert!(error.contains("holdout") && error.contains("row 2"), "{error}");
    }
}
