//! A product with a matrix is a linear layer with the matrix transposed.
//!
//! x M = x (Mᵀ)ᵀ. One form less for engines to know, and outputs come first, as the scales of int8 weights need it.

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

#[cfg(test)]
mod tests {
    use super::super::agreement::assert_agrees;
    use super::*;
    use crate::graph::{GraphBuilder, Shape};

    #[test]
    fn projections_become_linear() {
        for (width, out) in [(7, 5), (1, 3), (4, 1)] {
            let mut g = GraphBuilder::new();
            let x = g.input("x", Shape::Vector { width }).unwrap();
            let x = g.named("state", Op::Project { matrix: "projection".into(), out }, &[x]).unwrap();
            let rewritten = assert_agrees(&g.finish(&[x]), project_as_linear);
            let state = rewritten.node(rewritten.find("state").unwrap());
            assert!(matches!(&state.op, Op::Linear { weight, .. } if weight == "projection.transposed"));
        }
    }
}
