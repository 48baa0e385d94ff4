//! The configuration of a run, read from TOML and recorded beside its results.

use super::distillation::DistillationConfig;
use super::error::TrainError;
use super::game::GameConfig;
use super::loss::LossConfig;
use super::optimizer::OptimizerConfig;
use super::schedule::Schedule;
use super::state::write_whole;
use super::variants::VariantsConfig;
use crate::data::Recipe;
use crate::model::{Architecture, ArchitectureError, Edition};
use causalclipseg::frame::Fit;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// All options of a run. Any part may be left out of the file; the defaults train the tiny edition from scratch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainingConfig {
    /// The network to train without an initial checkpoint.
    pub edition: Edition,
    /// Bottleneck blocks in the image encoder's four stages, instead of the edition's or the checkpoint's. A checkpoint's
    /// stages can only gain some: see [`super::deepen`].
    pub layers: Option<[usize; 4]>,
    /// Channels after the image encoder's stem, instead of the edition's or the checkpoint's. A checkpoint can only gain some: see
    /// [`super::widen`].
    pub width: Option<usize>,
    /// Channels of the decoder, likewise.
    pub decoder: Option<usize>,
    /// Fixes the first weights, the order of examples and their augmentation.
    pub seed: u64,
    /// Phases of epochs at one resolution each, in order.
    pub phases: Vec<Phase>,
    /// How images fill the network's square: `"stretch"`, or `{letterbox = {padding = [0.48, 0.46, 0.41]}}`, which keeps their
    /// proportions and pads them with this red, green and blue, 0 to 1. Checkpoints record it, and `pack`, `export`, `quantize`
    /// and `evaluate` follow the record.
    pub fit: Fit,
    /// Replicas of the network that share each batch: threads on a CPU, or several devices. Batch norms see their own share only,
    /// so a run is reproducible only with the same number.
    pub replicas: usize,
    /// Ends the run after this many minutes of its own time, whatever the machine's speed; 0: no limit. The phases' epochs are
    /// then shares of that time, and the schedule follows the time too, so that it reaches its end on any machine. Such a run is
    /// not exactly reproducible.
    pub budget_minutes: f64,
    /// The share, 0..1, of each `--data`'s samples that an epoch shows, in their order; all samples of those beyond the list.
    /// Successive epochs show different samples.
    pub data_shares: Vec<f64>,
    /// The recipe for training examples: composed pairs, absent lesions, augmentation.
    pub recipe: Recipe,
    pub loss: LossConfig,
    pub game: GameConfig,
    pub variants: VariantsConfig,
    pub distillation: DistillationConfig,
    pub optimizer: OptimizerConfig,
    pub schedule: Schedule,
    /// The decay per step of the moving average of weights that evaluation and export use; 0: they use the weights.
    pub average_decay: f64,
    /// Stops after this many epochs without a better validation Dice; 0: never.
    pub patience_epochs: usize,
    /// Validates after every this many epochs, and after the last.
    pub validate_every: usize,
    /// The batch size of validation.
    pub validation_batch: usize,
    /// Composed pairs of validation images that measure whether the prompt is followed; 0: none.
    pub validation_pairs: usize,
    /// Threads that draw batches ahead of the step. Their number changes the speed only: a GPU would wait for a single thread.
    pub loader_threads: usize,
    /// For `--device libtorch-cuda`: lets cuDNN measure its convolution algorithms and use the fastest. The first batch then
    /// takes half a minute longer, and runs are not exactly reproducible.
    pub measure_convolutions: bool,
    /// The number of passes over the data in an epoch, each drawn anew. A GPU does in a second what takes a CPU minutes: with
    /// many passes, validation, log and state come less often.
    pub epoch_passes: usize,
    /// Writes the state to continue from after every this many batches, in addition to each epoch's end; 0: at the end only.
    pub save_every_batches: usize,
}

/// Some epochs at one resolution.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Phase {
    pub epochs: usize,
    /// Height and width in pixels, a multiple of 32.
    pub size: usize,
    /// Examples in a batch, at least 2, as batch norm requires.
    pub batch: usize,
}

impl Default for TrainingConfig {
    fn default() -> Self {
        Self {
            edition: Edition::Tiny,
            layers: None,
            width: None,
            decoder: None,
            seed: 0,
            phases: vec![Phase { epochs: 40, size: 128, batch: 16 }, Phase { epochs: 20, size: 224, batch: 8 }],
            fit: Fit::Stretch,
            replicas: 1,
            budget_minutes: 0.0,
            data_shares: Vec::new(),
            recipe: Recipe::default(),
            loss: LossConfig::default(),
            game: GameConfig::default(),
            variants: VariantsConfig::default(),
            distillation: DistillationConfig::default(),
            optimizer: OptimizerConfig::default(),
            schedule: Schedule::default(),
            average_decay: 0.998,
            patience_epochs: 0,
            validate_every: 1,
            validation_batch: 16,
            validation_pairs: 64,
            loader_threads: 1,
            measure_convolutions: false,
            epoch_passes: 1,
            save_every_batches: 0,
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read {path}: {source}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{path} is not a training configuration: {reason}")]
    Parse { path: PathBuf, reason: String },
    #[error("{what} is {value}; {allowed}")]
    Range { what: &'static str, value: String, allowed: &'static str },
}

impl TrainingConfig {
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.into(), source })?;
        let config: Self = toml::from_str(&text).map_err(|error| {
            // The crate's message spans lines and draws the position; its first line and the line number are enough.
            let line = error.span().map_or(0, |span| text[..span.start].lines().count());
            let reason = format!("line {}: {}", line.max(1), error.message().replace('\n', " "));
            ConfigError::Parse { path: path.into(), reason }
        })?;
        config.validate()?;
        Ok(config)
    }

    /// The architecture of a run without an initial checkpoint.
    pub fn architecture(&self) -> Result<Architecture, ArchitectureError> {
        let mut architecture = Architecture::of(self.edition, self.phase(0).size);
        architecture.image.layers = self.layers.unwrap_or(architecture.image.layers);
        architecture.image.width = self.width.unwrap_or(architecture.image.width);
        architecture.decoder = self.decoder.unwrap_or(architecture.decoder);
        architecture.validate()?;
        Ok(architecture)
    }

    /// Writes the file completely or not at all.
    pub fn save(&self, path: &Path) -> Result<(), TrainError> {
        write_whole(path, self.to_toml().as_bytes())
    }

    pub fn to_toml(&self) -> String {
        toml::to_string_pretty(self).expect("plain numbers and names")
    }

    pub fn epochs(&self) -> usize {
        self.phases.iter().map(|phase| phase.epochs).sum()
    }

    /// The phase of an epoch; the last one for any later epoch.
    pub fn phase(&self, epoch: usize) -> &Phase {
        self.phases.get(self.phase_number(epoch)).expect("a valid configuration has a phase")
    }

    /// The index of an epoch's phase.
    pub fn phase_number(&self, epoch: usize) -> usize {
        let ends = self.phases.iter().scan(0, |end, phase| {
            *end += phase.epochs;
            Some(*end)
        });
        ends.take_while(|end| epoch >= *end).count().min(self.phases.len().saturating_sub(1))
    }

    pub fn validate(&self) -> Result<(), ConfigError> {
        let refuse = |what, value: String, allowed| Err(ConfigError::Range { what, value, allowed });
        if self.epochs() == 0 || self.epochs() > 100_000 {
            return refuse("the number of epochs", self.epochs().to_string(), "allowed are 1 to 100000");
        }
        for phase in &self.phases {
            if !phase.size.is_multiple_of(32) || !(32..=4096).contains(&phase.size) {
                return refuse("a phase's size", phase.size.to_string(), "it must be a multiple of 32 up to 4096");
            }
            if !(2..=4096).contains(&phase.batch) {
                return refuse("a phase's batch", phase.batch.to_string(), "allowed are 2 to 4096");
            }
            if phase.batch < self.replicas.saturating_mul(2) {
                return refuse("a phase's batch", phase.batch.to_string(), "each replica needs two images of it");
            }
        }
        if !self.fit.is_valid() {
            return refuse("fit's padding", format!("{:?}", self.fit), "it is red, green and blue, each 0 to 1");
        }
        if let Some(share) = self.data_shares.iter().find(|share| !(0.0..=1.0).contains(*share)) {
            return refuse("data_shares", share.to_string(), "each is 0 to 1");
        }
        if !(1..=256).contains(&self.replicas) {
            return refuse("replicas", self.replicas.to_string(), "allowed are 1 to 256");
        }
        if self.game.recompute > 1000 {
            return refuse("game.recompute", self.game.recompute.to_string(), "allowed are 0 to 1000");
        }
        if !(1..=10_000).contains(&self.epoch_passes) {
            return refuse("epoch_passes", self.epoch_passes.to_string(), "allowed are 1 to 10000");
        }
        if !(1..=1024).contains(&self.loader_threads) {
            return refuse("loader_threads", self.loader_threads.to_string(), "allowed are 1 to 1024");
        }
        if !(1..=4096).contains(&self.validation_batch) {
            return refuse("validation_batch", self.validation_batch.to_string(), "allowed are 1 to 4096");
        }
        self.variants.validate()?;
        self.distillation.validate()?;
        if self.variants.naming > 0.0 && (self.recipe.flip > 0.0 || self.recipe.compose > 0.0) {
            let value = format!("{} with recipe.flip or recipe.compose above 0", self.variants.naming);
            return refuse(
                "variants.naming",
                value,
                "a named confounder must stay where the data say it is: set both to 0",
            );
        }
        for (what, value) in [
            ("budget_minutes", self.budget_minutes),
            ("learning_rate", self.optimizer.learning_rate),
            ("masker_factor", self.optimizer.masker_factor),
            ("backbone_factor", self.optimizer.backbone_factor),
            ("weight_decay", self.optimizer.weight_decay),
            ("clip_norm", self.optimizer.clip_norm),
            ("schedule.warmup_epochs", self.schedule.warmup_epochs),
        ] {
            if !value.is_finite() || value < 0.0 {
                return refuse(what, value.to_string(), "it must not be negative");
            }
        }
        for (what, value) in
            [("average_decay", self.average_decay), ("beta1", self.optimizer.beta1), ("beta2", self.optimizer.beta2)]
        {
            if !(0.0..1.0).contains(&value) {
                return refuse(what, value.to_string(), "it must be at least 0 and below 1");
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn survives_its_own_file() {
        for fit in [Fit::Stretch, Fit::Letterbox { padding: [0.5, 0.25, 0.0] }] {
            let config = TrainingConfig { seed: 7, fit, ..TrainingConfig::default() };
            assert_eq!(toml::from_str::<TrainingConfig>(&config.to_toml()).unwrap(), config);
        }
    }

    #[test]
    fn shipped_configurations_are_read() {
        let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models");
        let files = std::fs::read_dir(&models).unwrap().map(|entry| entry.unwrap().path());
        let configurations: Vec<_> = files.filter(|file| file.extension().is_some_and(|end| end == "toml")).collect();
        for file in &configurations {
            TrainingConfig::load(file).unwrap();
        }
        assert!(configurations.len() > 10, "{configurations:?}");
    }

    #[test]
    fn names_what_it_refuses() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        let refusal = |text: &str| {
            std::fs::write(&path, text).unwrap();
            TrainingConfig::load(&path).unwrap_err().to_string()
        };
        assert!(refusal("sed = 1").contains("line 1"));
        assert!(refusal("phases = [{epochs = 1, size = 100, batch = 8}]").contains("multiple of 32"));
        assert!(refusal("fit = {letterbox = {padding = [0.5, 0.5, 1.5]}}").contains("each 0 to 1"));
        assert!(refusal("fit = \"letterbox\"").contains("line 1"));
        assert!(refusal("phases = []").contains("epochs"));
        assert!(refusal("[variants]\nnaming = 1.0").contains("recipe.flip"));
        assert!(refusal("[variants]\ntop_k = 2.0").contains("top_k"));
        assert!(refusal("replicas = 3\nphases = [{epochs = 1, size = 64, batch = 5}]").contains("each replica"));
        assert!(!refusal("seed = \n").contains('\n'));
    }

    #[test]
    fn finds_the_phase_of_an_epoch() {
        let phase = |epochs, size| Phase { epochs, size, batch: 2 };
        let config = TrainingConfig { phases: vec![phase(2, 64), phase(3, 96)], ..TrainingConfig::default() };
        assert_eq!([0, 1, 2, 4, 9].map(|epoch| config.phase(epoch).size), [64, 64, 96, 96, 96]);
    }
}
