//! Adam and AdamW over the parameter table.

use super::flat::FlatParts;
use super::network::{NamedTensors, ParameterTable, from_numbers, to_numbers};
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The options of an optimiser.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OptimizerConfig {
    pub learning_rate: f64,
    /// A factor of the learning rate for the maskers' own optimiser.
    pub masker_factor: f64,
    /// A factor of the learning rate for the encoders. The parent code's 0.1 suits encoders from CLIP; randomly initialised
    /// encoders need the full rate.
    pub backbone_factor: f64,
    pub beta1: f64,
    pub beta2: f64,
    pub epsilon: f64,
    /// Not applied to norms, biases, embeddings.
    pub weight_decay: f64,
    /// Whether the decay is decoupled from the gradient (AdamW) or part of it (Adam).
    pub decoupled: bool,
    /// The largest norm of a step's gradient over all weights; 0: no clipping.
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
        // The attention pool's shortcut is not part of CLIP, so it always starts at random.
        let is_backbone = name.starts_with("backbone.") && !name.contains(".attnpool.connect.");
        self.learning_rate * if is_backbone { self.backbone_factor } else { 1.0 }
    }

    fn decay(&self, name: &str, rank: usize) -> f64 {
        let is_embedding = name.ends_with("token_embedding.weight") || name.ends_with("positional_embedding");
        if rank < 2 || is_embedding { 0.0 } else { self.weight_decay }
    }
}

/// All weights that an optimiser moves, concatenated in one vector: a few operations a step, however many weights there are.
struct Flat {
    parts: FlatParts,
    /// Averages of the gradients and of their squares.
    first: Tensor<1>,
    second: Tensor<1>,
    /// Times the learning rate.
    rates: Factors,
    decays: Factors,
}

/// A number for each weight.
#[expect(clippy::large_enum_variant, reason = "an optimiser has two")]
enum Factors {
    Equal(f64),
    /// One number for each element of the vector.
    Each(Tensor<1>),
}

impl Factors {
    fn new(values: &[f64], parts: &FlatParts, device: &Device) -> Self {
        match values {
            [] => Self::Equal(0.0),
            [first, rest @ ..] if rest.iter().all(|value| value == first) => Self::Equal(*first),
            _ => {
                let each = values.iter().zip(parts.lengths());
                let repeated = each.flat_map(|(value, length)| std::iter::repeat_n(*value as f32, length));
                Self::Each(from_numbers(repeated.collect(), device))
            }
        }
    }

    fn times(&self, values: Tensor<1>) -> Tensor<1> {
        match self {
            Self::Equal(factor) => values.mul_scalar(*factor),
            Self::Each(factors) => values.mul(factors.clone()),
        }
    }

    fn are_zero(&self) -> bool {
        matches!(self, Self::Equal(0.0))
    }
}

/// One optimiser: the game has two, with separate states.
pub struct Adam {
    config: OptimizerConfig,
    steps: u64,
    /// The moments of the weights that the last step moved.
    flat: Option<Flat>,
    /// The moments of all other weights, and of all weights after a restore, until a step moves them.
    resting: BTreeMap<String, (Tensor<1>, Tensor<1>)>,
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
        Self { config, steps: 0, flat: None, resting: BTreeMap::new() }
    }

    /// Moves weights by their gradients, the learning rate times `factor`. Returns the gradients' norm before clipping; if that
    /// is not finite, nothing moves. Weights without a gradient and their moments stay unchanged.
    pub(super) fn step(&mut self, table: &mut ParameterTable, gradients: NamedTensors, factor: f64) -> f64 {
        if gradients.is_empty() {
            return 0.0;
        }
        let (names, gradients): (Vec<String>, Vec<Tensor<1>>) = gradients.into_iter().unzip();
        let gradient = Tensor::cat(gradients, 0);
        let norm = norm(&gradient);
        if !norm.is_finite() {
            return norm;
        }
        let is_clipped = self.config.clip_norm > 0.0 && norm > self.config.clip_norm;
        let gradient = if is_clipped { gradient.mul_scalar(self.config.clip_norm / norm) } else { gradient };
        self.steps += 1;
        let flat = self.flat_of(names, table);
        let parts = flat.parts.clone();
        let moved = self.moved(flat, parts.gather(table), gradient, factor);
        parts.scatter(&moved, table);
        norm
    }

    /// The moments of these weights in one vector each, initially zero.
    fn flat_of(&mut self, names: Vec<String>, table: &ParameterTable) -> Flat {
        match self.flat.take() {
            Some(flat) if flat.parts.names().eq(names.iter()) => return flat,
            Some(flat) => self.rest(&flat),
            None => {}
        }
        let device = table.get(&names[0]).values.device();
        let with_length = |name: String| {
            let length = table.get(&name).length();
            (name, length)
        };
        let parts = FlatParts::new(names.into_iter().map(with_length));
        let moments = parts.iter().map(|(name, range)| {
            let zeros = || Tensor::zeros([range.len()], &device);
            self.resting.remove(name).unwrap_or_else(|| (zeros(), zeros()))
        });
        let (first, second): (Vec<_>, Vec<_>) = moments.unzip();
        let of =
            |value: &dyn Fn(&str) -> f64| Factors::new(&parts.names().map(value).collect::<Vec<_>>(), &parts, &device);
        let rates = of(&|name| self.config.rate(name));
        let decays = of(&|name| self.config.decay(name, table.get(name).shape.len()));
        Flat { first: Tensor::cat(first, 0), second: Tensor::cat(second, 0), rates, decays, parts }
    }

    /// Stores the moments of a vector by their weights' names.
    fn rest(&mut self, flat: &Flat) {
        let moments = flat.parts.split(&flat.first).zip(flat.parts.split(&flat.second));
        self.resting.extend(moments.map(|((name, first), (_, second))| (name.to_string(), (first, second))));
    }

    /// The weights after the step, `factor` times the rates.
    fn moved(&mut self, flat: Flat, weights: Tensor<1>, gradient: Tensor<1>, factor: f64) -> Tensor<1> {
        let OptimizerConfig { beta1, beta2, epsilon, decoupled, .. } = self.config;
        let decays = !flat.decays.are_zero();
        let decayed = |gradient: Tensor<1>| gradient.add(flat.decays.times(weights.clone()));
        let gradient = if decays && !decoupled { decayed(gradient) } else { gradient };
        let squares = gradient.clone().mul(gradient.clone()).mul_scalar(1.0 - beta2);
        let first = flat.first.clone().mul_scalar(beta1).add(gradient.mul_scalar(1.0 - beta1));
        let second = flat.second.clone().mul_scalar(beta2).add(squares);
        let steps = self.steps.min(i32::MAX as u64) as i32;
        let (bias1, bias2) = (1.0 - beta1.powi(steps), 1.0 - beta2.powi(steps));
        // m / bias1 / (sqrt(v / bias2) + epsilon), with the constants gathered.
        let root = bias2.sqrt();
        let update = first.clone().div(second.clone().sqrt().add_scalar(epsilon * root)).mul_scalar(root / bias1);
        let update = if decays && decoupled { decayed(update) } else { update };
        let moved = weights.sub(flat.rates.times(update).mul_scalar(factor));
        self.flat = Some(Flat { first, second, ..flat });
        moved
    }

    /// Drops a weight's moments after the weight was replaced.
    pub fn forget(&mut self, name: &str) {
        self.resting.remove(name);
    }

    pub fn state(&self) -> AdamState {
        let mut moments: BTreeMap<String, (Vec<f32>, Vec<f32>)> = self
            .resting
            .iter()
            .map(|(name, (first, second))| (name.clone(), (to_numbers(first), to_numbers(second))))
            .collect();
        if let Some(flat) = &self.flat {
            let (first, second) = (to_numbers(&flat.first), to_numbers(&flat.second));
            for (name, part) in flat.parts.iter() {
                moments.insert(name.into(), (first[part.clone()].to_vec(), second[part].to_vec()));
            }
        }
        AdamState { steps: self.steps, moments }
    }

    pub fn restore(config: OptimizerConfig, state: AdamState, device: &Device) -> Self {
        let on_device = |(name, (first, second))| (name, (from_numbers(first, device), from_numbers(second, device)));
        let resting = state.moments.into_iter().map(on_device).collect();
        Self { config, steps: state.steps, flat: None, resting }
    }
}

/// The Euclidean norm, read from the device.
fn norm(values: &Tensor<1>) -> f64 {
    f64::from(values.clone().mul(values.clone()).sum().into_scalar::<f32>()).sqrt()
}
