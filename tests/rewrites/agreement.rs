//! Shared by the tests of the rewrites: random weights, and the check that two graphs compute the same.

use causalclipseg::engine::{InputValue, ReferencePlan};
use causalclipseg::graph::{Graph, Op, Shape, Weights};
use causalclipseg::lower::{LowerError, drop_unread};
use ndarray::ArrayD;

pub fn map(channels: usize, height: usize, width: usize) -> Shape {
    Shape::Map { channels, height, width }
}

/// A convolution with stride 1 and weights under `<prefix>.weight` and `<prefix>.bias`.
pub fn conv(prefix: &str, out_channels: usize, kernel: usize, padding: usize, bias: bool) -> Op {
    Op::Conv {
        weight: format!("{prefix}.weight"),
        bias: bias.then(|| format!("{prefix}.bias")),
        out_channels,
        kernel,
        stride: 1,
        padding,
    }
}

/// Numbers in [-1, 1) from a linear congruential generator (Knuth's MMIX constants): repeatable, without a dependency.
fn random_array(shape: &[usize], seed: u64) -> ArrayD<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    ArrayD::from_shape_simple_fn(shape.to_vec(), || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    })
}

fn random_weights(graph: &Graph, seed: u64) -> Weights {
    let parameters = graph.parameters().into_iter().enumerate();
    let weights = parameters.map(|(index, parameter)| {
        let value = random_array(&parameter.shape, seed + index as u64);
        let is_variance = parameter.name.ends_with("running_var");
        (parameter.name, if is_variance { value.mapv(|v| 1.5 + v) } else { value })
    });
    weights.collect()
}

/// Runs the graph before and after a rewrite on random weights and inputs; returns the rewritten graph.
pub fn assert_agrees(graph: &Graph, rewrite: impl Fn(Graph, &mut Weights) -> Result<Graph, LowerError>) -> Graph {
    let weights = random_weights(graph, 7);
    let inputs: Vec<ArrayD<f32>> = (graph.nodes.iter().filter(|node| node.op == Op::Input))
        .enumerate()
        .map(|(index, node)| match node.shape {
            Shape::Map { channels, height, width } => random_array(&[channels, height, width], 100 + index as u64),
            Shape::Vector { width } => random_array(&[width], 100 + index as u64),
            other => panic!("no random {other:?}"),
        })
        .collect();
    let run = |graph: &Graph, weights: &Weights| {
        let values: Vec<InputValue> = inputs.iter().map(InputValue::Array).collect();
        ReferencePlan::new(graph, weights).unwrap().run(&values).unwrap()
    };
    let expected = run(graph, &weights);
    let mut rewritten_weights = weights.clone();
    let rewritten = rewrite(graph.clone(), &mut rewritten_weights).unwrap();
    drop_unread(&rewritten, &mut rewritten_weights);
    rewritten.validate().unwrap();
    let found = run(&rewritten, &rewritten_weights);
    for (found, expected) in found.iter().zip(&expected) {
        assert_eq!(found.shape(), expected.shape());
        let largest = expected.iter().fold(0f32, |most, value| most.max(value.abs()));
        let difference = (found - expected).iter().fold(0f32, |most, value| most.max(value.abs()));
        assert!(largest > 0.0 && difference <= 1e-4 * largest, "{difference} of {largest}");
    }
    rewritten
}
