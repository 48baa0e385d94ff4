//! Data sets in which a mark correlates with the prompted lesion, and the same images in which it does not.
//!
//! Whether a network relies on a confounder can be measured only if the confounder is known. So a mark is planted: in the
//! `confounded` set it agrees with the prompt with the given probability, in `neutral` it is independent of the prompt, in
//! `reversed` it points to the wrong lesion as often as it pointed to the right one in training, and `unmarked` has no marks.
//! Except for the marks, the sets' images are the same. A network that reads image and prompt scores alike on all four.
//!
//! With [`With::Device`] nothing is drawn: images are left out until one device correlates with one pathology.

mod by_device;
mod case;
mod folder;
mod mark;
#[cfg(test)]
mod tests;

pub use folder::{Counts, SetCounts, write_sets};
pub use mark::Mark;

use crate::data::{DataError, Split};
use crate::phantom::PhantomError;
use std::path::PathBuf;

/// What a mark correlates with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum With {
    /// The prompted place: an agreeing mark is at this place, any other mark elsewhere.
    Place,
    /// Malignancy: an agreeing mark is present if and only if the lesion is malignant.
    Pathology,
    /// The device: nothing is drawn; images are chosen so that a device correlates with malignant lesions.
    Device,
}

/// One of the data sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Set {
    Confounded,
    Neutral,
    Reversed,
    Unmarked,
}

impl Set {
    pub const ALL: [Self; 4] = [Self::Confounded, Self::Neutral, Self::Reversed, Self::Unmarked];

    /// The name of its folder.
    pub fn name(self) -> &'static str {
        match self {
            Self::Confounded => "confounded",
            Self::Neutral => "neutral",
            Self::Reversed => "reversed",
            Self::Unmarked => "unmarked",
        }
    }

    /// The probability that a mark agrees; `None` without marks.
    fn agreement(self, probability: f64) -> Option<f64> {
        match self {
            Self::Confounded => Some(probability),
            Self::Neutral => Some(0.5),
            Self::Reversed => Some(1.0 - probability),
            Self::Unmarked => None,
        }
    }

    /// Whether the set has a split: only the confounded set has a training split.
    fn has(self, split: Split) -> bool {
        self == Self::Confounded || split != Split::Train
    }
}

/// The origin of the images.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Origin {
    /// A data set in any supported layout. Without a test split, its validation split is used for both.
    Data { folder: PathBuf },
    /// Phantoms with a lesion on either side, each prompted once: the numbers for training, validation and testing.
    Phantoms { training: usize, validation: usize, test: usize, width: usize, height: usize },
}

/// The options of planting.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfoundOptions {
    pub origin: Origin,
    pub mark: Mark,
    pub with: With,
    /// The probability that the mark agrees in training, 0..1; 0.5 plants no correlation.
    pub probability: f64,
    /// The share of training images with a mark, 0..1; all images of the test sets have one.
    #[serde(default = "all")]
    pub marked: f64,
    /// A part of the device's name, for [`With::Device`].
    #[serde(default)]
    pub device: Option<String>,
    /// Random seed; equal seeds write equal bytes.
    #[serde(default)]
    pub seed: u64,
}

fn all() -> f64 {
    1.0
}

/// Why the sets cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum ConfoundError {
    #[error("the probability or share is {0}; give one from 0 to 1")]
    Probability(f64),
    #[error("phantoms have no pathology and no device; give --data, or plant marks --with place")]
    NoClinic,
    #[error("`{case}` has no pathology, which {with} needs; give data that states it, or plant marks --with place")]
    NoPathology { case: String, with: &'static str },
    #[error("--with device needs --device-name; the data's devices are: {found}")]
    NoDeviceName { found: String },
    #[error(
        "of the {split} split no images of pathology and device are left that {what}; choose another device (found: {found})"
    )]
    NothingLeft { split: Split, what: &'static str, found: String },
    #[error("phantoms of {width} x {height} pixels cannot be made; give sides of {least} to {most}")]
    Size { width: usize, height: usize, least: usize, most: usize },
    #[error("a set of no images cannot be made; ask for one phantom at least of each kind")]
    NoPhantoms,
    #[error(transparent)]
    Data(#[from] DataError),
    #[error(transparent)]
    Write(#[from] PhantomError),
}
