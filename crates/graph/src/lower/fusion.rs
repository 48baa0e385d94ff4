//! The nodes that one fused step computes. Lowering and quantising use the same rule: a value that a step never stores
//! is never rounded.
//!
//! A step computes a node and those that follow it in its chain:
//!
//! * a product (`Conv`, `Linear` or `Project`), then at most one `AddMap`, at most one `Add` and at most one `Relu`, in this
//!   order;
//! * a `Linear`, then `QuickGelu`, which is a separate step but takes f32 from the product;
//! * `BlendTaps` or an `Add` that is not fused into a product, then at most one `Relu`.
//!
//! Every value within a chain has no reader except the next node. The chain's last value is stored. An `Add` belongs to
//! the operand whose step runs last; the other operand is stored by then. A `Sigmoid` looks up stored bytes, so a chain
//! ends before it.

use crate::graph::{Graph, NodeId, Op};

/// The chains of a graph, by their first nodes.
pub(super) struct Chains {
    followers: Vec<Vec<NodeId>>,
}

/// The progress of a chain; each link comes after the last one.
#[derive(Clone, Copy, PartialEq, PartialOrd)]
enum Link {
    Product,
    Map,
    Sum,
    End,
}

impl Chains {
    /// Finds the chains, in the order in which steps run. A chain ends at a value for which `is_stored` is true.
    pub(super) fn find(graph: &Graph, is_stored: impl Fn(NodeId) -> bool) -> Self {
        let mut computed = vec![false; graph.nodes.len()];
        let mut followers = vec![Vec::new(); graph.nodes.len()];
        for first in graph.ids() {
            if std::mem::replace(&mut computed[first.0], true) {
                continue;
            }
            let chain = follow(graph, first, &computed, &is_stored);
            chain.iter().for_each(|id| computed[id.0] = true);
            followers[first.0] = chain;
        }
        Self { followers }
    }

    /// The nodes after `first` in its chain, in order; empty where `first` is alone or within another node's chain.
    pub(super) fn after(&self, first: NodeId) -> &[NodeId] {
        &self.followers[first.0]
    }
}

fn follow(graph: &Graph, first: NodeId, computed: &[bool], is_stored: &impl Fn(NodeId) -> bool) -> Vec<NodeId> {
    let mut chain = Vec::new();
    let (mut last, mut link) = match graph.node(first).op {
        Op::Conv { .. } | Op::Linear { .. } | Op::Project { .. } => (first, Link::Product),
        Op::BlendTaps { .. } | Op::Add => (first, Link::Sum),
        _ => return chain,
    };
    while link < Link::End && !is_stored(last) {
        let Some(next) = graph.only_reader(last) else { break };
        let node = graph.node(next);
        let next_link = match node.op {
            Op::AddMap { .. } => Link::Map,
            Op::Add if node.inputs.iter().any(|input| *input != last && computed[input.0]) => Link::Sum,
            Op::Relu => Link::End,
            Op::QuickGelu if matches!(graph.node(last).op, Op::Linear { .. }) => Link::End,
            _ => break,
        };
        if next_link <= link {
            break;
        }
        chain.push(next);
        (last, link) = (next, next_link);
    }
    chain
}

/// Removes the scale and zero point of values inside a fused chain. An engine must agree with the remaining ones.
pub fn strip_fused(graph: &Graph) -> Graph {
    let chains = Chains::find(graph, |_| false);
    let mut stripped = graph.clone();
    for first in graph.ids() {
        let followers = chains.after(first);
        for id in [first].iter().chain(followers).take(followers.len()) {
            stripped.nodes[id.0].quantisation = None;
        }
    }
    stripped
}

/// Removes the scale and zero point of values that only ReLU reads: ONNX Runtime fuses the two, and needs all others
/// for its int8 kernels.
pub fn strip_before_relu(graph: &Graph) -> Graph {
    let mut stripped = graph.clone();
    for id in graph.ids() {
        let is_conv = matches!(graph.node(id).op, Op::Conv { .. });
        if is_conv && graph.only_reader(id).is_some_and(|reader| graph.node(reader).op == Op::Relu) {
            stripped.nodes[id.0].quantisation = None;
        }
    }
    stripped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{GraphBuilder, ScaleZeroPoint, Shape};

    const MAP: Shape = Shape::Map { channels: 4, height: 8, width: 8 };

    fn conv(name: &str) -> Op {
        Op::Conv { weight: name.into(), bias: None, out_channels: 4, kernel: 1, stride: 1, padding: 0 }
    }

    /// Quantises every node and names those that stay quantised.
    fn kept(mut graph: Graph, strip: fn(&Graph) -> Graph) -> Vec<String> {
        graph.nodes.iter_mut().for_each(|node| node.quantisation = Some(ScaleZeroPoint { scale: 1.0, zero_point: 0 }));
        let stripped = strip(&graph);
        stripped.nodes.into_iter().filter(|node| node.quantisation.is_some()).map(|node| node.name).collect()
    }

    #[test]
    fn a_bottleneck_stores_its_ends() {
        let mut g = GraphBuilder::new();
        let x = g.input("x", MAP).unwrap();
        let y = g.named("conv1", conv("a"), &[x]).unwrap();
        let y = g.named("relu1", Op::Relu, &[y]).unwrap();
        let y = g.named("conv3", conv("b"), &[y]).unwrap();
        let shortcut = g.named("downsample", conv("c"), &[x]).unwrap();
        let sum = g.named("add", Op::Add, &[y, shortcut]).unwrap();
        let out = g.named("relu2", Op::Relu, &[sum]).unwrap();
        let graph = g.finish(&[out]);
        // The shortcut's convolution comes last, so it adds the other's stored bytes.
        assert_eq!(kept(graph.clone(), strip_fused), ["x", "relu1", "conv3", "relu2"]);
        assert_eq!(kept(graph, strip_before_relu), ["x", "relu1", "conv3", "downsample", "add", "relu2"]);
    }

    #[test]
    fn a_plain_shortcut_is_stored() {
        let mut g = GraphBuilder::new();
        let x = g.input("x", MAP).unwrap();
        let y = g.named("conv", conv("a"), &[x]).unwrap();
        let sum = g.named("add", Op::Add, &[y, x]).unwrap();
        let out = g.named("relu", Op::Relu, &[sum]).unwrap();
        // This sum has another reader, so it is stored.
        let other = g.named("conv2", conv("b"), &[out]).unwrap();
        let sum = g.named("add2", Op::Add, &[other, out]).unwrap();
        let relu = g.named("relu2", Op::Relu, &[sum]).unwrap();
        let both = g.named("both", Op::Multiply, &[relu, sum]).unwrap();
        assert_eq!(kept(g.finish(&[both]), strip_fused), ["x", "relu", "add2", "relu2", "both"]);
    }

    #[test]
    fn maskers_and_projectors() {
        let mut g = GraphBuilder::new();
        let x = g.input("x", MAP).unwrap();
        let y = g.named("conv1", conv("a"), &[x]).unwrap();
        let y = g.named("map", Op::AddMap { map: "map".into() }, &[y]).unwrap();
        let y = g.named("relu", Op::Relu, &[y]).unwrap();
        let y = g.named("logits", conv("b"), &[y]).unwrap();
        let mask = g.named("mask", Op::Sigmoid, &[y]).unwrap();
        let y = g.named("gated", Op::Multiply, &[x, mask]).unwrap();
        let taps = Op::Conv { weight: "t".into(), bias: None, out_channels: 18, kernel: 1, stride: 1, padding: 0 };
        let y = g.named("taps", taps, &[y]).unwrap();
        let y = g.named("blend", Op::BlendTaps { scale: 2, bias: None }, &[y]).unwrap();
        let y = g.named("relu2", Op::Relu, &[y]).unwrap();
        let expected = ["x", "relu", "logits", "mask", "gated", "taps", "relu2"];
        assert_eq!(kept(g.finish(&[y]), strip_fused), expected);
    }

    #[test]
    fn what_leaves_the_graph_is_stored() {
        let mut g = GraphBuilder::new();
        let x = g.input("x", MAP).unwrap();
        let y = g.named("conv", conv("a"), &[x]).unwrap();
        let z = g.named("relu", Op::Relu, &[y]).unwrap();
        assert_eq!(kept(g.finish(&[y, z]), strip_fused), ["x", "conv", "relu"]);
    }

    fn linear(weight: &str) -> Op {
        Op::Linear { weight: weight.into(), bias: None, weight_rows: 6, first_row: 0, out: 6 }
    }

    #[test]
    fn a_transformer_keeps_what_its_products_read() {
        let mut g = GraphBuilder::new();
        let x = g.input("x", Shape::Sequence { length: Some(5), width: 6 }).unwrap();
        let y = g.named("up", linear("a"), &[x]).unwrap();
        let y = g.named("gelu", Op::QuickGelu, &[y]).unwrap();
        let y = g.named("down", linear("b"), &[y]).unwrap();
        let y = g.named("sum", Op::Add, &[x, y]).unwrap();
        let z = g.named("next", linear("c"), &[y]).unwrap();
        let both = g.named("late", Op::Add, &[z, y]).unwrap();
        assert_eq!(kept(g.finish(&[both]), strip_fused), ["x", "gelu", "sum", "late"]);
    }

    #[test]
    fn a_sum_of_stored_values_takes_its_relu_along() {
        let mut g = GraphBuilder::new();
        let x = g.input("x", MAP).unwrap();
        let pooled = Op::AveragePool { size: 1 };
        let (a, b) = (g.named("a", pooled.clone(), &[x]).unwrap(), g.named("b", pooled, &[x]).unwrap());
        let sum = g.named("sum", Op::Add, &[a, b]).unwrap();
        let out = g.named("relu", Op::Relu, &[sum]).unwrap();
        let double = g.named("double", Op::Add, &[out, out]).unwrap();
        assert_eq!(kept(g.finish(&[double]), strip_fused), ["x", "a", "b", "relu", "double"]);
    }

    /// A small version of a network's image part: stem, a bottleneck with and one without its own shortcut, a masker
    /// with its gate, and a decoder's products.
    fn image_part() -> Graph {
        let mut g = GraphBuilder::new();
        let image = g.input("image", Shape::Map { channels: 3, height: 8, width: 8 }).unwrap();
        let mut product = |x, name: &str, out_channels, follow: bool| {
            let conv = Op::Conv { weight: name.into(), bias: None, out_channels, kernel: 1, stride: 1, padding: 0 };
            let x = g.named(name, conv, &[x]).unwrap();
            if follow { g.add(Op::Relu, &[x]).unwrap() } else { x }
        };
        let x = product(image, "stem", 4, true);
        let y = product(x, "first", 4, true);
        let (y, shortcut) = (product(y, "second", 4, false), product(x, "shortcut", 4, false));
        let sum = g.add(Op::Add, &[y, shortcut]).unwrap();
        let x = g.add(Op::Relu, &[sum]).unwrap();
        let y = g.named("third", conv("third"), &[x]).unwrap();
        let sum = g.add(Op::Add, &[y, x]).unwrap();
        let x = g.add(Op::Relu, &[sum]).unwrap();
        let y = g.named("masker", conv("masker"), &[x]).unwrap();
        let y = g.add(Op::AddMap { map: "map".into() }, &[y]).unwrap();
        let y = g.add(Op::Relu, &[y]).unwrap();
        let logits = g.named("logits", conv("logits"), &[y]).unwrap();
        let mask = g.add(Op::Sigmoid, &[logits]).unwrap();
        let x = g.add(Op::Multiply, &[x, mask]).unwrap();
        let taps = Op::Conv { weight: "t".into(), bias: None, out_channels: 36, kernel: 1, stride: 1, padding: 0 };
        let x = g.named("taps", taps, &[x]).unwrap();
        let x = g.add(Op::BlendTaps { scale: 2, bias: None }, &[x]).unwrap();
        let x = g.add(Op::Relu, &[x]).unwrap();
        g.finish(&[x])
    }

    /// Lowering stores in bytes exactly the values that stay quantised.
    #[test]
    fn lowering_stores_what_keeps_its_grid() {
        let mut graph = image_part();
        let quantisation = ScaleZeroPoint { scale: 1.0, zero_point: 0 };
        graph.nodes.iter_mut().for_each(|node| node.quantisation = Some(quantisation));
        let stripped = strip_fused(&graph);
        let list = super::super::steps::lower(&stripped).unwrap();
        let stored: Vec<&str> = list.tensors.iter().map(|tensor| tensor.name.as_str()).collect();
        // A mask's bytes are looked up from those of its logits.
        let is_stored = |id: &NodeId| stripped.node(*id).op != Op::Sigmoid;
        let kept = stripped.ids().filter(|id| stripped.node(*id).quantisation.is_some()).filter(is_stored);
        let kept: Vec<&str> = kept.map(|id| stripped.node(id).name.as_str()).collect();
        assert_eq!(stored, kept);
        assert!(list.tensors.iter().all(|tensor| tensor.element == super::super::steps::Element::U8(quantisation)));
        // If every node is quantised, each one is a step, or lowering has no step for it.
        assert!(super::super::steps::lower(&graph).is_err());
    }
}
