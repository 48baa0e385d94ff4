//! Images per second in training, beside PyTorch (`benches/peers/training.py` runs the same network on the same batch):
//! `cargo bench -p causalclipseg-convert --features libtorch --bench training -- --device libtorch --checkpoint CKPT`.
//!
//! The batch is computed by formulas, and the mean and deviation of the logits are printed, to verify that both
//! programs compute the same. Set OMP_NUM_THREADS for libtorch.

use causalclipseg_convert::checkpoint::Checkpoint;
use causalclipseg_convert::model::stage;
use causalclipseg_convert::train::network::{
    Leaves, MaskMode, Mode, Network, NodeTensor, PassPlan, TokenBatch, UpsampledConv,
};
use causalclipseg_convert::train::{Adam, Backend, Batch, Game, GameConfig, LossConfig, OptimizerConfig};
use clap::Parser;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

#[derive(Parser)]
struct Options {
    #[arg(long, value_enum, default_value = "flex")]
    device: Backend,
    #[arg(long)]
    checkpoint: PathBuf,
    #[arg(long, default_value_t = 128)]
    size: usize,
    #[arg(long, default_value_t = 8)]
    batch: usize,
    /// Prompts for each image.
    #[arg(long, default_value_t = 3)]
    prompts: usize,
    #[arg(long, default_value_t = 1)]
    replicas: usize,
    /// Seconds for each row of the result.
    #[arg(long, default_value_t = 15.0)]
    seconds: f64,
    /// Run upsamplings and the convolutions after them separately, instead of at the low resolution.
    #[arg(long)]
    direct: bool,
    /// A flag that Cargo adds.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let options = Options::parse();
    let devices = options.device.devices(options.replicas)?;
    let checkpoint = Checkpoint::load(&options.checkpoint)?.resized(options.size)?;
    let mut network = Network::new(checkpoint.architecture.describe()?, &checkpoint.weights, &devices[0])?;
    let batch = made_batch(&options);
    let (images, tokens) = (batch.normalised_images(&devices[0]), TokenBatch::new(&batch.tokens, &devices[0]));
    let masks = batch.mask_planes(&devices[0]);
    let form = if options.direct { UpsampledConv::Direct } else { UpsampledConv::Blend };
    let plan = PassPlan::new(network.graph(), &[stage::PRED, stage::PRED_AD], MaskMode::Learned, form, false)?;
    let is_weight = |name: &&str| !name.contains(".running_");
    let all: BTreeSet<String> = network.parameters.names().filter(is_weight).map(String::from).collect();
    let loss = LossConfig::default();

    let logits = network.forward(&plan, images.clone(), &tokens, Mode::Training, &Leaves::none());
    if let Some(NodeTensor::Map(logits)) = logits.get(stage::PRED) {
        let values: Vec<f64> = logits.to_data().iter::<f64>().collect();
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / values.len() as f64;
        println!("logits: mean {mean:.5}, deviation {:.5}", variance.sqrt());
    }

    let row = |name: &str, step: &mut dyn FnMut(u64)| {
        step(0);
        let (began, mut seconds) = (Instant::now(), Vec::new());
        while began.elapsed() < Duration::from_secs_f64(options.seconds) || seconds.len() < 3 {
            let started = Instant::now();
            // Two steps, so that each time includes one phi-step.
            (0..2).for_each(&mut *step);
            // A GPU's work continues after its calls return.
            devices.iter().for_each(|device| drop(device.sync()));
            seconds.push(started.elapsed().as_secs_f64() / 2.0);
        }
        seconds.sort_by(f64::total_cmp);
        let median = seconds[seconds.len() / 2];
        println!("{name:24} {:8.2} images/s {:8.1} ms a batch", options.batch as f64 / median, median * 1e3);
    };
    row("forward", &mut |_| {
        let values = network.forward(&plan, images.clone(), &tokens, Mode::Training, &Leaves::none());
        let Some(_) = values.get(stage::PRED) else { unreachable!("the plan yields it") };
    });
    row("forward and backward", &mut |_| {
        let leaves = Leaves::new(&network.parameters, &all);
        let values = network.forward(&plan, images.clone(), &tokens, Mode::Training, &leaves);
        let loss_of = |name| match values.get(name) {
            Some(NodeTensor::Map(map)) => loss.of(map.clone(), masks.clone()),
            _ => unreachable!("the plan yields it"),
        };
        let total = loss_of(stage::PRED).add(loss_of(stage::PRED_AD)).mul_scalar(0.5);
        drop(total.backward());
    });
    let rules = GameConfig { warmup_epochs: 0, phi_every: 2, upsampled_conv: form, ..GameConfig::default() };
    let [theta, phi] = Game::optimizers(&OptimizerConfig::default()).map(Adam::new);
    let mut game = Game::new(network.graph(), rules, loss.clone(), theta, phi)?.replicated(&devices);
    row("min-max, optimiser too", &mut |step| {
        game.play(&mut network, &batch, 0, step, 1.0);
    });
    Ok(())
}

/// Generates images, masks and prompts by formulas that are easy to implement elsewhere.
fn made_batch(options: &Options) -> Batch {
    let (size, area) = (options.size, options.size * options.size);
    let pixel = |image: usize, p: usize| ((p * 31 + image * 17 + p / 128 * 57) % 251) as u8;
    let questions = options.batch * options.prompts;
    Batch {
        size,
        images: (0..options.batch).map(|image| (0..area).map(|p| pixel(image, p)).collect()).collect(),
        views: Vec::new(),
        confounders: vec![None; options.batch],
        fitted: Vec::new(),
        masks: (0..questions * area).map(|p| u8::from(p % size < size / 2 && p % area < area / 2)).collect(),
        tokens: (0..questions as u32).map(|q| vec![49406, 1000 + q, 2000 + 3 * q, 49407]).collect(),
    }
}
