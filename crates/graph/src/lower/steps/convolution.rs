//! Products with weights, and the nodes that are fused into the same step.
//!
//! Convolution, constant map, residual and ReLU are one pass over the sums while they are in registers:
//! y = relu(W * x + b + map + residual). A quantised graph is rounded only where a node has a scale and zero point, so the chain ends
//! there.

use super::lowering::{Lowered, Lowering};
use super::{Filters, StepKind, TensorId, Unsupported, WeightLayout};
use crate::graph::{NodeId, Op, Shape};

/// The nodes that follow a product in its step.
struct Chain {
    nodes: Vec<NodeId>,
    map: Option<String>,
    residual: Option<TensorId>,
    relu: bool,
}

impl Lowering<'_> {
    pub(super) fn product(&mut self, id: NodeId) -> Result<Lowered, Unsupported> {
        let x = self.tensor_of(id, self.node(id).inputs[0])?;
        let (filters, stride, padding) = self.filters(id)?;
        let chain = self.chain(id)?;
        let last = chain.nodes.last().copied().unwrap_or(id);
        let border = &mut self.list.tensors[x.0].border;
        *border = (*border).max(padding);
        let writes = self.destination(last, Some(x))?;
        let kind = StepKind::Convolution {
            filters,
            stride,
            padding,
            map: chain.map,
            residual: chain.residual.is_some(),
            relu: chain.relu,
        };
        let reads = [x].into_iter().chain(chain.residual).collect();
        self.push(id, kind, reads, writes);
        self.join(id, &chain.nodes, writes.tensor);
        Ok(self.values[id.0].unwrap_or(Lowered::Joined))
    }

    /// Marks the nodes of a step: the last one has its value.
    pub(super) fn join(&mut self, first: NodeId, rest: &[NodeId], tensor: TensorId) {
        let last = rest.last().copied().unwrap_or(first);
        for id in [first].into_iter().chain(rest.iter().copied()) {
            self.values[id.0] = Some(Lowered::Joined);
        }
        self.values[last.0] = Some(Lowered::Tensor(tensor));
    }

    pub(super) fn filters(&self, id: NodeId) -> Result<(Filters, usize, usize), Unsupported> {
        let node = self.node(id);
        let in_channels = match self.node(node.inputs[0]).shape {
            Shape::Map { channels, .. } => channels,
            Shape::Sequence { width, .. } | Shape::Vector { width } => width,
            Shape::Tokens { .. } => return Err(self.refuse(id, "a product of token ids")),
        };
        let filters = |weight: &str, layout, bias: &Option<String>, out_channels, kernel| Filters {
            weight: weight.to_string(),
            layout,
            bias: bias.clone(),
            out_channels,
            kernel,
            in_channels,
        };
        match &node.op {
            Op::Conv { weight, bias, out_channels, kernel, stride, padding } => {
                Ok((filters(weight, WeightLayout::Convolution, bias, *out_channels, *kernel), *stride, *padding))
            }
            Op::Linear { weight, bias, first_row, out, .. } => {
                Ok((filters(weight, WeightLayout::Rows { first_row: *first_row }, bias, *out, 1), 1, 0))
            }
            Op::Project { matrix, out } => Ok((filters(matrix, WeightLayout::Columns, &None, *out, 1), 1, 0)),
            _ => Err(self.refuse(id, "not a product")),
        }
    }

    /// The nodes fused into the product. `QuickGelu` reads the product's f32 in a separate step.
    fn chain(&self, id: NodeId) -> Result<Chain, Unsupported> {
        let mut chain = Chain { nodes: Vec::new(), map: None, residual: None, relu: false };
        let mut last = id;
        for next in self.chains.after(id) {
            let node = self.node(*next);
            match &node.op {
                Op::AddMap { map } => chain.map = Some(map.clone()),
                Op::Add => {
                    let other = node.inputs.iter().find(|input| **input != last);
                    let other = other.ok_or_else(|| self.refuse(*next, "a sum of one operand"))?;
                    chain.residual = Some(self.tensor_of(*next, *other)?);
                }
                Op::Relu => chain.relu = true,
                _ => break,
            }
            chain.nodes.push(*next);
            last = *next;
        }
        Ok(chain)
    }

    pub(super) fn add(&mut self, id: NodeId) -> Result<Lowered, Unsupported> {
        let reads = self.node(id).inputs.iter().map(|input| self.tensor_of(id, *input));
        let reads = reads.collect::<Result<Vec<TensorId>, Unsupported>>()?;
        let relu = self.chains.after(id).to_vec();
        let writes = self.destination(relu.last().copied().unwrap_or(id), reads.first().copied())?;
        self.push(id, StepKind::Add { relu: !relu.is_empty() }, reads, writes);
        self.join(id, &relu, writes.tensor);
        Ok(self.values[id.0].unwrap_or(Lowered::Joined))
    }
}
