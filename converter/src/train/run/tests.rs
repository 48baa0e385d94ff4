//! What ends a run in its middle: a device that fails, data that cannot be drawn.

use super::*;
use crate::model::{Edition, ImageEncoder};
use crate::train::source::{Example, Question, SourceError};
use crate::train::{GameConfig, OptimizerConfig};
use tempfile::TempDir;

const EXAMPLES: usize = 12;
const BATCH: usize = 4;

/// A bright half of the image; token 5 names the left one and 6 the right one.
#[derive(Default)]
struct Halves {
    /// Epoch and number of an example that fails.
    broken: Option<(usize, usize)>,
    panics: bool,
}

impl Source for Halves {
    fn count(&self) -> usize {
        EXAMPLES
    }

    fn draw(&self, epoch: usize, index: usize, size: usize) -> Result<Example, SourceError> {
        if self.broken == Some((epoch, index)) {
            assert!(!self.panics, "example {index} is broken");
            return Err("the disk is gone".into());
        }
        let side = (epoch + index) % 2;
        let is_inside = |at: usize| (at % size < size / 2) == (side == 0);
        let image = (0..size * size).map(|at| if is_inside(at) { 200 + (index % 7) as u8 } else { 40 }).collect();
        let mask = (0..size * size).map(|at| u8::from(is_inside(at))).collect();
        let questions = vec![Question { tokens: vec![1, 5 + side as u32, 15], mask }];
        Ok(Example { image, questions, fitted: None })
    }
}

fn architecture() -> Architecture {
    Architecture {
        edition: Edition::Tiny,
        input_size: 32,
        image: ImageEncoder { layers: [1, 1, 1, 1], width: 4 },
        text: TextEncoder { vocabulary: 16, context: 8, width: 8, layers: 1, heads: 1 },
        embed: 16,
        decoder: 16,
        ..Architecture::mini()
    }
}

/// Two epochs of three batches, without an average of the weights.
fn config() -> TrainingConfig {
    TrainingConfig {
        phases: vec![Phase { epochs: 2, size: 32, batch: BATCH }],
        game: GameConfig { warmup_epochs: 1, ..GameConfig::default() },
        optimizer: OptimizerConfig { learning_rate: 3e-3, ..OptimizerConfig::default() },
        average_decay: 0.0,
        ..TrainingConfig::default()
    }
}

fn data<'a>(training: &'a dyn Source, validation: &'a dyn Source) -> Data<'a> {
    let (origin, digest) = ("halves".to_string(), String::new());
    Data { training, validation, validation_pairs: None, origin, words: BTreeSet::new(), digest }
}

/// Raises the flag after so many batches.
struct Interrupter<'a>(usize, &'a AtomicBool);

impl Observer for Interrupter<'_> {
    fn batch(&mut self, _: usize, _: usize, _: usize, _: &Outcome) {
        self.0 = self.0.saturating_sub(1);
        self.1.fetch_or(self.0 == 0, Ordering::Relaxed);
    }
}

struct Silent;
impl Observer for Silent {}

/// A folder with a run that nothing disturbed.
struct Desk {
    folder: TempDir,
    devices: [Device; 1],
    healthy: Halves,
}

impl Desk {
    fn new() -> Self {
        let desk = Self { folder: tempfile::tempdir().unwrap(), devices: [Device::flex()], healthy: Halves::default() };
        {
            let mut run = desk.start("whole", data(&desk.healthy, &desk.healthy));
            assert!(matches!(run.go(&AtomicBool::new(false), &mut Silent).unwrap(), Ending::Finished { .. }));
        }
        desk
    }

    fn start<'a>(&self, name: &str, data: Data<'a>) -> Run<'a> {
        let weights = architecture().random_weights(3).unwrap();
        let start = Checkpoint { architecture: architecture(), weights, provenance: Provenance::default() };
        Run::start(config(), start, data, &self.folder.path().join(name), &self.devices).unwrap()
    }

    fn bytes(&self, run: &str, file: &str) -> Vec<u8> {
        std::fs::read(self.folder.path().join(run).join(file)).unwrap()
    }

    /// Where a run's state stands.
    fn position(&self, run: &str) -> (usize, usize) {
        let state = State::load(&self.folder.path().join(run).join(STATE)).unwrap();
        (state.progress.epoch, state.progress.batch)
    }

    /// Continues a run with everything in order: it ends as the one that nothing disturbed.
    fn continue_to_the_end(&self, name: &str) {
        let healthy = data(&self.healthy, &self.healthy);
        let mut run = Run::resume(healthy, &self.folder.path().join(name), &self.devices).unwrap();
        assert!(matches!(run.go(&AtomicBool::new(false), &mut Silent).unwrap(), Ending::Finished { .. }));
        assert_eq!(self.bytes(name, FINAL), self.bytes("whole", FINAL), "{name}");
    }
}

fn line(error: &TrainError) -> String {
    let text = error.to_string();
    assert!(text.contains(STATE) && text.contains("--resume") && !text.contains('\n'), "{text}");
    text
}

/// A weight that lost its numbers makes the backend itself panic at its next use, as it does where a device's memory is gone.
fn lose_a_weight(network: &mut Network) {
    let (name, shape) = {
        let (name, weight) = network.parameters.iter().find(|(_, weight)| weight.shape.len() == 4).unwrap();
        (name.to_string(), weight.shape.clone())
    };
    let device = network.device().clone();
    network.parameters.insert(&name, shape, vec![0.0], &device);
}

/// In a batch, and in the validation after an epoch's last one.
#[test]
fn a_device_that_fails_in_mid_run_ends_it_and_the_last_state_continues() {
    let desk = Desk::new();
    for (name, batches) in [("batch", 1), ("validation", EXAMPLES / BATCH)] {
        let mut run = desk.start(name, data(&desk.healthy, &desk.healthy));
        let stop = AtomicBool::new(false);
        let ending = run.go(&stop, &mut Interrupter(batches, &stop)).unwrap();
        assert_eq!(ending, Ending::Interrupted { epoch: 0, batch: batches });
        let state = desk.bytes(name, STATE);

        lose_a_weight(&mut run.network);
        let error = run.go(&AtomicBool::new(false), &mut Silent).unwrap_err();
        assert!(matches!(&error, TrainError::Device { epoch: 0, batch, .. } if *batch == batches), "{error}");
        assert!(line(&error).contains("the device failed at epoch 0"), "{error}");
        assert!(desk.bytes(name, STATE) == state, "{name}: the state was overwritten");
        assert!(!desk.folder.path().join(name).join(FINAL).exists());
        desk.continue_to_the_end(name);
    }
}

/// The network is whole then, so nothing of the epoch is lost.
#[test]
fn data_that_fail_in_mid_run_end_it_with_the_state_of_that_moment() {
    let desk = Desk::new();
    let second = loader::batches(EXAMPLES, BATCH, config().seed, 1)[1][0];
    for panics in [false, true] {
        let broken = Halves { broken: Some((1, second)), panics };
        let name = if panics { "panic" } else { "error" };
        let mut run = desk.start(name, data(&broken, &desk.healthy));
        let error = run.go(&AtomicBool::new(false), &mut Silent).unwrap_err();
        let told = if panics { "is broken" } else { "the training data: the disk is gone" };
        assert!(matches!(error, TrainError::Saved { .. }) && line(&error).contains(told), "{error}");
        assert_eq!(desk.position(name), (1, 1));
        desk.continue_to_the_end(name);

        let broken = Halves { broken: Some((0, 5)), panics };
        let name = if panics { "validation panic" } else { "validation error" };
        let mut run = desk.start(name, data(&desk.healthy, &broken));
        let error = run.go(&AtomicBool::new(false), &mut Silent).unwrap_err();
        let told = if panics { "is broken" } else { "the validation data: the disk is gone" };
        assert!(matches!(error, TrainError::Saved { .. }) && line(&error).contains(told), "{error}");
        assert_eq!(desk.position(name), (0, EXAMPLES / BATCH));
        desk.continue_to_the_end(name);
    }
}
