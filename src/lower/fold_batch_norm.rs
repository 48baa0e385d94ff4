//! A batch norm after a convolution is part of the convolution.
//!
//! In evaluation the norm is y = s z + t channel by channel, with s = gamma / sqrt(variance + epsilon) and
//! t = beta - s mean. For z = W * x + b that is (s W) * x + (s b + t): the same convolution with scaled filters and
//! another bias. A norm after anything else stays.

use super::LowerError;
use super::edit::{is_only_reader, kernel, prune, replace, store, vector};
use crate::graph::{Graph, NORM_EPSILON, Op, Weights};
use ndarray::Axis;
use std::collections::HashMap;

/// Folds every batch norm that is the only reader of a convolution.
pub fn fold_batch_norm(mut graph: Graph, weights: &mut Weights) -> Result<Graph, LowerError> {
    // Nodes that share their weights (the two aggregations do) share the folded ones.
    let mut folded: HashMap<(String, Option<String>, String), (String, String)> = HashMap::new();
    for id in graph.ids() {
        let Op::BatchNorm { prefix } = graph.node(id).op.clone() else { continue };
        let source = graph.node(id).inputs[0];
        let conv = graph.node(source).clone();
        let Op::Conv { weight, bias, out_channels, kernel, stride, padding } = conv.op else { continue };
        if !is_only_reader(&graph, source, id) {
            continue;
        }
        let key = (weight, bias, prefix);
        let (weight, bias) = match folded.get(&key) {
            Some(names) => names.clone(),
            None => {
                let names = fold(weights, &key.0, key.1.as_deref(), &key.2)?;
                folded.entry(key).or_insert(names).clone()
            }
        };
        let op = Op::Conv { weight, bias: Some(bias), out_channels, kernel, stride, padding };
        replace(&mut graph, id, op, conv.inputs)?;
    }
    Ok(prune(&graph)?)
}

fn fold(weights: &mut Weights, weight: &str, bias: Option<&str>, prefix: &str) -> Result<(String, String), LowerError> {
    let field = |name: &str| vector(weights, &format!("{prefix}.{name}"));
    let scale = field("weight")? / (field("running_var")? + NORM_EPSILON).mapv(f32::sqrt);
    let mut shift = field("bias")? - field("running_mean")? * &scale;
    if let Some(bias) = bias {
        shift = shift + vector(weights, bias)? * &scale;
    }
    let mut filters = kernel(weights, weight)?;
    for (mut filter, scale) in filters.axis_iter_mut(Axis(0)).zip(&scale) {
        filter *= *scale;
    }
    let name = store(weights, weight, "folded.weight", filters.into_dyn());
    Ok((name, store(weights, weight, "folded.bias", shift.into_dyn())))
}

#[cfg(test)]
mod tests {
    use super::super::agreement::{assert_agrees, conv, map};
    use super::*;
    use crate::graph::GraphBuilder;

    #[test]
    fn folds_with_and_without_a_bias() {
        for (height, width, bias) in [(33, 47, false), (5, 1, true), (1, 1, true)] {
            let mut g = GraphBuilder::new();
            let x = g.input("image", map(5, height, width)).unwrap();
            let x = g.add(conv("a", 7, 3, 1, bias), &[x]).unwrap();
            let x = g.add(Op::BatchNorm { prefix: "a_norm".into() }, &[x]).unwrap();
            let x = g.add(Op::Relu, &[x]).unwrap();
            let rewritten = assert_agrees(&g.finish(&[x]), fold_batch_norm);
            assert!(!rewritten.nodes.iter().any(|node| matches!(node.op, Op::BatchNorm { .. })));
        }
    }

    /// A convolution that somebody else reads too must still yield its own value, and a pool is no convolution.
    #[test]
    fn keeps_norms_that_cannot_be_folded() {
        let mut g = GraphBuilder::new();
        let x = g.input("image", map(3, 8, 6)).unwrap();
        let raw = g.add(conv("a", 3, 3, 1, false), &[x]).unwrap();
        let normed = g.add(Op::BatchNorm { prefix: "a_norm".into() }, &[raw]).unwrap();
        let sum = g.add(Op::Add, &[raw, normed]).unwrap();
        let pooled = g.add(Op::AveragePool { size: 2 }, &[sum]).unwrap();
        let y = g.add(Op::BatchNorm { prefix: "b_norm".into() }, &[pooled]).unwrap();
        let rewritten = assert_agrees(&g.finish(&[y]), fold_batch_norm);
        assert_eq!(rewritten.nodes.iter().filter(|node| matches!(node.op, Op::BatchNorm { .. })).count(), 2);
    }

    #[test]
    fn folds_shared_weights_once() {
        let mut g = GraphBuilder::new();
        let x = g.input("image", map(3, 9, 7)).unwrap();
        let mut branch = |x| {
            let x = g.add(conv("shared", 4, 1, 0, false), &[x]).unwrap();
            g.add(Op::BatchNorm { prefix: "norm".into() }, &[x]).unwrap()
        };
        let a = branch(x);
        let rest = branch(x);
        let rest = g.add(Op::Complement, &[rest]).unwrap();
        let y = g.add(Op::Multiply, &[a, rest]).unwrap();
        let rewritten = assert_agrees(&g.finish(&[y]), fold_batch_norm);
        assert_eq!(rewritten.parameters().len(), 2);
    }
}
