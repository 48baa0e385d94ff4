//! Cuts a part out of a graph.

use super::{Graph, GraphError, Node, NodeId, Op};
use std::collections::HashMap;

impl Graph {
    /// The part that computes `outputs` when the values of `inputs` are given: those become [`Op::Input`] under their
    /// own names and shapes, and unused nodes are left out.
    pub fn subgraph(&self, inputs: &[NodeId], outputs: &[NodeId]) -> Result<Graph, GraphError> {
        let mut needed = vec![false; self.nodes.len()];
        let mut pending: Vec<NodeId> = outputs.to_vec();
        while let Some(id) = pending.pop() {
            if std::mem::replace(&mut needed[id.0], true) || inputs.contains(&id) {
                continue;
            }
            pending.extend(&self.node(id).inputs);
        }
        let mut part = Graph::default();
        let mut moved = HashMap::new();
        // A given input stays even if it is not read, so that a caller's inputs and the graph's agree.
        for id in self.ids().filter(|id| needed[id.0] || inputs.contains(id)) {
            let node = self.node(id);
            let node = if inputs.contains(&id) {
                Node { op: Op::Input, inputs: Vec::new(), ..node.clone() }
            } else {
                Node { inputs: node.inputs.iter().map(|input| moved[input]).collect(), ..node.clone() }
            };
            moved.insert(id, NodeId(part.nodes.len()));
            part.nodes.push(node);
        }
        part.outputs = outputs.iter().map(|output| moved[output]).collect();
        Ok(part)
    }

    /// The nodes that some path connects to `source`, including itself.
    pub fn dependents(&self, source: NodeId) -> Vec<bool> {
        let mut depends = vec![false; self.nodes.len()];
        depends[source.0] = true;
        for id in self.ids() {
            depends[id.0] |= self.node(id).inputs.iter().any(|input| depends[input.0]);
        }
        depends
    }
}
