//! Errors that stop a run.

use super::config::ConfigError;
use super::device::BackendError;
use super::source::SourceError;
use crate::checkpoint::CheckpointError;
use crate::model::{ArchitectureError, HeldMaskError};
use causalclipseg::graph::GraphError;
use causalclipseg::io::WriteError;
use std::path::{Path, PathBuf};

#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Backend(#[from] BackendError),
    #[error("a run needs a device")]
    NoDevice,
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    #[error(
        "the device failed at epoch {epoch}, batch {batch}: {reason}; the last state is kept in {state}: continue with --resume, \
         where memory was short on another --device or as a new run of smaller batches from its best.safetensors"
    )]
    Device { reason: String, epoch: usize, batch: usize, state: PathBuf },
    #[error("the network: {0}")]
    Graph(#[from] GraphError),
    #[error("the network: {0}")]
    Architecture(#[from] ArchitectureError),
    #[error("{path} can't teach this network: {reason}; give another --teacher, or leave it out")]
    Teacher { path: PathBuf, reason: String },
    #[error("the run in {0} was started with another teacher; put its checkpoint back where config.toml says")]
    OtherTeacher(PathBuf),
    #[error("no weight's name begins with `{prefix}`, which game.frozen names; give one such as `backbone.visual.`")]
    Frozen { prefix: String },
    #[error("game.frozen leaves {player} nothing to train; freeze less, or turn off the step that moves it")]
    NothingToMove { player: &'static str },
    #[error(
        "the checkpoint's masks are open, and training needs its maskers; use the checkpoint from before --open-masks"
    )]
    NoMasks,
    #[error(transparent)]
    Masks(#[from] HeldMaskError),
    #[error(
        "variants.naming needs training data with at least two kinds of confounder, and these have {found}; plant marks \
         with `confound`, give data with devices, or set it to 0"
    )]
    NothingToName { found: usize },
    #[error("the {split} data: {source}")]
    Source { split: &'static str, source: SourceError },
    #[error("{problem}; everything up to there is saved in {state}: continue with --resume once that is mended")]
    Saved { problem: Box<TrainError>, state: PathBuf },
    #[error("the {split} data hold {count} examples; at least {least} are needed")]
    TooFew { split: &'static str, count: usize, least: usize },
    #[error("cannot write {path}: {source}; free disk space or choose another folder, then continue with --resume")]
    Write { path: PathBuf, source: std::io::Error },
    #[error("{0}; then continue with --resume")]
    Unwritten(#[from] WriteError),
    #[error("cannot read {path}: {source}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{path} is not the state of a training run: {reason}")]
    State { path: PathBuf, reason: String },
    #[error("{0} already contains a run; continue it with --resume, or choose another folder")]
    Exists(PathBuf),
    #[error("{0} does not contain a run to resume; start one without --resume")]
    NothingToResume(PathBuf),
    #[error(
        "the run in {0} was started with another configuration; resume it without --config, or with one that differs in \
         [optimizer] alone"
    )]
    OtherConfig(PathBuf),
    #[error(
        "the run in {0} was started with other data, another --fold or another --leave-device; give the same again, or start a \
         new run with --init and its best.safetensors"
    )]
    OtherData(PathBuf),
    #[error(
        "the {split} data's prompts do not fit the network: {reason}; train from a checkpoint with CLIP's vocabulary, or leave \
         --init out"
    )]
    Prompts { split: &'static str, reason: String },
    #[error(
        "`{weight}` has grown to {value:e} at epoch {epoch}, batch {batch}: the run diverges; the last good state is kept in \
         {state}: write its config.toml with a lower learning_rate to another file and continue with --resume --config FILE"
    )]
    Diverged { weight: String, value: f32, epoch: usize, batch: usize, state: PathBuf },
    #[error(
        "the loss or gradient is not finite at epoch {epoch}, batch {batch} (pred {pred}, pred_ad {pred_ad}, phi {phi}); \
         the last good state is kept in {state}: write its config.toml with a lower learning_rate to another file and continue \
         with --resume --config FILE"
    )]
    NotFinite { epoch: usize, batch: usize, pred: f32, pred_ad: f32, phi: f32, state: PathBuf },
}

impl TrainError {
    pub(super) fn write(path: &Path) -> impl FnOnce(std::io::Error) -> Self + '_ {
        move |source| Self::Write { path: path.into(), source }
    }
}
