//! The rounding in a file: pairs of `QuantizeLinear` and `DequantizeLinear` around values.

use super::weights::Initializers;
use crate::graph::Graph;
use std::collections::{HashMap, HashSet};
use tract_onnx::pb::{GraphProto, NodeProto};

const QUANTIZE: &str = "QuantizeLinear";
const DEQUANTIZE: &str = "DequantizeLinear";

/// Compares the scales and zero points of a described graph with the file's: each must be there with the same numbers,
/// and no other.
///
/// # Errors
/// The first difference.
pub(super) fn check_grids(graph: &Graph, file: &GraphProto) -> Result<(), String> {
    let initializers = Initializers::of(file);
    let quantizers: HashMap<&str, &NodeProto> =
        file.node.iter().filter(|node| node.op_type == QUANTIZE).map(|node| (node.name.as_str(), node)).collect();
    let described = graph.nodes.iter().filter_map(|node| Some((&node.name, node.quantisation?)));
    let mut count = 0;
    for (name, quantisation) in described {
        count += 1;
        let node = quantizers.get(format!("{name}/quantise").as_str());
        let node = node.ok_or_else(|| format!("it does not round `{name}`, which its description does"))?;
        let [_, scale, zero_point] = &node.input[..] else { return Err(format!("`{name}` is rounded in another way")) };
        if initializers.scalar(scale) != Some(quantisation.scale)
            || initializers.byte(zero_point) != Some(quantisation.zero_point)
        {
            return Err(format!("it rounds `{name}` with another scale or zero point than its description says"));
        }
    }
    match quantizers.len() {
        found if found == count => Ok(()),
        found => Err(format!("it rounds {found} values and its description {count}")),
    }
}

/// Passes values through unrounded: a `DequantizeLinear` of a `QuantizeLinear`'s output becomes an `Identity`. Weights
/// that are stored as integers stay so.
pub(super) fn without_rounding(nodes: &[NodeProto]) -> Vec<NodeProto> {
    let given: HashMap<&str, &str> = nodes
        .iter()
        .filter(|node| node.op_type == QUANTIZE)
        .filter_map(|node| Some((node.output.first()?.as_str(), node.input.first()?.as_str())))
        .collect();
    let passes = |node: &NodeProto| -> Option<String> {
        let stored = node.input.first().filter(|_| node.op_type == DEQUANTIZE)?;
        given.get(stored.as_str()).map(|value| value.to_string())
    };
    let nodes: Vec<NodeProto> = nodes
        .iter()
        .map(|node| match passes(node) {
            Some(value) => {
                NodeProto { op_type: "Identity".into(), input: vec![value], attribute: Vec::new(), ..node.clone() }
            }
            None => node.clone(),
        })
        .collect();
    let read: HashSet<String> = nodes.iter().flat_map(|node| node.input.iter().cloned()).collect();
    let is_needed =
        |node: &NodeProto| node.op_type != QUANTIZE || node.output.iter().any(|output| read.contains(output));
    nodes.into_iter().filter(is_needed).collect()
}
