//! Describes a graph node by node, with shapes checked as it grows.

use super::{Graph, GraphError, Node, NodeId, Op, Shape};
use std::collections::HashMap;

/// Builds a [`Graph`]. A node gets its operator's name and a number, or the name that the caller gives.
#[derive(Default)]
pub struct GraphBuilder {
    graph: Graph,
    names: HashMap<String, usize>,
}

impl GraphBuilder {
    /// An empty graph.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a value from outside.
    pub fn input(&mut self, name: &str, shape: Shape) -> Result<NodeId, GraphError> {
        self.push(name.to_string(), Op::Input, &[], shape)
    }

    /// Appends a node under a generated name.
    pub fn add(&mut self, op: Op, inputs: &[NodeId]) -> Result<NodeId, GraphError> {
        let label = op.label();
        let mut name = format!("{label}.{}", self.names.get(label).copied().unwrap_or(0));
        // A caller's own name may look like a generated one.
        while self.graph.nodes.iter().any(|node| node.name == name) {
            *self.names.entry(label.to_string()).or_default() += 1;
            name = format!("{label}.{}", self.names[label]);
        }
        *self.names.entry(label.to_string()).or_default() += 1;
        self.named(&name, op, inputs)
    }

    /// Appends a node under the given name.
    pub fn named(&mut self, name: &str, op: Op, inputs: &[NodeId]) -> Result<NodeId, GraphError> {
        let shapes: Vec<Shape> = inputs.iter().map(|input| self.shape(*input)).collect();
        let shape = op.infer(&shapes).map_err(|reason| GraphError::Node { node: name.to_string(), reason })?;
        self.push(name.to_string(), op, inputs, shape)
    }

    /// Renames a node, to give a stage the name it has in the paper.
    pub fn rename(&mut self, id: NodeId, name: &str) -> Result<(), GraphError> {
        if self.graph.nodes.iter().any(|node| node.name == name) {
            return Err(GraphError::Duplicate(name.to_string()));
        }
        self.graph.nodes[id.0].name = name.to_string();
        Ok(())
    }

    /// The shape of a node's value.
    pub fn shape(&self, id: NodeId) -> Shape {
        self.graph.node(id).shape
    }

    /// The graph, with these outputs in this order.
    pub fn finish(mut self, outputs: &[NodeId]) -> Graph {
        self.graph.outputs = outputs.to_vec();
        self.graph
    }

    fn push(&mut self, name: String, op: Op, inputs: &[NodeId], shape: Shape) -> Result<NodeId, GraphError> {
        if self.graph.nodes.iter().any(|node| node.name == name) {
            return Err(GraphError::Duplicate(name));
        }
        self.graph.nodes.push(Node { name, op, inputs: inputs.to_vec(), shape, quantisation: None });
        Ok(NodeId(self.graph.nodes.len() - 1))
    }
}

impl Op {
    /// A short name for nodes, layer tables and logs.
    pub fn label(&self) -> &'static str {
        match self {
            Op::Input => "input",
            Op::Conv { .. } => "conv",
            Op::BatchNorm { .. } => "batch_norm",
            Op::Relu => "relu",
            Op::Sigmoid => "sigmoid",
            Op::QuickGelu => "quick_gelu",
            Op::Complement => "complement",
            Op::AveragePool { .. } => "average_pool",
            Op::Upsample { .. } => "upsample",
            Op::Add => "add",
            Op::Multiply => "multiply",
            Op::Concat => "concat",
            Op::AppendCoordinates => "append_coordinates",
            Op::Carafe { .. } => "carafe",
            Op::GridToSequence => "grid_to_sequence",
            Op::SequenceToGrid { .. } => "sequence_to_grid",
            Op::AddPositions { .. } => "add_positions",
            Op::Linear { .. } => "linear",
            Op::Project { .. } => "project",
            Op::LayerNorm { .. } => "layer_norm",
            Op::Attention { .. } => "attention",
            Op::Embed { .. } => "embed",
            Op::EndOfText => "end_of_text",
            Op::PromptConv { .. } => "prompt_conv",
            Op::AddMap { .. } => "add_map",
            Op::BlendTaps { .. } => "blend_taps",
        }
    }
}
