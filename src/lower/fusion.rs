//! What a fused engine never stores, it never rounds.
//!
//! The runtime runs a convolution together with the element-wise steps after it:
//!
//! * `Conv` or `BlendTaps`, then at most one `AddMap`, then at most one `Add`, then at most one `Relu`;
//! * `Linear`, then at most one `Add` or `QuickGelu`.
//!
//! Every value within such a chain has no reader but the next step. Of an `Add` whose operands are both convolutions, the
//! later one is the chain's; the other is stored. A `Sigmoid` looks stored bytes up, so the chain ends before it.

use crate::graph::{Graph, NodeId, Op};

/// Takes the grids off values that are inside a fused chain. What remains is what an engine must agree with.
pub fn strip_fused(graph: &Graph) -> Graph {
    let mut stripped = graph.clone();
    for id in graph.ids().filter(|id| is_fused_away(graph, *id)) {
        stripped.nodes[id.0].quantisation = None;
    }
    stripped
}

/// Takes the grids off what ReLU alone reads: ONNX Runtime joins the two, and needs every other grid for its int8 kernels.
pub fn strip_before_relu(graph: &Graph) -> Graph {
    let mut stripped = graph.clone();
    for id in graph.ids() {
        let is_conv = matches!(graph.node(id).op, Op::Conv { .. });
        if is_conv && only_reader(graph, id).is_some_and(|reader| graph.node(reader).op == Op::Relu) {
            stripped.nodes[id.0].quantisation = None;
        }
    }
    stripped
}

fn only_reader(graph: &Graph, id: NodeId) -> Option<NodeId> {
    let mut readers = graph.readers(id);
    match (readers.next(), readers.next()) {
        (Some(reader), None) if !graph.outputs.contains(&id) => Some(reader),
        _ => None,
    }
}

/// Whether `id` is inside a chain, and not at its end.
fn is_fused_away(graph: &Graph, id: NodeId) -> bool {
    let Some(reader) = only_reader(graph, id) else { return false };
    let reader_op = &graph.node(reader).op;
    match graph.node(id).op {
        Op::Conv { .. } => match reader_op {
            Op::AddMap { .. } | Op::Relu => true,
            Op::Add => is_main_operand(graph, id, reader),
            _ => false,
        },
        Op::BlendTaps { .. } => *reader_op == Op::Relu,
        Op::AddMap { .. } => {
            is_conv(graph, graph.node(id).inputs[0])
                && only_reader(graph, graph.node(id).inputs[0]).is_some()
                && match reader_op {
                    Op::Relu => true,
                    Op::Add => is_main_operand(graph, id, reader),
                    _ => false,
                }
        }
        Op::Add => *reader_op == Op::Relu && graph.node(id).inputs.iter().any(|input| is_fused_away(graph, *input)),
        Op::Linear { .. } => matches!(reader_op, Op::Add | Op::QuickGelu) && is_main_operand(graph, id, reader),
        _ => false,
    }
}

fn is_conv(graph: &Graph, id: NodeId) -> bool {
    matches!(graph.node(id).op, Op::Conv { .. })
}

/// Whether `id` is the last of the reader's operands that a chain could end in.
fn is_main_operand(graph: &Graph, id: NodeId, reader: NodeId) -> bool {
    let could_end = |operand: NodeId| {
        let is_chain = match graph.node(operand).op {
            Op::Conv { .. } | Op::Linear { .. } => true,
            Op::AddMap { .. } => is_conv(graph, graph.node(operand).inputs[0]),
            _ => false,
        };
        is_chain && only_reader(graph, operand) == Some(reader)
    };
    graph.node(reader).inputs.iter().copied().filter(|operand| could_end(*operand)).max() == Some(id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{GraphBuilder, Grid, Shape};

    const MAP: Shape = Shape::Map { channels: 4, height: 8, width: 8 };

    fn conv(name: &str) -> Op {
        Op::Conv { weight: name.into(), bias: None, out_channels: 4, kernel: 1, stride: 1, padding: 0 }
    }

    /// Puts a grid on every node and names those that keep it.
    fn kept(mut graph: Graph, strip: fn(&Graph) -> Graph) -> Vec<String> {
        graph.nodes.iter_mut().for_each(|node| node.quantisation = Some(Grid { scale: 1.0, zero_point: 0 }));
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
        // The shortcut's convolution stands last, so it adds the other's stored bytes.
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
        // Somebody else reads this sum, so it is stored.
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
}
