//! Every stage of a whole network, against the reference engine.

#![cfg(feature = "network")]

use super::program::{Program, Room};
use super::weights::WeightSource;
use crate::engine::{ReferencePlan, Value};
use crate::graph::{Graph, NodeId, Op, Shape, Weights};
use crate::kernels::{Crew, Kernels};
use crate::lower::rewrite;
use crate::lower::steps::lower;
use crate::network::{Architecture, golden_image};
use ndarray::ArrayD;

/// A node's value from the steps up to it, channels first as the reference has it.
fn stage(graph: &Graph, weights: &Weights, id: NodeId, image: &[f32]) -> Option<Vec<f32>> {
    let part = graph.subgraph(&[graph.find("image").ok()?], &[id]).ok()?;
    let list = lower(&part).ok()?;
    let program = Program::new(&list, &WeightSource::Memory(weights)).ok()?;
    let (mut room, mut crew) = (Room::default(), Crew::new(1, |_| ()).ok()?);
    program.make_room(&mut room, 1, 0);
    let kernels = Kernels::new(crate::kernels::Isa::Generic)?;
    program.run(&mut room, kernels, &mut crew, (image, &[]), &mut [], None).ok()?;
    let values = program.output(&mut room, 0)?;
    match graph.node(id).shape {
        Shape::Map { channels, height, width } => {
            let place = |index: usize| {
                let (channel, pixel) = (index / (height * width), index % (height * width));
                values.get(pixel * channels + channel).copied()
            };
            (0..channels * height * width).map(place).collect()
        }
        _ => Some(values),
    }
}

#[test]
fn every_stored_value_is_the_references() {
    for input_size in [64, 96] {
        let architecture = Architecture { input_size, ..Architecture::mini() };
        let (graph, weights) =
            rewrite(architecture.describe().unwrap(), architecture.golden_weights().unwrap()).unwrap();
        let image: ArrayD<f32> = golden_image(input_size).into_dyn();
        let pixels: Vec<f32> = image.iter().copied().collect();
        let by_tokens = graph.dependents(graph.find("tokens").unwrap());
        let mut compared = 0;
        for id in graph.ids().filter(|id| !by_tokens[id.0] && graph.node(*id).op != Op::Input) {
            let Some(found) = stage(&graph, &weights, id, &pixels) else { continue };
            let part = graph.subgraph(&[graph.find("image").unwrap()], &[id]).unwrap();
            let expected = ReferencePlan::new(&part, &weights).unwrap().run(&[Value::Array(&image)]).unwrap();
            let largest = expected[0].iter().fold(0f32, |most, value| most.max(value.abs()));
            let difference = expected[0].iter().zip(&found).fold(0f32, |most, (a, b)| most.max((a - b).abs()));
            let name = &graph.node(id).name;
            assert!(difference <= 1e-4 * largest, "{input_size} px, `{name}`: {difference} of {largest}");
            compared += 1;
        }
        assert!(compared > 60, "only {compared} values are ever stored");
    }
}
