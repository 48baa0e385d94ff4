//! The conversion of an image to a network's input.

use serde::{Deserialize, Serialize};

/// The numbers that a network subtracts and divides by, for red, green and blue in 0..1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Normalisation {
    /// The number that is subtracted.
    pub mean: [f32; 3],
    /// The number that is divided by, after that.
    pub std: [f32; 3],
}

impl Normalisation {
    /// CLIP's normalisation, which every edition that starts from CLIP's weights uses.
    pub const CLIP: Self =
        Self { mean: [0.481_454_66, 0.457_827_5, 0.408_210_73], std: [0.268_629_54, 0.261_302_6, 0.275_777_1] };
}

/// How a frame of any shape fills the network's square input.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fit {
    /// Both sides are resampled to the input's; the aspect ratio is lost.
    Stretch,
    /// The longer side is resampled to the input's and the rest, on both sides, is filled.
    Letterbox {
        /// The padding's red, green and blue in 0..1, before normalisation.
        padding: [f32; 3],
    },
}

impl Fit {
    /// Whether a padding is red, green and blue from 0 to 1.
    #[doc(hidden)]
    pub fn is_valid(&self) -> bool {
        match self {
            Self::Stretch => true,
            Self::Letterbox { padding } => padding.iter().all(|value| (0.0..=1.0).contains(value)),
        }
    }
}
