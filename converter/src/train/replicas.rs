//! Data-parallel passes: each replica of the network runs its share of a batch, on its device or, if several share a device, on a
//! thread of its own.
//!
//! Gradients are summed and batch norms' running statistics averaged, each share weighted by its questions. A batch norm
//! normalises by the statistics of its own share, as in PyTorch's data-parallel training by default: statistics are those of a
//! batch of the share's size, steps those of the whole batch.

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
    /// The images and their views, with the prompts of both, if the batch has views.
    pub viewed: Option<(Tensor<4>, TokenBatch)>,
    /// Each image's confounder, if known.
    pub confounders: Vec<Option<usize>>,
    /// The teacher's logits, if there is one.
    pub taught: Option<Tensor<4>>,
    device: Device,
    /// The share's fraction of the batch's questions.
    pub weight: f32,
}

/// The result of a pass over a share.
pub(super) struct Pass {
    /// The gradients of the share's loss times its weight.
    pub gradients: NamedTensors,
    /// Means over the share's questions, still on its device, since reading them at once would stall a GPU.
    pub numbers: Vec<Tensor<1>>,
}

/// Distributes a batch over devices. Each share has at least two images, as batch norm requires; a batch that is too small for
/// all devices goes to the first of them.
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
        taught: None,
        weight: part.tokens.len() as f32 / questions,
        device: device.clone(),
    };
    batch.split(count).into_iter().zip(devices).map(share).collect()
}

/// Runs `pass` on each share; all shares update the network's running statistics.
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
