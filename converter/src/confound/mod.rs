//! Data sets in which a mark goes with what is asked for, and the same images in which it does not.
//!
//! Whether a network leans on a confounder can be measured only where the confounder is known. So a mark is planted: in the
//! `confounded` set it agrees with the prompt with the probability asked for, in `neutral` it goes with nothing, in `reversed` it
//! points to the wrong answer as often as it pointed to the right one in training, and in `unmarked` there is none. But for the
//! marks the sets' images are the same. A network that reads image and prompt scores alike on all four.
//!
//! By nature ([`With::Device`]) nothing is drawn: images are left out until one device goes with one pathology.

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

/// What a mark goes with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum With {
    /// The place that is asked for: a mark that agrees lies on it, one that does not lies elsewhere.
    Place,
    /// A malignant lesion: a mark that agrees is there where the lesion is malignant, and only there.
    Pathology,
    /// Nothing is drawn: images are chosen so that a device goes with malignant lesions.
    Device,
}

/// Which of the data sets.
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

    /// How often a mark agrees; `None` where there are no marks.
    fn agreement(self, probability: f64) -> Option<f64> {
        match self {
            Self::Confounded => Some(probability),
            Self::Neutral => Some(0.5),
            Self::Reversed => Some(1.0 - probability),
            Self::Unmarked => None,
        }
    }

    /// Only the confounded set is trained on.
    fn has(self, split: Split) -> bool {
        self == Self::Confounded || split != Split::Train
    }
}

/// Where the images come from.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Origin {
    /// A data set in any layout that is read. Where it has no test split, its validation split serves as both.
    Data { folder: PathBuf },
    /// Phantoms with a lesion on either side, each asked for once: so many for training, validation and testing.
    Phantoms { training: usize, validation: usize, test: usize, width: usize, height: usize },
}

/// What to plant.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfoundOptions {
    pub origin: Origin,
    pub mark: Mark,
    pub with: With,
    /// How often the mark agrees in training, 0..1; 0.5 plants nothing.
    pub probability: f64,
    /// The share of training images that have a mark at all, 0..1; all images of the test sets have.
    #[serde(default = "all")]
    pub marked: f64,
    /// A part of the device's name, for [`With::Device`].
    #[serde(default)]
    pub device: Option<String>,
    /// Equal seeds write equal bytes.
    #[serde(default)]
    pub seed: u64,
}

fn all() -> f64 {
    1.0
}

/// Why no sets are written.
#[derive(Debug, thiserror::Error)]
pub enum ConfoundError {
    #[error("the probability or share is {0}; give one from 0 to 1")]
    Probability(f64),
    #[error("phantoms have no pathology and no device; give --data, or plant marks --with place")]
    NoClinic,
    #[error("`{case}` tells no pathology, which {with} needs; give data that do, or plant marks --with place")]
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
