//! `train`: trains a network on a data set by the min-max game.

use super::Failure;
use causalclipseg::prompt::Tokenizer;
use causalclipseg_convert::checkpoint::Checkpoint;
use causalclipseg_convert::data::{
    LoadOptions, Recipe, Sample, Split, digest, doubts, load_samples, prompt_words, split_device, split_fold,
};
use causalclipseg_convert::model::Architecture;
use causalclipseg_convert::tokenizer::clip_tokenizer_json;
use causalclipseg_convert::train::{
    Backend, Data, DataSetSource, Ending, EpochRecord, Observer, Outcome, Run, Source, TrainError, TrainingConfig,
    enlarge, panic_text, prepare_sizes, random_start,
};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::collections::BTreeSet;
use std::io::IsTerminal;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Train a network on a data set by the adversarial min-max game
///
/// The run's folder receives config.toml, log.jsonl, state.safetensors (to resume from), best.safetensors (the checkpoint
/// of the best validation) and final.safetensors. Ctrl-C writes the state and ends.
#[derive(Clone, Debug, clap::Args)]
pub struct Train {
    /// A data set's folder, in any layout that `evaluate` reads. May be given several times: all training splits are used, and
    /// the first one's validation split
    #[arg(long, required = true, value_name = "DIR")]
    pub data: Vec<PathBuf>,
    /// A training configuration (TOML); fields that it leaves out have their defaults
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Start from this checkpoint's weights instead of random ones
    #[arg(long, value_name = "CKPT", conflicts_with = "resume")]
    pub init: Option<PathBuf>,
    /// Also draw the network to the answers of this trained checkpoint: the configuration's distillation.teacher. A resumed run
    /// keeps its teacher
    #[arg(long, value_name = "CKPT", conflicts_with = "resume")]
    pub teacher: Option<PathBuf>,
    /// Continue the run in the folder exactly where it stopped
    #[arg(long)]
    pub resume: bool,
    /// The device that computes
    #[arg(long, value_enum, default_value = "flex")]
    pub device: Backend,
    /// Train on all folds of the training split but fold K of N, split by patient, and validate on that one: K/N, K from 0
    #[arg(long, value_name = "K/N", value_parser = parse_fold)]
    pub fold: Option<(usize, usize)>,
    /// Train on the images of all devices except those whose names contain NAME, or one of several separated by commas, and
    /// validate on their images of both splits; `evaluate` has the same flag
    #[arg(long, value_name = "NAME,...", conflicts_with = "fold")]
    pub leave_device: Option<String>,
    /// The run's folder
    #[arg(short, long, value_name = "RUN")]
    pub output: PathBuf,
}

impl Train {
    pub fn run(self) -> Result<(), Failure> {
        // Backends panic if a device fails; that becomes a one-line error, and so does a panic of this program.
        std::panic::set_hook(Box::new(|info| log::debug!("{info}")));
        catch_unwind(AssertUnwindSafe(|| self.train())).unwrap_or_else(|panic| {
            let text = panic_text(&*panic);
            Err(format!("internal error: {text}; please report it, with the output under RUST_LOG=debug").into())
        })
    }

    fn train(self) -> Result<(), Failure> {
        let config = configuration(&self)?;
        self.device.measure_convolutions(config.measure_convolutions);
        let devices = self.device.devices(config.replicas)?;
        let start = if self.resume { None } else { Some(first_weights(&self, &config)?) };
        let sources = Sources::load(&self, &config)?;
        let data = sources.data(&self);
        let stop = Arc::new(AtomicBool::new(false));
        let raised = Arc::clone(&stop);
        ctrlc::set_handler(move || raised.store(true, Ordering::Relaxed))
            .map_err(|error| format!("cannot listen for Ctrl-C: {error}"))?;
        let mut run = match start {
            None => Run::resume(data, &self.output, &devices)?,
            Some(start) => Run::start(config, start, data, &self.output, &devices)?,
        };
        let mut progress = Progress::new();
        let ending = run.go(&stop, &mut progress)?;
        progress.bar.finish_and_clear();
        println!("{}", describe(ending, &self.output));
        Ok(())
    }
}

/// A resumed run keeps the configuration that it began with.
fn configuration(args: &Train) -> Result<TrainingConfig, Failure> {
    let given = args.config.as_deref().map(TrainingConfig::load).transpose()?;
    if !args.resume {
        let mut config = given.unwrap_or_default();
        config.distillation.teacher = args.teacher.clone().or(config.distillation.teacher);
        return Ok(config);
    }
    let recorded = args.output.join("config.toml");
    if !recorded.exists() {
        return Err(TrainError::NothingToResume(args.output.clone()).into());
    }
    let recorded = TrainingConfig::load(&recorded)?;
    match given {
        Some(given) if given == recorded => Ok(recorded),
        // A run that diverged may continue with other rates.
        Some(given) if (TrainingConfig { optimizer: recorded.optimizer.clone(), ..given.clone() }) == recorded => {
            given.save(&args.output.join("config.toml"))?;
            Ok(given)
        }
        Some(_) => Err(TrainError::OtherConfig(args.output.clone()).into()),
        None => Ok(recorded),
    }
}

fn first_weights(args: &Train, config: &TrainingConfig) -> Result<Checkpoint, Failure> {
    if let Some(path) = &args.init {
        let checkpoint = Checkpoint::load(path)?;
        let Architecture { image, decoder, .. } = &checkpoint.architecture;
        let layers = config.layers.unwrap_or(image.layers);
        let widths = [config.width.unwrap_or(image.width), config.decoder.unwrap_or(*decoder)];
        return Ok(
            enlarge(checkpoint, layers, widths, config.seed).map_err(|error| format!("{}: {error}", path.display()))?
        );
    }
    Ok(random_start(config.architecture()?, config.seed)?)
}

/// The splits that a run reads.
struct Sources {
    training: DataSetSource,
    validation: DataSetSource,
    pairs: Option<DataSetSource>,
    words: BTreeSet<String>,
    digest: String,
}

impl Sources {
    fn load(args: &Train, config: &TrainingConfig) -> Result<Self, Failure> {
        let Splits { training, counts, validation } = splits(args, config)?;
        let words = prompt_words(&training, &config.recipe);
        let digest = digest(&[&training, &validation]);
        let sizes: Vec<usize> = config.phases.iter().map(|phase| phase.size).collect();
        let bar = bar("preparing images");
        bar.set_length(((training.len() + validation.len()) * sizes.len()) as u64);
        let training = Arc::new(prepare_sizes(&training, &sizes, &config.fit, config.recipe.detail(), || bar.inc(1))?);
        let validation = Arc::new(prepare_sizes(&validation, &sizes, &config.fit, 1, || bar.inc(1))?);
        bar.finish_and_clear();
        if let Some((training, validation)) = training.values().next().zip(validation.values().next()) {
            doubts(training, validation).iter().for_each(|doubt| log::warn!("{doubt}"));
        }
        let tokenizer = Arc::new(Tokenizer::from_json(&clip_tokenizer_json())?);
        let context = Architecture::of(config.edition, 224).text.context;
        let source = |sizes, recipe| DataSetSource::new(sizes, recipe, config.seed, Arc::clone(&tokenizer), context);
        let all = std::iter::repeat(1.0);
        let shares: Vec<f64> = config.data_shares.iter().copied().chain(all).take(counts.len()).collect();
        let pairs = Recipe { compose: 1.0, ..Recipe::PLAIN };
        Ok(Self {
            training: source(training, config.recipe.clone()).shared(&counts, &shares).repeated(config.epoch_passes),
            pairs: (config.validation_pairs > 0)
                .then(|| source(Arc::clone(&validation), pairs).limited(config.validation_pairs)),
            validation: source(validation, Recipe::PLAIN),
            words,
            digest,
        })
    }

    fn data(&self, args: &Train) -> Data<'_> {
        let names = args.data.iter().filter_map(|folder| folder.file_name()).map(|name| name.to_string_lossy());
        let name = names.collect::<Vec<_>>().join(" + ");
        Data {
            training: &self.training,
            validation: &self.validation,
            validation_pairs: self.pairs.as_ref().map(|source| source as &dyn Source),
            words: self.words.clone(),
            digest: self.digest.clone(),
            origin: match (args.fold, &args.leave_device) {
                (Some((fold, count)), _) => format!("{name}, fold {fold} of {count} held out"),
                (None, Some(device)) => format!("{name}, device {device} held out"),
                (None, None) => name,
            },
        }
    }
}

struct Splits {
    /// The training samples of all data sets, one after the other.
    training: Vec<Sample>,
    /// The number of training samples of each data set.
    counts: Vec<usize>,
    /// The validation samples of the first data set.
    validation: Vec<Sample>,
}

fn splits(args: &Train, config: &TrainingConfig) -> Result<Splits, Failure> {
    let options = LoadOptions::default();
    let [first, others @ ..] = args.data.as_slice() else { return Err("give a data set with --data".into()) };
    let training = load_samples(first, Split::Train, &options)?;
    let (mut training, mut validation) = match args.fold {
        Some((fold, count)) => split_fold(training, fold, count, config.seed)?,
        None => (training, load_samples(first, Split::Val, &options)?),
    };
    if let Some(device) = &args.leave_device {
        validation.extend(training);
        (training, validation) = split_device(validation, device)?;
    }
    let mut counts = vec![training.len()];
    for folder in others {
        let more = load_samples(folder, Split::Train, &options)?;
        counts.push(more.len());
        training.extend(more);
    }
    Ok(Splits { training, counts, validation })
}

/// Shows batches on a progress bar and prints a line for each epoch.
struct Progress {
    bar: ProgressBar,
}

impl Progress {
    fn new() -> Self {
        Self { bar: bar("training") }
    }
}

impl Observer for Progress {
    fn batch(&mut self, epoch: usize, batch: usize, batches: usize, outcome: &Outcome) {
        self.bar.set_length(batches as u64);
        self.bar.set_position(batch as u64);
        self.bar.set_message(format!("epoch {epoch}, loss {:.3}", outcome.pred));
    }

    fn epoch(&mut self, record: &EpochRecord) {
        let number = |value: Option<f64>| value.map_or("-".to_string(), |value| format!("{value:.4}"));
        self.bar.suspend(|| {
            println!(
                "epoch {} at {} px: pred {}{}, pred_ad {}, phi {}, masks {}, Dice {}, IoU {}, pairs {}, {:.1} images/s",
                record.epoch,
                record.size,
                number(record.pred),
                record.distillation.map_or(String::new(), |value| format!(", distillation {value:.4}")),
                number(record.pred_ad),
                number(record.phi),
                record.mask_means.map(number).join("/"),
                number(record.validation_dice),
                number(record.validation_iou),
                number(record.pairs_dice),
                record.images_per_second
            );
        });
    }
}

/// Drawn only where stderr is a terminal.
fn bar(message: &'static str) -> ProgressBar {
    let target =
        if std::io::stderr().is_terminal() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let style =
        ProgressStyle::with_template("{msg} {bar:30} {pos}/{len} {eta}").unwrap_or(ProgressStyle::default_bar());
    ProgressBar::with_draw_target(None, target).with_style(style).with_message(message)
}

fn describe(ending: Ending, folder: &Path) -> String {
    let best = |best: Option<causalclipseg_convert::train::Best>| match best {
        Some(best) => format!(
            "best validation Dice {:.4} after epoch {}: {}",
            best.dice,
            best.epoch,
            folder.join("best.safetensors").display()
        ),
        None => "no epoch was validated".to_string(),
    };
    match ending {
        Ending::Finished { best: found } => best(found),
        Ending::Stalled { best: found } => format!("no better validation for long; {}", best(found)),
        Ending::Interrupted { epoch, batch } => {
            format!("stopped at epoch {epoch}, batch {batch}; continue with --resume")
        }
    }
}

pub(super) fn parse_fold(text: &str) -> Result<(usize, usize), String> {
    let parse = |text: &str| text.trim().parse::<usize>().ok();
    let fold = text.split_once('/').and_then(|(fold, count)| Some((parse(fold)?, parse(count)?)));
    fold.filter(|(fold, count)| fold < count && *count >= 2).ok_or_else(|| "give K/N, such as 0/5, K below N".into())
}
