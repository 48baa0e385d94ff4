//! Where a whole network comes apart: what depends on the image alone, what on the prompt alone, and the head where
//! they meet. The cut is found by dependence, so published and rewritten graphs alike are split at their own place.

use super::EngineError;
use crate::graph::{Graph, NodeId, Shape};

/// One head: the node that it yields and the two values that it is computed from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    pub output: NodeId,
    /// A map that depends on the image alone.
    pub map: NodeId,
    /// A vector that depends on the tokens alone.
    pub kernel: NodeId,
}

impl Head {
    /// Finds the cut above the node named `output`, in a graph with the inputs `image` and `tokens`.
    pub fn find(graph: &Graph, output: &str) -> Result<Self, EngineError> {
        let refuse = |reason: String| EngineError::Split { output: output.to_string(), reason };
        let by_image = graph.dependents(graph.find("image")?);
        let by_tokens = graph.dependents(graph.find("tokens")?);
        let meets = |id: NodeId| by_image[id.0] && by_tokens[id.0];
        let output_id = graph.find(output)?;
        if !meets(output_id) {
            return Err(refuse("it does not depend on both the image and the tokens".into()));
        }
        let (mut maps, mut kernels) = (Vec::new(), Vec::new());
        let mut seen = vec![false; graph.nodes.len()];
        let mut pending = vec![output_id];
        while let Some(id) = pending.pop() {
            if std::mem::replace(&mut seen[id.0], true) {
                continue;
            }
            match (by_image[id.0], by_tokens[id.0]) {
                (true, true) => pending.extend(&graph.node(id).inputs),
                (true, false) => maps.push(id),
                (false, true) => kernels.push(id),
                (false, false) => return Err(refuse(format!("`{}` depends on neither", graph.node(id).name))),
            }
        }
        match (maps.as_slice(), kernels.as_slice()) {
            (&[map], &[kernel]) => {
                if !matches!(graph.node(output_id).shape, Shape::Map { channels: 1, .. }) {
                    return Err(refuse("it is not a map of one channel".into()));
                }
                Ok(Self { output: output_id, map, kernel })
            }
            _ => Err(refuse(format!("{} maps and {} vectors meet there, not one of each", maps.len(), kernels.len()))),
        }
    }

    /// The part that runs once for each pair of an image and a prompt; it takes the map, then the kernel.
    pub fn graph(&self, graph: &Graph) -> Result<(Graph, bool), EngineError> {
        let part = graph.subgraph(&[self.map, self.kernel], &[self.output])?;
        // A part keeps its graph's order.
        Ok((part, self.map < self.kernel))
    }
}
