//! Data-parallel passes: each replica of the network takes its share of a batch, on a device or, where several have the
//! same device, on a thread of its own.
//!
//! Gradients are summed and batch norms' running statistics averaged, each share by its questions. A batch norm normalises by
//! the statistics of its own share, as PyTorch's data-parallel training does by default: shares of a batch train as
//! batches of that size do, at the pace of the whole.

use super::network::{NamedTensors, Network, TokenBatch, is_running_statistic};
use super::source::Batch;
use burn::tensor::{Device, Tensor};
use std::panic::resume_unwind;
use std::thread;

/// A part of a batch, on its replica's device.
pub(super) struct Share {
    pub images: Tensor<4>,
    pub masks: Tensor<4>,
    pub tokens: TokenBatch,
    /// The images and their views, with the prompts of both, where the batch has views.
    pub viewed: Option<(Tensor<4>, TokenBatch)>,
    /// Which confounder each image shows, where that is known.
    pub confounders: Vec<Option<usize>>,
    device: Device,
    /// Its part of the batch's questions.
    pub weight: f32,
}

/// What a pass over a share found.
pub(super) struct Pass {
    /// Of the share's loss times its weight.
    pub gradients: NamedTensors,
    /// Means over the share's questions, still on its device: to read them there and then would have a GPU wait.
    pub numbers: Vec<Tensor<1>>,
}

/// Deals a batch out to devices. No share has fewer than two images, for batch norm needs company; a batch that is too
/// small for all devices goes to the first of them.
pub(super) fn deal(batch: &Batch, devices: &[Device]) -> Vec<Share> {
    let count = devices.len().min(batch.len() / 2).max(1);
    let questions = batch.tokens.len().max(1) as f32;
    let share = |(part, device): (Batch, &Device)| Share {
        images: part.normalised_images(device),
        masks: part.mask_planes(device),
        tokens: TokenBatch::new(&part.tokens, device),
        viewed: (!part.views.is_empty()).then(|| {
            let tokens = TokenBatch::new(&[part.tokens.as_slice(), part.tokens.as_slice()].concat(), device);
            (part.normalised_with_views(device), tokens)
        }),
        confounders: part.confounders.clone(),
        weight: part.tokens.len() as f32 / questions,
        device: device.clone(),
    };
    batch.split(count).into_iter().zip(devices).map(share).collect()
}

/// Runs `pass` on each share, the network's running statistics moved by all of them.
pub(super) fn run(
    network: &mut Network,
    shares: &[Share],
    pass: &(dyn Fn(&mut Network, &Share) -> Pass + Sync),
) -> Pass {
    if let [share] = shares {
        return pass(network, share);
    }
    let finished: Vec<(Pass, Network)> = thread::scope(|scope| {
        let mut threads = Vec::new();
        for share in shares {
            let mut replica = network.on(&share.device);
            threads.push(scope.spawn(move || (pass(&mut replica, share), replica)));
        }
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic))).collect()
    });
    let device = network.device().clone();
    let mut whole = Pass { gradients: NamedTensors::new(), numbers: Vec::new() };
    let mut statistics = NamedTensors::new();
    for ((found, replica), &Share { weight, .. }) in finished.into_iter().zip(shares) {
        for (name, gradient) in found.gradients {
            add(&mut whole.gradients, name, gradient.to_device(&device));
        }
        for (index, number) in found.numbers.into_iter().enumerate() {
            let part = number.to_device(&device).mul_scalar(weight);
            match whole.numbers.get_mut(index) {
                Some(sum) => *sum = sum.clone().add(part),
                None => whole.numbers.push(part),
            }
        }
        for (name, parameter) in replica.parameters.iter().filter(|(name, _)| is_running_statistic(name)) {
            let part = parameter.values.clone().to_device(&device).mul_scalar(weight);
            add(&mut statistics, name.to_string(), part);
        }
    }
    for (name, values) in statistics {
        network.parameters.set(&name, values);
    }
    whole
}

fn add(sums: &mut NamedTensors, name: String, term: Tensor<1>) {
    let sum = match sums.remove(&name) {
        Some(sum) => sum.add(term),
        None => term,
    };
    sums.insert(name, sum);
}
