//! The network as data: a list of nodes in execution order over a small, closed set of operators.
//!
//! All parts of the project use one graph. The converter describes the published network with a [`GraphBuilder`]; the
//! training loop, the ONNX writer and the runtime's engines each walk the same list. [`crate::lower`] rewrites it, with
//! its weights, into cheaper graphs that compute the same function; a bundle contains the result.
//!
//! Shapes exclude the batch: an image pass runs one image, and a prompt's node runs any number of prompts.

mod builder;
mod cost;
mod op;
mod parts;
mod scale_zero_point;
pub mod stage;
mod subgraph;

pub use builder::GraphBuilder;
pub use op::{NORM_EPSILON, Op, Parameter, TAPS, coordinate};
pub use parts::{Head, HeadGraph, Parts, Side};
pub use scale_zero_point::ScaleZeroPoint;

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashSet};
use std::fmt;

/// Weights by name, row-major, in f32. Names are the published checkpoint's, or those of a rewrite.
pub type Weights = BTreeMap<String, ndarray::ArrayD<f32>>;

/// The index of a node in [`Graph::nodes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NodeId(pub usize);

/// The shape of a node's value, for one image or one prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    /// A feature map, channels x height x width.
    Map {
        /// The number of channels.
        channels: usize,
        /// The height, in pixels.
        height: usize,
        /// The width, in pixels.
        width: usize,
    },
    /// Rows of `width` numbers; `length` rows, or one for each token of the prompt where it is `None`.
    Sequence {
        /// The number of rows; `None` where it depends on the prompt.
        length: Option<usize>,
        /// The number of elements of a row.
        width: usize,
    },
    /// One row of `width` numbers.
    Vector {
        /// The number of elements.
        width: usize,
    },
    /// Token ids of one prompt, start and end of text included; `context` at the most.
    Tokens {
        /// The most ids.
        context: usize,
    },
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Shape::Map { channels, height, width } => write!(f, "{channels} x {height} x {width}"),
            Shape::Sequence { length: Some(length), width } => write!(f, "{length} x {width}"),
            Shape::Sequence { length: None, width } => write!(f, "tokens x {width}"),
            Shape::Vector { width } => write!(f, "{width}"),
            Shape::Tokens { context } => write!(f, "up to {context} tokens"),
        }
    }
}

/// One operator applied to earlier nodes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// The name, unique in its graph. Stages of the paper have their names there: `v3`, `fq4`, `mask5`, `state`,
    /// `pred`.
    pub name: String,
    /// The operator.
    pub op: Op,
    /// The nodes that it reads, in the operator's order.
    pub inputs: Vec<NodeId>,
    /// The shape of its value.
    pub shape: Shape,
    /// The scale and zero point with which the result is rounded to 8 bits. `None` where it stays f32.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantisation: Option<ScaleZeroPoint>,
}

/// A network, or a part of one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Graph {
    /// The nodes in execution order: a node's inputs precede it.
    pub nodes: Vec<Node>,
    /// The outputs, in this order.
    pub outputs: Vec<NodeId>,
}

/// Why a graph is refused.
#[derive(Debug, thiserror::Error, PartialEq)]
#[non_exhaustive]
pub enum GraphError {
    /// A node does not accept its inputs, or does not have the shape that it states.
    #[error("node `{node}`: {reason}")]
    Node {
        /// The node's name.
        node: String,
        /// The reason.
        reason: String,
    },
    /// Two nodes have this name.
    #[error("two nodes are named `{0}`")]
    Duplicate(String),
    /// No node has this name or number.
    #[error("the graph has no node `{0}`")]
    NoNode(String),
    /// The network does not have the form "an image map and a prompt vector meet in a head".
    #[error("output `{output}` cannot be split into an image part and a prompt part: {reason}")]
    Cut {
        /// The node above which the cut was searched.
        output: String,
        /// Why the graph cannot be cut.
        reason: String,
    },
    /// Weights that the graph reads are missing or have another shape.
    #[error("{}", describe_weights(missing, misshapen))]
    Weights {
        /// The names of the missing weights.
        missing: Vec<String>,
        /// The weights of another shape: name, found and expected.
        misshapen: Vec<String>,
    },
}

fn describe_weights(missing: &[String], misshapen: &[String]) -> String {
    let mut parts = Vec::new();
    if !missing.is_empty() {
        parts.push(format!("{} tensors are missing: {}", missing.len(), missing.join(", ")));
    }
    if !misshapen.is_empty() {
        parts.push(format!("{} tensors have another shape: {}", misshapen.len(), misshapen.join(", ")));
    }
    parts.join("; ")
}

impl Graph {
    /// A node by its id.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0]
    }

    /// Finds a node by its name.
    pub fn find(&self, name: &str) -> Result<NodeId, GraphError> {
        let position = self.nodes.iter().position(|node| node.name == name);
        position.map(NodeId).ok_or_else(|| GraphError::NoNode(name.to_string()))
    }

    /// Node ids in execution order.
    pub fn ids(&self) -> impl Iterator<Item = NodeId> + use<> {
        (0..self.nodes.len()).map(NodeId)
    }

    /// The nodes that read `id`.
    pub fn readers(&self, id: NodeId) -> impl Iterator<Item = NodeId> + '_ {
        self.ids().filter(move |reader| self.node(*reader).inputs.contains(&id))
    }

    /// The only reader of `id`; `None` where the value has several readers or is an output.
    pub fn only_reader(&self, id: NodeId) -> Option<NodeId> {
        let mut readers = self.readers(id);
        match (readers.next(), readers.next()) {
            (Some(reader), None) if !self.outputs.contains(&id) => Some(reader),
            _ => None,
        }
    }

    /// Checks a graph from an untrusted file: order, unique names, every shape (inferred again), and scales.
    pub fn validate(&self) -> Result<(), GraphError> {
        let mut names = HashSet::new();
        for (index, node) in self.nodes.iter().enumerate() {
            let refuse = |reason: String| GraphError::Node { node: node.name.clone(), reason };
            if !names.insert(node.name.as_str()) {
                return Err(GraphError::Duplicate(node.name.clone()));
            }
            if let Some(late) = node.inputs.iter().find(|input| input.0 >= index) {
                return Err(refuse(format!("reads node {} which does not precede it", late.0)));
            }
            let inputs: Vec<Shape> = node.inputs.iter().map(|input| self.node(*input).shape).collect();
            let shape = match node.op {
                Op::Input if inputs.is_empty() => node.shape,
                _ => node.op.infer(&inputs).map_err(refuse)?,
            };
            match (node.quantisation, shape) {
                (Some(_), Shape::Tokens { .. }) => return Err(refuse("token ids cannot be quantised".into())),
                (Some(quantisation), _) => quantisation.check().map_err(refuse)?,
                (None, _) => {}
            }
            if shape != node.shape {
                return Err(refuse(format!("yields {shape:?}, but the graph says {:?}", node.shape)));
            }
        }
        match self.outputs.iter().find(|output| output.0 >= self.nodes.len()) {
            Some(output) => Err(GraphError::NoNode(output.0.to_string())),
            None => Ok(()),
        }
    }

    /// Every weight that the graph reads, once, in the order of first use.
    pub fn parameters(&self) -> Vec<Parameter> {
        let mut seen = HashSet::new();
        let mut parameters = Vec::new();
        for node in &self.nodes {
            let inputs: Vec<Shape> = node.inputs.iter().map(|input| self.node(*input).shape).collect();
            for parameter in node.op.parameters(&inputs) {
                if seen.insert(parameter.name.clone()) {
                    parameters.push(parameter);
                }
            }
        }
        parameters
    }

    /// Checks that `shape_of` yields every weight in the shape that the graph needs; one error names all that do not
    /// fit.
    pub fn check_weights<'a>(&self, shape_of: impl Fn(&str) -> Option<&'a [usize]>) -> Result<(), GraphError> {
        let (mut missing, mut misshapen) = (Vec::new(), Vec::new());
        for Parameter { name, shape } in self.parameters() {
            match shape_of(&name) {
                None => missing.push(name),
                Some(found) if found != shape => misshapen.push(format!("{name} is {found:?}, not {shape:?}")),
                Some(_) => {}
            }
        }
        if missing.is_empty() && misshapen.is_empty() {
            return Ok(());
        }
        Err(GraphError::Weights { missing, misshapen })
    }
}
