//! Gradient checkpointing: a backward pass that recomputes the activations of one part of the network at a time, instead of
//! keeping all of them (Chen et al., "Training Deep Nets with Sublinear Memory Cost", 2016).
//!
//! The forward pass runs without a tape and keeps the values between the parts. The backward pass takes the parts in reverse
//! order: each runs again with a tape, and the gradients of its outputs are passed to its inputs and weights. It computes what
//! the plain backward pass does up to rounding: sums of several gradients of one weight or value have another order, and
//! some operations round differently without a tape.

use super::parameters::{Leaves, NamedTensors};
use super::plan::PassPlan;
use super::{Feed, Mode, Network, NodeTensor, NodeTensors, TokenBatch};
use burn::tensor::{Gradients, Tensor};
use causalclipseg::graph::{NodeId, Op, Parameter};
use std::collections::BTreeMap;

/// A forward pass in parts, to be run again.
pub(crate) struct Recorded {
    images: Tensor<4>,
    tokens: TokenBatch,
    draw: u64,
    /// The inputs of each part.
    inputs: Vec<Vec<(NodeId, NodeTensor)>>,
    /// The pass's outputs: leaves of the tape on which the loss is computed.
    outputs: Vec<(NodeId, NodeTensor)>,
}

impl Network {
    /// Runs a plan without a tape, except that its outputs are leaves, and records how to run it again.
    pub(super) fn forward_in_parts(
        &mut self,
        plan: &PassPlan,
        images: Tensor<4>,
        tokens: &TokenBatch,
        leaves: &Leaves,
    ) -> NodeTensors {
        let none = Leaves::none();
        let feed = Feed { images: &images, tokens, mode: Mode::Training, leaves: &none, counts: true };
        let (draw, mut values) = (self.draw, vec![None; self.graph.nodes.len()]);
        let (mut centres, mut inputs) = (Vec::new(), Vec::new());
        for part in &plan.parts {
            let read = part.inputs.iter().filter_map(|id| Some((*id, values[id.0].clone()?)));
            inputs.push(read.collect());
            self.run(&plan.steps[part.steps.clone()], &feed, &mut values, &mut centres);
        }
        let reached = self.reached(plan, leaves);
        let mut outputs = Vec::new();
        for id in plan.outputs.iter().filter(|id| reached[id.0]) {
            if let Some(leaf) = values[id.0].take().map(NodeTensor::into_leaf) {
                values[id.0] = Some(leaf.clone());
                outputs.push((*id, leaf));
            }
        }
        let recorded = Recorded { images, tokens: tokens.clone(), draw, inputs, outputs };
        NodeTensors { values, graph_names: self.names(), centres, recorded: Some(recorded) }
    }

    /// The gradients of `loss`, which was computed from the outputs of a pass over `plan`; `recorded` is that pass if it was in
    /// parts.
    pub(crate) fn gradients(
        &mut self,
        plan: &PassPlan,
        recorded: Option<Recorded>,
        loss: Tensor<1>,
        leaves: &Leaves,
    ) -> NamedTensors {
        let mut found = loss.backward();
        let mut gradients = leaves.gradients(&mut found);
        let Some(Recorded { images, tokens, draw, inputs, outputs }) = recorded else { return gradients };
        let reached = self.reached(plan, leaves);
        let mut upstream: BTreeMap<usize, NodeTensor> = BTreeMap::new();
        for (id, leaf) in outputs {
            add_to(&mut upstream, id, leaf.gradient(&mut found));
        }
        drop(found);
        let before = std::mem::replace(&mut self.draw, draw);
        for (part, inputs) in plan.parts.iter().zip(inputs).rev() {
            let steps = &plan.steps[part.steps.clone()];
            if !steps.iter().any(|step| upstream.contains_key(&step.node.0)) {
                continue;
            }
            // A tape of its own.
            let leaves = leaves.again();
            let feed = Feed { images: &images, tokens: &tokens, mode: Mode::Training, leaves: &leaves, counts: false };
            let mut values = vec![None; self.graph.nodes.len()];
            let mut sources = Vec::new();
            for (id, value) in inputs {
                let value = if reached[id.0] { value.into_leaf() } else { value };
                if reached[id.0] {
                    sources.push((id, value.clone()));
                }
                values[id.0] = Some(value);
            }
            self.run(steps, &feed, &mut values, &mut Vec::new());
            // The gradient of this sum is that of the loss.
            let mut sum: Option<Tensor<1>> = None;
            for step in steps {
                let produced = upstream.remove(&step.node.0).zip(values[step.node.0].take());
                if let Some(term) = produced.and_then(|(gradient, value)| value.dot(gradient)) {
                    sum = Some(match sum {
                        Some(sum) => sum.add(term),
                        None => term,
                    });
                }
            }
            drop(values);
            let Some(sum) = sum else { continue };
            let mut found = sum.backward();
            for (name, gradient) in leaves.gradients(&mut found) {
                let gradient = match gradients.remove(&name) {
                    Some(sum) => sum.add(gradient),
                    None => gradient,
                };
                gradients.insert(name, gradient);
            }
            for (id, source) in sources {
                add_to(&mut upstream, id, source.gradient(&mut found));
            }
        }
        self.draw = before;
        gradients
    }

    /// Marks the nodes whose values depend on a leaf, as far as the plan differentiates them.
    fn reached(&self, plan: &PassPlan, leaves: &Leaves) -> Vec<bool> {
        let mut reached = vec![false; self.graph.nodes.len()];
        let has_leaf = |id: NodeId| {
            let op: &Op = &self.graph.node(id).op;
            op.parameters(&[]).iter().any(|Parameter { name, .. }| leaves.tensors.contains_key(name))
        };
        for step in &plan.steps {
            let by_input = !step.inert && step.inputs.iter().any(|input| reached[input.0]);
            reached[step.node.0] = by_input || has_leaf(step.node) || step.mix().is_some_and(has_leaf);
        }
        reached
    }
}

fn add_to(sums: &mut BTreeMap<usize, NodeTensor>, id: NodeId, gradient: Option<NodeTensor>) {
    let Some(gradient) = gradient else { return };
    let sum = match sums.remove(&id.0) {
        Some(sum) => sum.plus(gradient),
        None => gradient,
    };
    sums.insert(id.0, sum);
}

impl NodeTensor {
    /// The same numbers, as a leaf of a new tape.
    fn into_leaf(self) -> Self {
        match self {
            NodeTensor::Map(x) => NodeTensor::Map(x.inner().autodiff().require_grad()),
            NodeTensor::Sequence(x) => NodeTensor::Sequence(x.inner().autodiff().require_grad()),
            NodeTensor::Vector(x) => NodeTensor::Vector(x.inner().autodiff().require_grad()),
            tokens => tokens,
        }
    }

    /// A leaf's gradient.
    fn gradient(&self, gradients: &mut Gradients) -> Option<Self> {
        Some(match self {
            NodeTensor::Map(x) => NodeTensor::Map(x.grad_remove(gradients)?.inner()),
            NodeTensor::Sequence(x) => NodeTensor::Sequence(x.grad_remove(gradients)?.inner()),
            NodeTensor::Vector(x) => NodeTensor::Vector(x.grad_remove(gradients)?.inner()),
            NodeTensor::Tokens(_) => return None,
        })
    }

    fn plus(self, other: Self) -> Self {
        match (self, other) {
            (NodeTensor::Map(x), NodeTensor::Map(y)) => NodeTensor::Map(x.add(y)),
            (NodeTensor::Sequence(x), NodeTensor::Sequence(y)) => NodeTensor::Sequence(x.add(y)),
            (NodeTensor::Vector(x), NodeTensor::Vector(y)) => NodeTensor::Vector(x.add(y)),
            (value, _) => value,
        }
    }

    /// The sum of the products of corresponding elements.
    fn dot(self, other: Self) -> Option<Tensor<1>> {
        match (self, other) {
            (NodeTensor::Map(x), NodeTensor::Map(y)) => Some(x.mul(y).sum()),
            (NodeTensor::Sequence(x), NodeTensor::Sequence(y)) => Some(x.mul(y).sum()),
            (NodeTensor::Vector(x), NodeTensor::Vector(y)) => Some(x.mul(y).sum()),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{MaskMode, UpsampledConv, is_running_statistic, to_numbers};
    use super::*;
    use crate::model::{Architecture, stage};
    use burn::tensor::{Device, TensorData};
    use causalclipseg::graph::Weights;
    use std::collections::BTreeSet;

    /// The gradients, the running statistics after the pass, the loss and the plan's number of parts.
    fn pass(masks: MaskMode, names: &BTreeSet<String>, parts: usize) -> (NamedTensors, Weights, f32, usize) {
        let architecture = Architecture::mini();
        let device = Device::flex();
        let weights = architecture.golden_weights().unwrap();
        let mut network = Network::new(architecture.describe().unwrap(), &weights, &device).unwrap();
        let outputs = [stage::PRED, stage::PRED_AD, stage::FEATURES, stage::MASKS[1]];
        let plan = PassPlan::new(network.graph(), &outputs, masks, UpsampledConv::Blend, true).unwrap();
        let plan = plan.in_parts(network.graph(), parts);
        let size = architecture.input_size;
        let numbers: Vec<f32> = (0..2 * 3 * size * size).map(|at| ((at * 7919) % 1013) as f32 / 500.0 - 1.0).collect();
        let images = Tensor::from_data(TensorData::new(numbers, [2, 3, size, size]), &device);
        let tokens = TokenBatch::new(&[vec![1, 5, 15], vec![1, 4, 7, 15]], &device);
        let leaves = Leaves::new(&network.parameters, names);
        let mut values = network.forward(&plan, images, &tokens, Mode::Training, &leaves);
        let term = |name: &str, seed: usize| {
            let map = values.map(name);
            let count = map.dims().iter().product::<usize>();
            let factors: Vec<f32> = (0..count).map(|at| ((at * 31 + seed) % 101) as f32 / 101.0 - 0.4).collect();
            map.clone().mul(Tensor::from_data(TensorData::new(factors, map.dims()), &device)).sum()
        };
        let [pred, pred_ad, features, mask] = [0, 1, 2, 3].map(|index| term(outputs[index], index));
        let loss = pred.clone().mul(pred).mul_scalar(0.01).add(pred_ad).add(features).add(mask.mul_scalar(0.1));
        let number = loss.clone().inner().into_scalar::<f32>();
        let recorded = values.recorded.take();
        assert_eq!(recorded.is_some(), plan.parts.len() > 1);
        let gradients = network.gradients(&plan, recorded, loss, &leaves);
        let mut statistics = network.parameters.to_weights();
        statistics.retain(|name, _| is_running_statistic(name));
        (gradients, statistics, number, plan.parts.len())
    }

    #[test]
    fn parts_have_the_gradients_of_the_whole() {
        let graph = Architecture::mini().describe().unwrap();
        let all: BTreeSet<String> = graph.parameters().into_iter().map(|parameter| parameter.name).collect();
        let all: BTreeSet<String> = all.into_iter().filter(|name| !is_running_statistic(name)).collect();
        let maskers = super::super::masker_parameters(&graph).unwrap();
        let maskers: BTreeSet<String> = maskers.into_iter().filter(|name| !is_running_statistic(name)).collect();
        let theta: BTreeSet<String> = all.difference(&maskers).cloned().collect();
        for (masks, names) in [
            (MaskMode::Learned, &all),
            (MaskMode::Fixed, &theta),
            (MaskMode::Ones, &theta),
            (MaskMode::Learned, &maskers),
        ] {
            let (expected, statistics, loss, _) = pass(masks, names, 0);
            assert!(expected.len() > 10);
            let mut counts = Vec::new();
            for parts in [2, 5, 30] {
                let (found, statistics_in_parts, loss_in_parts, count) = pass(masks, names, parts);
                counts.push(count);
                // Operations without a tape may round in another way.
                let near = |a: f32, b: f32| (a - b).abs() <= 1e-5 + 1e-5 * b.abs();
                assert!(near(loss_in_parts, loss), "{masks:?}, {parts} parts: {loss_in_parts} {loss}");
                for (name, expected) in &statistics {
                    let found = &statistics_in_parts[name];
                    assert!(found.iter().zip(expected).all(|(a, b)| near(*a, *b)), "{masks:?}, {parts} parts: {name}");
                }
                assert!(found.keys().eq(expected.keys()), "{masks:?}, {parts} parts");
                let largest_of = |numbers: &[f32]| numbers.iter().fold(0f32, |most, value| most.max(value.abs()));
                let most = expected.values().map(|gradient| largest_of(&to_numbers(gradient))).fold(0f32, f32::max);
                for (name, expected) in &expected {
                    let (found, expected) = (to_numbers(&found[name]), to_numbers(expected));
                    let largest = largest_of(&expected);
                    let error = found.iter().zip(&expected).fold(0f32, |most, (a, b)| most.max((a - b).abs()));
                    // Some weights have no gradient but for rounding, such as the bias of an attention's keys.
                    let allowed = 1e-4 * largest + 5e-6 * most;
                    assert!(error <= allowed, "{masks:?}, {parts} parts, {name}: {error} of {largest}, of {most}");
                }
            }
            assert!(counts.windows(2).all(|pair| pair[0] < pair[1]) && counts[0] > 1, "{counts:?}");
        }
    }

    /// Every step is in one part, and a part's inputs are what it and later ones read of earlier ones.
    #[test]
    fn parts_cover_a_plan_and_pass_on_few_values() {
        let graph = Architecture::mini().describe().unwrap();
        let whole = PassPlan::new(&graph, &[stage::PRED], MaskMode::Learned, UpsampledConv::Blend, true).unwrap();
        let steps = whole.steps.len();
        assert!(whole.parts.is_empty());
        let plan = whole.in_parts(&graph, 8);
        assert!((4..=16).contains(&plan.parts.len()), "{}", plan.parts.len());
        assert!(plan.parts[0].inputs.is_empty() && plan.parts[0].steps.start == 0);
        assert!(plan.parts.windows(2).all(|pair| pair[0].steps.end == pair[1].steps.start));
        assert_eq!(plan.parts.last().unwrap().steps.end, steps);
        assert!(plan.parts.iter().all(|part| part.inputs.len() < 12));
        assert!(plan.in_parts(&graph, 1).parts.is_empty());
    }
}
