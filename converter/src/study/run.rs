//! Trains and evaluates the unfinished runs of a study.

use super::judge::judge;
use super::{SetResults, StudyConfig, StudyError};
use crate::checkpoint::Checkpoint;
use crate::confound::{Set, write_sets};
use crate::data::{LoadOptions, Split, digest, load_samples, prompt_words};
use crate::tokenizer::clip_tokenizer_json;
use crate::train::{
    Data, DataSetSource, Ending, EpochRecord, Observer, Outcome, Run, Source, TrainError, TrainingConfig,
    prepare_sizes, random_start, read_log,
};
use burn::tensor::Device;
use causalclipseg::io::{replace_file, write_json};
use causalclipseg::prompt::Tokenizer;
use serde::{Deserialize, Serialize};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

const CONFIG: &str = "study.toml";
const RESULT: &str = "result.json";

/// The result of one finished run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunResult {
    pub arm: String,
    pub seed: u64,
    /// Batches, each with one theta-step: the same in all arms.
    pub theta_steps: u64,
    /// The number of images that went forwards and backwards through the network, counting each view and each phi-step.
    pub image_passes: u64,
    /// The time of training alone.
    pub seconds: f64,
    pub epochs: Vec<EpochRecord>,
    pub sets: Vec<SetResults>,
}

/// Receives the progress of a study.
pub trait Progress {
    fn message(&mut self, text: &str);
}

/// A study in its folder.
pub struct Study {
    pub config: StudyConfig,
    folder: PathBuf,
}

impl Study {
    /// Begins a study, or continues the one in the folder.
    ///
    /// # Errors
    /// [`StudyError::OtherStudy`] if the folder has a study of another configuration.
    pub fn open(config: StudyConfig, folder: &Path) -> Result<Self, StudyError> {
        let path = folder.join(CONFIG);
        let text = toml::to_string(&config)
            .map_err(|error| StudyError::Parse { path: path.clone(), reason: error.to_string() })?;
        match std::fs::read_to_string(&path) {
            Ok(found) if found != text => return Err(StudyError::OtherStudy(folder.into())),
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                std::fs::create_dir_all(folder).map_err(|source| StudyError::Read { path: folder.into(), source })?;
                replace_file(&path, |file| file.write_all(text.as_bytes()))?;
            }
            Err(source) => return Err(StudyError::Read { path, source }),
        }
        Ok(Self { config, folder: folder.into() })
    }

    /// Runs all arms with the first seed, then with the second, and so on, so that an interrupted study has equally many seeds of
    /// each. Returns true when all are done, and false if `stop` was set.
    pub fn run(&self, devices: &[Device], stop: &AtomicBool, progress: &mut dyn Progress) -> Result<bool, StudyError> {
        let start = self.config.start.as_deref().map(Checkpoint::load).transpose()?;
        let data = self.folder.join("data");
        if !data.is_dir() {
            progress.message("writing the data sets");
            for count in write_sets(&data, &self.config.data, || ())?.sets {
                let (set, split) = (count.set.name(), count.split);
                progress
                    .message(&format!("{set} {split}: {} images, the mark agrees in {}", count.images, count.agree));
            }
        }
        let total = self.config.arms.len() * self.config.seeds.len();
        let mut number = 0;
        for seed in &self.config.seeds {
            for arm in &self.config.arms {
                number += 1;
                let folder = self.run_folder(&arm.slug(), *seed);
                if folder.join(RESULT).exists() {
                    continue;
                }
                let training = self.config.training(arm, *seed)?;
                let began = Instant::now();
                if !train(&training, start.as_ref(), &data, &folder, devices, stop)? {
                    return Ok(false);
                }
                let result = self.judge_run(&arm.name, &training, &data, &folder)?;
                let means: Vec<String> = result.sets[..Set::ALL.len()].iter().map(describe).collect();
                progress.message(&format!(
                    "run {number} of {total}, {}, seed {seed}: {}; {:.0} s of training, {:.0} s in all",
                    arm.name,
                    means.join(", "),
                    result.seconds,
                    began.elapsed().as_secs_f64()
                ));
            }
        }
        Ok(true)
    }

    /// The runs that are finished, arm by arm.
    pub fn results(&self) -> Result<Vec<RunResult>, StudyError> {
        let mut results = Vec::new();
        for arm in &self.config.arms {
            for seed in &self.config.seeds {
                let path = self.run_folder(&arm.slug(), *seed).join(RESULT);
                if path.exists() {
                    let text = std::fs::read_to_string(&path)
                        .map_err(|source| StudyError::Read { path: path.clone(), source })?;
                    let parsed = serde_json::from_str(&text);
                    results.push(parsed.map_err(|error| StudyError::Parse { path, reason: error.to_string() })?);
                }
            }
        }
        Ok(results)
    }

    fn run_folder(&self, slug: &str, seed: u64) -> PathBuf {
        self.folder.join("runs").join(slug).join(format!("seed-{seed}"))
    }

    fn judge_run(
        &self,
        arm: &str,
        training: &TrainingConfig,
        data: &Path,
        folder: &Path,
    ) -> Result<RunResult, StudyError> {
        // The last weights, not those of the best validation, which the confounder makes look better.
        let checkpoint = Checkpoint::load(&folder.join("final.safetensors"))?;
        let sets = judge(&checkpoint, data)?;
        let epochs = read_log(&folder.join("log.jsonl"))?;
        let images = load_samples(&data.join(Set::Confounded.name()), Split::Train, &LoadOptions::default())?.len();
        let (theta_steps, image_passes) = compute(training, images * training.epoch_passes);
        let result = RunResult {
            arm: arm.into(),
            seed: training.seed,
            theta_steps,
            image_passes,
            seconds: epochs.iter().map(|epoch| epoch.seconds).sum(),
            epochs,
            sets,
        };
        write_json(&folder.join(RESULT), &result)?;
        // Files that only a run in progress needs; a study has many.
        for done in ["state.safetensors", "best.safetensors"] {
            let _ = std::fs::remove_file(folder.join(done));
        }
        Ok(result)
    }
}

fn describe(results: &SetResults) -> String {
    let mean = results.cases.iter().map(|case| case.dice).sum::<f64>() / results.cases.len().max(1) as f64;
    format!("{} {mean:.3}", results.set.name())
}

/// The numbers of a run's theta-steps, and of its images forwards and backwards.
fn compute(training: &TrainingConfig, images: usize) -> (u64, u64) {
    let (mut steps, mut passes) = (0u64, 0u64);
    for epoch in 0..training.epochs() {
        let batch = training.phase(epoch).batch.min(images);
        let views = if training.variants.has_views() { 2 } else { 1 };
        let has_phi_step = training.game.causal && training.game.adversarial && epoch >= training.game.warmup_epochs;
        for _ in 0..images / batch.max(1) {
            let is_phi = has_phi_step && steps.is_multiple_of(training.game.phi_every.max(1) as u64);
            passes += (batch * (views + usize::from(is_phi))) as u64;
            steps += 1;
        }
    }
    (steps, passes)
}

/// Trains one run to its end; returns false if `stop` was set, after which the same call continues.
fn train(
    config: &TrainingConfig,
    start: Option<&Checkpoint>,
    data: &Path,
    folder: &Path,
    devices: &[Device],
    stop: &AtomicBool,
) -> Result<bool, StudyError> {
    if folder.join("final.safetensors").exists() {
        return Ok(true);
    }
    let options = LoadOptions::default();
    let load = |set: Set, split| load_samples(&data.join(set.name()), split, &options);
    let (training, validation) = (load(Set::Confounded, Split::Train)?, load(Set::Confounded, Split::Val)?);
    let reversed = load(Set::Reversed, Split::Val)?;
    let words = prompt_words(&training, &config.recipe);
    let digest = digest(&[&training, &validation]);
    let sizes: Vec<usize> = config.phases.iter().map(|phase| phase.size).collect();
    let tokenizer = Arc::new(Tokenizer::from_json(&clip_tokenizer_json())?);
    let start = match start {
        Some(checkpoint) => checkpoint.clone(),
        None => random_start(config.architecture().map_err(TrainError::from)?, config.seed)?,
    };
    let context = start.architecture.text.context;
    let source = |samples: &[_], recipe: &crate::data::Recipe| -> Result<DataSetSource, StudyError> {
        let prepared = Arc::new(prepare_sizes(samples, &sizes, &config.fit, recipe.detail(), || ())?);
        Ok(DataSetSource::new(prepared, recipe.clone(), config.seed, Arc::clone(&tokenizer), context))
    };
    let plain = crate::data::Recipe::PLAIN;
    let training = source(&training, &config.recipe)?.repeated(config.epoch_passes);
    let (validation, reversed) = (source(&validation, &plain)?, source(&reversed, &plain)?);
    let data = Data {
        training: &training,
        validation: &validation,
        // In place of composed pairs: the log then shows how the influence of the confounder grows.
        validation_pairs: (config.validation_pairs > 0).then_some(&reversed as &dyn Source),
        origin: "a planted confounder".into(),
        words,
        digest,
    };
    let mut run = if folder.join("state.safetensors").exists() {
        Run::resume(data, folder, devices)?
    } else {
        Run::start(config.clone(), start, data, folder, devices)?
    };
    let ending = run.go(stop, &mut Silent)?;
    Ok(!matches!(ending, Ending::Interrupted { .. }))
}

struct Silent;

impl Observer for Silent {
    fn batch(&mut self, epoch: usize, batch: usize, batches: usize, outcome: &Outcome) {
        log::debug!("epoch {epoch}, batch {batch} of {batches}: loss {:.3}", outcome.pred);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::study::config::tests::STUDY;

    struct Heard(Vec<String>);

    impl Progress for Heard {
        fn message(&mut self, text: &str) {
            self.0.push(text.into());
        }
    }

    #[test]
    fn passes_count_views_and_phi_steps() {
        let study: StudyConfig = toml::from_str(STUDY).unwrap();
        let mut config = study.training(&study.arms[1], 1).unwrap();
        config.phases[0].epochs = 3;
        config.game.warmup_epochs = 1;
        assert_eq!(compute(&config, 9), (6, 6 * 4 + 4 * 4));
        config.game.phi_every = 2;
        assert_eq!(compute(&config, 9), (6, 6 * 4 + 2 * 4));
        config.variants.consistency = 1.0;
        assert_eq!(compute(&config, 9), (6, 6 * 8 + 2 * 4));
        config.game.causal = false;
        assert_eq!(compute(&config, 9), (6, 6 * 8));
    }

    /// Both arms and seeds on the pure Rust backend; finished runs are not trained again.
    #[test]
    fn a_study_runs_resumes_and_repeats() {
        let directory = tempfile::tempdir().unwrap();
        let config: StudyConfig = toml::from_str(STUDY).unwrap();
        let devices = [Device::flex()];
        let run = |config: &StudyConfig, name: &str| {
            let study = Study::open(config.clone(), &directory.path().join(name)).unwrap();
            let mut heard = Heard(Vec::new());
            assert!(study.run(&devices, &AtomicBool::new(false), &mut heard).unwrap());
            (study.results().unwrap(), heard.0)
        };
        let (first, heard) = run(&config, "a");
        assert_eq!(first.len(), 4);
        assert_eq!(heard.iter().filter(|line| line.starts_with("run ")).count(), 4);
        for result in &first {
            assert_eq!(result.sets.len(), 12);
            assert!(result.sets.iter().all(|set| set.cases.len() == 4 && set.cases[0].other.is_some()));
        }
        let (again, heard) = run(&config, "a");
        assert!(again == first && heard.is_empty(), "{heard:?}");
        let (other, _) = run(&StudyConfig { seeds: vec![1], ..config.clone() }, "b");
        for other in &other {
            let same = first.iter().find(|result| (&result.arm, result.seed) == (&other.arm, other.seed)).unwrap();
            assert_eq!(same.sets, other.sets);
        }
        // From a trained network, with its own architecture.
        let mut trained =
            random_start(config.training(&config.arms[0], 3).unwrap().architecture().unwrap(), 3).unwrap();
        trained = crate::train::deepen(trained, [2, 1, 1, 1], 3).unwrap();
        let path = directory.path().join("trained.safetensors");
        trained.save(&path, crate::checkpoint::Storage::F32).unwrap();
        let from = StudyConfig { start: Some(path), seeds: vec![1], ..config.clone() };
        let (started, _) = run(&from, "c");
        assert!(started.len() == 2 && started[0].sets != first[0].sets);
        let last = directory.path().join("c/runs/no-module/seed-1/final.safetensors");
        assert_eq!(Checkpoint::load(&last).unwrap().architecture.image.layers, [2, 1, 1, 1]);
        let missing = StudyConfig { start: Some("missing.safetensors".into()), ..config.clone() };
        let study = Study::open(missing, &directory.path().join("d")).unwrap();
        let failed = study.run(&devices, &AtomicBool::new(false), &mut Heard(Vec::new()));
        assert!(matches!(failed, Err(StudyError::Checkpoint(_))), "{failed:?}");
        let changed = StudyConfig { seeds: vec![9], ..config.clone() };
        assert!(matches!(Study::open(changed, &directory.path().join("a")), Err(StudyError::OtherStudy(_))));
        let summary = crate::study::summarise(&config, &first).unwrap();
        let page = crate::study::write_report(directory.path(), &config, &summary, &first).unwrap();
        assert!(std::fs::read_to_string(page).unwrap().contains("the game"));
    }
}
