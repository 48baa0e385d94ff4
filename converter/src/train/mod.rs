//! Training: the adversarial min-max game on the network of [`crate::model`].
//!
//! [`Run`] is the loop, [`Game`] one batch's moves, [`network`] the network in tensors that can be differentiated, and a
//! [`Source`] yields what is learned.

mod average;
mod config;
mod data_set;
mod device;
mod distillation;
mod epoch_log;
mod error;
mod evaluation;
mod flat;
mod game;
mod loader;
mod loss;
pub mod network;
mod optimizer;
mod replicas;
mod run;
mod schedule;
mod source;
mod start;
mod state;
mod variants;
mod widen;

pub use config::{ConfigError, Phase, TrainingConfig};
pub use data_set::{DataSetSource, prepare_sizes};
pub use device::{Backend, BackendError, panic_text};
pub use distillation::{DistillationConfig, Teacher};
pub use epoch_log::{EpochRecord, read_log};
pub use error::TrainError;
pub use evaluation::{Score, evaluate};
pub use game::{Game, GameConfig, Outcome};
pub use loss::LossConfig;
pub use optimizer::{Adam, AdamState, OptimizerConfig};
pub use run::{Data, Ending, Observer, Run};
pub use schedule::{Decay, Schedule};
pub use source::{Batch, Example, Question, Source, SourceError};
pub use start::{DeepenError, EnlargeError, deepen, enlarge, random_start};
pub use state::Best;
pub use variants::VariantsConfig;
pub use widen::{WidenError, widen};
