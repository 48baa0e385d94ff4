//! Batch norms folded into the convolutions before them.

use super::agreement::{assert_agrees, conv, map};
use causalclipseg::graph::{GraphBuilder, Op};
use causalclipseg::lower::fold_batch_norm;

#[test]
fn folds_with_and_without_a_bias() {
    for (height, width, bias) in [(33, 47, false), (5, 1, true), (1, 1, true)] {
        let mut g = GraphBuilder::new();
        let x = g.input("image", map(5, height, width)).unwrap();
        let x = g.add(conv("a", 7, 3, 1, bias), &[x]).unwrap();
        let x = g.add(Op::BatchNorm { prefix: "a_norm".into() }, &[x]).unwrap();
        let x = g.add(Op::Relu, &[x]).unwrap();
        let rewritten = assert_agrees(&g.finish(&[x]), fold_batch_norm);
        assert!(!rewritten.nodes.iter().any(|node| matches!(node.op, Op::BatchNorm { .. })));
    }
}

/// A convolution with another reader must still yield its own value, and a pool is not a convolution.
#[test]
fn keeps_norms_that_cannot_be_folded() {
    let mut g = GraphBuilder::new();
    let x = g.input("image", map(3, 8, 6)).unwrap();
    let raw = g.add(conv("a", 3, 3, 1, false), &[x]).unwrap();
    let normed = g.add(Op::BatchNorm { prefix: "a_norm".into() }, &[raw]).unwrap();
    let sum = g.add(Op::Add, &[raw, normed]).unwrap();
    let pooled = g.add(Op::AveragePool { size: 2 }, &[sum]).unwrap();
    let y = g.add(Op::BatchNorm { prefix: "b_norm".into() }, &[pooled]).unwrap();
    let rewritten = assert_agrees(&g.finish(&[y]), fold_batch_norm);
    assert_eq!(rewritten.nodes.iter().filter(|node| matches!(node.op, Op::BatchNorm { .. })).count(), 2);
}

#[test]
fn folds_shared_weights_once() {
    let mut g = GraphBuilder::new();
    let x = g.input("image", map(3, 9, 7)).unwrap();
    let mut branch = |x| {
        let x = g.add(conv("shared", 4, 1, 0, false), &[x]).unwrap();
        g.add(Op::BatchNorm { prefix: "norm".into() }, &[x]).unwrap()
    };
    let a = branch(x);
    let rest = branch(x);
    let rest = g.add(Op::Complement, &[rest]).unwrap();
    let y = g.add(Op::Multiply, &[a, rest]).unwrap();
    let rewritten = assert_agrees(&g.finish(&[y]), fold_batch_norm);
    assert_eq!(rewritten.parameters().len(), 2);
}
