//! The min-max game: the two steps of a batch, their losses and their weights.
//!
//! theta is everything but the maskers, phi the maskers. CausalCLIPSeg's authors released no training code; the schedule follows
//! CIRL (Lv et al., CVPR 2022), which their modules are named after:
//!
//! 1. theta-step: min 0.5 l(pred, y) + 0.5 l(pred_ad, y), the masks constant;
//! 2. phi-step on the same batch, by a fresh forward pass: min 0.5 l(pred, y) - 0.5 l(pred_ad, y).
//!
//! The second loss is unbounded below, since l(pred_ad) is unbounded above, so l(pred_ad) is capped. Masks of one everywhere are
//! a trivial optimum without confounders to penalise, so a budget penalises masks whose mean comes near one.

use super::distillation::{DistillationConfig, Teacher};
use super::loss::LossConfig;
use super::network::{
    Leaves, MaskMode, Mode, Network, NodeTensors, PassPlan, UpsampledConv, is_running_statistic, masker_parameters,
    to_numbers,
};
use super::optimizer::{Adam, OptimizerConfig};
use super::replicas::{self, Pass, Share};
use super::source::Batch;
use super::variants::{VariantsConfig, naming, top_k};
use crate::model::stage;
use burn::tensor::{Device, Tensor};
use causalclipseg::graph::{Graph, GraphError, Op};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::BTreeSet;

/// The rules of the game; each part can be turned off.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GameConfig {
    /// Off: no causal module. The maskers are opened permanently when a run starts, so that the causal features are all features,
    /// and one step per batch minimises l(pred) over all other weights; checkpoints of such a run have the usual form.
    pub causal: bool,
    /// Off: one step per batch, which minimises l(pred) over all weights.
    pub adversarial: bool,
    /// Initial epochs with masks of ones in both branches, as in CIRL; the maskers are not trained.
    pub warmup_epochs: usize,
    /// Masks are constants in the theta-step. Off: the encoder's gradient also flows through them.
    pub stop_gradient: bool,
    /// The number of theta-steps before each phi-step.
    pub phi_every: usize,
    /// The cap of l(pred_ad) in the phi-step; 0: no cap.
    pub cap: f32,
    /// Weight of the budget, sum over the masks of max(0, mean - `budget_ceiling`)²; 0 turns it off.
    pub budget: f32,
    /// The mean of a mask above which the budget acts.
    pub budget_ceiling: f32,
    /// Whether the confounders also update the running statistics of the batch norm that they share with the causal features. The
    /// published module would; `pred` is then normalised differently in evaluation and in training.
    pub confounders_count: bool,
    /// Prefixes of names of weights that are frozen, such as `backbone.`: no gradient is computed for them, and their batch norms
    /// normalise by their current running statistics.
    pub frozen: Vec<String>,
    /// The form in which an upsampling and the convolution after it are computed.
    pub upsampled_conv: UpsampledConv,
    /// The number of parts whose activations a backward pass recomputes one part at a time (gradient checkpointing): less memory,
    /// and a second forward pass. The same step up to rounding. 0: all activations are kept.
    pub recompute: usize,
}

impl Default for GameConfig {
    fn default() -> Self {
        Self {
            causal: true,
            adversarial: true,
            warmup_epochs: 2,
            stop_gradient: true,
            phi_every: 1,
            cap: 0.7,
            budget: 10.0,
            budget_ceiling: 0.9,
            confounders_count: false,
            frozen: Vec::new(),
            upsampled_conv: UpsampledConv::Blend,
            recompute: 0,
        }
    }
}

/// The losses of one batch. Absent if the rules do not compute them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Outcome {
    /// l(pred) in the theta-step.
    pub pred: f32,
    /// l(pred_ad) in the theta-step.
    pub pred_ad: Option<f32>,
    /// The loss that the phi-step minimised.
    pub phi: Option<f32>,
    /// Means of the three masks.
    pub masks: Option<[f32; 3]>,
    /// Norm of the theta-step's gradient before clipping.
    pub gradient_norm: f64,
    /// The divergence from the teacher's answers.
    pub distillation: Option<f32>,
}

impl Outcome {
    pub fn is_finite(&self) -> bool {
        self.pred.is_finite()
            && self.gradient_norm.is_finite()
            && self.pred_ad.is_none_or(f32::is_finite)
            && self.phi.is_none_or(f32::is_finite)
            && self.distillation.is_none_or(f32::is_finite)
    }
}

/// The two players and their moves.
pub struct Game {
    rules: GameConfig,
    loss: LossConfig,
    theta_names: BTreeSet<String>,
    phi_names: BTreeSet<String>,
    pub theta: Adam,
    pub phi: Adam,
    plans: Plans,
    variants: VariantsConfig,
    /// The seed of the variants' noise.
    seed: u64,
    /// The biases before the masks' sigmoids, in the masks' order.
    mask_biases: Vec<String>,
    /// The replicas' devices; if empty, the network's own.
    devices: Vec<Device>,
    distillation: DistillationConfig,
    teacher: Option<Teacher>,
}

/// The passes that the rules need.
struct Plans {
    warmup: PassPlan,
    theta_step: PassPlan,
    phi_step: PassPlan,
    plain: PassPlan,
    open: PassPlan,
}

impl Plans {
    fn new(graph: &Graph, rules: &GameConfig, variants: &VariantsConfig) -> Result<Self, GraphError> {
        let plan = |outputs: &[&str], masks| -> Result<PassPlan, GraphError> {
            let plan = PassPlan::new(graph, outputs, masks, rules.upsampled_conv, rules.confounders_count)?;
            let plan = plan.gated(graph, variants.top_k).in_parts(graph, rules.recompute);
            Ok(plan.frozen(graph, |prefix| is_frozen(prefix, &rules.frozen)))
        };
        let [mask3, mask4, mask5] = stage::MASKS;
        let features = [stage::FEATURES, stage::CONFOUNDERS];
        // Features first, then the outputs of every pass.
        let causal = if variants.factorisation > 0.0 || variants.naming > 0.0 { &features[..1] } else { &[] };
        let both = if variants.naming > 0.0 { &features[..] } else { causal };
        let with = |features: &[&'static str], others: &[&'static str]| [features, others].concat();
        let everything = [stage::PRED, stage::PRED_AD, mask3, mask4, mask5];
        let fixed = if rules.stop_gradient { MaskMode::Fixed } else { MaskMode::Learned };
        Ok(Self {
            warmup: plan(&with(both, &everything[..2]), MaskMode::Ones)?,
            theta_step: plan(&with(both, &everything), fixed)?,
            phi_step: plan(&with(both, &everything), MaskMode::Learned)?,
            plain: plan(&with(causal, &[stage::PRED, mask3, mask4, mask5]), MaskMode::Learned)?,
            open: plan(&with(causal, &[stage::PRED]), MaskMode::Ones)?,
        })
    }
}

impl Game {
    pub fn new(graph: &Graph, rules: GameConfig, loss: LossConfig, theta: Adam, phi: Adam) -> Result<Self, GraphError> {
        let is_learned = |name: &String| !is_running_statistic(name) && !is_frozen(name, &rules.frozen);
        let maskers = masker_parameters(graph)?;
        let phi_names: BTreeSet<String> = maskers.iter().filter(|name| is_learned(name)).cloned().collect();
        let theta_names = graph
            .parameters()
            .into_iter()
            .map(|parameter| parameter.name)
            .filter(|name| is_learned(name) && !maskers.contains(name))
            .collect();
        let variants = VariantsConfig::default();
        Ok(Self {
            plans: Plans::new(graph, &rules, &variants)?,
            variants,
            seed: 0,
            mask_biases: Vec::new(),
            rules,
            loss,
            theta_names,
            phi_names,
            theta,
            phi,
            devices: Vec::new(),
            distillation: DistillationConfig::default(),
            teacher: None,
        })
    }

    /// This game with variants; `seed` is the seed of their noise.
    pub fn with_variants(mut self, graph: &Graph, variants: &VariantsConfig, seed: u64) -> Result<Self, GraphError> {
        self.plans = Plans::new(graph, &self.rules, variants)?;
        self.variants = variants.clone();
        self.seed = seed;
        if variants.naming > 0.0 && self.rules.causal && self.rules.adversarial {
            self.theta_names.extend([naming::WEIGHT, naming::BIAS].map(str::to_string));
        }
        for mask in stage::MASKS {
            let logits = graph.node(graph.find(mask)?).inputs.first().map(|norm| &graph.node(*norm).op);
            if let Some(Op::BatchNorm { prefix }) = logits {
                self.mask_biases.push(format!("{prefix}.bias"));
            }
        }
        Ok(self)
    }

    /// Creates the optimisers of a game: phi has its own rate.
    pub fn optimizers(config: &OptimizerConfig) -> [OptimizerConfig; 2] {
        let phi = OptimizerConfig { learning_rate: config.learning_rate * config.masker_factor, ..config.clone() };
        [config.clone(), phi]
    }

    /// Shares each batch among replicas of the network, one on each of these devices, which may be equal. The first must be the
    /// network's.
    pub fn replicated(mut self, devices: &[Device]) -> Self {
        self.devices = devices.to_vec();
        self
    }

    /// This game with a teacher, whose answers theta is drawn to.
    pub fn taught(mut self, teacher: Option<Teacher>, config: &DistillationConfig) -> Self {
        self.teacher = teacher;
        self.distillation = config.clone();
        self
    }

    /// The player that the rules move although all its weights are frozen, so that its step has no gradient.
    pub fn player_without_weights(&self) -> Option<&'static str> {
        let has_theta_step = self.rules.causal && self.rules.adversarial;
        let theta = self.theta_names.is_empty() && (has_theta_step || !self.rules.causal);
        let both = self.theta_names.is_empty() && self.phi_names.is_empty();
        match () {
            () if theta || both => Some("the network beside its maskers"),
            () if has_theta_step && self.phi_names.is_empty() => Some("the maskers"),
            () => None,
        }
    }

    /// Plays one batch: updates the network's weights and running statistics. `factor` is the schedule's. If the outcome is not
    /// finite, the optimiser that encountered it moved nothing.
    pub fn play(&mut self, network: &mut Network, batch: &Batch, epoch: usize, step: u64, factor: f64) -> Outcome {
        let batch = match self.variants.has_views() {
            true => Cow::Owned(self.variants.add_views(batch, self.seed, step)),
            false => Cow::Borrowed(batch),
        };
        let batch = batch.as_ref();
        // At most two passes in a step.
        network.draw = self.seed.rotate_left(40) ^ (2 * step);
        let mut shares = match self.devices.as_slice() {
            [] => replicas::deal(batch, std::slice::from_ref(network.device())),
            devices => replicas::deal(batch, devices),
        };
        if let Some(teacher) = &mut self.teacher {
            for (replica, share) in shares.iter_mut().enumerate() {
                share.taught = Some(teacher.answer(replica, &share.images, &share.tokens));
            }
        }
        if !self.rules.causal || !self.rules.adversarial {
            return self.play_plain(network, &shares, factor);
        }
        let is_warmup = epoch < self.rules.warmup_epochs;
        let mut outcome = self.play_theta(network, &shares, is_warmup, factor);
        if !is_warmup && outcome.is_finite() && step.is_multiple_of(self.rules.phi_every.max(1) as u64) {
            network.draw ^= 1;
            outcome.phi = Some(self.play_phi(network, &shares, factor));
        }
        outcome
    }

    fn play_plain(&mut self, network: &mut Network, shares: &[Share], factor: f64) -> Outcome {
        let both = &self.theta_names | &self.phi_names;
        let (plan, names) =
            if self.rules.causal { (&self.plans.plain, &both) } else { (&self.plans.open, &self.theta_names) };
        let Pass { gradients, numbers } = replicas::run(network, shares, &|network, share| {
            let leaves = Leaves::new(&network.parameters, names);
            let mut values = forward_viewed(network, plan, share, &leaves);
            let logits = first_half(values.map(stage::PRED), share);
            let pred = self.loss.of(logits.clone(), share.masks.clone());
            let (taught, goal) = self.distil(&pred, logits, share);
            let mut numbers = Vec::from_iter(taught);
            numbers.push(fixed(&pred));
            if self.rules.causal {
                numbers.extend(mask_means(&values).map(|mean| fixed(&mean)));
                numbers.append(&mut values.centres);
            }
            let total = self.with_view_loss(goal, &values, share).mul_scalar(share.weight);
            let recorded = values.recorded.take();
            drop(values);
            Pass { gradients: network.gradients(plan, recorded, total, &leaves), numbers }
        });
        let gradient_norm = self.theta.step(&mut network.parameters, gradients, factor);
        let mut numbers = read(numbers);
        let distillation = self.teacher.is_some().then(|| numbers.remove(0));
        let masks = numbers.get(1..4).and_then(|masks| masks.try_into().ok());
        self.centre(network, numbers.get(4..).unwrap_or_default());
        Outcome { pred: numbers[0], masks, gradient_norm, distillation, ..Outcome::default() }
    }

    fn play_theta(&mut self, network: &mut Network, shares: &[Share], is_warmup: bool, factor: f64) -> Outcome {
        let plan = if is_warmup { &self.plans.warmup } else { &self.plans.theta_step };
        let Pass { gradients, numbers } = replicas::run(network, shares, &|network, share| {
            let leaves = Leaves::new(&network.parameters, &self.theta_names);
            let mut values = forward_viewed(network, plan, share, &leaves);
            let logits = first_half(values.map(stage::PRED), share);
            let pred = self.loss.of(logits.clone(), share.masks.clone());
            let pred_ad = self.loss.of(first_half(values.map(stage::PRED_AD), share), share.masks.clone());
            let (taught, goal) = self.distil(&pred, logits, share);
            let mut numbers = Vec::from_iter(taught);
            numbers.extend([fixed(&pred), fixed(&pred_ad)]);
            if !is_warmup {
                numbers.extend(mask_means(&values).map(|mean| fixed(&mean)));
            }
            let mut total = self.with_view_loss(goal.add(pred_ad).mul_scalar(0.5), &values, share);
            if self.variants.naming > 0.0 {
                let layer = naming::Layer::new(&network.parameters, &leaves);
                let [causal, confounding] =
                    [stage::FEATURES, stage::CONFOUNDERS].map(|name| own_half(&values, name, share));
                if let Some(named) = layer.theta_loss(causal, confounding, &share.confounders) {
                    total = total.add(named);
                }
            }
            let recorded = values.recorded.take();
            drop(values);
            Pass { gradients: network.gradients(plan, recorded, total.mul_scalar(share.weight), &leaves), numbers }
        });
        let gradient_norm = self.theta.step(&mut network.parameters, gradients, factor);
        let mut numbers = read(numbers);
        let distillation = self.teacher.is_some().then(|| numbers.remove(0));
        let masks = numbers[2..].try_into().ok();
        let (pred, pred_ad) = (numbers[0], Some(numbers[1]));
        Outcome { pred, pred_ad, masks, gradient_norm, distillation, ..Outcome::default() }
    }

    /// Returns the loss. NodeTensors that do not depend on the maskers are computed without a tape.
    fn play_phi(&mut self, network: &mut Network, shares: &[Share], factor: f64) -> f32 {
        let Pass { gradients, numbers } = replicas::run(network, shares, &|network, share| {
            let leaves = Leaves::new(&network.parameters, &self.phi_names);
            let mut values = forward(network, &self.plans.phi_step, share, &leaves);
            let mut loss = phi_loss(
                &self.rules,
                self.loss.of(values.map(stage::PRED), share.masks.clone()),
                self.loss.of(values.map(stage::PRED_AD), share.masks.clone()),
                mask_means(&values),
            );
            if self.variants.naming > 0.0 {
                let layer = naming::Layer::new(&network.parameters, &leaves);
                let [causal, confounding] = [stage::FEATURES, stage::CONFOUNDERS].map(|name| values.map(name));
                if let Some(named) = layer.phi_loss(causal, confounding, &share.confounders) {
                    loss = loss.add(named.mul_scalar(self.variants.naming));
                }
            }
            let mut numbers = vec![fixed(&loss)];
            numbers.append(&mut values.centres);
            let recorded = values.recorded.take();
            drop(values);
            let loss = loss.mul_scalar(share.weight);
            Pass { gradients: network.gradients(&self.plans.phi_step, recorded, loss, &leaves), numbers }
        });
        self.phi.step(&mut network.parameters, gradients, factor);
        let numbers = read(numbers);
        self.centre(network, &numbers[1..]);
        numbers[0]
    }

    /// The divergence from the teacher's answers, and l(pred) with its share of it; l(pred) itself without a teacher.
    fn distil(&self, pred: &Tensor<1>, logits: Tensor<4>, share: &Share) -> (Option<Tensor<1>>, Tensor<1>) {
        let Some(taught) = &share.taught else { return (None, pred.clone()) };
        let weight = self.distillation.weight;
        let divergence = self.distillation.loss(logits, taught.clone());
        let goal = pred.clone().mul_scalar(1.0 - weight).add(divergence.clone().mul_scalar(weight));
        (Some(fixed(&divergence)), goal)
    }

    /// Adds the variants' losses on images and their views.
    fn with_view_loss(&self, loss: Tensor<1>, values: &NodeTensors, share: &Share) -> Tensor<1> {
        if share.viewed.is_none() {
            return loss;
        }
        let features = (self.variants.factorisation > 0.0).then(|| halves(values.map(stage::FEATURES)));
        match self.variants.view_loss(&self.loss, halves(values.map(stage::PRED)), features) {
            Some(more) => loss.add(more),
            None => loss,
        }
    }

    /// Shifts the logits of top-k masks so that the last one kept is at zero, the threshold of evaluation's sigmoid.
    fn centre(&self, network: &mut Network, centres: &[f32]) {
        for (name, centre) in self.mask_biases.iter().zip(centres).filter(|(name, _)| self.phi_names.contains(*name)) {
            let moved = network.parameters.get(name).values.clone().sub_scalar(top_k::CENTRING * centre);
            network.parameters.set(name, moved);
        }
    }
}

fn is_frozen(name: &str, prefixes: &[String]) -> bool {
    prefixes.iter().any(|prefix| name.starts_with(prefix))
}

fn forward(network: &mut Network, plan: &PassPlan, share: &Share, leaves: &Leaves) -> NodeTensors {
    network.forward(plan, share.images.clone(), &share.tokens, Mode::Training, leaves)
}

/// Runs a pass on the images, followed by their views if there are any.
fn forward_viewed(network: &mut Network, plan: &PassPlan, share: &Share, leaves: &Leaves) -> NodeTensors {
    match &share.viewed {
        Some((images, tokens)) => network.forward(plan, images.clone(), tokens, Mode::Training, leaves),
        None => forward(network, plan, share, leaves),
    }
}

fn halves(both: Tensor<4>) -> [Tensor<4>; 2] {
    let [count, channels, height, width] = both.dims();
    let part = |from: usize, to: usize| both.clone().slice([from..to, 0..channels, 0..height, 0..width]);
    [part(0, count / 2), part(count / 2, count)]
}

/// Cuts off the views from a map of images and views.
fn first_half(both: Tensor<4>, share: &Share) -> Tensor<4> {
    if share.viewed.is_none() {
        return both;
    }
    let [own, _] = halves(both);
    own
}

fn own_half(values: &NodeTensors, name: &str, share: &Share) -> Tensor<4> {
    first_half(values.map(name), share)
}

/// 0.5 l(pred) - 0.5 min(l(pred_ad), cap) + budget.
fn phi_loss(rules: &GameConfig, pred: Tensor<1>, pred_ad: Tensor<1>, means: [Tensor<1>; 3]) -> Tensor<1> {
    let penalty = if rules.cap > 0.0 { pred_ad.clamp_max(rules.cap) } else { pred_ad };
    let mut loss = pred.sub(penalty).mul_scalar(0.5);
    if rules.budget > 0.0 {
        for mean in means {
            let excess = mean.sub_scalar(rules.budget_ceiling).clamp_min(0.0);
            loss = loss.add(excess.clone().mul(excess).mul_scalar(rules.budget));
        }
    }
    loss
}

fn mask_means(values: &NodeTensors) -> [Tensor<1>; 3] {
    stage::MASKS.map(|name| values.map(name).mean())
}

/// Detaches a number, which stays on the device.
fn fixed(number: &Tensor<1>) -> Tensor<1> {
    number.clone().inner()
}

/// Reads numbers from the device, all at once.
fn read(numbers: Vec<Tensor<1>>) -> Vec<f32> {
    to_numbers(&Tensor::cat(numbers, 0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    fn scalar(tensor: &Tensor<1>) -> f32 {
        tensor.clone().into_scalar::<f32>()
    }

    fn number(value: f32) -> Tensor<1> {
        Tensor::from_floats([value], &Device::flex().autodiff())
    }

    #[test]
    fn the_adversary_counts_up_to_the_cap() {
        let rules = GameConfig { budget: 0.0, ..GameConfig::default() };
        let gradient = |pred_ad: f32| {
            let leaf = number(pred_ad).require_grad();
            let loss = phi_loss(&rules, number(0.2), leaf.clone(), [number(0.5), number(0.5), number(0.5)]);
            let gradients = loss.backward();
            (scalar(&loss), leaf.grad(&gradients).map_or(0.0, |g| g.into_scalar::<f32>()))
        };
        let (below, slope) = gradient(0.5);
        assert!((below - (0.1 - 0.25)).abs() < 1e-6 && (slope + 0.5).abs() < 1e-6);
        let (above, slope) = gradient(3.0);
        assert!((above - (0.1 - 0.35)).abs() < 1e-6 && slope == 0.0);
    }

    #[test]
    fn the_budget_acts_on_collapse_only() {
        let rules = GameConfig::default();
        let loss =
            |mean: f32| scalar(&phi_loss(&rules, number(0.2), number(0.2), [number(mean), number(0.5), number(0.5)]));
        assert_eq!(loss(0.89), loss(0.3));
        assert!((loss(1.0) - loss(0.3) - 10.0 * 0.01).abs() < 1e-5);
    }
}
