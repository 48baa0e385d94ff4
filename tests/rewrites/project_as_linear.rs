//! Projections as linear layers.

use super::agreement::assert_agrees;
use causalclipseg::graph::{GraphBuilder, Op, Shape};
use causalclipseg::lower::project_as_linear;

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
