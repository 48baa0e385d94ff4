//! A network in int8: on the fast engine in integers, and on the reference engine, which rounds to the same steps in
//! f32.

use super::{PROMPTS, engine, logits};
use causalclipseg::bundle::{Bundle, BundleBuilder, ModelDescription, Precision, Provenance, StoredTensor};
use causalclipseg::engine::{EngineChoice, EngineOptions, InputValue, ReferencePlan};
use causalclipseg::frame::{Fit, Normalisation};
use causalclipseg::graph::{Graph, Op, ScaleZeroPoint, Weights};
use causalclipseg::kernels::Kernels;
use causalclipseg::network::{Rounding, roundings, strip_fused};
use ndarray::{Array2, ArrayD, IxDyn};
use std::collections::BTreeMap;
use std::sync::Arc;
use toy_networks::networks::{Network, image, mini, open_mini};

/// Sets scales and zero points from the range of each value on one image and one prompt.
fn with_grids(network: &Network, size: usize) -> Graph {
    let mut graph = network.graph.clone();
    let everything = Graph { outputs: graph.ids().filter(|id| !is_input(&graph, id.0)).collect(), ..graph.clone() };
    let plan = ReferencePlan::new(&everything, &network.weights).unwrap();
    let pixels = ArrayD::from_shape_vec(IxDyn(&[3, size, size]), image(size)).unwrap();
    // Inputs are given in the order of the graph: the image comes before the tokens.
    let values = plan.run(&[InputValue::Array(&pixels), InputValue::Tokens(PROMPTS[0])]).unwrap();
    let mut ranges = vec![(-1.5f32, 1.5f32); graph.nodes.len()];
    for (id, values) in everything.outputs.iter().zip(&values) {
        ranges[id.0] = values.iter().fold((0.0, 0.0), |(low, high), value| (low.min(*value), high.max(*value)));
    }
    let quantisation = |(low, high): (f32, f32)| {
        let scale = ((high - low) / 255.0).max(1e-6);
        ScaleZeroPoint { scale, zero_point: (-low / scale).round().clamp(0.0, 255.0) as u8 }
    };
    let roundings = roundings(&graph);
    let mut quantisations: Vec<Option<ScaleZeroPoint>> = Vec::new();
    for (index, rounding) in roundings.iter().enumerate() {
        quantisations.push(match rounding {
            Rounding::F32 => None,
            Rounding::Unit => Some(ScaleZeroPoint { scale: 1.0 / 255.0, zero_point: 0 }),
            Rounding::Own { .. } => Some(quantisation(ranges[index])),
            Rounding::Joined(concat) => Some(quantisation(ranges[concat.0])),
            Rounding::SameAs(source) => quantisations[source.0],
        });
    }
    for (node, quantisation) in graph.nodes.iter_mut().zip(quantisations) {
        node.quantisation = quantisation;
    }
    strip_fused(&graph)
}

fn is_input(graph: &Graph, index: usize) -> bool {
    graph.nodes[index].op == Op::Input
}

/// Integers, scales and sums of every weight that a kernel reads, but for those of `kept`.
fn integers(graph: &Graph, weights: &Weights, kept: &[&str]) -> Vec<StoredTensor> {
    let mut tensors = BTreeMap::new();
    for node in &graph.nodes {
        let (Op::Conv { weight: name, .. } | Op::Linear { weight: name, .. }) = &node.op else { continue };
        if kept.iter().any(|kept| name.starts_with(kept)) {
            continue;
        }
        let (mut integers, mut scales) = (Vec::new(), Vec::new());
        for output in weights[name].outer_iter() {
            let scale = output.iter().fold(1e-9f32, |most, value| most.max(value.abs())) / 127.0;
            integers.extend(output.iter().map(|value| (value / scale).round_ties_even() as i8));
            scales.push(scale);
        }
        for tensor in StoredTensor::int8(name, weights[name].shape(), &integers, &scales, true).unwrap() {
            tensors.insert(tensor.name.clone(), tensor);
        }
    }
    tensors.into_values().collect()
}

pub fn int8_mini(size: usize) -> Arc<Bundle> {
    quantised(&mini(size), size, &[])
}

/// A network without maskers, in which products and a pool are parts of a concatenation; two products have weights in f32.
pub fn int8_open_mini(size: usize) -> Arc<Bundle> {
    quantised(&open_mini(size), size, &["neck_ad.f4_proj4", "neck_ad.carafe.out"])
}

fn quantised(network: &Network, size: usize, kept: &[&str]) -> Arc<Bundle> {
    let graph = with_grids(network, size);
    let model = ModelDescription {
        name: "mini".into(),
        edition: "tiny".into(),
        input_size: size,
        normalisation: Normalisation::CLIP,
        fit: Fit::Stretch,
        threshold: 0.5,
        trained: false,
        gmac: 0.0,
        provenance: Provenance::default(),
        calibration: None,
    };
    let tensors = integers(&graph, &network.weights, kept);
    assert!(kept.iter().all(|kept| graph.parameters().iter().any(|parameter| parameter.name.starts_with(kept))));
    let builder = BundleBuilder::new(model, graph, &network.weights, Precision::Int8).unwrap();
    let builder = tensors.into_iter().fold(builder, BundleBuilder::tensor);
    Arc::new(Bundle::from_bytes(builder.to_bytes().unwrap()).unwrap())
}

fn relative_error(found: &Array2<f32>, expected: &Array2<f32>) -> f32 {
    let power = |values: &Array2<f32>| values.iter().map(|value| value * value).sum::<f32>();
    (power(&(found - expected)) / power(expected)).sqrt()
}

/// A sum that differs in its last bit may round to the next step, and some fifty layers spread that: complete networks
/// agree about as well as int8 agrees with f32. `stages` compares value by value.
#[test]
fn whole_networks_in_int8_stay_near() {
    for (bundle, size) in [(int8_mini(64), 64), (int8_mini(96), 96), (int8_open_mini(64), 64)] {
        let pixels = image(size);
        let reference = EngineOptions::default().with_choice(EngineChoice::Reference);
        let expected = logits(&engine(bundle.graph(), &bundle, reference), &pixels, &PROMPTS);
        let mut first: Option<Vec<Array2<f32>>> = None;
        for kernels in Kernels::available() {
            let options = EngineOptions::default().with_isa(Some(kernels.isa()));
            let fast = engine(bundle.graph(), &bundle, options);
            assert!(fast.cpu().is_some());
            let found = logits(&fast, &pixels, &PROMPTS);
            for (found, expected) in found.iter().zip(&expected) {
                let error = relative_error(found, expected);
                println!("{size} px on {}: relative error {error:.1e}", kernels.isa());
                assert!(error <= 0.1, "{size} px on {}: {error}", kernels.isa());
            }
            // Integers sum to the same on every instruction set; the remaining f32 steps differ in their last bits.
            let first = first.get_or_insert_with(|| found.clone());
            for (found, first) in found.iter().zip(first.iter()) {
                let error = relative_error(found, first);
                assert!(error <= 0.1, "{}: {error}", kernels.isa());
            }
        }
    }
}

#[test]
fn int8_threads_change_no_bit() {
    let bundle = int8_mini(96);
    let pixels = image(96);
    let alone = logits(&engine(bundle.graph(), &bundle, EngineOptions::default()), &pixels, &PROMPTS);
    for threads in [2, 3] {
        let options = EngineOptions::default().with_threads(threads);
        assert_eq!(logits(&engine(bundle.graph(), &bundle, options), &pixels, &PROMPTS), alone);
    }
}
