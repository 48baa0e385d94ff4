//! Adam and AdamW over the parameter table.

use super::network::{NamedTensors, ParameterTable, from_numbers, to_numbers};
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How weights move along their gradients.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OptimizerConfig {
    pub learning_rate: f64,
    /// Times the learning rate, for the maskers' own optimiser.
    pub masker_factor: f64,
    /// Times the learning rate, for the encoders. The parent code's 0.1 is for encoders that come from CLIP; encoders that
    /// start at random need the whole rate.
    pub backbone_factor: f64,
    pub beta1: f64,
    pub beta2: f64,
    pub epsilon: f64,
    /// Not applied to norms, biases, embeddings.
    pub weight_decay: f64,
    /// Decay apart from the gradient (AdamW), or within it (Adam).
    pub decoupled: bool,
    /// The gradient's largest norm over all weights of a step; 0 leaves it alone.
    pub clip_norm: f64,
}

impl Default for OptimizerConfig {
    fn default() -> Self {
        Self {
            learning_rate: 1e-3,
            masker_factor: 1.0,
            backbone_factor: 1.0,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            weight_decay: 1e-4,
            decoupled: true,
            clip_norm: 1.0,
        }
    }
}

impl OptimizerConfig {
    fn rate(&self, name: &str) -> f64 {
        // The attention pool's shortcut is not CLIP's: it always starts at random.
        let is_backbone = name.starts_with("backbone.") && !name.contains(".attnpool.connect.");
        self.learning_rate * if is_backbone { self.backbone_factor } else { 1.0 }
    }

    fn decay(&self, name: &str, rank: usize) -> f64 {
        let is_embedding = name.ends_with("token_embedding.weight") || name.ends_with("positional_embedding");
        if rank < 2 || is_embedding { 0.0 } else { self.weight_decay }
    }
}

/// Averages of one weight's gradients and of their squares.
struct Moments {
    first: Tensor<1>,
    second: Tensor<1>,
}

/// One optimiser: the game has two, which share no state.
pub struct Adam {
    config: OptimizerConfig,
    steps: u64,
    moments: BTreeMap<String, Moments>,
}

/// An optimiser's state on the host.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AdamState {
    pub steps: u64,
    /// For each weight the first and the second moments.
    pub moments: BTreeMap<String, (Vec<f32>, Vec<f32>)>,
}

impl Adam {
    pub fn new(config: OptimizerConfig) -> Self {
        Self { config, steps: 0, moments: BTreeMap::new() }
    }

    /// Moves weights by their gradients, the learning rate times `factor`. Returns the gradients' norm before clipping;
    /// where that is not finite, nothing moves.
    pub(super) fn step(&mut self, table: &mut ParameterTable, gradients: NamedTensors, factor: f64) -> f64 {
        let norm = norm(gradients.values());
        if !norm.is_finite() {
            return norm;
        }
        let is_clipped = self.config.clip_norm > 0.0 && norm > self.config.clip_norm;
        let scale = if is_clipped { self.config.clip_norm / norm } else { 1.0 };
        self.steps += 1;
        for (name, gradient) in gradients {
            let gradient = if is_clipped { gradient.mul_scalar(scale) } else { gradient };
            let parameter = table.get(&name);
            let decay = self.config.decay(&name, parameter.shape.len());
            let moved = self.moved(&name, parameter.values.clone(), gradient, decay, self.config.rate(&name) * factor);
            table.set(&name, moved);
        }
        norm
    }

    fn moved(&mut self, name: &str, weight: Tensor<1>, gradient: Tensor<1>, decay: f64, rate: f64) -> Tensor<1> {
        let OptimizerConfig { beta1, beta2, epsilon, decoupled, .. } = self.config;
        let gradient =
            if decay > 0.0 && !decoupled { gradient.add(weight.clone().mul_scalar(decay)) } else { gradient };
        let squares = gradient.clone().mul(gradient.clone()).mul_scalar(1.0 - beta2);
        let fresh = gradient.mul_scalar(1.0 - beta1);
        let Moments { first, second } = match self.moments.remove(name) {
            Some(old) => Moments {
                first: old.first.mul_scalar(beta1).add(fresh),
                second: old.second.mul_scalar(beta2).add(squares),
            },
            None => Moments { first: fresh, second: squares },
        };
        let steps = self.steps.min(i32::MAX as u64) as i32;
        let (bias1, bias2) = (1.0 - beta1.powi(steps), 1.0 - beta2.powi(steps));
        // m / bias1 / (sqrt(v / bias2) + epsilon), with the constants gathered.
        let root = bias2.sqrt();
        let update =
            first.clone().div(second.clone().sqrt().add_scalar(epsilon * root)).mul_scalar(rate * root / bias1);
        self.moments.insert(name.to_string(), Moments { first, second });
        let weight = if decay > 0.0 && decoupled { weight.mul_scalar(1.0 - rate * decay) } else { weight };
        weight.sub(update)
    }

    /// Forgets a weight's moments, where the weight itself was replaced.
    pub fn forget(&mut self, name: &str) {
        self.moments.remove(name);
    }

    pub fn state(&self) -> AdamState {
        let moments = self
            .moments
            .iter()
            .map(|(name, moments)| (name.clone(), (to_numbers(&moments.first), to_numbers(&moments.second))))
            .collect();
        AdamState { steps: self.steps, moments }
    }

    pub fn restore(config: OptimizerConfig, state: AdamState, device: &Device) -> Self {
        let moments = state
            .moments
            .into_iter()
            .map(|(name, (first, second))| {
                (name, Moments { first: from_numbers(first, device), second: from_numbers(second, device) })
            })
            .collect();
        Self { config, steps: state.steps, moments }
    }
}

/// The Euclidean norm over all tensors, read from the device once.
fn norm<'a>(tensors: impl Iterator<Item = &'a Tensor<1>>) -> f64 {
    let squares: Vec<Tensor<1>> = tensors.map(|tensor| tensor.clone().mul(tensor.clone()).sum()).collect();
    if squares.is_empty() {
        return 0.0;
    }
    to_numbers(&Tensor::cat(squares, 0)).into_iter().map(f64::from).sum::<f64>().sqrt()
}
