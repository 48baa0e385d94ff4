//! The configuration of a study, read from TOML.

use super::StudyError;
use crate::confound::ConfoundOptions;
use crate::train::{ConfigError, TrainingConfig};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Everything that is fixed before a study begins.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StudyConfig {
    pub name: String,
    /// The seeds of the training runs, the same for all arms.
    pub seeds: Vec<u64>,
    /// The name of the arm that the others are compared with.
    pub baseline: String,
    /// The number of bootstrap resamples.
    #[serde(default = "default_resamples")]
    pub resamples: usize,
    /// The checkpoint that all runs start from, relative to the current folder; without it random weights of the run's seed.
    /// Its architecture replaces the configuration's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<PathBuf>,
    /// How the data are made.
    pub data: Confounded,
    /// A training configuration, as `train --config` reads it, which arms override in part. Its seed is the run's.
    #[serde(default)]
    pub base: toml::Table,
    pub arms: Vec<Arm>,
}

/// The planted confounder.
pub type Confounded = ConfoundOptions;

/// One way to train.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Arm {
    pub name: String,
    /// The arm's changes to the base, table by table.
    #[serde(default, rename = "override")]
    pub changes: toml::Table,
}

fn default_resamples() -> usize {
    2000
}

impl Arm {
    /// The name of its folder.
    pub fn slug(&self) -> String {
        let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
        self.name.chars().map(plain).collect()
    }
}

impl StudyConfig {
    /// Reads a study and checks all of its arms.
    pub fn load(path: &Path) -> Result<Self, StudyError> {
        let text = std::fs::read_to_string(path).map_err(|source| StudyError::Read { path: path.into(), source })?;
        let refuse = |reason: String| StudyError::Parse { path: path.into(), reason };
        let config: Self = toml::from_str(&text).map_err(|error| {
            let line = error.span().map_or(0, |span| text[..span.start].lines().count());
            refuse(format!("line {}: {}", line.max(1), error.message().replace('\n', " ")))
        })?;
        let seeds: BTreeSet<u64> = config.seeds.iter().copied().collect();
        if config.seeds.is_empty() || seeds.len() != config.seeds.len() {
            return Err(refuse("it needs at least one seed, each only once".into()));
        }
        let slugs: BTreeSet<String> = config.arms.iter().map(Arm::slug).collect();
        if slugs.len() != config.arms.len() {
            return Err(refuse("two of its arms have the same name".into()));
        }
        if !config.arms.iter().any(|arm| arm.name == config.baseline) {
            return Err(refuse(format!("its baseline `{}` is not one of its arms", config.baseline)));
        }
        for arm in &config.arms {
            config.training(arm, config.seeds[0])?;
        }
        Ok(config)
    }

    /// The configuration of one run.
    pub fn training(&self, arm: &Arm, seed: u64) -> Result<TrainingConfig, StudyError> {
        let mut table = self.base.clone();
        merge(&mut table, &arm.changes);
        let parse = |error: toml::de::Error| ConfigError::Parse {
            path: self.name.clone().into(),
            reason: error.message().replace('\n', " "),
        };
        let wrap = |source| StudyError::Arm { arm: arm.name.clone(), source };
        let mut config: TrainingConfig = toml::Value::Table(table).try_into().map_err(parse).map_err(wrap)?;
        config.seed = seed;
        config.validate().map_err(wrap)?;
        Ok(config)
    }
}

/// Merges tables and replaces all other values.
fn merge(base: &mut toml::Table, changes: &toml::Table) {
    for (key, value) in changes {
        match (base.get_mut(key), value) {
            (Some(toml::Value::Table(base)), toml::Value::Table(changes)) => merge(base, changes),
            _ => {
                base.insert(key.clone(), value.clone());
            }
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub const STUDY: &str = r#"
        name = "a study"
        seeds = [1, 2]
        baseline = "no module"
        [data]
        mark = "calipers"
        with = "place"
        probability = 0.9
        origin = { phantoms = { training = 4, validation = 1, test = 2, width = 96, height = 96 } }
        [base]
        layers = [1, 1, 1, 1]
        width = 8
        decoder = 32
        average_decay = 0.0
        phases = [{ epochs = 1, size = 32, batch = 4 }]
        validation_pairs = 0
        recipe = { compose = 0.0, flip = 0.0 }
        game = { warmup_epochs = 0 }
        [[arms]]
        name = "no module"
        override = { game = { causal = false } }
        [[arms]]
        name = "the game"
    "#;

    fn load(text: &str) -> Result<StudyConfig, StudyError> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("study.toml");
        std::fs::write(&path, text).unwrap();
        StudyConfig::load(&path)
    }

    #[test]
    fn arms_change_what_they_name_and_nothing_else() {
        let study = load(STUDY).unwrap();
        let [without, with] = [0, 1].map(|arm: usize| study.training(&study.arms[arm], 2).unwrap());
        assert!(!without.game.causal && with.game.causal);
        assert_eq!((without.game.warmup_epochs, without.seed), (0, 2));
        let mut same = without.clone();
        same.game.causal = true;
        assert_eq!(same, with);
        assert_eq!(study.arms[0].slug(), "no-module");
    }

    #[test]
    fn mistakes_are_named() {
        for (from, to, said) in [
            ("seeds = [1, 2]", "seeds = [1, 1]", "seed"),
            ("seeds = [1, 2]", "seeds = [1", "line"),
            ("baseline = \"no module\"", "baseline = \"none\"", "not one of its arms"),
            ("\"the game\"", "\"No-module\"", "same name"),
            ("causal = false", "casual = false", "arm `no module`"),
            ("batch = 4", "batch = 1", "batch"),
        ] {
            let error = load(&STUDY.replace(from, to)).unwrap_err().to_string();
            assert!(error.contains(said) && !error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn studies_of_the_repository_are_read() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("studies");
        let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let studies: Vec<_> = files.filter(|file| file.extension().is_some_and(|end| end == "toml")).collect();
        assert!(!studies.is_empty());
        studies.iter().for_each(|file| {
            StudyConfig::load(file).unwrap();
        });
    }
}
