//! The causal masks, and the decoder from low-resolution products to logits.

use super::lowering::{Lowered, Lowering};
use super::{Element, Step, StepKind, TensorId, Unsupported};
use crate::graph::{NodeId, Op};

impl Lowering<'_> {
    /// A mask is computed where it is used: in the gate, from its logits.
    pub(super) fn sigmoid(&mut self, id: NodeId) -> Result<Lowered, Unsupported> {
        let logits = self.tensor_of(id, self.node(id).inputs[0])?;
        if self.graph.outputs.contains(&id) {
            return Err(self.refuse(id, "a mask that is an output"));
        }
        Ok(Lowered::Sigmoid { logits, complement: false, quantisation: self.node(id).quantisation })
    }

    pub(super) fn complement(&mut self, id: NodeId) -> Result<Lowered, Unsupported> {
        let input = self.node(id).inputs[0];
        match self.values[input.0] {
            // The representable values from 0 to 1 are symmetric, so the complement is representable too.
            Some(Lowered::Sigmoid { logits, complement, quantisation })
                if quantisation == self.node(id).quantisation =>
            {
                Ok(Lowered::Sigmoid { logits, complement: !complement, quantisation })
            }
            _ => Err(self.refuse(id, "the complement of something other than a mask with the same scale")),
        }
    }

    /// x * mask, in either order of the graph's operands.
    pub(super) fn gate(&mut self, id: NodeId) -> Result<Lowered, Unsupported> {
        let &[a, b] = self.node(id).inputs.as_slice() else {
            return Err(self.refuse(id, "not a product of two"));
        };
        let (x, mask) = match (self.values[a.0], self.values[b.0]) {
            (Some(Lowered::Tensor(x)), Some(mask @ Lowered::Sigmoid { .. })) => (x, mask),
            (Some(mask @ Lowered::Sigmoid { .. }), Some(Lowered::Tensor(x))) => (x, mask),
            _ => return Err(self.refuse(id, "a product of operands that are not a map and a mask")),
        };
        let Lowered::Sigmoid { logits, complement, quantisation } = mask else {
            return Err(self.refuse(id, "a product without a mask"));
        };
        let writes = self.destination(id, Some(x))?;
        self.push(id, StepKind::Gate { complement, mask_quantisation: quantisation }, vec![x, logits], writes);
        Ok(self.stored(writes))
    }

    pub(super) fn blend(&mut self, id: NodeId) -> Result<Lowered, Unsupported> {
        let Op::BlendTaps { scale, bias } = &self.node(id).op else { return Err(self.refuse(id, "not a blend")) };
        let (scale, bias) = (*scale, bias.clone());
        let x = self.tensor_of(id, self.node(id).inputs[0])?;
        let relu = self.chains.after(id).to_vec();
        let writes = self.destination(relu.last().copied().unwrap_or(id), None)?;
        self.push(id, StepKind::Blend { scale, bias, relu: !relu.is_empty() }, vec![x], writes);
        self.join(id, &relu, writes.tensor);
        Ok(self.values[id.0].unwrap_or(Lowered::Joined))
    }

    /// The nodes from the tap products to the sentence's convolution: products, blend, ReLU, convolution.
    fn tail(&self, products: NodeId) -> Option<[NodeId; 4]> {
        let blend = self.graph.only_reader(products)?;
        let &[relu] = matches!(self.node(blend).op, Op::BlendTaps { .. }).then(|| self.chains.after(blend))? else {
            return None;
        };
        let conv = self.graph.only_reader(relu)?;
        let is_sentence = self.node(conv).op == (Op::PromptConv { folded: true })
            && self.node(conv).inputs[0] == relu
            && self.node(relu).quantisation.is_none();
        is_sentence.then_some([products, blend, relu, conv])
    }

    pub(super) fn is_tail(&self, id: NodeId) -> bool {
        matches!(self.node(id).op, Op::Conv { kernel: 1, stride: 1, padding: 0, bias: None, .. })
            && self.tail(id).is_some()
    }

    pub(super) fn prompt_tail(&mut self, id: NodeId) -> Result<Lowered, Unsupported> {
        let refuse = || self.refuse(id, "not a prompt tail");
        let [products, blend, relu, conv] = self.tail(id).ok_or_else(refuse)?;
        let Op::BlendTaps { scale, bias } = &self.node(blend).op else { return Err(refuse()) };
        let (scale, bias) = (*scale, bias.clone());
        let x: TensorId = self.tensor_of(id, self.node(products).inputs[0])?;
        let (filters, _, _) = self.filters(id)?;
        let stored = self.node(products).quantisation.map_or(Element::F32, Element::U8);
        let head = self.graph.outputs.iter().position(|output| *output == conv).ok_or_else(refuse)?;
        let kind = StepKind::PromptTail { filters, products: stored, scale, bias, head };
        let multiply_accumulates = self.graph.multiply_accumulates(id, 1) + self.graph.multiply_accumulates(conv, 1);
        let name = self.node(id).name.clone();
        // Logits are in the caller's memory.
        self.list.steps.push(Step { name, kind, reads: vec![x], writes: None, multiply_accumulates });
        for node in [products, blend, relu] {
            self.values[node.0] = Some(Lowered::Joined);
        }
        self.values[conv.0] = Some(Lowered::Logits);
        Ok(Lowered::Joined)
    }
}
