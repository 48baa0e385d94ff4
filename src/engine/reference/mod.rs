//! The plain engine: a graph wired into a tract model of stock operators, optimised and run in f32.
//!
//! Where a node has a scale and zero point, its values are rounded to them, still in f32: an engine that stores 8 bits
//! must agree with the result.
//!
//! Every faster engine is tested against this one. It runs one image, or one prompt of any length up to the context.

mod attention;
mod convolution;
mod profile;
mod prompt;
mod resampling;
mod rounding;
mod three_parts;
mod whole;
mod wiring;

#[cfg(test)]
pub(crate) use resampling::interpolation;
pub(crate) use three_parts::ReferenceEngine;
#[cfg(feature = "onnx")]
pub(crate) use whole::contained;
pub use whole::{WholeNetwork, is_contained};

use super::EngineError;
use crate::graph::{Graph, Node, NodeId, Op, Shape, Weights};
use attention::Linear;
use convolution::Convolution;
use ndarray::{ArrayD, ArrayViewD};
use std::sync::Arc;
use std::time::Instant;
use tract_core::internal::multithread::Executor;
use tract_core::internal::*;
use tract_core::ops::array::TypedConcat;
use tract_core::ops::math::{add, max, mul, sub};
use tract_core::ops::nn::sigmoid;
use wiring::Wiring;

/// The value of one input.
#[derive(Clone, Copy, Debug)]
pub enum InputValue<'a> {
    /// A map (channels x height x width), a sequence (length x width) or a vector (width).
    Array(&'a ArrayD<f32>),
    /// Token ids, from 1 to the context's number of them.
    Tokens(&'a [u32]),
}

/// The requirements of a plan for one of its inputs.
#[derive(Clone, Debug)]
struct Input {
    name: String,
    shape: Shape,
    /// For tokens, the size of the smallest table that is read by them.
    vocabulary: usize,
}

/// A graph, wired and optimised.
pub struct ReferencePlan {
    plan: Arc<TypedRunnableModel>,
    inputs: Vec<Input>,
    outputs: Vec<Shape>,
    costs: profile::Costs,
}

impl ReferencePlan {
    /// Checks the graph and its weights, wires them and optimises the model. Weights that the graph does not read are
    /// ignored. Runs on the calling thread.
    pub fn new(graph: &Graph, weights: &Weights) -> Result<Self, EngineError> {
        Self::on(Executor::SingleThread, graph, weights)
    }

    /// As [`Self::new`], with an executor that plans may share.
    pub(super) fn on(executor: Executor, graph: &Graph, weights: &Weights) -> Result<Self, EngineError> {
        let begun = Instant::now();
        graph.validate()?;
        graph.check_weights(|name| weights.get(name).map(|value| value.shape()))?;
        let model = wire(graph, weights).map_err(EngineError::reference("wire the network"))?;
        let model = model.into_optimized().map_err(EngineError::reference("optimise the network"))?;
        let nodes = model.nodes().len();
        let options = RunOptions { executor: Some(executor), ..RunOptions::default() };
        let plan = model.into_runnable_with_options(&options).map_err(EngineError::reference("plan the network"))?;
        log::debug!(
            "reference plan: {} nodes became {nodes} of tract's in {:.0} ms",
            graph.nodes.len(),
            begun.elapsed().as_secs_f64() * 1e3
        );
        let outputs = graph.outputs.iter().map(|output| graph.node(*output).shape).collect();
        Ok(Self { plan, inputs: inputs(graph), outputs, costs: profile::costs(graph) })
    }

    /// Runs the plan on its inputs, in the order in which the graph lists them.
    pub fn run(&self, inputs: &[InputValue]) -> Result<Vec<ArrayD<f32>>, EngineError> {
        self.check_count(inputs.len())?;
        let values = self.inputs.iter().zip(inputs).map(|(input, value)| input.tensor(*value));
        let values = values.collect::<Result<TVec<Tensor>, EngineError>>()?;
        let outputs = self.run_tensors(values.into_iter().map(Arc::new).collect())?;
        outputs.into_iter().zip(&self.outputs).map(|(output, shape)| into_array(output, *shape)).collect()
    }

    /// Runs on tensors as [`Self::tensor`] or another plan yields them, without a copy.
    pub(super) fn run_tensors(&self, inputs: Vec<Arc<Tensor>>) -> Result<Vec<Arc<Tensor>>, EngineError> {
        self.check_count(inputs.len())?;
        let inputs = inputs.into_iter().map(IntoTValue::into_tvalue).collect();
        let outputs = self.plan.run(inputs).map_err(EngineError::reference("run the network"))?;
        Ok(outputs.into_iter().map(|output| output.into_arc_tensor()).collect())
    }

    /// An input's value as a tensor, once it is of the right size, finite, and inside the vocabulary.
    pub(super) fn tensor(&self, index: usize, value: InputValue) -> Result<Arc<Tensor>, EngineError> {
        let expected = self.inputs.len();
        let input = self.inputs.get(index).ok_or(EngineError::InputCount { given: index + 1, expected })?;
        input.tensor(value).map(Arc::new)
    }

    fn check_count(&self, given: usize) -> Result<(), EngineError> {
        match self.inputs.len() {
            expected if expected == given => Ok(()),
            expected => Err(EngineError::InputCount { given, expected }),
        }
    }
}

fn into_array(tensor: Arc<Tensor>, shape: Shape) -> Result<ArrayD<f32>, EngineError> {
    let tensor = Arc::try_unwrap(tensor).unwrap_or_else(|shared| shared.as_ref().clone());
    let read = || -> TractResult<ArrayD<f32>> {
        let tensor = match shape {
            // A vector is a row inside the model.
            Shape::Vector { width } => tensor.into_shape(&[width])?,
            _ => tensor,
        };
        tensor.into_plain_array::<f32>()
    };
    read().map_err(EngineError::reference("read the network's outputs"))
}

fn inputs(graph: &Graph) -> Vec<Input> {
    let read = |id: NodeId| Input {
        name: graph.node(id).name.clone(),
        shape: graph.node(id).shape,
        vocabulary: graph
            .readers(id)
            .filter_map(|reader| match graph.node(reader).op {
                Op::Embed { vocabulary, .. } => Some(vocabulary),
                _ => None,
            })
            .min()
            .unwrap_or(usize::MAX),
    };
    graph.ids().filter(|id| graph.node(*id).op == Op::Input).map(read).collect()
}

impl Input {
    fn tensor(&self, value: InputValue) -> Result<Tensor, EngineError> {
        match (self.shape, value) {
            (Shape::Tokens { context }, InputValue::Tokens(tokens)) => self.token_tensor(tokens, context),
            (Shape::Tokens { .. }, InputValue::Array(array)) => {
                Err(self.refuse(format!("an array {:?}", array.shape())))
            }
            (_, InputValue::Tokens(tokens)) => Err(self.refuse(format!("{} tokens", tokens.len()))),
            (_, InputValue::Array(array)) => self.array_tensor(array.view()),
        }
    }

    fn refuse(&self, given: String) -> EngineError {
        EngineError::Input { name: self.name.clone(), given, expected: self.shape }
    }

    fn token_tensor(&self, tokens: &[u32], context: usize) -> Result<Tensor, EngineError> {
        if tokens.is_empty() || tokens.len() > context {
            return Err(EngineError::TokenCount { count: tokens.len(), context });
        }
        if let Some(&id) = tokens.iter().find(|id| **id as usize >= self.vocabulary) {
            return Err(EngineError::TokenId { id, vocabulary: self.vocabulary });
        }
        Ok(tensor1(&tokens.iter().map(|id| i64::from(*id)).collect::<Vec<_>>()))
    }

    fn array_tensor(&self, array: ArrayViewD<f32>) -> Result<Tensor, EngineError> {
        let fits = match (self.shape, array.shape()) {
            (Shape::Map { channels, height, width }, shape) => shape == [channels, height, width],
            (Shape::Sequence { length: Some(length), width }, shape) => shape == [length, width],
            (Shape::Sequence { length: None, width }, &[length, found]) => length > 0 && found == width,
            (Shape::Vector { width }, shape) => shape == [width],
            _ => false,
        };
        if !fits {
            return Err(self.refuse(format!("an array {:?}", array.shape())));
        }
        if let Some((index, &value)) = array.iter().enumerate().find(|(_, value)| !value.is_finite()) {
            return Err(EngineError::NotFinite { name: self.name.clone(), index, value });
        }
        let tensor = Tensor::from(array.to_owned());
        match self.shape {
            Shape::Vector { width } => tensor.into_shape(&[1, width]).map_err(EngineError::reference("take an input")),
            _ => Ok(tensor),
        }
    }
}

fn wire(graph: &Graph, weights: &Weights) -> TractResult<TypedModel> {
    let contexts = graph.nodes.iter().filter_map(|node| match node.shape {
        Shape::Tokens { context } => Some(context),
        _ => None,
    });
    let mut wiring = Wiring::new(weights, contexts.max());
    let mut outlets: Vec<OutletId> = Vec::with_capacity(graph.nodes.len());
    for node in &graph.nodes {
        wiring.node = node.name.clone();
        let mut outlet = if node.op == Op::Input {
            wire_input(&mut wiring, node)?
        } else {
            let inputs: Vec<OutletId> = node.inputs.iter().map(|input| outlets[input.0]).collect();
            let shapes: Vec<Shape> = node.inputs.iter().map(|input| graph.node(*input).shape).collect();
            wire_operator(&mut wiring, &node.op, &inputs, &shapes).with_context(|| format!("node `{}`", node.name))?
        };
        if let Some(quantisation) = node.quantisation {
            outlet = rounding::round(&mut wiring, quantisation, outlet)?;
        }
        outlets.push(outlet);
    }
    let outputs: Vec<OutletId> = graph.outputs.iter().map(|output| outlets[output.0]).collect();
    wiring.model.select_output_outlets(&outputs)?;
    Ok(wiring.model)
}

fn wire_input(w: &mut Wiring, node: &Node) -> TractResult<OutletId> {
    let fact = match node.shape {
        Shape::Map { channels, height, width } => f32::fact([channels, height, width]),
        Shape::Sequence { length, width } => {
            let length = length.map_or(w.length.clone(), |length| length.to_dim());
            f32::fact([length, width.to_dim()])
        }
        Shape::Vector { width } => f32::fact([1, width]),
        Shape::Tokens { .. } => i64::fact([w.length.clone()]),
    };
    w.model.add_source(&node.name, fact)
}

fn wire_operator(w: &mut Wiring, op: &Op, inputs: &[OutletId], shapes: &[Shape]) -> TractResult<OutletId> {
    let &x = inputs.first().context("no input")?;
    let map = match shapes[0] {
        Shape::Map { channels, height, width } => [channels, height, width],
        _ => [0; 3],
    };
    let [channels, height, width] = map;
    let sequence = match shapes[0] {
        Shape::Sequence { length, width } => (length, width),
        _ => (None, 0),
    };
    match op {
        Op::Input => bail!("an input among the operators"),
        Op::Conv { weight, bias, stride, padding, .. } => {
            let op = Convolution { weight, bias: bias.as_deref(), stride: *stride, padding: *padding };
            convolution::convolve(w, op, x)
        }
        Op::BatchNorm { prefix } => convolution::batch_norm(w, prefix, x),
        Op::Relu => {
            let zero = w.scalar(0.0, 3)?;
            w.wire(max(), &[x, zero])
        }
        Op::Sigmoid => w.wire(sigmoid(), &[x]),
        Op::QuickGelu => attention::quick_gelu(w, x),
        Op::Complement => {
            let one = w.scalar(1.0, 3)?;
            w.wire(sub(), &[one, x])
        }
        Op::AveragePool { size } => convolution::average_pool(w, *size, channels, x),
        Op::Upsample { scale } => resampling::upsample(w, *scale, height, width, x),
        Op::Add => w.wire(add(), inputs),
        Op::Multiply => w.wire(mul(), inputs),
        Op::Concat => w.wire(TypedConcat { axis: 0 }, inputs),
        Op::AppendCoordinates => convolution::append_coordinates(w, height, width, x),
        Op::Carafe { scale } => resampling::carafe(w, *scale, map, x, inputs[1]),
        Op::GridToSequence => {
            let pixels = w.reshape(x, 1, &[height, width], &[height * width])?;
            w.move_axis(pixels, 1, 0)
        }
        Op::SequenceToGrid { height, width } => {
            let pixels = w.move_axis(x, 1, 0)?;
            w.reshape(pixels, 1, &[height * width], &[*height, *width])
        }
        Op::AddPositions { table, skip, .. } => attention::add_positions(w, table, *skip, sequence.0, x),
        Op::Linear { weight, bias, first_row, out, .. } => {
            let op = Linear { weight, bias: bias.as_deref(), first_row: *first_row, out: *out };
            attention::linear(w, op, x)
        }
        Op::Project { matrix, .. } => attention::project(w, matrix, x),
        Op::LayerNorm { prefix } => attention::layer_norm(w, prefix, sequence.1, x),
        Op::Attention { heads, causal } => {
            attention::attention(w, *heads, *causal, sequence, [x, inputs[1], inputs[2]])
        }
        Op::Embed { table, .. } => attention::embed(w, table, x),
        Op::EndOfText => attention::end_of_text(w, x, inputs[1]),
        Op::PromptConv { folded } => prompt::prompt_convolution(w, *folded, map, x, inputs[1]),
        Op::AddMap { map } => {
            let map = w.weight(map)?.to_owned();
            let map = w.constant(map)?;
            w.wire(add(), &[x, map])
        }
        Op::BlendTaps { scale, bias } => resampling::blend_taps(w, *scale, map, bias.as_deref(), x),
    }
}
