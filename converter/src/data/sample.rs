//! One image with its masks and prompts.

use super::Pathology;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::PathBuf;

/// A part of a data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Split {
    Train,
    Val,
    Test,
}

impl Split {
    pub const ALL: [Self; 3] = [Self::Train, Self::Val, Self::Test];

    /// `train`, `val` or `test`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Val => "val",
            Self::Test => "test",
        }
    }

    /// `Train`, `Val` or `Test`, as in `Train_Folder`.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Train => "Train",
            Self::Val => "Val",
            Self::Test => "Test",
        }
    }

    /// Reads the names that manifests use, in any case.
    pub(super) fn from_name(name: &str) -> Option<Self> {
        match name.to_ascii_lowercase().as_str() {
            "train" | "training" => Some(Self::Train),
            "val" | "valid" | "validation" | "dev" => Some(Self::Val),
            "test" | "testing" => Some(Self::Test),
            _ => None,
        }
    }
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Which values of a mask file are lesion. 16-bit values are compared on the scale of 8 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MaskRule {
    /// Above 127 of 255. A 1-bit mask's 1 is 255.
    AboveHalf,
    /// Anything but zero: label maps that count 0, 1.
    Nonzero,
    /// `Nonzero` where the file's largest value is 1, else `AboveHalf`: for masks of unknown making.
    LabelOrHalf,
}

/// One image of a data set, as its loader found it. The files have been seen, not decoded.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The image file's name without its ending, unless the data set names cases itself.
    pub case_id: String,
    pub image: PathBuf,
    /// The lesion is the union of these. None where the data set says there is no lesion.
    pub masks: Vec<PathBuf>,
    /// Of lesions in the same image that these prompts do not name.
    pub other_masks: Vec<PathBuf>,
    pub mask_rule: MaskRule,
    /// At least one. Any of them describes the mask; an empty one asks for whatever is there.
    pub prompts: Vec<String>,
    pub patient: Option<String>,
    pub pathology: Option<Pathology>,
    /// What the mask shows where that is no lesion: `nerve`. Its image then has no lesion of the breast.
    pub structure: Option<String>,
    /// Every structure that the same image shows or may show; this one is among them.
    pub shown_structures: Vec<String>,
    pub histology: Option<String>,
    pub device: Option<String>,
    /// The patient's side: `left` or `right`.
    pub side: Option<String>,
    /// What the image shows that must not decide the answer, where that is known: which mark, and where.
    pub confounder: Option<String>,
}

impl Sample {
    pub(crate) fn new(case_id: String, image: PathBuf, mask_rule: MaskRule) -> Self {
        Self {
            case_id,
            image,
            masks: Vec::new(),
            other_masks: Vec::new(),
            mask_rule,
            prompts: Vec::new(),
            patient: None,
            pathology: None,
            structure: None,
            shown_structures: Vec::new(),
            histology: None,
            device: None,
            side: None,
            confounder: None,
        }
    }

    /// What may not be torn apart between folds: the patient, or the case where no patient is known.
    pub fn group(&self) -> &str {
        self.patient.as_deref().unwrap_or(&self.case_id)
    }
}
