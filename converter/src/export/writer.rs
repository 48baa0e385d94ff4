//! Walks a graph and writes each of its operators in standard ONNX.
//!
//! An operator that ONNX has becomes one node under the graph node's own name; one that it lacks becomes several, named
//! `<node>/<step>`, of which the last has the node's name. Weights keep the checkpoint's names.

use super::proto::{self, Axis, float_tensor, int_tensor, value_info};
use crate::quantize::QuantisedTensor;
use causalclipseg::graph::{Graph, Node, NodeId, Op, ScaleZeroPoint, Shape, Weights};
use causalclipseg::onnx::WeightPart;
use ndarray::ArrayD;
use std::collections::{BTreeMap, HashSet};
use tract_onnx::pb::{AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, tensor_proto::DataType};

/// Why a graph cannot be written.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum GraphWriteError {
    #[error("node `{node}` reads the weight `{weight}`, which the checkpoint lacks")]
    NoWeight { node: String, weight: String },
    #[error("node `{node}` reads the weight `{weight}` in the shape {found:?}, not {expected:?}")]
    WeightShape { node: String, weight: String, found: Vec<usize>, expected: Vec<usize> },
    #[error("node `{node}` does not take its inputs: {reason}")]
    Inputs { node: String, reason: String },
    #[error("the graph has no node {0}")]
    NoNode(usize),
}

/// A graph in ONNX, and the places of its weights.
pub struct Written {
    pub model: ModelProto,
    /// The parts of each weight, by the names of the graph's parameters.
    pub parts: BTreeMap<String, Vec<WeightPart>>,
}

/// Writes a graph as an ONNX model. `quantised` has integers for some of the weights; `weights` has the numbers that
/// they represent. `tensor_names` gives inputs and outputs other names than their nodes have.
///
/// Maps that depend on the image alone are `[1, channels, height, width]`. Whatever depends on the sentence has a first
/// axis `prompts` of any length: tokens (int64, padded with zeros to the context), vectors, and maps of logits.
///
/// A node's scale and zero point become a pair of `QuantizeLinear` and `DequantizeLinear`.
pub fn write_model(
    graph: &Graph,
    weights: &Weights,
    quantised: &BTreeMap<String, QuantisedTensor>,
    tensor_names: &BTreeMap<NodeId, String>,
    properties: &BTreeMap<String, String>,
) -> Result<Written, GraphWriteError> {
    check(graph, weights)?;
    let name_of = |id: NodeId| tensor_names.get(&id).unwrap_or(&graph.node(id).name).clone();
    let mut writer = OnnxWriter {
        weights,
        quantised,
        tensors: graph.ids().map(name_of).collect(),
        context: graph.nodes.iter().find_map(|node| match node.shape {
            Shape::Tokens { context } => Some(context),
            _ => None,
        }),
        nodes: Vec::new(),
        initializers: Vec::new(),
        known: HashSet::new(),
        parts: BTreeMap::new(),
    };
    let depends = prompt_dependence(graph);
    let value = |writer: &OnnxWriter, id: NodeId| {
        let (data_type, axes) = writer.external_axes(graph.node(id), depends[id.0])?;
        Ok(value_info(&writer.tensors[id.0], data_type, &axes))
    };
    let mut input = Vec::new();
    for id in graph.ids() {
        match graph.node(id).op {
            Op::Input => {
                input.push(value(&writer, id)?);
                writer.round_input(graph, id);
            }
            _ => writer.lower(graph, id)?,
        }
    }
    // An input that is an output too is passed through unchanged.
    let output = graph.outputs.iter().map(|id| value(&writer, *id)).collect::<Result<Vec<_>, _>>()?;
    let graph = GraphProto {
        name: "causalclipseg".to_string(),
        node: writer.nodes,
        initializer: writer.initializers,
        input,
        output,
        ..Default::default()
    };
    let model = ModelProto {
        ir_version: proto::IR_VERSION,
        opset_import: vec![proto::opset()],
        producer_name: env!("CARGO_PKG_NAME").to_string(),
        producer_version: env!("CARGO_PKG_VERSION").to_string(),
        graph: Some(graph),
        metadata_props: properties.iter().map(|(key, value)| proto::property(key, value)).collect(),
        ..Default::default()
    };
    Ok(Written { model, parts: writer.parts })
}

/// Refuses graphs that violate what the lowerings assume: shapes that fit each other, and every weight in its shape.
fn check(graph: &Graph, weights: &Weights) -> Result<(), GraphWriteError> {
    if let Some(output) = graph.outputs.iter().find(|output| output.0 >= graph.nodes.len()) {
        return Err(GraphWriteError::NoNode(output.0));
    }
    for (index, node) in graph.nodes.iter().enumerate() {
        if node.op == Op::Input {
            continue;
        }
        if let Some(late) = node.inputs.iter().find(|input| input.0 >= index) {
            return Err(GraphWriteError::NoNode(late.0));
        }
        let refuse = |reason| GraphWriteError::Inputs { node: node.name.clone(), reason };
        let inputs: Vec<Shape> = node.inputs.iter().map(|input| graph.node(*input).shape).collect();
        if node.op.infer(&inputs).map_err(refuse)? != node.shape {
            return Err(refuse("they yield another shape than the graph says".to_string()));
        }
        for parameter in node.op.parameters(&inputs) {
            let (node, weight) = (node.name.clone(), parameter.name);
            match weights.get(&weight).map(|value| value.shape()) {
                None => return Err(GraphWriteError::NoWeight { node, weight }),
                Some(found) if found != parameter.shape => {
                    return Err(GraphWriteError::WeightShape {
                        node,
                        weight,
                        found: found.to_vec(),
                        expected: parameter.shape,
                    });
                }
                Some(_) => {}
            }
        }
    }
    Ok(())
}

/// For each node, whether it depends on the sentence and so has one value for each prompt.
fn prompt_dependence(graph: &Graph) -> Vec<bool> {
    let mut depends = vec![false; graph.nodes.len()];
    for (index, node) in graph.nodes.iter().enumerate() {
        depends[index] = match node.op {
            Op::Input => matches!(node.shape, Shape::Tokens { .. } | Shape::Vector { .. }),
            _ => node.inputs.iter().any(|input| depends[input.0]),
        };
    }
    depends
}

/// A graph node that is being written.
pub(super) struct Site<'g> {
    pub node: &'g Node,
    /// The tensors that it reads, and their shapes without the batch.
    pub inputs: Vec<String>,
    pub shapes: Vec<Shape>,
    /// The scales and zero points that they were rounded to.
    pub quantisations: Vec<Option<ScaleZeroPoint>>,
    /// The tensor that it yields.
    output: String,
}

impl Site<'_> {
    /// The name of a part of the node: of an intermediate tensor, or of its constants.
    pub fn part(&self, step: &str) -> String {
        format!("{}/{step}", self.node.name)
    }

    /// An error about this node.
    pub fn refuse(&self, reason: &str) -> GraphWriteError {
        GraphWriteError::Inputs { node: self.node.name.clone(), reason: reason.to_string() }
    }

    /// Channels, height and width of the input `index`, which is a map.
    pub fn map(&self, index: usize) -> Result<[usize; 3], GraphWriteError> {
        match self.shapes.get(index) {
            Some(Shape::Map { channels, height, width }) => Ok([*channels, *height, *width]),
            _ => Err(self.refuse("it needs a map")),
        }
    }
}

/// Rows in the integers and scales of `name`, as [`OnnxWriter::int8_weight`] writes them.
pub(super) fn int8_part(name: &str, first_row: usize, rows: usize) -> WeightPart {
    let scale = Some(format!("{name}.scale"));
    WeightPart { scale, ..WeightPart::rows(format!("{name}.int8"), first_row, rows) }
}

pub(super) struct OnnxWriter<'w> {
    weights: &'w Weights,
    /// The weights that are written as integers.
    pub quantised: &'w BTreeMap<String, QuantisedTensor>,
    /// The tensor name of each graph node's value.
    tensors: Vec<String>,
    /// The number of tokens of a prompt, padding included, where the graph reads any.
    context: Option<usize>,
    nodes: Vec<NodeProto>,
    initializers: Vec<TensorProto>,
    known: HashSet<String>,
    parts: BTreeMap<String, Vec<WeightPart>>,
}

impl OnnxWriter<'_> {
    fn lower(&mut self, graph: &Graph, id: NodeId) -> Result<(), GraphWriteError> {
        let node = graph.node(id);
        let site = Site {
            node,
            inputs: node.inputs.iter().map(|input| self.tensors[input.0].clone()).collect(),
            shapes: node.inputs.iter().map(|input| graph.node(*input).shape).collect(),
            quantisations: node.inputs.iter().map(|input| graph.node(*input).quantisation).collect(),
            output: match node.quantisation {
                Some(_) => format!("{}/value", node.name),
                None => self.tensors[id.0].clone(),
            },
        };
        match &node.op {
            Op::Input => {}
            Op::Conv { weight, bias, kernel, stride, padding, .. } => {
                self.conv(&site, weight, bias.as_deref(), [*kernel, *stride, *padding])?
            }
            Op::BatchNorm { prefix } => self.batch_norm(&site, prefix)?,
            Op::Relu => self.plain(&site, "Relu", vec![]),
            Op::Sigmoid => self.plain(&site, "Sigmoid", vec![]),
            Op::QuickGelu => self.quick_gelu(&site),
            Op::Complement => self.complement(&site),
            Op::AveragePool { size } => self.average_pool(&site, *size),
            Op::Upsample { scale } => self.upsample(&site, *scale),
            Op::Add => self.plain(&site, "Add", vec![]),
            Op::Multiply => self.plain(&site, "Mul", vec![]),
            Op::Concat => self.plain(&site, "Concat", vec![proto::int("axis", 1)]),
            Op::AppendCoordinates => self.append_coordinates(&site)?,
            Op::Carafe { scale } => self.carafe(&site, *scale)?,
            Op::GridToSequence => self.grid_to_sequence(&site)?,
            Op::SequenceToGrid { height, width } => self.sequence_to_grid(&site, *height, *width)?,
            Op::AddPositions { table, rows, skip } => self.add_positions(&site, table, *rows, *skip)?,
            Op::Linear { weight, bias, first_row, out, .. } => {
                self.linear(&site, weight, bias.as_deref(), *first_row..first_row + out)?
            }
            Op::Project { matrix, .. } => self.project(&site, matrix)?,
            Op::LayerNorm { prefix } => self.layer_norm(&site, prefix)?,
            Op::Attention { heads, causal } => self.attention(&site, *heads, *causal)?,
            Op::Embed { table, .. } => self.embed(&site, table)?,
            Op::EndOfText => self.end_of_text(&site),
            Op::PromptConv { folded } => self.prompt_conv(&site, *folded)?,
            Op::AddMap { map } => self.add_map(&site, map)?,
            Op::BlendTaps { scale, bias } => self.blend_taps(&site, *scale, bias.as_deref())?,
        }
        if let Some(quantisation) = node.quantisation {
            self.round(&node.name, &site.output, quantisation, self.tensors[id.0].clone());
        }
        Ok(())
    }

    /// Rounds a value from outside for its readers.
    fn round_input(&mut self, graph: &Graph, id: NodeId) {
        let node = graph.node(id);
        if let Some(quantisation) = node.quantisation {
            let rounded = format!("{}/rounded", node.name);
            let given = std::mem::replace(&mut self.tensors[id.0], rounded.clone());
            self.round(&node.name, &given, quantisation, rounded);
        }
    }

    /// Writes an intermediate step of a node, and returns the tensor that it yields.
    pub fn step(
        &mut self,
        site: &Site,
        step: &str,
        operator: &str,
        inputs: &[&str],
        attributes: Vec<AttributeProto>,
    ) -> String {
        let name = site.part(step);
        self.push(operator, name.clone(), inputs, vec![name.clone()], attributes);
        name
    }

    /// Writes an intermediate step that yields several tensors.
    pub fn step_of_many(
        &mut self,
        site: &Site,
        step: &str,
        operator: &str,
        inputs: &[&str],
        outputs: Vec<String>,
        attributes: Vec<AttributeProto>,
    ) {
        self.push(operator, site.part(step), inputs, outputs, attributes);
    }

    /// Writes the step that yields the node's own value.
    pub fn finish(&mut self, site: &Site, operator: &str, inputs: &[&str], attributes: Vec<AttributeProto>) {
        self.push(operator, site.node.name.clone(), inputs, vec![site.output.clone()], attributes);
    }

    /// A node that ONNX computes with one operator of the same inputs.
    fn plain(&mut self, site: &Site, operator: &str, attributes: Vec<AttributeProto>) {
        let inputs: Vec<&str> = site.inputs.iter().map(String::as_str).collect();
        self.finish(site, operator, &inputs, attributes);
    }

    pub fn push(
        &mut self,
        operator: &str,
        name: String,
        inputs: &[&str],
        output: Vec<String>,
        attribute: Vec<AttributeProto>,
    ) {
        self.nodes.push(NodeProto {
            op_type: operator.to_string(),
            name,
            input: inputs.iter().map(|input| input.to_string()).collect(),
            output,
            attribute,
            ..Default::default()
        });
    }

    /// A weight of the checkpoint.
    pub fn values(&self, site: &Site, weight: &str) -> Result<&ArrayD<f32>, GraphWriteError> {
        let missing = || GraphWriteError::NoWeight { node: site.node.name.clone(), weight: weight.to_string() };
        self.weights.get(weight).ok_or_else(missing)
    }

    /// Puts a weight into the file under its own name, once however many nodes read it, and returns the name.
    pub fn weight(&mut self, site: &Site, weight: &str) -> Result<String, GraphWriteError> {
        if let Some(tensor) = self.quantised.get(weight) {
            self.note(weight, int8_part(weight, 0, tensor.scales.len()));
            return Ok(self.int8_weight(weight, tensor));
        }
        if !self.known.contains(weight) {
            let value = self.values(site, weight)?;
            let rows = value.shape().first().copied().unwrap_or(1);
            let tensor = float_tensor(weight, value.shape(), value.iter().copied());
            self.add(tensor);
            self.note(weight, WeightPart::rows(weight, 0, rows));
        }
        Ok(weight.to_string())
    }

    /// Records where a parameter's numbers were written.
    pub fn note(&mut self, parameter: &str, part: WeightPart) {
        let parts = self.parts.entry(parameter.to_string()).or_default();
        if !parts.contains(&part) {
            parts.push(part);
        }
    }

    /// Puts numbers into the file, once for one name, and returns the name.
    pub fn floats(&mut self, name: String, dims: &[usize], values: impl FnOnce() -> Vec<f32>) -> String {
        if !self.known.contains(&name) {
            self.add(float_tensor(&name, dims, values().into_iter()));
        }
        name
    }

    /// Puts integers into the file: shapes, axes, lengths.
    pub fn integers(&mut self, name: String, values: &[i64]) -> String {
        if !self.known.contains(&name) {
            self.add(int_tensor(&name, values));
        }
        name
    }

    /// Puts a tensor into the file, once for one name, and returns the name.
    pub fn tensor(&mut self, tensor: TensorProto) -> String {
        let name = tensor.name.clone();
        if !self.known.contains(&name) {
            self.add(tensor);
        }
        name
    }

    /// Whether the file has a tensor with this name.
    pub fn is_known(&self, name: &str) -> bool {
        self.known.contains(name)
    }

    /// A single number to multiply by or subtract from.
    pub fn scalar(&mut self, name: &str, value: f32) -> String {
        self.floats(name.to_string(), &[], || vec![value])
    }

    fn add(&mut self, tensor: TensorProto) {
        self.known.insert(tensor.name.clone());
        self.initializers.push(tensor);
    }

    /// The number of rows of a sequence: of the map's pixels, or of the padded prompt.
    pub fn rows(&self, site: &Site, length: Option<usize>) -> Result<usize, GraphWriteError> {
        length.or(self.context).ok_or_else(|| site.refuse("the graph does not say how many tokens it reads"))
    }

    /// Type and axes of an input or output.
    fn external_axes(&self, node: &Node, for_prompts: bool) -> Result<(DataType, Vec<Axis>), GraphWriteError> {
        use Axis::Fixed;
        let batch = if for_prompts { Axis::Prompts } else { Fixed(1) };
        let (data_type, axes) = match node.shape {
            Shape::Map { channels, height, width } => {
                (DataType::Float, vec![batch, Fixed(channels), Fixed(height), Fixed(width)])
            }
            Shape::Sequence { length, width } => {
                let rows = length.or(self.context).ok_or_else(|| GraphWriteError::Inputs {
                    node: node.name.clone(),
                    reason: "the graph does not say how many tokens it has".to_string(),
                })?;
                (DataType::Float, vec![batch, Fixed(rows), Fixed(width)])
            }
            Shape::Vector { width } => (DataType::Float, vec![batch, Fixed(width)]),
            Shape::Tokens { context } => (DataType::Int64, vec![batch, Fixed(context)]),
        };
        Ok((data_type, axes))
    }
}
