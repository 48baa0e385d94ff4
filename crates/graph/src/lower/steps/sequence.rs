//! Steps into and out of token space.

use super::lowering::{Lowered, Lowering};
use super::{Destination, Element, StepKind, Tensor, TensorId, Unsupported};
use crate::graph::{NodeId, Shape};

impl Lowering<'_> {
    pub(super) fn embed(&mut self, id: NodeId, table: &str) -> Result<Lowered, Unsupported> {
        let tokens = self.node(id).inputs[0];
        let (Some(Lowered::Tokens), Shape::Tokens { context }) = (self.values[tokens.0], self.node(tokens).shape)
        else {
            return Err(self.refuse(id, "an embedding of something other than tokens"));
        };
        let Shape::Sequence { width: channels, .. } = self.node(id).shape else {
            return Err(self.refuse(id, "an embedding that is not a sequence"));
        };
        let node = self.node(id);
        let element = node.quantisation.map_or(Element::F32, Element::U8);
        let name = node.name.clone();
        let tensor = Tensor { name, height: 1, width: context, channels, border: 0, element, per_token: true };
        self.list.tensors.push(tensor);
        let tensor = TensorId(self.list.tensors.len() - 1);
        self.push(
            id,
            StepKind::Embed { table: table.to_string() },
            Vec::new(),
            Destination { tensor, first_channel: 0 },
        );
        Ok(Lowered::Tensor(tensor))
    }

    pub(super) fn end_of_text(&mut self, id: NodeId) -> Result<Lowered, Unsupported> {
        let sequence = self.tensor_of(id, self.node(id).inputs[0])?;
        let writes = self.destination(id, None)?;
        self.push(id, StepKind::LastToken, vec![sequence], writes);
        Ok(Lowered::Tensor(writes.tensor))
    }
}
