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

    /// Reads the names in manifests, in any case.
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

/// The values of a mask file that are lesion. 16-bit values are compared on the scale of 8 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MaskRule {
    /// Above 127 of 255. A 1-bit mask's 1 is 255.
    AboveHalf,
    /// Any value except zero: label maps that count 0, 1.
    Nonzero,
    /// `Nonzero` where the file's largest value is 1, otherwise `AboveHalf`: for masks of unknown origin.
    LabelOrHalf,
}

/// One image of a data set, as its loader found it. The files exist and are not decoded.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The image file's name without its extension, unless the data set names cases itself.
    pub case_id: String,
    pub image: PathBuf,
    /// The masks whose union is the lesion. Empty where the data set states that there is no lesion.
    pub masks: Vec<PathBuf>,
    /// The masks of lesions in the same image that these prompts do not name.
    pub other_masks: Vec<PathBuf>,
    pub mask_rule: MaskRule,
    /// The prompts, at least one. Any of them describes the mask; an empty one requests everything that is there.
    pub prompts: Vec<String>,
    pub patient: Option<String>,
    pub pathology: Option<Pathology>,
    /// The structure in the mask where that is not a lesion: `nerve`. Its image then has no lesion of the breast.
    pub structure: Option<String>,
    /// Every structure that the same image shows or may show, including this one.
    pub shown_structures: Vec<String>,
    pub histology: Option<String>,
    pub device: Option<String>,
    /// The patient's side: `left` or `right`.
    pub side: Option<String>,
    /// The image's confounder, if known: the kind and place of a mark.
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

    /// The unit that must not be split between folds: the patient, or the case where no patient is known.
    pub fn group(&self) -> &str {
        self.patient.as_deref().unwrap_or(&self.case_id)
    }
}
