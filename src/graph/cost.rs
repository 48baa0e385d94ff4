//! What a graph costs, in multiply-accumulates.

use super::{Graph, GraphError, NodeId, Op, Shape, TAPS};

impl Graph {
    /// Multiply-accumulates of one node for one image, or for one prompt of `tokens` tokens: products with weights and
    /// between queries, keys and values. Element-wise work, pooling and interpolation are not counted, as usual.
    pub fn multiply_accumulates(&self, id: NodeId, tokens: usize) -> u64 {
        let node = self.node(id);
        let input = node.inputs.first().map(|input| self.node(*input).shape);
        let rows = |shape: Shape| match shape {
            Shape::Sequence { length, .. } => length.unwrap_or(tokens),
            _ => 1,
        };
        let factors: [usize; 4] = match (&node.op, input, node.shape) {
            (
                Op::Conv { kernel, .. },
                Some(Shape::Map { channels, .. }),
                Shape::Map { channels: out, height, width },
            ) => [channels * kernel * kernel, out, height, width],
            (
                Op::Linear { out, .. } | Op::Project { out, .. },
                Some(shape @ (Shape::Sequence { width, .. } | Shape::Vector { width })),
                _,
            ) => [width, *out, rows(shape), 1],
            // Scores, then the mix of the values.
            (Op::Attention { .. }, Some(shape @ Shape::Sequence { width, .. }), _) => {
                [2, width, rows(shape), rows(shape)]
            }
            (Op::Carafe { .. }, _, Shape::Map { channels, height, width }) => [TAPS, channels, height, width],
            (Op::PromptConv { .. }, Some(Shape::Map { channels, height, width }), _) => [TAPS, channels, height, width],
            _ => [0; 4],
        };
        factors.iter().map(|factor| *factor as u64).fold(1, u64::saturating_mul)
    }

    /// Of all nodes together, in units of 10^9.
    pub fn gmac(&self, tokens: usize) -> f64 {
        self.ids().map(|id| self.multiply_accumulates(id, tokens) as f64).sum::<f64>() / 1e9
    }

    /// Of one frame under this many prompts whose encodings are cached, without the adversarial head, in units of 10^9:
    /// the image's part once, and what depends on a prompt too once for each.
    pub fn frame_gmac(&self, prompts: usize) -> Result<f64, GraphError> {
        let part = self.subgraph(&[], &[self.find("pred")?])?;
        let (by_image, by_tokens) = (part.dependents(part.find("image")?), part.dependents(part.find("tokens")?));
        let of_node = |id: NodeId| match (by_image.get(id.0), by_tokens.get(id.0)) {
            (Some(true), Some(true)) => part.multiply_accumulates(id, 0) as f64 * prompts as f64,
            (Some(true), _) => part.multiply_accumulates(id, 0) as f64,
            _ => 0.0,
        };
        Ok(part.ids().map(of_node).sum::<f64>() / 1e9)
    }
}
