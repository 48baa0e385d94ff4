//! The cost of a graph, in multiply-accumulates.

use super::{Graph, NodeId, Op, Shape, TAPS};

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
            // Scores, then the weighted sum of the values.
            (Op::Attention { .. }, Some(shape @ Shape::Sequence { width, .. }), _) => {
                [2, width, rows(shape), rows(shape)]
            }
            (Op::Carafe { .. }, _, Shape::Map { channels, height, width }) => [TAPS, channels, height, width],
            (Op::PromptConv { .. }, Some(Shape::Map { channels, height, width }), _) => [TAPS, channels, height, width],
            _ => [0; 4],
        };
        factors.iter().map(|factor| *factor as u64).fold(1, u64::saturating_mul)
    }

    /// Multiply-accumulates of all nodes together, in units of 10^9.
    pub fn gmac(&self, tokens: usize) -> f64 {
        self.ids().map(|id| self.multiply_accumulates(id, tokens) as f64).sum::<f64>() / 1e9
    }
}
