//! A network under quantisation: its graph, its original weights, and the decisions so far.

use super::weights::{Integers, dequantise_weights};
use causalclipseg::graph::{Graph, NodeId, Op, ScaleZeroPoint, Shape, Weights};
use std::collections::BTreeSet;

/// Weights and values that stay f32 although their placement would have them rounded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wide {
    /// Weights that stay f32, by name.
    pub weights: BTreeSet<String>,
    /// Nodes whose values stay f32.
    pub values: BTreeSet<NodeId>,
}

/// A quantised graph, its f32 weights and its integer ones.
#[derive(Clone, Debug)]
pub struct QuantisedNetwork {
    pub graph: Graph,
    /// All weights without rounding.
    pub weights: Weights,
    pub quantised: Integers,
}

impl QuantisedNetwork {
    /// Quantises the nodes and replaces weights by integers, except for those in `wide`.
    pub fn new(
        graph: &Graph,
        weights: &Weights,
        integers: &Integers,
        quantisations: &[Option<ScaleZeroPoint>],
        wide: &Wide,
    ) -> Self {
        let mut quantised = integers.clone();
        quantised.retain(|name, _| !wide.weights.contains(name));
        let mut graph = graph.clone();
        for (index, (node, quantisation)) in graph.nodes.iter_mut().zip(quantisations).enumerate() {
            node.quantisation = quantisation.filter(|_| !wide.values.contains(&NodeId(index)));
        }
        Self { graph, weights: weights.clone(), quantised }
    }

    /// The weights that the integers represent, and the others.
    pub fn computed_weights(&self) -> Weights {
        dequantise_weights(&self.weights, &self.quantised)
    }
}

/// The weight of a layer that multiplies, `None` for any other node.
pub fn layer_weight(op: &Op) -> Option<&str> {
    match op {
        Op::Conv { weight, .. } | Op::Linear { weight, .. } => Some(weight),
        _ => None,
    }
}

/// The first layer with integer weights whose input is not quantised: an int8 kernel could not run it.
pub fn unrounded_input(graph: &Graph, is_integer: impl Fn(&str) -> bool) -> Option<&str> {
    let reads_f32 = |node: &&causalclipseg::graph::Node| {
        layer_weight(&node.op).is_some_and(&is_integer)
            && node.inputs.iter().any(|input| graph.node(*input).quantisation.is_none())
    };
    graph.nodes.iter().find(reads_f32).map(|node| node.name.as_str())
}

/// The layers and values that can stay f32 one by one, with a name for people.
pub fn candidates(
    graph: &Graph,
    quantisations: &[Option<ScaleZeroPoint>],
    quantised: &Integers,
) -> Vec<(String, Wide)> {
    let mut candidates = Vec::new();
    let mut seen = BTreeSet::new();
    for id in graph.ids() {
        let node = graph.node(id);
        if let Some(weight) = layer_weight(&node.op).filter(|weight| quantised.contains_key(*weight))
            && seen.insert(weight.to_string())
        {
            candidates.push((node.name.clone(), wide_layer(graph, weight)));
        }
        if quantisations[id.0].is_some() && is_free(graph, id) {
            let wide = Wide { values: BTreeSet::from([id]), ..Wide::default() };
            candidates.push((format!("{} (its value)", node.name), wide));
        }
    }
    candidates
}

/// Whether a map can stay f32 alone: no layer multiplies it, and no other node has its scale.
fn is_free(graph: &Graph, id: NodeId) -> bool {
    let node = graph.node(id);
    let binds = |reader: NodeId| {
        let op = &graph.node(reader).op;
        layer_weight(op).is_some() || shares_grid(op)
    };
    let mut readers = graph.readers(id).peekable();
    matches!(node.shape, Shape::Map { .. }) && !shares_grid(&node.op) && readers.peek().is_some() && !readers.any(binds)
}

/// Whether an operator's result and its inputs share a scale and zero point.
fn shares_grid(op: &Op) -> bool {
    matches!(
        op,
        Op::Input
            | Op::Concat
            | Op::AveragePool { .. }
            | Op::Upsample { .. }
            | Op::GridToSequence
            | Op::SequenceToGrid { .. }
            | Op::EndOfText
    )
}

/// A layer in f32: its weights, and its input where no other layer multiplies that.
pub fn wide_layer(graph: &Graph, weight: &str) -> Wide {
    let mut wide = Wide { weights: BTreeSet::from([weight.to_string()]), ..Wide::default() };
    for node in graph.nodes.iter().filter(|node| layer_weight(&node.op) == Some(weight)) {
        for input in &node.inputs {
            let others = |reader: NodeId| {
                let op = &graph.node(reader).op;
                layer_weight(op).is_some_and(|other| other != weight) || shares_grid(op)
            };
            if !shares_grid(&graph.node(*input).op) && !graph.readers(*input).any(others) {
                wide.values.insert(*input);
            }
        }
    }
    wide
}

impl Wide {
    pub fn with(&self, other: &Self) -> Self {
        Self {
            weights: self.weights.union(&other.weights).cloned().collect(),
            values: self.values.union(&other.values).copied().collect(),
        }
    }
}
