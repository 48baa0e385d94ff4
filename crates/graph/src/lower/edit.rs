//! The edits that rewrites consist of. Nodes are replaced in place, which keeps the execution order.

use super::LowerError;
use crate::graph::{Graph, GraphError, Node, NodeId, Op, Shape, Weights};
use ndarray::{Array1, Array2, Array4, ArrayD, ArrayView, Dimension};

/// Replaces the operator of a node. A name that was generated from the operator is generated again; a stage keeps its
/// own. Quantisation comes after all rewrites: the node has no scale yet.
pub(super) fn replace(graph: &mut Graph, id: NodeId, op: Op, inputs: Vec<NodeId>) -> Result<(), GraphError> {
    let shapes: Vec<Shape> = inputs.iter().map(|input| graph.node(*input).shape).collect();
    let old = graph.node(id);
    let shape = op.infer(&shapes).map_err(|reason| GraphError::Node { node: old.name.clone(), reason })?;
    let made = old.name.strip_prefix(old.op.label()).and_then(|rest| rest.strip_prefix('.'));
    let is_made = made.is_some_and(|number| number.parse::<usize>().is_ok());
    let name = match is_made && old.op.label() != op.label() {
        true => fresh_name(op.label(), |name| graph.nodes.iter().any(|node| node.name == name)),
        false => old.name.clone(),
    };
    let node = &mut graph.nodes[id.0];
    *node = Node { name, op, inputs, shape, quantisation: None };
    Ok(())
}

fn fresh_name(base: &str, taken: impl Fn(&str) -> bool) -> String {
    let mut number = 0;
    loop {
        let name = format!("{base}.{number}");
        if !taken(&name) {
            return name;
        }
        number += 1;
    }
}

/// Whether `reader` is the only use of a node's value.
pub(super) fn is_only_reader(graph: &Graph, id: NodeId, reader: NodeId) -> bool {
    graph.only_reader(id) == Some(reader)
}

/// Removes the nodes that no output needs; inputs stay.
pub(super) fn prune(graph: &Graph) -> Result<Graph, GraphError> {
    let inputs: Vec<NodeId> = graph.ids().filter(|id| graph.node(*id).op == Op::Input).collect();
    graph.subgraph(&inputs, &graph.outputs)
}

/// Stores a weight under `<stem>.<suffix>`, or a numbered name where that is taken.
pub(super) fn store(weights: &mut Weights, stem: &str, suffix: &str, value: ArrayD<f32>) -> String {
    let stem = stem.strip_suffix(".weight").unwrap_or(stem);
    let mut name = format!("{stem}.{suffix}");
    if weights.contains_key(&name) {
        name = fresh_name(&name, |name| weights.contains_key(name));
    }
    weights.insert(name.clone(), value);
    name
}

fn view<'a, D: Dimension>(weights: &'a Weights, name: &str) -> Result<ArrayView<'a, f32, D>, LowerError> {
    let refuse = |reason: String| LowerError::Weight { name: name.to_string(), reason };
    let value = weights.get(name).ok_or_else(|| refuse("it is missing".into()))?;
    value.view().into_dimensionality().map_err(|_| refuse(format!("its shape is {:?}", value.shape())))
}

pub(super) fn kernel(weights: &Weights, name: &str) -> Result<Array4<f32>, LowerError> {
    Ok(view(weights, name)?.to_owned())
}

pub(super) fn matrix(weights: &Weights, name: &str) -> Result<Array2<f32>, LowerError> {
    Ok(view(weights, name)?.to_owned())
}

pub(super) fn vector(weights: &Weights, name: &str) -> Result<Array1<f32>, LowerError> {
    Ok(view(weights, name)?.to_owned())
}
