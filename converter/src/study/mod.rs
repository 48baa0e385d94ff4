//! A study: arms of one training configuration, each trained with several seeds on data with a planted confounder and evaluated
//! on sets in which the confounder correlates with the prompt, with nothing, or with the opposite.
//!
//! Everything is fixed by one file before it begins ([`StudyConfig`]): data, epochs, arms, seeds. [`Study::run`] trains and
//! evaluates the unfinished runs; [`summarise`] computes the figures of finished ones, and `report` writes pages for people.

mod config;
mod judge;
mod report;
mod run;
mod summary;

pub use config::{Arm, Confounded, StudyConfig};
pub use judge::{CaseResult, MaskUse, SetResults};
pub use report::{write_report, write_results};
pub use run::{Progress, RunResult, Study};
pub use summary::{ArmSummary, Interval, SetSummary, Summary, Verdict, summarise};

use crate::checkpoint::CheckpointError;
use crate::confound::ConfoundError;
use crate::data::DataError;
use crate::evaluate::EvaluateError;
use crate::model::HeldMaskError;
use crate::pack::PackError;
use crate::quantize::QuantiseError;
use crate::train::{ConfigError, TrainError};
use causalclipseg::ModelError;
use causalclipseg::bundle::BundleError;
use causalclipseg::graph::GraphError;
use causalclipseg::io::WriteError;
use std::path::PathBuf;

/// Errors that stop a study.
#[derive(Debug, thiserror::Error)]
pub enum StudyError {
    #[error("cannot read {path}: {source}; check the path and its permissions")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{path} is not a study: {reason}; see converter/studies for examples")]
    Parse { path: PathBuf, reason: String },
    #[error("the arm `{arm}`: {source}")]
    Arm { arm: String, source: ConfigError },
    #[error("{0} contains a study of another configuration; restore that configuration, or choose another folder")]
    OtherStudy(PathBuf),
    #[error("no run of the baseline `{0}` is finished yet, so nothing can be compared; continue the study")]
    NoBaseline(String),
    #[error("the prompts cannot be encoded: {0}")]
    Prompt(#[from] causalclipseg::prompt::PromptError),
    #[error(transparent)]
    Confound(#[from] ConfoundError),
    #[error(transparent)]
    Data(#[from] DataError),
    #[error(transparent)]
    Train(#[from] TrainError),
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    #[error(transparent)]
    Graph(#[from] GraphError),
    #[error(transparent)]
    Masks(#[from] HeldMaskError),
    #[error(transparent)]
    Quantise(#[from] QuantiseError),
    #[error(transparent)]
    Pack(#[from] PackError),
    #[error(transparent)]
    Bundle(#[from] BundleError),
    #[error(transparent)]
    Model(#[from] ModelError),
    #[error(transparent)]
    Evaluate(#[from] EvaluateError),
    #[error(transparent)]
    Write(#[from] WriteError),
}
