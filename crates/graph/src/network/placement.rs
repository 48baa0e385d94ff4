//! Determines which values of a network are rounded to 8 bits, and which of them share a scale and zero point.

use crate::graph::{Graph, NodeId, Op, Shape};

/// The quantisation of a node's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// It stays f32.
    Wide,
    /// A separate scale and zero point, from calibration. `unsigned` where the value cannot be negative.
    Own {
        /// Whether the value is never negative.
        unsigned: bool,
    },
    /// Values in 0 to 1: steps of 1/255 from zero.
    Unit,
    /// The scale and zero point of an earlier node.
    As(NodeId),
    /// The scale and zero point shared by all parts of the concatenation at this node.
    Joined(NodeId),
}

/// Determines the placement of every node.
///
/// Maps are rounded. In sequences, only the inputs of linear layers and projections are, so that attention, the
/// residual stream and all norms stay f32; so do the inputs of the prompt's own convolution.
pub fn place(graph: &Graph) -> Vec<Placement> {
    let nonnegative = nonnegative(graph);
    let mut placements: Vec<Placement> = Vec::with_capacity(graph.nodes.len());
    for id in graph.ids() {
        let node = graph.node(id);
        let own = Placement::Own { unsigned: nonnegative[id.0] };
        let source = node.inputs.first().copied();
        // Alone in a concatenation, a mean is rounded like the other parts.
        let is_part = graph.only_reader(id).is_some_and(|reader| graph.node(reader).op == Op::Concat);
        let placement = match (&node.op, source) {
            (Op::Sigmoid | Op::Complement, _) => Placement::Unit,
            (Op::AveragePool { .. }, _) if is_part => rounded(graph, id, own),
            (
                Op::AveragePool { .. }
                | Op::Upsample { .. }
                | Op::GridToSequence
                | Op::SequenceToGrid { .. }
                | Op::EndOfText,
                Some(source),
            ) => match placements[source.0] {
                Placement::Wide => rounded(graph, id, own),
                shared @ (Placement::As(_) | Placement::Unit) => shared,
                _ => Placement::As(source),
            },
            _ => rounded(graph, id, own),
        };
        placements.push(placement);
    }
    for id in graph.ids().filter(|id| graph.node(*id).op == Op::Concat) {
        if placements[id.0] == Placement::Wide {
            continue;
        }
        placements[id.0] = Placement::Joined(id);
        for part in &graph.node(id).inputs {
            // A part whose scale comes from elsewhere cannot have the shared one.
            if matches!(placements[part.0], Placement::Own { .. }) {
                placements[part.0] = Placement::Joined(id);
            }
        }
    }
    placements
}

/// `own` where a map is read by an operator that takes 8 bits, or a row by a layer with weights.
fn rounded(graph: &Graph, id: NodeId, own: Placement) -> Placement {
    let mut readers = graph.readers(id).map(|reader| &graph.node(reader).op).peekable();
    // Outputs of the network are f32.
    if readers.peek().is_none() {
        return Placement::Wide;
    }
    let is_rounded = match graph.node(id).shape {
        Shape::Map { .. } => readers.any(|op| !matches!(op, Op::PromptConv { .. })) && !feeds_wide(graph, id),
        Shape::Sequence { .. } | Shape::Vector { .. } => {
            readers.any(|op| matches!(op, Op::Linear { .. } | Op::Project { .. } | Op::SequenceToGrid { .. }))
        }
        Shape::Tokens { .. } => false,
    };
    if is_rounded { own } else { Placement::Wide }
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

    fn mini(form: fn(&Graph) -> Graph) -> (Graph, Vec<Placement>) {
        let graph = form(&Architecture::mini().describe().unwrap());
        let placements = place(&graph);
        (graph, placements)
    }

    fn rewritten(published: &Graph) -> Graph {
        rewrite(published.clone(), Architecture::mini().golden_weights().unwrap()).unwrap().0
    }

    #[test]
    fn values_are_placed_by_who_reads_them() {
        let (graph, placements) = mini(rewritten);
        let of = |name: &str| placements[graph.find(name).unwrap().0];
        let own = |unsigned| Placement::Own { unsigned };
        assert_eq!(of(stage::IMAGE), own(false));
        assert_eq!(of(stage::V3), own(true));
        assert_eq!(of("fq3"), Placement::As(graph.find("v3").unwrap()));
        assert_eq!(of("fq5"), own(false));
        assert_eq!(of("mask4"), Placement::Unit);
        assert_eq!(of("fq_sup"), own(true));
        for name in ["pred", "state", "tokens", "pred_ad"] {
            if name != "state" {
                assert_eq!(of(name), Placement::Wide, "{name}");
            }
        }
        // The input of the sentence's layer is rounded; its output is a kernel, in f32.
        assert_eq!(of("state"), own(false));
        for id in graph.ids() {
            let node = graph.node(id);
            match node.op {
                // Only its last row is used later, and that row is rounded.
                _ if node.name == stage::WORDS => assert_eq!(placements[id.0], Placement::Wide),
                Op::Attention { .. } | Op::LayerNorm { .. } | Op::QuickGelu => {
                    assert_ne!(placements[id.0], Placement::Wide, "{}", node.name);
                }
                Op::Embed { .. } | Op::AddPositions { .. }
                    if matches!(node.shape, Shape::Sequence { length: None, .. }) =>
                {
                    assert_eq!(placements[id.0], Placement::Wide, "{}", node.name);
                }
                Op::Concat => {
                    assert_eq!(placements[id.0], Placement::Joined(id));
                    assert!(node.inputs.iter().all(|part| placements[part.0] == Placement::Joined(id)));
                }
                Op::PromptConv { .. } => assert_eq!(placements[node.inputs[0].0], Placement::Wide, "{}", node.name),
                _ => {}
            }
        }
    }

    #[test]
    fn all_parts_of_a_concatenation_share_its_scale() {
        let open = Architecture { masks: Masks::Open, ..Architecture::mini() };
        let (graph, _) = rewrite(open.describe().unwrap(), open.golden_weights().unwrap()).unwrap();
        let placements = place(&graph);
        let join = graph.ids().find(|id| graph.node(*id).op == Op::Concat).unwrap();
        assert_eq!(graph.node(join).inputs.len(), 3);
        assert!(matches!(graph.node(graph.node(join).inputs[0]).op, Op::AveragePool { .. }));
        assert!(graph.node(join).inputs.iter().all(|part| placements[part.0] == Placement::Joined(join)));
    }

    #[test]
    fn the_published_form_is_placed_too() {
        let (graph, placements) = mini(Graph::clone);
        for id in graph.ids() {
            let node = graph.node(id);
            if matches!(node.op, Op::Conv { .. } | Op::Linear { .. } | Op::Project { .. }) {
                assert_ne!(placements[node.inputs[0].0], Placement::Wide, "what {} reads", node.name);
            }
            if let Placement::As(source) = placements[id.0] {
                assert!(source < id && matches!(placements[source.0], Placement::Own { .. } | Placement::Joined(_)));
            }
        }
    }
}
