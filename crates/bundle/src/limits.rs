//! Limits on what a graph from a file may need from the machine.

use crate::error::Problem;
use causalclipseg_graph::graph::{Graph, Node, Op, Shape};

/// The most nodes of a graph, and the most outputs.
pub const MAX_NODES: usize = 16_384;
pub(crate) const MAX_INPUTS: usize = 256;
/// The most elements of one node's value. The published decoder at 1024 x 1024 pixels needs 2²⁸.
pub const MAX_ELEMENTS: usize = 1 << 28;
/// The most tokens of a prompt.
pub const MAX_CONTEXT: usize = 1024;

/// Refuses a graph whose nodes would need too much memory. Runs before [`Graph::validate`], which computes with the
/// shapes that are bounded here.
pub fn check(graph: &Graph) -> Result<(), Problem> {
    at_most("the number of nodes", graph.nodes.len(), MAX_NODES)?;
    at_most("the number of outputs", graph.outputs.len(), MAX_NODES)?;
    graph.nodes.iter().try_for_each(|node| check_node(graph, node))
}

fn check_node(graph: &Graph, node: &Node) -> Result<(), Problem> {
    let name = &node.name;
    at_most(&format!("the number of inputs of node `{name}`"), node.inputs.len(), MAX_INPUTS)?;
    at_most(&format!("the size of node `{name}`"), elements(node.shape), MAX_ELEMENTS)?;
    if let Shape::Tokens { context } = node.shape {
        at_most(&format!("the context of node `{name}`"), context, MAX_CONTEXT)?;
    }
    if elements(node.shape) == 0 {
        return Err(Problem::layout(format!("node `{name}`"), format!("{:?} is empty", node.shape)));
    }
    match &node.op {
        // A small output does not bound these: a large stride or pool hides a large padded map.
        Op::Conv { kernel, stride, padding, .. } => {
            at_most(&format!("the kernel of node `{name}`"), *kernel, 64)?;
            at_most(&format!("the stride of node `{name}`"), *stride, 64)?;
            at_most(&format!("the padding of node `{name}`"), *padding, 64)
        }
        // Scores are tokens x tokens for each head.
        Op::Attention { heads, .. } => {
            let input = node.inputs.first().and_then(|input| graph.nodes.get(input.0));
            let length = match input.map(|input| input.shape) {
                Some(Shape::Sequence { length: Some(length), .. }) => length,
                _ => MAX_CONTEXT,
            };
            let scores = length.saturating_mul(length).saturating_mul(*heads);
            at_most(&format!("the number of scores of node `{name}`"), scores, MAX_ELEMENTS)
        }
        _ => Ok(()),
    }
}

fn elements(shape: Shape) -> usize {
    match shape {
        Shape::Map { channels, height, width } => channels.saturating_mul(height).saturating_mul(width),
        Shape::Sequence { length, width } => length.unwrap_or(MAX_CONTEXT).saturating_mul(width),
        Shape::Vector { width } => width,
        Shape::Tokens { context } => context,
    }
}

fn at_most(what: &str, found: usize, limit: usize) -> Result<(), Problem> {
    if found <= limit {
        return Ok(());
    }
    Err(Problem::Limit { what: what.to_string(), found: found as u64, limit: limit as u64 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use causalclipseg_graph::graph::NodeId;

    fn refused(nodes: Vec<Node>) -> String {
        let graph = Graph { outputs: vec![NodeId(nodes.len() - 1)], nodes };
        check(&graph).expect_err("the graph must be refused").to_string()
    }

    fn node(op: Op, inputs: &[usize], shape: Shape) -> Node {
        Node { name: "n".into(), op, inputs: inputs.iter().map(|i| NodeId(*i)).collect(), shape, quantisation: None }
    }

    #[test]
    fn hostile_sizes_are_refused() {
        let map = |channels, height, width| Shape::Map { channels, height, width };
        let small = node(Op::Input, &[], map(1, 8, 8));
        let huge = node(Op::Input, &[], map(usize::MAX, 8, 8));
        assert!(refused(vec![huge]).contains("exceeds a limit: the size of node `n`"));
        assert!(refused(vec![node(Op::Input, &[], map(1, 0, 8))]).contains("is empty"));
        assert!(refused(vec![node(Op::Input, &[], Shape::Tokens { context: 1 << 20 })]).contains("context"));
        assert!(refused(vec![node(Op::Add, &[0; 257], map(1, 8, 8))]).contains("inputs"));
        assert!(refused(vec![small.clone(); MAX_NODES + 1]).contains("number of nodes"));
        let conv = |kernel, stride, padding| Op::Conv {
            weight: "w".into(),
            bias: None,
            out_channels: 1,
            kernel,
            stride,
            padding,
        };
        for (op, what) in
            [(conv(3, 1 << 40, 1 << 40), "stride"), (conv(3, 1, 1 << 40), "padding"), (conv(1 << 40, 1, 1), "kernel")]
        {
            assert!(refused(vec![small.clone(), node(op, &[0], map(1, 1, 1))]).contains(what));
        }
        let long = Shape::Sequence { length: Some(1 << 20), width: 4 };
        let scores = vec![node(Op::Input, &[], long), node(Op::Attention { heads: 1, causal: true }, &[0; 3], long)];
        assert!(refused(scores).contains("scores"));
    }
}
