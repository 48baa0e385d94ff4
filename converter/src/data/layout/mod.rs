//! The layouts of data sets with image, mask and sentence, one file each, and their detection.

mod busi;
#[cfg(test)]
pub(super) mod fixture;
mod lvit;
mod manifest;
mod medclipseg;
mod medvlsm;
mod structures;

use super::{DataError, Sample, Split};
pub(crate) use medclipseg::planted;
use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::path::{Component, Path, PathBuf};

/// A layout of image, mask and sentence in files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum DataLayout {
    /// `{Train,Val,Test}_Folder/{img,label}/` and `Prompts_Folder/*_text*.xlsx`.
    Medclipseg,
    /// `{Train,Val,Test}_Folder/{img,labelcol}/` and `*_text.xlsx`: QaTa-COV19, MosMedData+.
    Lvit,
    /// `anns/{train,val,test}.json`, `images/`, `masks/`.
    Medvlsm,
    /// `{benign,malignant,normal}/`, BUSI's published form.
    Busi,
    /// A CSV: dataset, split, case_id, patient_id, image_path, mask_path, text.
    Manifest,
    /// `img/` and a folder of masks for each structure: `nerve/`, `vessel/`.
    Structures,
}

impl fmt::Display for DataLayout {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Self::Medclipseg => "MedCLIPSeg",
            Self::Lvit => "LViT",
            Self::Medvlsm => "MedVLSM",
            Self::Busi => "BUSI",
            Self::Manifest => "manifest",
            Self::Structures => "structures",
        })
    }
}

impl DataLayout {
    /// Detects the layout of the data set in the folder `root`; a manifest may be named itself.
    pub fn detect(root: &Path) -> Result<Self, DataError> {
        std::fs::metadata(root).map_err(|source| DataError::Read { path: root.into(), source })?;
        let in_a_split = |folder: &str| split_folders(root).any(|split| split.join(folder).is_dir());
        if in_a_split("labelcol") {
            Ok(Self::Lvit)
        } else if in_a_split("label") || in_a_split("img") {
            Ok(Self::Medclipseg)
        } else if root.join("anns").is_dir() {
            Ok(Self::Medvlsm)
        } else if busi::CLASSES.iter().any(|class| root.join(class.folder).is_dir()) {
            Ok(Self::Busi)
        } else if manifest::find(root).is_some() {
            Ok(Self::Manifest)
        } else if structures::is_layout(root) {
            Ok(Self::Structures)
        } else {
            Err(DataError::UnknownLayout { path: root.into() })
        }
    }
}

fn split_folders(root: &Path) -> impl Iterator<Item = PathBuf> {
    Split::ALL.into_iter().map(|split| split_folder(root, split))
}

fn split_folder(root: &Path, split: Split) -> PathBuf {
    root.join(format!("{}_Folder", split.title()))
}

/// The parts of a data set to read.
#[derive(Clone, Debug, Default)]
pub struct LoadOptions {
    /// The layout; detected from the folder where not given.
    pub layout: Option<DataLayout>,
    /// The wording, where a data set has several: `contradictory` of MedCLIPSeg's test split, `p3` of MedVLSM.
    pub wording: Option<String>,
}

/// Lists a split of the data set in `root`, in the order of its table or of its file names.
///
/// # Errors
/// Names the file, and the row where there is one: an unknown layout, a missing file or text, an unreadable table, an
/// empty split.
pub fn load_samples(root: &Path, split: Split, options: &LoadOptions) -> Result<Vec<Sample>, DataError> {
    let layout = match options.layout {
        Some(layout) => layout,
        None => DataLayout::detect(root)?,
    };
    let wording = options.wording.as_deref();
    let mut samples = match layout {
        DataLayout::Medclipseg => medclipseg::load(root, split, wording)?,
        DataLayout::Lvit => lvit::load(root, split)?,
        DataLayout::Medvlsm => medvlsm::load(root, split, wording)?,
        DataLayout::Busi => busi::load(root, split)?,
        DataLayout::Manifest => manifest::load(root, split)?,
        DataLayout::Structures => structures::load(root, split)?,
    };
    if samples.is_empty() {
        return Err(DataError::EmptySplit { path: root.into(), split });
    }
    note_other_lesions(&mut samples);
    Ok(samples)
}

/// Gives each sample the masks that other rows have for its image: lesions that its own prompt leaves out are not
/// absent.
fn note_other_lesions(samples: &mut [Sample]) {
    let mut masks_of: HashMap<PathBuf, BTreeSet<PathBuf>> = HashMap::new();
    for sample in samples.iter() {
        masks_of.entry(sample.image.clone()).or_default().extend(sample.masks.iter().cloned());
    }
    for sample in samples {
        let all = masks_of.get(&sample.image).into_iter().flatten();
        let others: Vec<PathBuf> = all.filter(|mask| !sample.masks.contains(mask)).cloned().collect();
        // A table may have named some already.
        sample.other_masks.extend(others);
    }
}

/// The path of a file named in a table, after checking that the name stays below `folder` and that the file exists.
fn existing_file(
    folder: &Path,
    name: &str,
    what: &'static str,
    table: &Path,
    row: usize,
) -> Result<PathBuf, DataError> {
    if Path::new(name).components().any(|part| !matches!(part, Component::Normal(_) | Component::CurDir)) {
        return Err(DataError::OutsideName { table: table.into(), row, name: name.into() });
    }
    let path = folder.join(name);
    if path.is_file() {
        return Ok(path);
    }
    Err(DataError::MissingFile { table: table.into(), row, what, name: name.into(), folder: folder.into() })
}

/// A file's name without its extension.
fn stem(path: &Path) -> String {
    path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default()
}

/// The picture files in a folder, by extension, sorted by name.
fn picture_files(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    const ENDINGS: [&str; 6] = ["png", "jpg", "jpeg", "bmp", "tif", "tiff"];
    let read = |source| DataError::Read { path: folder.into(), source };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(read)? {
        let path = entry.map_err(read)?.path();
        let ending = path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
        if ENDINGS.contains(&ending.as_str()) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Warns of masks that no row of the table uses: table and folder are often of different versions.
fn warn_of_unused(folder: &Path, used: &[Sample], table: &Path) {
    let Ok(files) = picture_files(folder) else { return };
    let used: std::collections::HashSet<&PathBuf> =
        used.iter().flat_map(|sample| sample.masks.iter().chain(&sample.other_masks)).collect();
    let unused: Vec<&PathBuf> = files.iter().filter(|file| !used.contains(file)).collect();
    if let Some(first) = unused.first() {
        log::warn!("{} masks, {} the first, have no row in {}", unused.len(), first.display(), table.display());
    }
}

#[cfg(test)]
mod tests {
    use super::fixture::Fixture;
    use super::*;

    #[test]
    fn every_layout_is_recognised() {
        for (file, layout) in [
            ("Val_Folder/img/a.png", DataLayout::Medclipseg),
            ("Test_Folder/labelcol/a.png", DataLayout::Lvit),
            ("anns/train.json", DataLayout::Medvlsm),
            ("malignant/malignant (1).png", DataLayout::Busi),
            ("anything.csv", DataLayout::Manifest),
            ("img/a.png", DataLayout::Structures),
        ] {
            let fixture = Fixture::new();
            fixture.file(file, b"split,image_path,mask_path,text\n");
            if layout == DataLayout::Structures {
                fixture.file("nerve/a.png", b"");
            }
            assert_eq!(DataLayout::detect(fixture.root()).unwrap(), layout, "{file}");
        }
        let nothing = Fixture::new();
        assert!(matches!(DataLayout::detect(nothing.root()), Err(DataError::UnknownLayout { .. })));
        assert!(matches!(DataLayout::detect(&nothing.root().join("nowhere")), Err(DataError::Read { .. })));
    }

    #[test]
    fn a_named_layout_overrules_the_folder() {
        let fixture = Fixture::new();
        fixture.file("Val_Folder/img/a.png", b"");
        let options = LoadOptions { layout: Some(DataLayout::Medvlsm), ..LoadOptions::default() };
        let error = load_samples(fixture.root(), Split::Val, &options).unwrap_err();
        assert!(matches!(error, DataError::Absent { layout: DataLayout::Medvlsm, .. }), "{error}");
    }

    #[test]
    fn names_that_leave_the_data_set_are_refused() {
        let fixture = Fixture::new();
        fixture.file("secret.png", b"");
        for name in ["../secret.png", "/etc/hostname"] {
            let error = existing_file(&fixture.root().join("img"), name, "image", Path::new("t.xlsx"), 3).unwrap_err();
            assert!(matches!(error, DataError::OutsideName { row: 3, .. }), "{error}");
        }
    }
}
