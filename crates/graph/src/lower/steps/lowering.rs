//! The walk over the graph: each node becomes a step, joins the step of an earlier node, or is only another name for a
//! tensor.

use super::{Destination, Element, Step, StepKind, StepList, Tensor, TensorId, Unsupported};
use crate::graph::{Graph, Node, NodeId, Op, ScaleZeroPoint, Shape};
use crate::lower::fusion::Chains;

/// The result of visiting a node.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Lowered {
    /// It was joined into the step of an earlier node, whose result is listed under the chain's last node.
    Joined,
    Tensor(TensorId),
    /// The sigmoid of a tensor, computed where it is used.
    Sigmoid {
        logits: TensorId,
        complement: bool,
        quantisation: Option<ScaleZeroPoint>,
    },
    /// Token ids, which have no tensor.
    Tokens,
    /// Written by a prompt's tail, outside the arena.
    Logits,
}

/// The walk's state.
pub(super) struct Lowering<'a> {
    pub graph: &'a Graph,
    /// The nodes that form one step. A quantised value is stored, so a chain ends there.
    pub chains: Chains,
    pub list: StepList,
    pub values: Vec<Option<Lowered>>,
    /// The parts of concatenations: the reading node and the tensor that was created for it.
    pub concats: Vec<(NodeId, TensorId)>,
}

/// Lowers a graph whose inputs are an image, tokens, or a prompt's vector.
///
/// # Errors
/// The first node without a known step.
pub fn lower(graph: &Graph) -> Result<StepList, Unsupported> {
    let list = StepList { tensors: Vec::new(), steps: Vec::new(), outputs: Vec::new() };
    let values = vec![None; graph.nodes.len()];
    let chains = Chains::find(graph, |id| graph.node(id).quantisation.is_some());
    let mut lowering = Lowering { graph, chains, list, values, concats: Vec::new() };
    for id in graph.ids() {
        if lowering.values[id.0].is_none() {
            let value = lowering.visit(id)?;
            // A chain's value is listed under its last node, which may be its first one.
            if lowering.values[id.0].is_none() {
                lowering.values[id.0] = Some(value);
            }
        }
    }
    for output in &graph.outputs {
        match lowering.values[output.0] {
            Some(Lowered::Tensor(tensor)) => lowering.list.outputs.push(tensor),
            Some(Lowered::Logits) => {}
            _ => return Err(lowering.refuse(*output, "an output that is never stored")),
        }
    }
    Ok(lowering.list)
}

impl<'a> Lowering<'a> {
    fn visit(&mut self, id: NodeId) -> Result<Lowered, Unsupported> {
        let node = self.node(id);
        match &node.op {
            Op::Input => self.input(id),
            Op::Conv { .. } if self.is_tail(id) => self.prompt_tail(id),
            Op::Conv { .. } | Op::Linear { .. } | Op::Project { .. } => self.product(id),
            Op::AveragePool { size } => self.simple(id, StepKind::AveragePool { size: *size }),
            Op::Sigmoid => self.sigmoid(id),
            Op::Complement => self.complement(id),
            Op::Multiply => self.gate(id),
            Op::Add => self.add(id),
            Op::Concat => self.concat(id),
            Op::Carafe { scale } => self.simple(id, StepKind::Carafe { scale: *scale }),
            Op::BlendTaps { .. } => self.blend(id),
            Op::GridToSequence | Op::SequenceToGrid { .. } => self.renamed(id),
            Op::AddPositions { table, skip, .. } => {
                self.simple(id, StepKind::AddPositions { table: table.clone(), skip: *skip })
            }
            Op::Attention { heads, causal } => self.simple(id, StepKind::Attention { heads: *heads, causal: *causal }),
            Op::LayerNorm { prefix } => self.simple(id, StepKind::LayerNorm { prefix: prefix.clone() }),
            Op::QuickGelu => self.simple(id, StepKind::QuickGelu),
            Op::Embed { table, .. } => self.embed(id, table),
            Op::EndOfText => self.end_of_text(id),
            Op::Relu
            | Op::AddMap { .. }
            | Op::BatchNorm { .. }
            | Op::Upsample { .. }
            | Op::AppendCoordinates
            | Op::PromptConv { .. } => {
                Err(self.refuse(id, &format!("no step is known for a separate {}", node.op.label())))
            }
        }
    }

    pub(super) fn node(&self, id: NodeId) -> &'a Node {
        self.graph.node(id)
    }

    pub(super) fn refuse(&self, id: NodeId, reason: &str) -> Unsupported {
        Unsupported { node: self.node(id).name.clone(), reason: reason.to_string() }
    }

    /// The tensor with a node's value.
    pub(super) fn tensor_of(&self, reader: NodeId, id: NodeId) -> Result<TensorId, Unsupported> {
        match self.values[id.0] {
            Some(Lowered::Tensor(tensor)) => Ok(tensor),
            _ => Err(self.refuse(reader, &format!("it reads `{}`, which is never stored", self.node(id).name))),
        }
    }

    /// Creates a tensor for a node's value, with the size of its shape, or of `like` for a sequence of a map's pixels.
    pub(super) fn new_tensor(&mut self, id: NodeId, like: Option<TensorId>) -> Result<TensorId, Unsupported> {
        let node = self.node(id);
        let (height, width, channels, per_token) = match node.shape {
            Shape::Map { channels, height, width } => (height, width, channels, false),
            Shape::Sequence { length, width: channels } => {
                let like = like.map(|like| self.list.tensor(like));
                let extent = like.map(|like| (like.height, like.width, like.per_token));
                match (extent, length) {
                    (Some((height, width, false)), Some(length)) if height * width == length => {
                        (height, width, channels, false)
                    }
                    (Some((1, width, true)), None) => (1, width, channels, true),
                    (_, Some(length)) => (1, length, channels, false),
                    _ => return Err(self.refuse(id, "a sequence of unknown length")),
                }
            }
            Shape::Vector { width } => (1, 1, width, false),
            Shape::Tokens { .. } => return Err(self.refuse(id, "token ids are not a tensor")),
        };
        let element = node.quantisation.map_or(Element::F32, Element::U8);
        let name = node.name.clone();
        self.list.tensors.push(Tensor { name, height, width, channels, border: 0, element, per_token });
        Ok(TensorId(self.list.tensors.len() - 1))
    }

    /// The destination of a node's value: the buffer of the concatenation that is its only reader, or a separate
    /// tensor.
    pub(super) fn destination(&mut self, id: NodeId, like: Option<TensorId>) -> Result<Destination, Unsupported> {
        let Some(reader) = self.graph.only_reader(id).filter(|reader| self.node(*reader).op == Op::Concat) else {
            return Ok(Destination { tensor: self.new_tensor(id, like)?, first_channel: 0 });
        };
        let parts = &self.node(reader).inputs;
        let same_grid = self.node(id).quantisation == self.node(reader).quantisation;
        if !same_grid || parts.iter().filter(|part| **part == id).count() != 1 {
            return Err(self.refuse(reader, "its parts do not have its own scale and zero point"));
        }
        let before = parts.iter().take_while(|part| **part != id);
        let first_channel = before.map(|part| self.map_channels(*part)).sum();
        let tensor = match self.concats.iter().find(|(concat, _)| *concat == reader) {
            Some((_, tensor)) => *tensor,
            None => {
                let tensor = self.new_tensor(reader, None)?;
                self.concats.push((reader, tensor));
                tensor
            }
        };
        Ok(Destination { tensor, first_channel })
    }

    fn map_channels(&self, id: NodeId) -> usize {
        match self.node(id).shape {
            Shape::Map { channels, .. } => channels,
            _ => 0,
        }
    }

    /// Appends a step that yields a node's value as a tensor.
    pub(super) fn push(&mut self, id: NodeId, kind: StepKind, reads: Vec<TensorId>, writes: Destination) {
        let multiply_accumulates = self.graph.multiply_accumulates(id, 1);
        let name = self.node(id).name.clone();
        self.list.steps.push(Step { name, kind, reads, writes: Some(writes), multiply_accumulates });
    }

    /// A step of one node that reads all its inputs.
    pub(super) fn simple(&mut self, id: NodeId, kind: StepKind) -> Result<Lowered, Unsupported> {
        let inputs = self.node(id).inputs.iter().map(|input| self.tensor_of(id, *input));
        let reads = inputs.collect::<Result<Vec<TensorId>, Unsupported>>()?;
        let writes = self.destination(id, reads.first().copied())?;
        self.push(id, kind, reads, writes);
        Ok(self.stored(writes))
    }

    /// The state of a node whose value a step wrote there. A part of a concatenation has no other reader.
    pub(super) fn stored(&self, destination: Destination) -> Lowered {
        Lowered::Tensor(destination.tensor)
    }

    fn input(&mut self, id: NodeId) -> Result<Lowered, Unsupported> {
        match self.node(id).shape {
            Shape::Map { channels: 3, .. } => {
                let tensor = self.new_tensor(id, None)?;
                // Int8 kernels take channels four at a time.
                if let Element::U8(_) = self.list.tensor(tensor).element {
                    self.list.tensors[tensor.0].channels = super::CHANNEL_GROUP;
                }
                self.push(id, StepKind::LoadImage, Vec::new(), Destination { tensor, first_channel: 0 });
                Ok(Lowered::Tensor(tensor))
            }
            Shape::Tokens { .. } => Ok(Lowered::Tokens),
            // A prompt's vector, which only the tail reads.
            Shape::Vector { .. } => Ok(Lowered::Logits),
            _ => Err(self.refuse(id, "an input that is not an image, tokens or a vector")),
        }
    }

    /// Another name for the same pixels.
    fn renamed(&mut self, id: NodeId) -> Result<Lowered, Unsupported> {
        let input = self.node(id).inputs[0];
        let tensor = self.tensor_of(id, input)?;
        if self.node(id).quantisation != self.node(input).quantisation {
            return Err(self.refuse(id, "a change of scale or zero point without arithmetic"));
        }
        if let Shape::Map { height, width, .. } = self.node(id).shape {
            let stored = self.list.tensor(tensor);
            if (stored.height, stored.width) != (height, width) {
                return Err(self.refuse(id, "a sequence of another map"));
            }
        }
        Ok(Lowered::Tensor(tensor))
    }

    fn concat(&mut self, id: NodeId) -> Result<Lowered, Unsupported> {
        let made = self.concats.iter().find(|(concat, _)| *concat == id);
        let (_, tensor) = made.ok_or_else(|| self.refuse(id, "parts with other readers"))?;
        let written =
            self.list.steps.iter().filter(|step| step.writes.is_some_and(|written| written.tensor == *tensor)).count();
        if written != self.node(id).inputs.len() {
            return Err(self.refuse(id, "parts with other readers"));
        }
        Ok(Lowered::Tensor(*tensor))
    }
}
