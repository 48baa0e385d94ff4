//! A study: arms of one training configuration, each trained with several seeds on data with a planted confounder and judged on
//! sets in which the confounder goes with what is asked for, with nothing, or with the opposite.
//!
//! Everything is fixed by one file before it begins ([`StudyConfig`]): data, epochs, arms, seeds. [`Study::run`] trains and judges
//! what is not done yet; [`summarise`] makes the figures of what is, and `report` pages for people.

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
use crate::model::MaskError;
use crate::pack::PackError;
use crate::quantize::QuantiseError;
use crate::train::{ConfigError, TrainError};
use causalclipseg::ModelError;
use causalclipseg::bundle::BundleError;
use causalclipseg::graph::GraphError;
use causalclipseg::io::WriteError;
use std::path::PathBuf;

/// Why a study does not go on.
#[derive(Debug, thiserror::Error)]
pub enum StudyError {
    #[error("cannot read {path}: {source}; check the path and its permissions")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{path} is no study: {reason}; see converter/studies for one that is")]
    Parse { path: PathBuf, reason: String },
    #[error("the arm `{arm}`: {source}")]
    Arm { arm: String, source: ConfigError },
    #[error("{0} holds a study of another configuration; give it again as it was, or choose another folder")]
    OtherStudy(PathBuf),
    #[error(
        "no run of the baseline `{0}` is finished yet, so that there is nothing to compare with; continue the study"
    )]
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
    Masks(#[from] MaskError),
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
