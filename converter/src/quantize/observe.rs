//! Runs a network and yields its nodes' values.

use super::QuantiseError;
use super::inputs::CalibrationSet;
use causalclipseg::engine::{InputValue, ReferencePlan};
use causalclipseg::graph::{Graph, GraphError, NodeId, Side, Weights};
use ndarray::ArrayD;

/// A network's image half and text half, planned to yield the values of chosen nodes. Nodes that depend on both are not
/// run: those are the prompt's own convolution.
pub struct Observation {
    image: Option<Half>,
    text: Option<Half>,
}

struct Half {
    plan: ReferencePlan,
    nodes: Vec<NodeId>,
}

impl Observation {
    /// Plans the halves for those of `nodes` that depend on the image alone or on the prompt alone.
    pub fn plan(graph: &Graph, weights: &Weights, nodes: &[NodeId]) -> Result<Self, QuantiseError> {
        let (image, tokens) = graph.image_and_tokens();
        let sides = graph.sides(image, tokens);
        let half = |input: Option<NodeId>, side: Side| -> Result<Option<Half>, QuantiseError> {
            // A plan does not yield its own input; the caller has that.
            let chosen = nodes.iter().copied().filter(|id| sides[id.0] == side && Some(*id) != input);
            let nodes: Vec<NodeId> = chosen.collect();
            let Some(input) = input.filter(|_| !nodes.is_empty()) else { return Ok(None) };
            let part = graph.subgraph(&[input], &nodes)?;
            Ok(Some(Half { plan: ReferencePlan::new(&part, weights)?, nodes }))
        };
        Ok(Self { image: half(image, Side::Image)?, text: half(tokens, Side::Prompt)? })
    }

    /// Runs every image, then every sentence, and calls `see` with each node's value. `on_run` is called after each
    /// run.
    pub fn run(
        &self,
        set: &CalibrationSet,
        mut on_run: impl FnMut(),
        mut see: impl FnMut(NodeId, &ArrayD<f32>) -> Result<(), QuantiseError>,
    ) -> Result<(), QuantiseError> {
        let mut show = |half: &Half, value: InputValue| -> Result<(), QuantiseError> {
            let values = half.plan.run(&[value])?;
            half.nodes.iter().zip(&values).try_for_each(|(id, value)| see(*id, value))?;
            on_run();
            Ok(())
        };
        if let Some(half) = &self.image {
            set.items.iter().try_for_each(|item| show(half, InputValue::Array(&item.image)))?;
        }
        if let Some(half) = &self.text {
            set.prompts().into_iter().try_for_each(|prompt| show(half, InputValue::Tokens(prompt.ids())))?;
        }
        Ok(())
    }
}

/// The network's input for images.
pub fn image_input(graph: &Graph) -> Result<NodeId, GraphError> {
    graph.find(crate::model::stage::IMAGE)
}
