//! A run: epochs of games, validation, a log, and states to continue from.
//!
//! Its folder has `config.toml` (the configuration), `log.jsonl` (one record for each epoch), `state.safetensors` (the state to
//! resume from), `best.safetensors` (the checkpoint of the best validation) and, once done, `final.safetensors`.

use super::average::WeightAverage;
use super::config::{Phase, TrainingConfig};
use super::device::panic_text;
use super::distillation::{self, Teacher, TeacherFile};
use super::epoch_log::{self, EpochRecord};
use super::error::TrainError;
use super::evaluation::{Score, evaluate};
use super::game::{Game, Outcome};
use super::loader::{self, Loader};
use super::network::{Network, ParameterTable, to_numbers};
use super::optimizer::Adam;
use super::source::{Batch, Source};
use super::state::{Best, EpochSums, Progress, State, StateParts, restore_average, write_whole};
use super::variants::naming;
use crate::checkpoint::{Checkpoint, Storage};
use crate::model::{Architecture, Masks, TextEncoder, open_masks};
use burn::tensor::Device;
use causalclipseg::bundle::{Note, Provenance};
use causalclipseg::graph::{GraphError, Weights};
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::Builder;
use std::time::Instant;

const CONFIG: &str = "config.toml";
const LOG: &str = "log.jsonl";
const STATE: &str = "state.safetensors";
const BEST: &str = "best.safetensors";
const FINAL: &str = "final.safetensors";
const POSITIONS: &str = "backbone.visual.attnpool.positional_embedding";

/// The training and validation data of a run.
pub struct Data<'a> {
    pub training: &'a dyn Source,
    pub validation: &'a dyn Source,
    /// Composed pairs whose prompt names one of two lesions.
    pub validation_pairs: Option<&'a dyn Source>,
    /// The origin of the data, for the checkpoints' metadata.
    pub origin: String,
    /// The words of the training prompts in lower case, for the checkpoints' metadata: a bundle can then recognise words that its
    /// model was not trained on.
    pub words: BTreeSet<String>,
    /// Identifies these data, so that a run is not resumed with samples that it held out; may be empty.
    pub digest: String,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Ending {
    Finished {
        best: Option<Best>,
    },
    /// Validation did not improve for as long as the configuration allows.
    Stalled {
        best: Option<Best>,
    },
    /// Stopped on request; the state is written.
    Interrupted {
        epoch: usize,
        batch: usize,
    },
}

/// The results of an epoch's validation, as far as configured.
#[derive(Default)]
struct Validation {
    single: Option<Score>,
    pairs: Option<Score>,
}

/// Receives the progress of a run.
pub trait Observer {
    /// Called after each batch; the epoch has `batches`.
    fn batch(&mut self, _epoch: usize, _batch: usize, _batches: usize, _outcome: &Outcome) {}
    /// Called after each epoch.
    fn epoch(&mut self, _record: &EpochRecord) {}
}

/// A run in progress.
pub struct Run<'a> {
    config: TrainingConfig,
    folder: PathBuf,
    data: Data<'a>,
    architecture: Architecture,
    network: Network,
    /// The device of each replica, the network's first.
    devices: Vec<Device>,
    average: Option<WeightAverage>,
    game: Game,
    teacher: Option<TeacherFile>,
    progress: Progress,
}

impl<'a> Run<'a> {
    /// Begins a run in a new folder, from the given checkpoint's weights. Each entry of `devices`, also a repeated one, gets a
    /// replica of the network that runs its share of every batch.
    pub fn start(
        config: TrainingConfig,
        start: Checkpoint,
        data: Data<'a>,
        folder: &Path,
        devices: &[Device],
    ) -> Result<Self, TrainError> {
        let device = devices.first().ok_or(TrainError::NoDevice)?;
        if folder.join(STATE).exists() || folder.join(CONFIG).exists() {
            return Err(TrainError::Exists(folder.into()));
        }
        config.validate()?;
        check_counts(&data)?;
        if start.architecture.masks == Masks::Open {
            return Err(TrainError::NoMasks);
        }
        let mut start = start.resized(config.phase(0).size)?;
        if !config.game.causal {
            open_masks(&start.architecture, &mut start.weights)?;
        }
        let mut network = Network::new(start.architecture.describe()?, &start.weights, device)?;
        attach_naming(&mut network, &config, data.training, None)?;
        let average =
            (config.average_decay > 0.0).then(|| WeightAverage::new(&network.parameters, config.average_decay));
        let [theta, phi] = Game::optimizers(&config.optimizer).map(Adam::new);
        let teacher = TeacherFile::load(&config.distillation, &start.architecture, config.fit)?;
        let taught_by = distillation::at_size(teacher.as_ref(), start.architecture.input_size, devices)?;
        let game = new_game(&network, &config, [theta, phi], devices, taught_by)?;
        check_frozen(&network, &game, &config.game.frozen)?;
        std::fs::create_dir_all(folder).map_err(TrainError::write(folder))?;
        write_whole(&folder.join(CONFIG), config.to_toml().as_bytes())?;
        let mut words = start.provenance.words().clone();
        words.extend(data.words.iter().cloned());
        let data_digest = data.digest.clone();
        let teacher_digest = teacher.as_ref().map_or_else(String::new, |teacher| teacher.digest.clone());
        let run = Self {
            config,
            folder: folder.into(),
            data,
            architecture: start.architecture,
            network,
            devices: devices.to_vec(),
            average,
            game,
            teacher,
            progress: Progress { words, data_digest, teacher_digest, ..Progress::default() },
        };
        run.save()?;
        Ok(run)
    }

    /// Continues the run in a folder.
    pub fn resume(data: Data<'a>, folder: &Path, devices: &[Device]) -> Result<Self, TrainError> {
        let device = devices.first().ok_or(TrainError::NoDevice)?;
        if !folder.join(STATE).exists() {
            return Err(TrainError::NothingToResume(folder.into()));
        }
        let config = TrainingConfig::load(&folder.join(CONFIG))?;
        check_counts(&data)?;
        let state = State::load(&folder.join(STATE))?;
        let mut progress = state.progress;
        if !progress.data_digest.is_empty() && progress.data_digest != data.digest {
            return Err(TrainError::OtherData(folder.into()));
        }
        progress.words.extend(data.words.iter().cloned());
        let mut network = Network::new(state.architecture.describe()?, &state.weights, device)?;
        attach_naming(&mut network, &config, data.training, Some(&state.weights))?;
        let average = restore_average(state.average, config.average_decay, device);
        let [theta, phi] = Game::optimizers(&config.optimizer);
        let theta = Adam::restore(theta, state.theta, device);
        let phi = Adam::restore(phi, state.phi, device);
        let teacher = TeacherFile::load(&config.distillation, &state.architecture, config.fit)?;
        if progress.teacher_digest != teacher.as_ref().map_or("", |teacher| teacher.digest.as_str()) {
            return Err(TrainError::OtherTeacher(folder.into()));
        }
        let taught_by = distillation::at_size(teacher.as_ref(), state.architecture.input_size, devices)?;
        let game = new_game(&network, &config, [theta, phi], devices, taught_by)?;
        let run = Self {
            config,
            folder: folder.into(),
            data,
            architecture: state.architecture,
            network,
            devices: devices.to_vec(),
            average,
            game,
            teacher,
            progress,
        };
        epoch_log::trim(&run.folder.join(LOG), run.progress.epoch)?;
        Ok(run)
    }

    pub fn config(&self) -> &TrainingConfig {
        &self.config
    }

    /// Runs until the last epoch, a stall, or `stop`.
    ///
    /// # Errors
    /// Where the device fails, weights may be lost or half moved: the last state is kept. Where the data fail, the network is
    /// whole, and the state of that moment is written.
    pub fn go(&mut self, stop: &AtomicBool, observer: &mut dyn Observer) -> Result<Ending, TrainError> {
        match self.on_device(|run| run.advance(stop, observer)) {
            Err(problem @ TrainError::Source { .. }) => match self.on_device(|run| run.save()) {
                Ok(()) => Err(TrainError::Saved { problem: problem.into(), state: self.folder.join(STATE) }),
                Err(unsaved) => {
                    log::warn!("{unsaved}");
                    Err(problem)
                }
            },
            ended => ended,
        }
    }

    /// Backends panic if a device runs out of memory or is disconnected: in a step, in validation, when weights are copied.
    fn on_device<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T, TrainError>) -> Result<T, TrainError> {
        catch_unwind(AssertUnwindSafe(|| work(self))).unwrap_or_else(|panic| {
            Err(TrainError::Device {
                reason: panic_text(&*panic),
                epoch: self.progress.epoch,
                batch: self.progress.batch,
                state: self.folder.join(STATE),
            })
        })
    }

    fn advance(&mut self, stop: &AtomicBool, observer: &mut dyn Observer) -> Result<Ending, TrainError> {
        while !self.is_over() {
            self.begin_epoch()?;
            if !self.train_epoch(stop, observer)? {
                return self.interrupted();
            }
            let began = Instant::now();
            let Some(validation) = self.validate(stop)? else { return self.interrupted() };
            self.progress.seconds += began.elapsed().as_secs_f64();
            self.finish_epoch(validation, observer)?;
            if self.has_stalled() {
                self.checkpoint(FINAL)?;
                return Ok(Ending::Stalled { best: self.progress.best });
            }
        }
        self.checkpoint(FINAL)?;
        Ok(Ending::Finished { best: self.progress.best })
    }

    /// The completed fraction, 0 to 1, of a run with a time limit.
    fn spent(&self) -> Option<f64> {
        let budget = self.config.budget_minutes * 60.0;
        (budget > 0.0).then(|| (self.progress.seconds / budget).min(1.0))
    }

    fn is_over(&self) -> bool {
        self.spent().map_or(self.progress.epoch >= self.config.epochs(), |spent| spent >= 1.0)
    }

    /// The position in the schedule, in epochs, when this fraction of the current epoch is done.
    fn position(&self, part: f64) -> f64 {
        let by_epochs = self.progress.epoch as f64 + part;
        self.spent().map_or(by_epochs, |spent| spent * self.config.epochs() as f64)
    }

    fn interrupted(&self) -> Result<Ending, TrainError> {
        self.save()?;
        Ok(Ending::Interrupted { epoch: self.progress.epoch, batch: self.progress.batch })
    }

    /// Returns false if `stop` was set.
    fn train_epoch(&mut self, stop: &AtomicBool, observer: &mut dyn Observer) -> Result<bool, TrainError> {
        let epoch = self.progress.epoch;
        let Phase { batch, size, .. } = self.config.phases[self.progress.phase];
        let batches = loader::batches(self.data.training.count(), batch, self.config.seed, epoch);
        let count = batches.len();
        let rest = batches.into_iter().skip(self.progress.batch).collect();
        let source = self.data.training;
        let threads = self.config.loader_threads;
        std::thread::scope(|scope| {
            let failed = |source| TrainError::Source { split: "training", source };
            let mut loader = Loader::start(Builder::new, scope, source, rest, epoch, size, threads).map_err(failed)?;
            let mut began = Instant::now();
            while self.progress.batch < count {
                if stop.load(Ordering::Relaxed) {
                    return Ok(false);
                }
                let batch = loader.next().map_err(failed)?;
                check_prompts(&self.architecture, &batch, "training")?;
                let position = self.position(self.progress.batch as f64 / count as f64);
                let factor = self.config.schedule.factor(position, self.config.epochs());
                let step = self.progress.step;
                let outcome = self.game.play(&mut self.network, &batch, epoch, step, factor);
                if !outcome.is_finite() {
                    return Err(self.not_finite(&outcome));
                }
                if let Some(average) = &mut self.average {
                    average.update(&self.network.parameters);
                }
                self.count(&outcome, batch.len(), began);
                began = Instant::now();
                observer.batch(epoch, self.progress.batch, count, &outcome);
                let every = self.config.save_every_batches as u64;
                if every > 0 && self.progress.step.is_multiple_of(every) {
                    self.save()?;
                }
                if self.spent() == Some(1.0) {
                    break;
                }
            }
            Ok(true)
        })
    }

    fn count(&mut self, outcome: &Outcome, images: usize, began: Instant) {
        let sums = &mut self.progress.sums;
        sums.pred.add(outcome.pred);
        outcome.pred_ad.into_iter().for_each(|value| sums.pred_ad.add(value));
        outcome.phi.into_iter().for_each(|value| sums.phi.add(value));
        for (sum, mean) in sums.masks.iter_mut().zip(outcome.masks.iter().flatten()) {
            sum.add(*mean);
        }
        sums.gradient_norm.add(outcome.gradient_norm);
        outcome.distillation.into_iter().for_each(|value| sums.distillation.add(value));
        sums.images += images;
        let seconds = began.elapsed().as_secs_f64();
        sums.seconds += seconds;
        self.progress.seconds += seconds;
        self.progress.batch += 1;
        self.progress.step += 1;
    }

    fn not_finite(&self, outcome: &Outcome) -> TrainError {
        TrainError::NotFinite {
            epoch: self.progress.epoch,
            batch: self.progress.batch,
            pred: outcome.pred,
            pred_ad: outcome.pred_ad.unwrap_or(0.0),
            phi: outcome.phi.unwrap_or(0.0),
            state: self.folder.join(STATE),
        }
    }

    /// Outer `None`: stopped. Inner `None`: this epoch is not validated.
    fn validate(&self, stop: &AtomicBool) -> Result<Option<Validation>, TrainError> {
        let done = self.progress.epoch + 1;
        let is_last = self.spent().map_or(done == self.config.epochs(), |spent| spent >= 1.0);
        if !done.is_multiple_of(self.config.validate_every.max(1)) && !is_last {
            return Ok(Some(Validation::default()));
        }
        let mut network = self.network.clone();
        if let Some(average) = &self.average {
            average.write_to(&mut network.parameters);
        }
        let architecture = &self.architecture;
        let form = self.config.game.upsampled_conv;
        let mut score = |source| evaluate(&mut network, architecture, source, self.config.validation_batch, form, stop);
        let Some(single) = score(self.data.validation)? else { return Ok(None) };
        let pairs = match self.data.validation_pairs {
            None => None,
            Some(source) => match score(source)? {
                None => return Ok(None),
                pairs => pairs,
            },
        };
        Ok(Some(Validation { single: Some(single), pairs }))
    }

    fn finish_epoch(&mut self, validation: Validation, observer: &mut dyn Observer) -> Result<(), TrainError> {
        // Before the checkpoint of the best validation.
        self.check_weights()?;
        let EpochSums { pred, pred_ad, phi, masks, gradient_norm, distillation, images, seconds } =
            std::mem::take(&mut self.progress.sums);
        let Validation { single: score, pairs } = validation;
        let epoch = self.progress.epoch;
        let record = EpochRecord {
            epoch,
            size: self.architecture.input_size,
            learning_rate: self.config.optimizer.learning_rate
                * self.config.schedule.factor(self.position(1.0), self.config.epochs()),
            pred: pred.mean(),
            pred_ad: pred_ad.mean(),
            phi: phi.mean(),
            mask_means: masks.map(|sum| sum.mean()),
            gradient_norm: gradient_norm.mean(),
            distillation: distillation.mean(),
            validation_dice: score.map(|score| score.dice),
            validation_iou: score.map(|score| score.iou),
            pairs_dice: pairs.map(|score| score.dice),
            images_per_second: images as f64 / seconds.max(f64::MIN_POSITIVE),
            seconds,
        };
        if let Some(score) = score
            && self.progress.best.is_none_or(|best| score.dice > best.dice)
        {
            self.progress.best = Some(Best { epoch, dice: score.dice });
            self.checkpoint(BEST)?;
        }
        self.progress.epoch += 1;
        self.progress.batch = 0;
        // The log first: a resumed run drops records of epochs that its state has not seen.
        epoch_log::append(&self.folder.join(LOG), &record)?;
        self.save()?;
        observer.epoch(&record);
        Ok(())
    }

    fn has_stalled(&self) -> bool {
        let patience = self.config.patience_epochs;
        patience > 0 && self.progress.best.is_some_and(|best| self.progress.epoch > best.epoch + patience)
    }

    /// Selects the epoch's phase, and resizes the network to its size. The attention pool's positions are the only weights that
    /// depend on it; they are resized, and their moments are reset.
    fn begin_epoch(&mut self) -> Result<(), TrainError> {
        if self.progress.batch == 0 {
            self.progress.phase = self.config.phase_number(self.position(0.0) as usize);
        }
        let Some(size) = self.config.phases.get(self.progress.phase).map(|phase| phase.size) else {
            return Err(TrainError::State { path: self.folder.join(STATE), reason: "its phase is missing".into() });
        };
        if size == self.architecture.input_size {
            return Ok(());
        }
        let resized = |weights: Weights, architecture: &Architecture| {
            let provenance = Provenance::default();
            Checkpoint { architecture: architecture.clone(), weights, provenance }.resized(size)
        };
        let checkpoint = resized(self.network.parameters.to_weights(), &self.architecture)?;
        let device = self.network.device().clone();
        let mut network = Network::new(checkpoint.architecture.describe()?, &checkpoint.weights, &device)?;
        attach_naming(&mut network, &self.config, self.data.training, Some(&self.network.parameters.to_weights()))?;
        if let Some(average) = &mut self.average {
            let mut table: ParameterTable = self.network.parameters.clone();
            average.write_to(&mut table);
            let averaged = Network::new(
                checkpoint.architecture.describe()?,
                &resized(table.to_weights(), &self.architecture)?.weights,
                &device,
            )?;
            average.replace(POSITIONS, averaged.parameters.get(POSITIONS).values.clone());
        }
        let (theta, phi) = (self.game.theta.state(), self.game.phi.state());
        let [theta_config, phi_config] = Game::optimizers(&self.config.optimizer);
        let mut theta = Adam::restore(theta_config, theta, &device);
        theta.forget(POSITIONS);
        let phi = Adam::restore(phi_config, phi, &device);
        let taught_by = distillation::at_size(self.teacher.as_ref(), size, &self.devices)?;
        self.game = new_game(&network, &self.config, [theta, phi], &self.devices, taught_by)?;
        self.network = network;
        self.architecture = checkpoint.architecture;
        Ok(())
    }

    /// Writes the averaged weights, which evaluation and export use.
    fn checkpoint(&self, name: &str) -> Result<(), TrainError> {
        let mut table = self.network.parameters.clone();
        if let Some(average) = &self.average {
            average.write_to(&mut table);
        }
        let mut provenance = Provenance::default();
        provenance.set_trained(true);
        provenance.set_seed(self.config.seed);
        provenance.note(Note::Data, self.data.origin.as_str());
        provenance.note(Note::Epochs, (self.progress.epoch + usize::from(name == BEST)).to_string());
        provenance.set_words(self.progress.words.clone());
        // The configuration was checked.
        let _ = provenance.set_fit(self.config.fit);
        if let Some(best) = self.progress.best {
            provenance.note(Note::BestValidationDice, format!("{:.4}", best.dice));
        }
        let mut weights = table.to_weights();
        weights.retain(|name, _| !name.starts_with(naming::PREFIX));
        let checkpoint = Checkpoint { architecture: self.architecture.clone(), weights, provenance };
        checkpoint.save(&self.folder.join(name), Storage::F32)?;
        Ok(())
    }

    fn save(&self) -> Result<(), TrainError> {
        self.check_weights()?;
        let state = StateParts {
            architecture: &self.architecture,
            progress: &self.progress,
            parameters: &self.network.parameters,
            average: self.average.as_ref(),
            theta: &self.game.theta,
            phi: &self.game.phi,
        };
        state.save(&self.folder.join(STATE))
    }

    /// Refuses weights that are finite but absurdly large, from which a run can't recover.
    fn check_weights(&self) -> Result<(), TrainError> {
        const MOST: f32 = 1e6;
        for (name, weight) in self.network.parameters.iter() {
            let values = to_numbers(&weight.values);
            if let Some(value) = values.iter().find(|value| value.is_nan() || value.abs() > MOST) {
                return Err(TrainError::Diverged {
                    weight: name.into(),
                    value: *value,
                    epoch: self.progress.epoch,
                    batch: self.progress.batch,
                    state: self.folder.join(STATE),
                });
            }
        }
        Ok(())
    }
}

fn new_game(
    network: &Network,
    config: &TrainingConfig,
    [theta, phi]: [Adam; 2],
    devices: &[Device],
    teacher: Option<Teacher>,
) -> Result<Game, GraphError> {
    let graph = network.graph();
    let game = Game::new(graph, config.game.clone(), config.loss.clone(), theta, phi)?;
    let game = game.with_variants(graph, &config.variants, config.seed)?.replicated(devices);
    Ok(game.taught(teacher, &config.distillation))
}

/// Adds the layer that names confounders, if configured: a state's layer, or an initial one that guesses.
fn attach_naming(
    network: &mut Network,
    config: &TrainingConfig,
    source: &dyn Source,
    state: Option<&Weights>,
) -> Result<(), TrainError> {
    if config.variants.naming <= 0.0 {
        return Ok(());
    }
    let found = source.confounders();
    if found < 2 {
        return Err(TrainError::NothingToName { found });
    }
    Ok(naming::attach(network, found, state)?)
}

/// Refuses a prefix that matches no weight: a typing error that would silently freeze nothing.
fn check_frozen(network: &Network, game: &Game, frozen: &[String]) -> Result<(), TrainError> {
    let fits = |prefix: &&String| network.parameters.names().any(|name| name.starts_with(prefix.as_str()));
    if let Some(prefix) = frozen.iter().find(|prefix| !fits(prefix)) {
        return Err(TrainError::Frozen { prefix: prefix.clone() });
    }
    match game.player_without_weights() {
        Some(player) => Err(TrainError::NothingToMove { player }),
        None => Ok(()),
    }
}

fn check_counts(data: &Data) -> Result<(), TrainError> {
    for (split, count, least) in [("training", data.training.count(), 2), ("validation", data.validation.count(), 1)] {
        if count < least {
            return Err(TrainError::TooFew { split, count, least });
        }
    }
    Ok(())
}

/// Refuses tokens beyond the network's table, and more tokens than it has positions for, which would make a backend panic.
pub(super) fn check_prompts(architecture: &Architecture, batch: &Batch, split: &'static str) -> Result<(), TrainError> {
    let TextEncoder { vocabulary, context, .. } = architecture.text;
    let refuse = |reason| Err(TrainError::Prompts { split, reason });
    for tokens in &batch.tokens {
        if let Some(token) = tokens.iter().find(|token| **token as usize >= vocabulary) {
            return refuse(format!("token {token} is beyond its vocabulary of {vocabulary}"));
        }
        if tokens.len() > context {
            return refuse(format!("{} tokens are more than its context of {context}", tokens.len()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
