//! Products moved before an upsampling.

use super::agreement::{assert_agrees, conv, map};
use causalclipseg::graph::{GraphBuilder, Op};
use causalclipseg::lower::upsampled_conv;

#[test]
fn products_move_below_the_upsampling() {
    for (height, width, scale, bias) in
        [(33, 47, 4, true), (7, 5, 2, false), (1, 6, 4, true), (5, 1, 3, true), (1, 1, 4, true)]
    {
        let mut g = GraphBuilder::new();
        let x = g.input("image", map(6, height, width)).unwrap();
        let x = g.add(Op::Upsample { scale }, &[x]).unwrap();
        let x = g.add(conv("a", 5, 3, 1, bias), &[x]).unwrap();
        let x = g.add(Op::Relu, &[x]).unwrap();
        let rewritten = assert_agrees(&g.finish(&[x]), upsampled_conv);
        assert!(!rewritten.nodes.iter().any(|node| matches!(node.op, Op::Upsample { .. })));
    }
}

#[test]
fn other_convolutions_stay() {
    let mut g = GraphBuilder::new();
    let x = g.input("image", map(6, 5, 4)).unwrap();
    let x = g.add(Op::Upsample { scale: 2 }, &[x]).unwrap();
    let x = g.add(conv("a", 5, 1, 0, true), &[x]).unwrap();
    let rewritten = assert_agrees(&g.finish(&[x]), upsampled_conv);
    assert!(!rewritten.nodes.iter().any(|node| matches!(node.op, Op::BlendTaps { .. })));
}
