//! Evaluates a model: runs it as users do, image by image at its own size, and compares the masks with the experts'.
//!
//! [`evaluate`] runs a model on samples and yields an [`Evaluation`]: overlap and rim measures ([`metric`]) with intervals, by
//! patient, by pathology, by device, and, by default, whether the prompt matters; on request also the effect of changes that
//! should not matter ([`Intervention`]). [`report`] makes an HTML report of it.

mod answer;
mod bootstrap;
mod calibration;
mod evaluation;
mod interventions;
mod lesions;
pub mod metric;
mod options;
mod percentile;
mod presence;
mod prompt_study;
mod reliability;
pub mod report;
mod requests;
mod run;
mod scores;
mod sentence;
mod workers;

pub use bootstrap::Intervals;
pub use calibration::ScoreCalibration;
pub use evaluation::Evaluation;
pub(crate) use interventions::disturb_plane;
pub use interventions::{Effect, Intervention, InterventionScores};
pub(crate) use lesions::answer_lesions;
pub use options::EvaluateOptions;
pub use presence::{Curve, Presence};
pub use prompt_study::{AbsentStudy, EmptyAnswers, NamedOther, PairStudy, PromptStudy};
pub use reliability::{ReliabilityBin, ReliabilityTable};
pub use requests::{RequestScores, RequestStudy};
pub use run::{evaluate, images_to_run};
pub use scores::{Group, ImageScores, Scores};

use crate::data::Sample;
use causalclipseg::io::ReadError;
use causalclipseg::{Model, ModelError, Session, SessionError, SessionOptions};
use std::path::PathBuf;

/// The distance in pixels within which rim pixels agree: about the difference between two readers of one image.
pub const NSD_TOLERANCE_PX: f64 = 2.0;

/// Converts an error, with the image where it occurred.
fn failed_prompt(sample: &Sample) -> impl Fn(ModelError) -> EvaluateError {
    move |source| EvaluateError::Prompt { image: sample.image.clone(), source }
}

/// As [`failed_prompt`], for running a frame.
fn failed_frame(sample: &Sample) -> impl Fn(SessionError) -> EvaluateError {
    move |source| EvaluateError::Frame { image: sample.image.clone(), source }
}

/// A session with the model's own threshold, with quality: studies compare it with the true masks.
fn session(model: &Model) -> Result<Session, EvaluateError> {
    Session::new(model, SessionOptions::default()).map_err(EvaluateError::Session)
}

/// Why a model could not be evaluated.
#[derive(Debug, thiserror::Error)]
pub enum EvaluateError {
    #[error("no image to evaluate on; choose a split that has some")]
    NoImages,
    #[error(transparent)]
    Data(#[from] crate::data::DataError),
    #[error(transparent)]
    Image(#[from] ReadError),
    #[error("{}: {source}", image.display())]
    Prompt { image: PathBuf, source: ModelError },
    #[error("{}: {source}", image.display())]
    Frame { image: PathBuf, source: SessionError },
    #[error("the model cannot be run: {0}")]
    Session(SessionError),
}
