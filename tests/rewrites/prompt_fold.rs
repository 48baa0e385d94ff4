//! The 1x1 convolution before the prompt's convolution, folded into the layer that yields the prompt's kernel.

use super::agreement::{assert_agrees, conv, map};
use causalclipseg::graph::{GraphBuilder, Op, Shape, TAPS};
use causalclipseg::lower::prompt_fold;

#[test]
fn the_mixing_moves_into_the_prompt() {
    for (height, width, bias) in [(33, 47, true), (9, 1, true), (1, 4, false), (1, 1, true)] {
        let mut g = GraphBuilder::new();
        let image = g.input("image", map(6, height, width)).unwrap();
        let state = g.input("state", Shape::Vector { width: 11 }).unwrap();
        let x = g.add(Op::Relu, &[image]).unwrap();
        let x = g.add(conv("mix", 5, 1, 0, bias), &[x]).unwrap();
        let linear = Op::Linear {
            weight: "txt.weight".into(),
            bias: bias.then(|| "txt.bias".into()),
            weight_rows: 5 * TAPS + 4,
            first_row: 3,
            out: 5 * TAPS + 1,
        };
        let k = g.add(linear, &[state]).unwrap();
        let y = g.named("pred", Op::PromptConv { folded: false }, &[x, k]).unwrap();
        let rewritten = assert_agrees(&g.finish(&[y]), prompt_fold);
        assert_eq!(rewritten.node(rewritten.find("pred").unwrap()).op, Op::PromptConv { folded: true });
        assert!(!rewritten.nodes.iter().any(|node| matches!(node.op, Op::Conv { .. })));
    }
}
