//! Coordinate channels as a constant map.

use super::agreement::{assert_agrees, conv, map};
use causalclipseg::graph::{GraphBuilder, Op};
use causalclipseg::lower::coordinate_bias;

#[test]
fn coordinates_become_a_map_at_every_size() {
    for (height, width) in [(33, 47), (14, 14), (6, 1), (1, 5), (1, 1)] {
        let mut g = GraphBuilder::new();
        let x = g.input("image", map(4, height, width)).unwrap();
        let x = g.add(Op::AppendCoordinates, &[x]).unwrap();
        let x = g.add(conv("a", 5, 3, 1, true), &[x]).unwrap();
        let x = g.add(Op::Relu, &[x]).unwrap();
        let rewritten = assert_agrees(&g.finish(&[x]), coordinate_bias);
        assert!(!rewritten.nodes.iter().any(|node| node.op == Op::AppendCoordinates));
    }
}

#[test]
fn coordinates_with_another_reader_stay() {
    let mut g = GraphBuilder::new();
    let x = g.input("image", map(4, 7, 9)).unwrap();
    let x = g.add(Op::AppendCoordinates, &[x]).unwrap();
    let y = g.add(conv("a", 6, 3, 1, false), &[x]).unwrap();
    let y = g.add(Op::Add, &[x, y]).unwrap();
    let rewritten = assert_agrees(&g.finish(&[y]), coordinate_bias);
    assert!(rewritten.nodes.iter().any(|node| node.op == Op::AppendCoordinates));
}
