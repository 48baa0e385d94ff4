//! A batch norm after a convolution is part of the convolution.
//!
//! In evaluation the norm is y = s z + t channel by channel, with s = gamma / sqrt(variance + epsilon) and t = beta - s
//! mean. For z = W * x + b that is (s W) * x + (s b + t): the same convolution with scaled filters and another bias. A
//! norm after anything else stays.

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
