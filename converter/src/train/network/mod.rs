//! The network in tensors that can be differentiated: it walks the graph that [`crate::model`] describes.
//!
//! A pass is described by a [`PassPlan`] (which nodes, in which form), by [`Leaves`] (for which weights a gradient is wanted) and by
//! whether batch norms use the batch's statistics or the running ones. NodeTensors that do not depend on a leaf are computed without a
//! tape.

mod blend;
mod maps;
mod norm;
mod parameters;
mod plan;
mod recompute;
mod sequences;

pub use parameters::{Leaves, Parameter, ParameterTable, is_running_statistic};
pub(crate) use parameters::{NamedTensors, from_numbers, to_numbers};
pub(crate) use plan::masker_parameters;
pub use plan::{MaskMode, PassPlan, UpsampledConv};
pub(crate) use recompute::Recorded;

use super::variants::top_k;
use crate::model::stage;
use burn::tensor::{Device, Int, Tensor, TensorData};
use causalclipseg::graph::{Graph, GraphError, NodeId, Op, Weights};
use plan::{Form, Step};

/// The statistics that batch norms use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The batch's, which also update the running ones.
    Training,
    /// The running ones.
    Evaluation,
}

/// Prompts of a batch, padded with zeros to the longest.
#[derive(Clone)]
pub struct TokenBatch {
    ids: Tensor<2, Int>,
    /// The position of each prompt's largest id, the end of text.
    ends: Vec<usize>,
    length: usize,
}

impl TokenBatch {
    /// `prompts` hold token ids, start and end of text included, at least one for each prompt.
    pub fn new(prompts: &[Vec<u32>], device: &Device) -> Self {
        let length = prompts.iter().map(Vec::len).max().unwrap_or(0).max(1);
        let padded = |prompt: &Vec<u32>| {
            let mut row: Vec<i32> = prompt.iter().map(|id| *id as i32).collect();
            row.resize(length, 0);
            row
        };
        let ids: Vec<i32> = prompts.iter().flat_map(padded).collect();
        let ends = prompts.iter().map(|prompt| end_of_text(prompt)).collect();
        Self { ids: Tensor::from_data(TensorData::new(ids, [prompts.len(), length]), device), ends, length }
    }
}

/// The first position of the largest id.
fn end_of_text(prompt: &[u32]) -> usize {
    let largest = prompt.iter().max();
    prompt.iter().position(|id| Some(id) == largest).unwrap_or(0)
}

/// The value of a node for a batch.
#[derive(Clone)]
pub enum NodeTensor {
    /// Batch x channels x height x width.
    Map(Tensor<4>),
    /// Batch x rows x width.
    Sequence(Tensor<3>),
    /// Batch x width.
    Vector(Tensor<2>),
    Tokens(TokenBatch),
}

impl NodeTensor {
    /// The same numbers, detached from the tape.
    fn without_gradient(self) -> Self {
        match self {
            NodeTensor::Map(x) => NodeTensor::Map(x.inner()),
            NodeTensor::Sequence(x) => NodeTensor::Sequence(x.inner()),
            NodeTensor::Vector(x) => NodeTensor::Vector(x.inner()),
            tokens => tokens,
        }
    }
}

/// The outputs of a pass, by the plan's order of steps.
pub struct NodeTensors {
    values: Vec<Option<NodeTensor>>,
    graph_names: Vec<String>,
    /// For masks that keep a share of the channels: each mask's mean of the smallest logit that is kept without noise.
    pub(crate) centres: Vec<Tensor<1>>,
    /// How to run the pass again, if it was in parts.
    pub(crate) recorded: Option<Recorded>,
}

impl NodeTensors {
    /// The value of one of the plan's output nodes.
    pub fn get(&self, name: &str) -> Option<&NodeTensor> {
        let index = self.graph_names.iter().position(|found| found == name)?;
        self.values[index].as_ref()
    }

    /// The map of one of the plan's output nodes.
    ///
    /// # Panics
    /// The plan lacks this output, or it is not a map: both are errors of this crate.
    pub(crate) fn map(&self, name: &str) -> Tensor<4> {
        match self.get(name) {
            Some(NodeTensor::Map(map)) => map.clone(),
            _ => panic!("the plan yields no map `{name}`"),
        }
    }
}

/// A graph and its weights on a device.
#[derive(Clone)]
pub struct Network {
    graph: Graph,
    pub parameters: ParameterTable,
    device: Device,
    /// Fixes the noise of the next pass in training, if the plan uses noise.
    pub(crate) draw: u64,
}

impl Network {
    pub fn new(graph: Graph, weights: &Weights, device: &Device) -> Result<Self, GraphError> {
        let parameters = ParameterTable::new(&graph, weights, device)?;
        Ok(Self { graph, parameters, device: device.clone(), draw: 0 })
    }

    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// A replica on another device, or on the same one.
    pub fn on(&self, device: &Device) -> Self {
        Self {
            graph: self.graph.clone(),
            parameters: self.parameters.on(device),
            device: device.clone(),
            draw: self.draw,
        }
    }

    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Runs a plan on normalised images (batch x 3 x S x S) and their prompts, equally many for each image, the first image's
    /// first. The results hold one entry for each prompt.
    pub fn forward(
        &mut self,
        plan: &PassPlan,
        images: Tensor<4>,
        tokens: &TokenBatch,
        mode: Mode,
        leaves: &Leaves,
    ) -> NodeTensors {
        if plan.parts.len() > 1 && mode == Mode::Training && !leaves.is_empty() {
            return self.forward_in_parts(plan, images, tokens, leaves);
        }
        let mut values: Vec<Option<NodeTensor>> = vec![None; self.graph.nodes.len()];
        let mut centres = Vec::new();
        let feed = Feed { images: &images, tokens, mode, leaves, counts: true };
        self.run(&plan.steps, &feed, &mut values, &mut centres);
        NodeTensors { values, graph_names: self.names(), centres, recorded: None }
    }

    /// The names of all nodes. A mask of ones or a fused form may leave a node out; its name is then absent from a pass.
    fn names(&self) -> Vec<String> {
        self.graph.nodes.iter().map(|node| node.name.clone()).collect()
    }

    /// Computes steps from the values of earlier ones, and adds theirs.
    fn run(&mut self, steps: &[Step], feed: &Feed, values: &mut [Option<NodeTensor>], centres: &mut Vec<Tensor<1>>) {
        for step in steps {
            let name = self.graph.node(step.node).name.as_str();
            let value = match (name, &self.graph.node(step.node).op) {
                (stage::IMAGE, Op::Input) => NodeTensor::Map(feed.images.clone()),
                (_, Op::Input) => NodeTensor::Tokens(feed.tokens.clone()),
                _ => {
                    let mut inputs: Vec<NodeTensor> =
                        step.inputs.iter().map(|input| values[input.0].clone().expect("inputs come first")).collect();
                    if step.inert {
                        inputs = inputs.into_iter().map(NodeTensor::without_gradient).collect();
                    }
                    for released in &step.release {
                        values[released.0] = None;
                    }
                    match (step.gate, inputs.as_slice()) {
                        (Some(share), [NodeTensor::Map(logits)]) if feed.mode == Mode::Training => {
                            let draw = self.draw.wrapping_add((step.node.0 as u64) << 48);
                            let (mask, centre) = top_k::gate(logits.clone(), share, draw);
                            centres.push(centre);
                            NodeTensor::Map(mask)
                        }
                        _ => self.apply(step, inputs, feed),
                    }
                }
            };
            values[step.node.0] = Some(value);
        }
    }

    fn apply(&mut self, step: &Step, inputs: Vec<NodeTensor>, feed: &Feed) -> NodeTensor {
        let op = self.graph.node(step.node).op.clone();
        let weights = Weigher { table: &self.parameters, leaves: feed.leaves };
        match (&op, inputs.as_slice()) {
            (Op::BatchNorm { prefix }, [NodeTensor::Map(x)]) => {
                let affine =
                    norm::ScaleShift { scale: weights.vector(prefix, "weight"), shift: weights.vector(prefix, "bias") };
                let running = norm::Running {
                    mean: self.parameters.get(&format!("{prefix}.running_mean")).values.clone(),
                    variance: self.parameters.get(&format!("{prefix}.running_var")).values.clone(),
                };
                if feed.mode == Mode::Evaluation || step.frozen {
                    return NodeTensor::Map(norm::by_running_statistics(x.clone(), affine, running));
                }
                let (normed, batch) = norm::by_batch_statistics(x.clone(), affine);
                if step.counts && feed.counts {
                    let running = running.moved(batch);
                    self.parameters.set(&format!("{prefix}.running_mean"), running.mean);
                    self.parameters.set(&format!("{prefix}.running_var"), running.variance);
                }
                NodeTensor::Map(normed)
            }
            (Op::Conv { weight, .. }, [NodeTensor::Map(x)]) => NodeTensor::Map(match step.form {
                Form::UpsampledConv { scale } => blend::upsampled_conv(x.clone(), weights.kernel(weight), scale),
                _ => maps::conv(&op, x.clone(), &weights),
            }),
            (Op::PromptConv { .. }, [NodeTensor::Map(x), NodeTensor::Vector(prompt)]) => {
                let prompt = prompt.clone();
                let channels = match step.form {
                    Form::MixedPromptConv { mix } => self.mixer(mix, &weights),
                    _ => None,
                };
                NodeTensor::Map(maps::prompt_conv(x.clone(), prompt, channels))
            }
            (_, [NodeTensor::Map(first), ..]) => match maps::apply(&op, first.clone(), &inputs[1..]) {
                Some(value) => value,
                None => unreachable!("{op:?} passed shape inference"),
            },
            (_, [NodeTensor::Sequence(_) | NodeTensor::Vector(_) | NodeTensor::Tokens(_), ..]) => {
                sequences::apply(&op, &inputs, &weights)
                    .unwrap_or_else(|| unreachable!("{op:?} passed shape inference"))
            }
            _ => unreachable!("{op:?} passed shape inference"),
        }
    }

    /// The weight (out x in) and bias of a 1x1 convolution.
    fn mixer(&self, id: NodeId, weights: &Weigher) -> Option<(Tensor<2>, Option<Tensor<1>>)> {
        match &self.graph.node(id).op {
            Op::Conv { weight, bias, .. } => {
                let kernel = weights.kernel(weight);
                let [out, input, _, _] = kernel.dims();
                Some((kernel.reshape([out, input]), bias.as_ref().map(|name| weights.values(name))))
            }
            _ => None,
        }
    }
}

/// What a pass computes from.
struct Feed<'a> {
    images: &'a Tensor<4>,
    tokens: &'a TokenBatch,
    mode: Mode,
    leaves: &'a Leaves,
    /// Whether batch norms update their running statistics.
    counts: bool,
}

/// Looks up weights: a leaf if a gradient is wanted, else the constant.
struct Weigher<'a> {
    table: &'a ParameterTable,
    leaves: &'a Leaves,
}

impl Weigher<'_> {
    fn values(&self, name: &str) -> Tensor<1> {
        match self.leaves.tensors.get(name) {
            Some(leaf) => leaf.clone(),
            None => self.table.get(name).values.clone(),
        }
    }

    fn vector(&self, prefix: &str, field: &str) -> Tensor<1> {
        self.values(&format!("{prefix}.{field}"))
    }

    fn matrix(&self, name: &str) -> Tensor<2> {
        let shape = &self.table.get(name).shape;
        self.values(name).reshape([shape[0], shape[1]])
    }

    fn kernel(&self, name: &str) -> Tensor<4> {
        let shape = &self.table.get(name).shape;
        self.values(name).reshape([shape[0], shape[1], shape[2], shape[3]])
    }
}
