//! The file names of results.
//!
//! For a picture: `<stem>[_<prompt number>]_{mask,prob,overlay}.png`, `<stem>[_<prompt number>].json`,
//! `<stem>[_<prompt number>]_mask.{mha,nrrd}` and, for all prompts together, `<stem>_frame.png`, `<stem>_seg.dcm` and
//! `<stem>_sr.dcm`. For a sequence, pictures have the frame's number, `<stem>_f0001[_<prompt number>]_mask.png`; the
//! JSON, the DICOM files, the MetaImage and the NRRD, `<stem>[_<prompt number>]_mask.seq.mha` (`.seq.nrrd`), contain
//! all frames.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::path::{Component, Path, PathBuf};

/// The paths of one input's results. Prompts count from 0 here and from 1 in names, where there is more than one;
/// frames of a sequence do so too, and stills have none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputNames {
    folder: PathBuf,
    stem: OsString,
    prompts: usize,
}

/// Why results cannot be named.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages say it")]
pub enum NameError {
    #[error("{}: has no file name to name its results after; give a file", .0.display())]
    NoStem(PathBuf),
    #[error(
        "{} and {} would write the same results; give each input once, or rename one",
        .0.display(), .1.display()
    )]
    Same(PathBuf, PathBuf),
    #[error("{}: a result would replace this input; write to another folder", .0.display())]
    Overwrites(PathBuf),
}

impl OutputNames {
    /// The results of `input` under `prompts` prompts, in `folder`.
    ///
    /// # Errors
    /// The path ends in no name, as `..` does ([`NameError::NoStem`]).
    pub fn new(folder: impl Into<PathBuf>, input: &Path, prompts: usize) -> Result<Self, NameError> {
        let stem = input.file_stem().ok_or_else(|| NameError::NoStem(input.into()))?.to_owned();
        Ok(Self { folder: folder.into(), stem, prompts })
    }

    /// The names of several inputs, none of which would overwrite another's results or an input. Inputs with equal
    /// names are extended by the names of their folders, `a_x` and `b_x`, or by their kind of file, `x_png` and
    /// `x_dcm`.
    ///
    /// # Errors
    /// In addition to [`OutputNames::new`]'s: an input is given twice, or a result would replace an input.
    pub fn for_inputs(folder: &Path, inputs: &[PathBuf], prompts: usize) -> Result<Vec<Self>, NameError> {
        Self::in_subfolders(folder, inputs, &[], prompts)
    }

    /// As [`OutputNames::for_inputs`], with the results of each input in a folder of its own below `folder`: the
    /// element of `subfolders` with the input's index.
    ///
    /// # Errors
    /// As [`OutputNames::for_inputs`].
    pub fn in_subfolders(
        folder: &Path,
        inputs: &[PathBuf],
        subfolders: &[PathBuf],
        prompts: usize,
    ) -> Result<Vec<Self>, NameError> {
        let mut names = inputs.iter().map(|input| Self::new(folder, input, prompts)).collect::<Result<Vec<_>, _>>()?;
        for (name, subfolder) in
            names.iter_mut().zip(subfolders).filter(|(_, subfolder)| !subfolder.as_os_str().is_empty())
        {
            name.folder.push(subfolder);
        }
        let mut alike: HashMap<PathBuf, Vec<usize>> = HashMap::new();
        for (index, name) in names.iter().enumerate() {
            alike.entry(name.folder.join(&name.stem)).or_default().push(index);
        }
        for group in alike.into_values().filter(|group| group.len() > 1) {
            let told_apart = |by: Disambiguation| {
                let stems: Vec<OsString> = group.iter().map(|index| by.stem(&inputs[*index])).collect();
                (stems.iter().collect::<HashSet<_>>().len() == stems.len()).then_some(stems)
            };
            let stems = Disambiguation::all().find_map(told_apart);
            for (index, stem) in group.iter().zip(stems.into_iter().flatten()) {
                names[*index].stem = stem;
            }
        }
        Self::distinct(names, inputs)
    }

    /// The names of several inputs by their index, `0001` and on, since file names often identify patients.
    ///
    /// # Errors
    /// A result would replace an input.
    pub fn numbered(folder: &Path, inputs: &[PathBuf], prompts: usize) -> Result<Vec<Self>, NameError> {
        let number = |index: usize| Self { folder: folder.into(), stem: format!("{:04}", index + 1).into(), prompts };
        Self::distinct((0..inputs.len()).map(number).collect(), inputs)
    }

    fn distinct(names: Vec<Self>, inputs: &[PathBuf]) -> Result<Vec<Self>, NameError> {
        let mut stems = HashMap::new();
        for (name, input) in names.iter().zip(inputs) {
            if let Some(other) = stems.insert((&name.folder, &name.stem), input) {
                return Err(NameError::Same(other.clone(), input.clone()));
            }
        }
        let results: HashSet<PathBuf> = names.iter().flat_map(Self::all).map(|path| resolved(&path)).collect();
        match inputs.iter().find(|input| results.contains(&resolved(input))) {
            Some(input) => Err(NameError::Overwrites(input.clone())),
            None => Ok(names),
        }
    }

    /// The folder of the results.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The beginning of all names.
    pub fn stem(&self) -> &OsStr {
        &self.stem
    }

    /// The path of the frame itself, the same for all prompts.
    pub fn frame(&self, frame: Option<usize>) -> PathBuf {
        self.path(frame, None, "_frame.png")
    }

    /// The path of the mask of a frame, counted from 0 (`None`: a still), under a prompt, counted from 0.
    pub fn mask(&self, frame: Option<usize>, prompt: usize) -> PathBuf {
        self.path(frame, Some(prompt), "_mask.png")
    }

    /// The path of the probability picture; arguments as for the mask.
    pub fn probability(&self, frame: Option<usize>, prompt: usize) -> PathBuf {
        self.path(frame, Some(prompt), "_prob.png")
    }

    /// The path of the overlay; arguments as for the mask.
    pub fn overlay(&self, frame: Option<usize>, prompt: usize) -> PathBuf {
        self.path(frame, Some(prompt), "_overlay.png")
    }

    /// The path of a prompt's record.
    pub fn json(&self, prompt: usize) -> PathBuf {
        self.path(None, Some(prompt), ".json")
    }

    /// The path of a prompt's MetaImage. 3D Slicer distinguishes sequences from volumes by the file name's ending.
    pub fn meta_image(&self, sequence: bool, prompt: usize) -> PathBuf {
        self.path(None, Some(prompt), if sequence { "_mask.seq.mha" } else { "_mask.mha" })
    }

    /// The path of a prompt's NRRD, as [`OutputNames::meta_image`].
    pub fn nrrd(&self, sequence: bool, prompt: usize) -> PathBuf {
        self.path(None, Some(prompt), if sequence { "_mask.seq.nrrd" } else { "_mask.nrrd" })
    }

    /// The path of the segmentation, for all prompts.
    pub fn dicom_segmentation(&self) -> PathBuf {
        self.path(None, None, "_seg.dcm")
    }

    /// The path of the report, for all prompts.
    pub fn dicom_report(&self) -> PathBuf {
        self.path(None, None, "_sr.dcm")
    }

    fn path(&self, frame: Option<usize>, prompt: Option<usize>, ending: &str) -> PathBuf {
        let mut name = self.stem.clone();
        if let Some(frame) = frame {
            name.push(format!("_f{:04}", frame + 1));
        }
        if let Some(prompt) = prompt.filter(|_| self.prompts > 1) {
            name.push(format!("_{}", prompt + 1));
        }
        name.push(ending);
        self.folder.join(name)
    }

    /// All paths except the numbered pictures of sequences, whose count is unknown before the end.
    fn all(&self) -> impl Iterator<Item = PathBuf> {
        let of_prompt = |prompt| {
            [
                self.mask(None, prompt),
                self.probability(None, prompt),
                self.overlay(None, prompt),
                self.json(prompt),
                self.meta_image(false, prompt),
                self.meta_image(true, prompt),
                self.nrrd(false, prompt),
                self.nrrd(true, prompt),
            ]
        };
        let of_all = [self.frame(None), self.dicom_segmentation(), self.dicom_report()];
        (0..self.prompts.max(1)).flat_map(of_prompt).chain(of_all)
    }
}

/// How inputs with equal names are distinguished.
#[derive(Clone, Copy)]
struct Disambiguation {
    /// The number of parent folders in the name.
    folders: usize,
    /// Whether the name has the file's extension.
    ending: bool,
}

impl Disambiguation {
    /// All ways, from the shortest on.
    fn all() -> impl Iterator<Item = Self> {
        const MOST_FOLDERS: usize = 16;
        let by_folders = |ending| (0..=MOST_FOLDERS).map(move |folders| Self { folders, ending });
        by_folders(false).chain(by_folders(true))
    }

    fn stem(self, input: &Path) -> OsString {
        let folder = input.parent().unwrap_or(Path::new(""));
        let above: Vec<&OsStr> = folder
            .components()
            .filter_map(|component| match component {
                Component::Normal(name) => Some(name),
                _ => None,
            })
            .collect();
        let mut stem = above[above.len().saturating_sub(self.folders)..].join(OsStr::new("_"));
        if !stem.is_empty() {
            stem.push("_");
        }
        stem.push(input.file_stem().unwrap_or_default());
        if let Some(ending) = input.extension().filter(|_| self.ending) {
            stem.push("_");
            stem.push(ending);
        }
        stem
    }
}

/// The same path for two spellings of it, as far as its folder exists.
fn resolved(path: &Path) -> PathBuf {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_path_buf());
    path.file_name().map_or(folder.clone(), |name| folder.join(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_only_where_prompts_are_many() {
        let one = OutputNames::new("out", Path::new("in/scan.v2.png"), 1).unwrap();
        assert_eq!(one.mask(None, 0), Path::new("out/scan.v2_mask.png"));
        assert_eq!(one.probability(None, 0), Path::new("out/scan.v2_prob.png"));
        assert_eq!(one.json(0), Path::new("out/scan.v2.json"));
        let two = OutputNames::new("out", Path::new("scan.png"), 2).unwrap();
        assert_eq!(two.overlay(None, 0), Path::new("out/scan_1_overlay.png"));
        assert_eq!(two.overlay(Some(0), 1), Path::new("out/scan_f0001_2_overlay.png"));
        assert_eq!(two.mask(Some(12_344), 0), Path::new("out/scan_f12345_1_mask.png"));
        assert_eq!(two.meta_image(true, 1), Path::new("out/scan_2_mask.seq.mha"));
        assert_eq!(two.nrrd(false, 0), Path::new("out/scan_1_mask.nrrd"));
        assert_eq!(two.dicom_segmentation(), Path::new("out/scan_seg.dcm"));
        assert_eq!(two.dicom_report(), Path::new("out/scan_sr.dcm"));
        assert_eq!(two.frame(Some(0)), Path::new("out/scan_f0001_frame.png"));
        assert_eq!(two.json(1), Path::new("out/scan_2.json"));
        assert_eq!(OutputNames::new("out", Path::new(".."), 1), Err(NameError::NoStem("..".into())));
    }

    #[test]
    fn results_never_meet() {
        let inputs = |names: &[&str]| names.iter().map(PathBuf::from).collect::<Vec<_>>();
        let names = |folder: &str, names: &[&str]| OutputNames::for_inputs(Path::new(folder), &inputs(names), 1);
        assert_eq!(names("out", &["a/x.png", "a/y.png"]).unwrap().len(), 2);
        let stems = |inputs: &[&str]| -> Vec<String> {
            let found = names("out", inputs).unwrap();
            found.iter().map(|name| name.stem().to_string_lossy().into_owned()).collect()
        };
        assert_eq!(stems(&["a/x.png", "b/x.bmp", "a/y.png"]), ["a_x", "b_x", "y"]);
        assert_eq!(stems(&["1/a/x.png", "2/a/x.png"]), ["1_a_x", "2_a_x"]);
        assert_eq!(stems(&["x.png", "x.dcm", "x"]), ["x_png", "x_dcm", "x"]);
        assert_eq!(stems(&["a/x.png", "b/x.png", "b/x.dcm"]), ["a_x_png", "b_x_png", "b_x_dcm"]);
        assert_eq!(names("out", &["x.png", "x.png"]), Err(NameError::Same("x.png".into(), "x.png".into())));
        assert_eq!(
            names("out", &["a/x.png", "b/x.png", "a_x.dcm"]),
            Err(NameError::Same("a/x.png".into(), "a_x.dcm".into()))
        );
        let below = |subfolders: &[&str]| {
            OutputNames::in_subfolders(Path::new("out"), &inputs(&["in/a/x.png", "in/b/x.png"]), &inputs(subfolders), 1)
        };
        let found = below(&["a", "b"]).unwrap();
        assert_eq!([found[0].json(0), found[1].json(0)], ["out/a/x.json", "out/b/x.json"].map(PathBuf::from));
        assert_eq!(names(".", &["x.png", "x_mask.png"]), Err(NameError::Overwrites("x_mask.png".into())));
        assert!(names("out", &["x.png", "x_mask.png"]).is_ok());
        let numbered = |inputs: &[PathBuf]| OutputNames::numbered(Path::new("."), inputs, 1);
        let found = numbered(&inputs(&["a/jane.dcm", "b/jane.dcm"])).unwrap();
        assert_eq!((found[1].stem(), found[1].json(0)), ("0002".as_ref(), PathBuf::from("./0002.json")));
        assert_eq!(numbered(&inputs(&["x.png", "0001_mask.png"])), Err(NameError::Overwrites("0001_mask.png".into())));
        // A DICOM file beside its segmentation.
        assert!(names(".", &["x.dcm"]).is_ok());
    }
}
