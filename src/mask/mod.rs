//! Results from logits: probabilities, a mask, its contours and measurements, a picture.
//!
//! Everything here has the size of the caller's frame and uses its pixel coordinates: `x` to the right, `y` down,
//! (0, 0) the upper left *corner* of the first pixel, so that a pixel's centre has half-integer coordinates and a contour
//! along pixel edges integer ones.

mod components;
mod contour;
mod measurement;
#[cfg(feature = "overlay")]
mod overlay;
mod probability;
mod quality;
mod record;

pub use components::Components;
pub use contour::Contour;
pub use measurement::{Diameter, Measurements};
#[cfg(feature = "overlay")]
pub use overlay::{Annotation, Overlay};
pub use probability::{Mask, Probability, check_threshold};
pub(crate) use quality::Tally;
pub use quality::{Flag, LOW_SCORE, Quality, STABILITY_THRESHOLDS};
pub use record::{Record, SequenceRecord, contours_in_mm};

use crate::frame::FrameError;

/// Why a result can't be computed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages say it")]
pub enum MaskError {
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("the network's output is not finite: its weights or its input are damaged; verify the bundle")]
    NotFinite,
    #[error("a threshold of {0} is out of range: give a number above 0 and below 1")]
    Threshold(f32),
    #[error("the {what} is {actual:?} pixels (width, height) and the frame {frame:?}: pass results of the same frame")]
    Size { what: &'static str, actual: [usize; 2], frame: [usize; 2] },
}
