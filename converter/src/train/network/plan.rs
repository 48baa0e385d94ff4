//! The plan of one pass over the graph: the nodes to compute, and their forms.

use crate::model::stage;
use causalclipseg::graph::{Graph, GraphError, NodeId, Op, Parameter, Shape};
use std::collections::BTreeSet;
use std::ops::Range;

/// The source of a pass's masks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MaskMode {
    /// The maskers.
    Learned,
    /// The maskers, as constants without a gradient.
    Fixed,
    /// All ones, for causal features and confounders alike, as in CIRL's warm-up: both heads see all features.
    Ones,
}

/// The form of an upsampling and the 3x3 convolution after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UpsampledConv {
    /// One after the other, at the high resolution.
    Direct,
    /// Nine products at the low resolution, blended by two matrix products; equal up to rounding.
    Blend,
}

/// The form in which a node is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Plain,
    /// A 3x3 convolution that reads an upsampled map, given the map before it.
    UpsampledConv {
        scale: usize,
    },
    /// A prompt's convolution that reads a 1x1 convolution, `mix`, given the map before it.
    MixedPromptConv {
        mix: NodeId,
    },
}

#[derive(Debug)]
pub(super) struct Step {
    pub node: NodeId,
    pub form: Form,
    pub inputs: Vec<NodeId>,
    /// Whether it is computed without a gradient, whatever its inputs.
    pub inert: bool,
    /// Whether a batch norm adds the batch to its running statistics.
    pub counts: bool,
    /// Whether a batch norm normalises by its running statistics in training too.
    pub frozen: bool,
    /// The share of channels that a mask keeps in training, drawn with noise.
    pub gate: Option<f32>,
    /// NodeTensors that are not needed after this step.
    pub release: Vec<NodeId>,
}

impl Step {
    /// The 1x1 convolution that this step also computes.
    pub fn mix(&self) -> Option<NodeId> {
        match self.form {
            Form::MixedPromptConv { mix } => Some(mix),
            _ => None,
        }
    }
}

/// Consecutive steps of a pass.
#[derive(Debug)]
pub(super) struct Part {
    pub steps: Range<usize>,
    /// The nodes before it that this part or a later one reads.
    pub inputs: Vec<NodeId>,
}

/// The steps that lead to some outputs of a graph.
#[derive(Debug)]
pub struct PassPlan {
    pub(super) steps: Vec<Step>,
    /// The nodes of the outputs.
    pub(super) outputs: Vec<NodeId>,
    /// The parts whose activations a backward pass recomputes; empty if all are kept.
    pub(super) parts: Vec<Part>,
}

impl PassPlan {
    /// Plans the computation of `outputs`.
    ///
    /// The aggregation's batch norm runs twice, over the causal features and over the confounders. It has one set of running
    /// statistics for evaluation: with `confounders_count` both runs update it, as in the published module; without, only the
    /// causal run does, and `pred` is normalised in evaluation as in training.
    pub fn new(
        graph: &Graph,
        outputs: &[&str],
        masks: MaskMode,
        upsampled: UpsampledConv,
        confounders_count: bool,
    ) -> Result<Self, GraphError> {
        let outputs = outputs.iter().map(|name| graph.find(name)).collect::<Result<Vec<_>, _>>()?;
        let maskers = maskers(graph)?;
        let confounding = confounding(graph);
        let wanted = |id: NodeId| outputs.contains(&id);
        let mut steps: Vec<Step> = Vec::new();
        let mut source: Vec<NodeId> = graph.ids().collect();
        for id in graph.ids() {
            let node = graph.node(id);
            if masks == MaskMode::Ones && node.op == Op::Multiply {
                source[id.0] = source[node.inputs[0].0];
            }
            let inputs: Vec<NodeId> = node.inputs.iter().map(|input| source[input.0]).collect();
            let (form, inputs) = fuse(graph, id, inputs, upsampled, &wanted);
            steps.push(Step {
                node: id,
                form,
                inputs: inputs.into_iter().map(|input| source[input.0]).collect(),
                inert: masks == MaskMode::Fixed && maskers[id.0],
                counts: confounders_count || !confounding[id.0],
                frozen: false,
                gate: None,
                release: Vec::new(),
            });
        }
        let mut needed = vec![false; steps.len()];
        for output in &outputs {
            needed[source[output.0].0] = true;
        }
        let mut released = needed.clone();
        for index in (0..steps.len()).rev() {
            if !needed[index] {
                continue;
            }
            for input in steps[index].inputs.clone() {
                needed[input.0] = true;
                if !std::mem::replace(&mut released[input.0], true) {
                    steps[index].release.push(input);
                }
            }
        }
        steps.retain(|step| needed[step.node.0]);
        let outputs = outputs.iter().map(|output| source[output.0]).collect();
        Ok(Self { steps, outputs, parts: Vec::new() })
    }

    /// This plan in about `count` parts whose activations a backward pass recomputes one part at a time, instead of keeping
    /// all of them; fewer than 2: all are kept. A part ends where few values are passed on.
    pub fn in_parts(mut self, graph: &Graph, count: usize) -> Self {
        self.parts.clear();
        if count < 2 {
            return self;
        }
        let elements = |id: NodeId| elements(graph.node(id).shape);
        let share = self.steps.iter().map(|step| elements(step.node)).sum::<usize>() / count;
        let mut start = 0;
        while start < self.steps.len() {
            let mut best: Option<(usize, usize)> = None;
            let mut since = 0;
            for end in start + 1..self.steps.len() {
                since += elements(self.steps[end - 1].node);
                if since >= share / 2 {
                    let passed = self.read_after(end).into_iter().map(elements).sum();
                    if best.is_none_or(|(fewest, _)| passed < fewest) {
                        best = Some((passed, end));
                    }
                }
                if since > share + share / 2 {
                    break;
                }
            }
            let end = match best {
                Some((_, end)) if since > share => end,
                _ => self.steps.len(),
            };
            self.parts.push(Part { steps: start..end, inputs: self.read_after(start) });
            start = end;
        }
        self
    }

    /// The nodes of the steps before `index` that others read.
    fn read_after(&self, index: usize) -> Vec<NodeId> {
        let (before, after) = self.steps.split_at(index);
        let read: BTreeSet<usize> = after.iter().flat_map(|step| &step.inputs).map(|input| input.0).collect();
        before.iter().map(|step| step.node).filter(|node| read.contains(&node.0)).collect()
    }

    /// This plan with masks that keep a share of the channels in training; 0: all masks stay as they are.
    pub fn gated(mut self, graph: &Graph, share: f32) -> Self {
        for step in self.steps.iter_mut().filter(|_| share > 0.0) {
            let node = graph.node(step.node);
            step.gate = (node.op == Op::Sigmoid && stage::MASKS.contains(&node.name.as_str())).then_some(share);
        }
        self
    }

    /// This plan with frozen batch norms, selected by prefixes of their weights' names.
    pub fn frozen(mut self, graph: &Graph, is_frozen: impl Fn(&str) -> bool) -> Self {
        for step in &mut self.steps {
            step.frozen = matches!(&graph.node(step.node).op, Op::BatchNorm { prefix } if is_frozen(prefix));
        }
        self
    }
}

/// Finds the cheaper form of a node, and the inputs of that form.
fn fuse(
    graph: &Graph,
    id: NodeId,
    inputs: Vec<NodeId>,
    upsampled: UpsampledConv,
    wanted: &dyn Fn(NodeId) -> bool,
) -> (Form, Vec<NodeId>) {
    let node = graph.node(id);
    let Some(first) = inputs.first().map(|input| graph.node(*input)) else { return (Form::Plain, inputs) };
    match (&node.op, &first.op) {
        (Op::Conv { bias: None, kernel: 3, stride: 1, padding: 1, .. }, Op::Upsample { scale })
            if upsampled == UpsampledConv::Blend && !wanted(inputs[0]) =>
        {
            (Form::UpsampledConv { scale: *scale }, first.inputs.clone())
        }
        (Op::PromptConv { folded: false }, Op::Conv { kernel: 1, stride: 1, padding: 0, .. }) if !wanted(inputs[0]) => {
            (Form::MixedPromptConv { mix: inputs[0] }, vec![first.inputs[0], inputs[1]])
        }
        _ => (Form::Plain, inputs),
    }
}

/// The size of a value for one image or prompt; of a sequence, for a prompt of usual length.
fn elements(shape: Shape) -> usize {
    const TOKENS: usize = 20;
    match shape {
        Shape::Map { channels, height, width } => channels * height * width,
        Shape::Sequence { length, width } => length.unwrap_or(TOKENS) * width,
        Shape::Vector { width } => width,
        Shape::Tokens { .. } => TOKENS,
    }
}

/// Marks the nodes of the three maskers.
fn maskers(graph: &Graph) -> Result<Vec<bool>, GraphError> {
    let mut marked = vec![false; graph.nodes.len()];
    for (query, mask) in stage::QUERIES.into_iter().zip(stage::MASKS) {
        let (query, mask) = (graph.find(query)?, graph.find(mask)?);
        let after = graph.dependents(query);
        let mut pending = vec![mask];
        while let Some(id) = pending.pop() {
            if id != query && after[id.0] && !std::mem::replace(&mut marked[id.0], true) {
                pending.extend(&graph.node(id).inputs);
            }
        }
    }
    Ok(marked)
}

/// Marks the nodes that depend on the confounders.
fn confounding(graph: &Graph) -> Vec<bool> {
    let mut marked = vec![false; graph.nodes.len()];
    for id in graph.ids().filter(|id| graph.node(*id).op == Op::Complement) {
        for (mark, reached) in marked.iter_mut().zip(graph.dependents(id)) {
            *mark |= reached;
        }
    }
    marked
}

/// The names of the weights that the maskers read: phi of the min-max game.
pub(crate) fn masker_parameters(graph: &Graph) -> Result<BTreeSet<String>, GraphError> {
    let marked = maskers(graph)?;
    let mut names = BTreeSet::new();
    for id in graph.ids().filter(|id| marked[id.0]) {
        let node = graph.node(id);
        let shapes: Vec<Shape> = node.inputs.iter().map(|input| graph.node(*input).shape).collect();
        names.extend(node.op.parameters(&shapes).into_iter().map(|Parameter { name, .. }| name));
    }
    Ok(names)
}
