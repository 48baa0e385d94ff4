//! Every value that the fast engine stores, against the reference engine's result for the same inputs.

use super::int8::{int8_mini, int8_open_mini};
use causalclipseg::engine::cpu::stored_value;
use causalclipseg::engine::{InputValue, ReferencePlan, WeightSource};
use causalclipseg::graph::{Graph, NodeId, Op, Weights};
use causalclipseg::kernels::Kernels;
use ndarray::{ArrayD, IxDyn};
use std::collections::HashMap;
use toy_networks::networks::{image, mini, open_mini};

/// Compares each stored value with what the reference computes from the stored values before it. Returns the number of
/// values.
fn compare(graph: &Graph, source: WeightSource, weights: &Weights, size: usize, kernels: Kernels) -> usize {
    let pixels = image(size);
    let by_tokens = graph.dependents(graph.find("tokens").unwrap());
    let mut stored: HashMap<NodeId, ArrayD<f32>> = HashMap::new();
    let input = graph.find("image").unwrap();
    stored.insert(input, ArrayD::from_shape_vec(IxDyn(&[3, size, size]), pixels.clone()).unwrap());
    let mut compared = 0;
    for id in graph.ids().filter(|id| !by_tokens[id.0] && graph.node(*id).op != Op::Input) {
        let Some(found) = stored_value(graph, source, id, &pixels, kernels).unwrap() else { continue };
        let mut before: Vec<NodeId> = Vec::new();
        let mut pending = graph.node(id).inputs.clone();
        while let Some(next) = pending.pop() {
            match stored.contains_key(&next) {
                true if before.contains(&next) => {}
                true => before.push(next),
                false => pending.extend(&graph.node(next).inputs),
            }
        }
        before.sort();
        let part = graph.subgraph(&before, &[id]).unwrap();
        let values: Vec<InputValue> = before.iter().map(|id| InputValue::Array(&stored[id])).collect();
        let expected = ReferencePlan::new(&part, weights).unwrap().run(&values).unwrap().remove(0);
        let largest = expected.iter().fold(0f32, |most, value| most.max(value.abs()));
        let allowed = match graph.node(id).quantisation {
            // One step, and the rounding of the two numbers that are compared.
            Some(quantisation) => 1.001 * quantisation.scale + 1e-6 * largest,
            None => 1e-4 * largest,
        };
        assert_eq!(found.shape(), expected.shape());
        let difference = (&found - &expected).iter().fold(0f32, |most, value| most.max(value.abs()));
        let name = &graph.node(id).name;
        assert!(difference <= allowed, "{size} px on {}, `{name}`: {difference} of {largest}", kernels.isa());
        stored.insert(id, found);
        compared += 1;
    }
    compared
}

#[test]
fn every_stored_value_in_f32() {
    for (network, size) in [(mini(64), 64), (mini(96), 96), (open_mini(64), 64)] {
        for kernels in Kernels::available() {
            let source = WeightSource::Memory(&network.weights);
            assert!(compare(&network.graph, source, &network.weights, size, kernels) > 25);
        }
    }
}

#[test]
fn every_stored_value_in_int8_is_within_one_step() {
    for (bundle, size) in [(int8_mini(64), 64), (int8_mini(96), 96), (int8_open_mini(64), 64)] {
        let weights = bundle.weights().unwrap();
        for kernels in Kernels::available() {
            assert!(compare(bundle.graph(), WeightSource::Bundle(&bundle), &weights, size, kernels) > 25);
        }
    }
}
