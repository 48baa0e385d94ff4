//! Determines which values of a network are rounded to 8 bits, and which of them share a scale and zero point.

use crate::graph::{Graph, NodeId, Op, Shape};

/// The quantisation of a node's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rounding {
    /// It stays f32.
    F32,
    /// A separate scale and zero point, from calibration. `unsigned` where the value cannot be negative.
    Own {
        /// Whether the value is never negative.
        unsigned: bool,
    },
    /// Values in 0 to 1: steps of 1/255 from zero.
    Unit,
    /// The scale and zero point of an earlier node.
    SameAs(NodeId),
    /// The scale and zero point shared by all parts of the concatenation at this node.
    Joined(NodeId),
}

/// Determines the rounding of every node.
///
/// Maps are rounded. In sequences, only the inputs of linear layers and projections are, so that attention, the
/// residual stream and all norms stay f32; so do the inputs of the prompt's own convolution.
pub fn roundings(graph: &Graph) -> Vec<Rounding> {
    let nonnegative = nonnegative(graph);
    let mut roundings: Vec<Rounding> = Vec::with_capacity(graph.nodes.len());
    for id in graph.ids() {
        let node = graph.node(id);
        let own = Rounding::Own { unsigned: nonnegative[id.0] };
        let source = node.inputs.first().copied();
        // Alone in a concatenation, a mean is rounded like the other parts.
        let is_part = graph.only_reader(id).is_some_and(|reader| graph.node(reader).op == Op::Concat);
        let rounding = match (&node.op, source) {
            (Op::Sigmoid | Op::Complement, _) => Rounding::Unit,
            (Op::AveragePool { .. }, _) if is_part => rounded(graph, id, own),
            (
                Op::AveragePool { .. }
                | Op::Upsample { .. }
                | Op::GridToSequence
                | Op::SequenceToGrid { .. }
                | Op::EndOfText,
                Some(source),
            ) => match roundings[source.0] {
                Rounding::F32 => rounded(graph, id, own),
                shared @ (Rounding::SameAs(_) | Rounding::Unit) => shared,
                _ => Rounding::SameAs(source),
            },
            _ => rounded(graph, id, own),
        };
        roundings.push(rounding);
    }
    for id in graph.ids().filter(|id| graph.node(*id).op == Op::Concat) {
        if roundings[id.0] == Rounding::F32 {
            continue;
        }
        roundings[id.0] = Rounding::Joined(id);
        for part in &graph.node(id).inputs {
            // A part whose scale comes from elsewhere cannot have the shared one.
            if matches!(roundings[part.0], Rounding::Own { .. }) {
                roundings[part.0] = Rounding::Joined(id);
            }
        }
    }
    roundings
}

/// `own` where a map is read by an operator that takes 8 bits, or a row by a layer with weights.
fn rounded(graph: &Graph, id: NodeId, own: Rounding) -> Rounding {
    let mut readers = graph.readers(id).map(|reader| &graph.node(reader).op).peekable();
    // Outputs of the network are f32.
    if readers.peek().is_none() {
        return Rounding::F32;
    }
    let is_rounded = match graph.node(id).shape {
        Shape::Map { .. } => readers.any(|op| !matches!(op, Op::PromptConv { .. })) && !feeds_wide(graph, id),
        Shape::Sequence { .. } | Shape::Vector { .. } => {
            readers.any(|op| matches!(op, Op::Linear { .. } | Op::Project { .. } | Op::SequenceToGrid { .. }))
        }
        Shape::Tokens { .. } => false,
    };
    if is_rounded { own } else { Rounding::F32 }
}

/// Whether a map only goes into element-wise steps that end in the prompt's convolution: they are one pass over it.
fn feeds_wide(graph: &Graph, id: NodeId) -> bool {
    let is_wide = |reader: NodeId| match graph.node(reader).op {
        Op::PromptConv { .. } => true,
        Op::Relu => {
            graph.readers(reader).next().is_some()
                && graph.readers(reader).all(|next| matches!(graph.node(next).op, Op::PromptConv { .. }))
        }
        _ => false,
    };
    graph.readers(id).all(is_wide)
}

/// Which values cannot be negative, by the operators that they come from.
fn nonnegative(graph: &Graph) -> Vec<bool> {
    let mut known = vec![false; graph.nodes.len()];
    for id in graph.ids() {
        let node = graph.node(id);
        let all = node.inputs.iter().all(|input| known[input.0]);
        known[id.0] = match node.op {
            Op::Relu | Op::Sigmoid => true,
            Op::Complement => matches!(node.inputs[..], [mask] if graph.node(mask).op == Op::Sigmoid),
            Op::AveragePool { .. } | Op::Upsample { .. } | Op::GridToSequence | Op::SequenceToGrid { .. } => all,
            Op::Add | Op::Multiply | Op::Concat => all,
            Op::Carafe { .. } => node.inputs.first().is_some_and(|map| known[map.0]),
            _ => false,
        };
    }
    known
}

#[cfg(test)]
mod tests {
    use super::super::{Architecture, Masks, stage};
    use super::*;
    use crate::lower::rewrite;

    fn mini(form: fn(&Graph) -> Graph) -> (Graph, Vec<Rounding>) {
        let graph = form(&Architecture::mini().describe().unwrap());
        let roundings = roundings(&graph);
        (graph, roundings)
    }

    fn rewritten(published: &Graph) -> Graph {
        rewrite(published.clone(), Architecture::mini().golden_weights().unwrap()).unwrap().0
    }

    #[test]
    fn values_are_placed_by_who_reads_them() {
        let (graph, roundings) = mini(rewritten);
        let of = |name: &str| roundings[graph.find(name).unwrap().0];
        let own = |unsigned| Rounding::Own { unsigned };
        assert_eq!(of(stage::IMAGE), own(false));
        assert_eq!(of(stage::V3), own(true));
        assert_eq!(of("fq3"), Rounding::SameAs(graph.find("v3").unwrap()));
        assert_eq!(of("fq5"), own(false));
        assert_eq!(of("mask4"), Rounding::Unit);
        assert_eq!(of("fq_sup"), own(true));
        for name in ["pred", "state", "tokens", "pred_ad"] {
            if name != "state" {
                assert_eq!(of(name), Rounding::F32, "{name}");
            }
        }
        // The input of the sentence's layer is rounded; its output is a kernel, in f32.
        assert_eq!(of("state"), own(false));
        for id in graph.ids() {
            let node = graph.node(id);
            match node.op {
                // Only its last row is used later, and that row is rounded.
                _ if node.name == stage::WORDS => assert_eq!(roundings[id.0], Rounding::F32),
                Op::Attention { .. } | Op::LayerNorm { .. } | Op::QuickGelu => {
                    assert_ne!(roundings[id.0], Rounding::F32, "{}", node.name);
                }
                Op::Embed { .. } | Op::AddPositions { .. }
                    if matches!(node.shape, Shape::Sequence { length: None, .. }) =>
                {
                    assert_eq!(roundings[id.0], Rounding::F32, "{}", node.name);
                }
                Op::Concat => {
                    assert_eq!(roundings[id.0], Rounding::Joined(id));
                    assert!(node.inputs.iter().all(|part| roundings[part.0] == Rounding::Joined(id)));
                }
                Op::PromptConv { .. } => assert_eq!(roundings[node.inputs[0].0], Rounding::F32, "{}", node.name),
                _ => {}
            }
        }
    }

    #[test]
    fn all_parts_of_a_concatenation_share_its_scale() {
        let open = Architecture { masks: Masks::Open, ..Architecture::mini() };
        let (graph, _) = rewrite(open.describe().unwrap(), open.golden_weights().unwrap()).unwrap();
        let roundings = roundings(&graph);
        let join = graph.ids().find(|id| graph.node(*id).op == Op::Concat).unwrap();
        assert_eq!(graph.node(join).inputs.len(), 3);
        assert!(matches!(graph.node(graph.node(join).inputs[0]).op, Op::AveragePool { .. }));
        assert!(graph.node(join).inputs.iter().all(|part| roundings[part.0] == Rounding::Joined(join)));
    }

    #[test]
    fn the_published_form_is_placed_too() {
        let (graph, roundings) = mini(Graph::clone);
        for id in graph.ids() {
            let node = graph.node(id);
            if matches!(node.op, Op::Conv { .. } | Op::Linear { .. } | Op::Project { .. }) {
                assert_ne!(roundings[node.inputs[0].0], Rounding::F32, "what {} reads", node.name);
            }
            if let Rounding::SameAs(source) = roundings[id.0] {
                assert!(source < id && matches!(roundings[source.0], Rounding::Own { .. } | Rounding::Joined(_)));
            }
        }
    }
}
