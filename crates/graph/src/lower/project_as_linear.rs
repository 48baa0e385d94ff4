//! A product with a matrix is a linear layer with the matrix transposed.
//!
//! x M = x (Mᵀ)ᵀ. Engines then need one operator less, and outputs come first, as the scales of int8 weights need it.

use super::LowerError;
use super::edit::{matrix, replace, store};
use crate::graph::{Graph, Op, Weights};

/// Rewrites every projection.
pub fn project_as_linear(mut graph: Graph, weights: &mut Weights) -> Result<Graph, LowerError> {
    for id in graph.ids() {
        let Op::Project { matrix: name, out } = graph.node(id).op.clone() else { continue };
        let transposed = matrix(weights, &name)?.reversed_axes().as_standard_layout().into_owned();
        let weight = store(weights, &name, "transposed", transposed.into_dyn());
        let linear = Op::Linear { weight, bias: None, weight_rows: out, first_row: 0, out };
        let inputs = graph.node(id).inputs.clone();
        replace(&mut graph, id, linear, inputs)?;
    }
    Ok(graph)
}
