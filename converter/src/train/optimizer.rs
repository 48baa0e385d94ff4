//! Adam and AdamW over the parameter table.

use super::device::is_gpu;
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

/// The length of a vector of weights from which no further weight is added to it, on a CPU: a step's temporary vectors are
/// then small beside a large network. A small network is one vector.
const LONGEST: usize = 1 << 23;

/// Weights that an optimiser moves, concatenated in one vector: a few operations a step, however many weights there are.
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
    /// The moments of the weights that the last step moved: on a GPU in one vector.
    flats: Vec<Flat>,
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
        Self { config, steps: 0, flats: Vec::new(), resting: BTreeMap::new() }
    }

    /// Moves weights by their gradients, the learning rate times `factor`. Returns the gradients' norm before clipping; if that
    /// is not finite, nothing moves. Weights without a gradient and their moments stay unchanged.
    pub(super) fn step(&mut self, table: &mut ParameterTable, gradients: NamedTensors, factor: f64) -> f64 {
        if gradients.is_empty() {
            return 0.0;
        }
        let (names, vectors): (Vec<Vec<String>>, Vec<Tensor<1>>) = gather(gradients, LONGEST).into_iter().unzip();
        let norm = norm(&vectors);
        if !norm.is_finite() {
            return norm;
        }
        let is_clipped = self.config.clip_norm > 0.0 && norm > self.config.clip_norm;
        self.steps += 1;
        let flats = self.flats_of(names, table);
        for (flat, gradient) in flats.into_iter().zip(vectors) {
            let gradient = if is_clipped { gradient.mul_scalar(self.config.clip_norm / norm) } else { gradient };
            let parts = flat.parts.clone();
            let moved = self.moved(flat, parts.gather(table), gradient, factor);
            parts.scatter(&moved, table);
        }
        norm
    }

    /// The moments of these weights in vectors, initially zero.
    fn flats_of(&mut self, names: Vec<Vec<String>>, table: &ParameterTable) -> Vec<Flat> {
        let flats = std::mem::take(&mut self.flats);
        let is_same = |(flat, names): (&Flat, &Vec<String>)| flat.parts.names().eq(names.iter());
        if flats.len() == names.len() && flats.iter().zip(&names).all(is_same) {
            return flats;
        }
        flats.iter().for_each(|flat| self.rest(flat));
        names.into_iter().map(|names| self.flat_of(names, table)).collect()
    }

    /// The moments of these weights in one vector each, initially zero.
    fn flat_of(&mut self, names: Vec<String>, table: &ParameterTable) -> Flat {
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
        self.flats.push(Flat { first, second, ..flat });
        moved
    }

    /// Drops a weight's moments after the weight was replaced.
    pub fn forget(&mut self, name: &str) {
        self.resting.remove(name);
    }

    /// The number of steps.
    pub(super) fn steps(&self) -> u64 {
        self.steps
    }

    /// The first and second moments by their weights' names.
    pub(super) fn moments(&self) -> impl Iterator<Item = (&str, [Tensor<1>; 2])> {
        let resting =
            self.resting.iter().map(|(name, (first, second))| (name.as_str(), [first.clone(), second.clone()]));
        let moving = self.flats.iter().flat_map(|flat| {
            let moments = flat.parts.split(&flat.first).zip(flat.parts.split(&flat.second));
            moments.map(|((name, first), (_, second))| (name, [first, second]))
        });
        resting.chain(moving)
    }

    pub fn state(&self) -> AdamState {
        let on_host = |(name, [first, second]): (&str, [Tensor<1>; 2])| {
            (name.to_string(), (to_numbers(&first), to_numbers(&second)))
        };
        AdamState { steps: self.steps, moments: self.moments().map(on_host).collect() }
    }

    pub fn restore(config: OptimizerConfig, state: AdamState, device: &Device) -> Self {
        let on_device = |(name, (first, second))| (name, (from_numbers(first, device), from_numbers(second, device)));
        let resting = state.moments.into_iter().map(on_device).collect();
        Self { config, steps: state.steps, flats: Vec::new(), resting }
    }
}

/// The gradients in vectors, with the names of their weights. On a CPU a vector ends with the weight that makes it at least
/// `longest`.
fn gather(gradients: NamedTensors, longest: usize) -> Vec<(Vec<String>, Tensor<1>)> {
    let mut vectors = Vec::new();
    let (mut names, mut pending, mut length) = (Vec::new(), Vec::new(), 0);
    for (name, gradient) in gradients {
        length += gradient.dims()[0];
        let is_full = length >= longest && !is_gpu(&gradient.device());
        names.push(name);
        pending.push(gradient);
        if is_full {
            vectors.push((std::mem::take(&mut names), Tensor::cat(std::mem::take(&mut pending), 0)));
            length = 0;
        }
    }
    if !pending.is_empty() {
        vectors.push((names, Tensor::cat(pending, 0)));
    }
    vectors
}

/// The Euclidean norm of all vectors, read from the device.
fn norm(vectors: &[Tensor<1>]) -> f64 {
    let square = |values: &Tensor<1>| f64::from(values.clone().mul(values.clone()).sum().into_scalar::<f32>());
    vectors.iter().map(square).sum::<f64>().sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(lengths: &[(&str, usize)]) -> NamedTensors {
        let vector = |length: usize| Tensor::from_floats(vec![1.0f32; length].as_slice(), &Device::flex());
        lengths.iter().map(|(name, length)| (name.to_string(), vector(*length))).collect()
    }

    #[test]
    fn a_large_network_is_moved_in_parts_and_a_small_one_at_once() {
        let lengths = [("a", 3), ("b", 4), ("c", 1), ("d", 9), ("e", 2)];
        let parts = |longest| -> Vec<(String, usize)> {
            let parts = gather(named(&lengths), longest).into_iter();
            parts.map(|(names, values)| (names.concat(), values.dims()[0])).collect()
        };
        assert_eq!(parts(100), [("abcde".to_string(), 19)]);
        assert_eq!(parts(5), [("ab".to_string(), 7), ("cd".into(), 10), ("e".into(), 2)]);
        assert_eq!(parts(1).len(), 5);
        let whole = norm(&[Tensor::from_floats([3.0], &Device::flex()), Tensor::from_floats([4.0], &Device::flex())]);
        assert_eq!(whole, 5.0);
        assert!(gather(NamedTensors::new(), 5).is_empty());
    }
}
