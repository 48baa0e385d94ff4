//! Cross-layer equalisation: channels between two convolutions are scaled to similar ranges, so that one scale fits
//! them all better (Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", ICCV 2019).
//!
//! ReLU and averages commute with a positive factor. So channel i of the first convolution may be divided by s_i, and
//! the second's weights for it multiplied. With a scale for each output's weights, the remaining trade-off is between
//! the channel's range among activations, r, and among the second's weights, w: s = sqrt(r / w) makes both sqrt(r w).

use super::QuantiseError;
use super::inputs::CalibrationSet;
use super::observe::Observation;
use causalclipseg::graph::{Graph, NodeId, Op, Weights};
use ndarray::Axis;
use std::collections::BTreeMap;

/// The largest factor of a channel relative to their mean, so that a nearly dead one does not dominate the weights.
const LARGEST_FACTOR: f32 = 16.0;

/// Two convolutions with only ReLU and averages between.
#[derive(Clone, Debug, PartialEq)]
struct Pair {
    first: NodeId,
    /// The constant map that is added to the first, if there is one.
    map: Option<String>,
    /// The node at which the channels' ranges are measured.
    relu: NodeId,
    second: NodeId,
}

/// Equalises every pair in turn and returns how many there were.
pub fn equalise(graph: &Graph, weights: &mut Weights, set: &CalibrationSet) -> Result<usize, QuantiseError> {
    let pairs = pairs(graph);
    let mut ranges = channel_ranges(graph, weights, set, &pairs)?;
    for pair in &pairs {
        let Some(range) = ranges.remove(&pair.relu) else { continue };
        apply(graph, weights, pair, &range);
    }
    Ok(pairs.len())
}

fn pairs(graph: &Graph) -> Vec<Pair> {
    let mut readers_of: BTreeMap<&str, usize> = BTreeMap::new();
    for node in &graph.nodes {
        if let Op::Conv { weight, bias, .. } = &node.op {
            *readers_of.entry(weight).or_default() += 1;
            bias.iter().for_each(|bias| *readers_of.entry(bias).or_default() += 1);
        }
    }
    let is_own = |name: &str| readers_of.get(name) == Some(&1);
    graph.ids().filter_map(|id| find_pair(graph, id, &is_own)).collect()
}

fn only_reader(graph: &Graph, id: NodeId) -> Option<NodeId> {
    let mut readers = graph.readers(id);
    match (readers.next(), readers.next()) {
        (Some(reader), None) if !graph.outputs.contains(&id) => Some(reader),
        _ => None,
    }
}

/// `is_own` says whether only one node reads the weight of a name.
fn find_pair(graph: &Graph, first: NodeId, is_own: &impl Fn(&str) -> bool) -> Option<Pair> {
    let Op::Conv { weight, bias, .. } = &graph.node(first).op else { return None };
    if !is_own(weight) || !bias.as_deref().is_none_or(is_own) {
        return None;
    }
    let mut at = only_reader(graph, first)?;
    let mut map = None;
    if let Op::AddMap { map: name } = &graph.node(at).op {
        map = Some(name.clone());
        at = only_reader(graph, at)?;
    }
    if graph.node(at).op != Op::Relu {
        return None;
    }
    let relu = at;
    at = only_reader(graph, at)?;
    while matches!(graph.node(at).op, Op::AveragePool { .. }) {
        at = only_reader(graph, at)?;
    }
    match &graph.node(at).op {
        Op::Conv { weight, .. } if is_own(weight) => Some(Pair { first, map, relu, second: at }),
        _ => None,
    }
}

/// The largest value of each channel that a pair's ReLU yields.
fn channel_ranges(
    graph: &Graph,
    weights: &Weights,
    set: &CalibrationSet,
    pairs: &[Pair],
) -> Result<BTreeMap<NodeId, Vec<f32>>, QuantiseError> {
    let nodes: Vec<NodeId> = pairs.iter().map(|pair| pair.relu).collect();
    let mut ranges: BTreeMap<NodeId, Vec<f32>> = BTreeMap::new();
    Observation::plan(graph, weights, &nodes)?.run(
        set,
        || {},
        |id, map| {
            let largest = map.outer_iter().map(|channel| channel.iter().fold(0f32, |largest, v| largest.max(*v)));
            let largest: Vec<f32> = largest.collect();
            match ranges.get_mut(&id) {
                Some(ranges) => ranges.iter_mut().zip(largest).for_each(|(range, new)| *range = range.max(new)),
                None => drop(ranges.insert(id, largest)),
            }
            Ok(())
        },
    )?;
    Ok(ranges)
}

fn apply(graph: &Graph, weights: &mut Weights, pair: &Pair, range: &[f32]) {
    let (Op::Conv { weight: first, bias, .. }, Op::Conv { weight: second, .. }) =
        (&graph.node(pair.first).op, &graph.node(pair.second).op)
    else {
        return;
    };
    let Some(second_weight) = weights.get(second) else { return };
    let of_second = second_weight.axis_iter(Axis(1)).map(|w| w.iter().fold(0f32, |largest, v| largest.max(v.abs())));
    let factors = factors(range, &of_second.collect::<Vec<_>>());
    for name in [Some(first), bias.as_ref(), pair.map.as_ref()].into_iter().flatten() {
        let Some(value) = weights.get_mut(name) else { continue };
        for (mut channel, factor) in value.axis_iter_mut(Axis(0)).zip(&factors) {
            channel.mapv_inplace(|v| v / factor);
        }
    }
    if let Some(value) = weights.get_mut(second) {
        for (mut channel, factor) in value.axis_iter_mut(Axis(1)).zip(&factors) {
            channel.mapv_inplace(|v| v * factor);
        }
    }
}

/// sqrt(range / weight) by channel, with a geometric mean of one. A channel without either is unchanged.
fn factors(ranges: &[f32], weights: &[f32]) -> Vec<f32> {
    let logs: Vec<Option<f32>> = ranges
        .iter()
        .zip(weights)
        .map(|(range, weight)| (*range > 0.0 && *weight > 0.0).then(|| 0.5 * (range.ln() - weight.ln())))
        .collect();
    let known: Vec<f32> = logs.iter().flatten().copied().filter(|log| log.is_finite()).collect();
    let mean = known.iter().sum::<f32>() / known.len().max(1) as f32;
    let most = LARGEST_FACTOR.ln();
    let factor = |log: &Option<f32>| match log {
        Some(log) if log.is_finite() => (log - mean).clamp(-most, most).exp(),
        _ => 1.0,
    };
    logs.iter().map(factor).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use causalclipseg::engine::{InputValue, ReferencePlan};
    use causalclipseg::graph::{GraphBuilder, Shape};
    use causalclipseg::prompt::Tokens;
    use ndarray::ArrayD;

    fn noise(shape: &[usize], seed: usize) -> ArrayD<f32> {
        let mut index = seed;
        ArrayD::from_shape_simple_fn(shape.to_vec(), || {
            index += 1;
            (index.wrapping_mul(2_654_435_761) >> 7) as u16 as f32 / 32_768.0 - 1.0
        })
    }

    fn conv(name: &str, out_channels: usize, kernel: usize, bias: bool) -> Op {
        let bias = bias.then(|| format!("{name}.bias"));
        Op::Conv { weight: format!("{name}.weight"), bias, out_channels, kernel, stride: 1, padding: kernel / 2 }
    }

    #[test]
    fn ranges_become_alike_and_the_function_stays() {
        let mut g = GraphBuilder::new();
        let image = g.input("image", Shape::Map { channels: 3, height: 8, width: 8 }).unwrap();
        let x = g.add(conv("a", 6, 3, true), &[image]).unwrap();
        let x = g.add(Op::AddMap { map: "map".into() }, &[x]).unwrap();
        let relu = g.add(Op::Relu, &[x]).unwrap();
        let x = g.add(Op::AveragePool { size: 2 }, &[relu]).unwrap();
        let x = g.add(conv("b", 5, 1, true), &[x]).unwrap();
        let graph = g.finish(&[x]);
        let mut weights: Weights = (graph.parameters().iter().enumerate())
            .map(|(seed, parameter)| (parameter.name.clone(), noise(&parameter.shape, seed * 1000)))
            .collect();
        // Channel 1 is a hundred times as large as the others, channel 2 is dead.
        for name in ["a.weight", "a.bias", "map"] {
            let value = weights.get_mut(name).unwrap();
            value.index_axis_mut(Axis(0), 1).mapv_inplace(|v| v * 100.0);
            value.index_axis_mut(Axis(0), 2).fill(0.0);
        }
        let item =
            super::super::inputs::CalibrationItem { image: noise(&[3, 8, 8], 5), tokens: Tokens::from_ids(vec![1, 2]) };
        let set = CalibrationSet { items: vec![item.clone()] };
        let run = |weights: &Weights| {
            let plan = ReferencePlan::new(&graph, weights).unwrap();
            plan.run(&[InputValue::Array(&item.image)]).unwrap().remove(0)
        };
        let spread = |weights: &Weights| {
            let found = pairs(&graph);
            assert_eq!(found.len(), 1);
            let ranges = channel_ranges(&graph, weights, &set, &found).unwrap().remove(&relu).unwrap();
            let live: Vec<f32> = ranges.into_iter().filter(|range| *range > 0.0).collect();
            live.iter().fold(0f32, |a, b| a.max(*b)) / live.iter().fold(f32::MAX, |a, b| a.min(*b))
        };
        let (before, expected) = (spread(&weights), run(&weights));
        assert_eq!(equalise(&graph, &mut weights, &set).unwrap(), 1);
        let (after, found) = (spread(&weights), run(&weights));
        assert!(after < 0.3 * before, "{before} to {after}");
        let largest = expected.iter().fold(0f32, |a, b| a.max(b.abs()));
        assert!((&found - &expected).iter().all(|d| d.abs() < 1e-5 * largest));
    }

    #[test]
    fn shared_or_read_elsewhere_is_left_alone() {
        let mut g = GraphBuilder::new();
        let image = g.input("image", Shape::Map { channels: 4, height: 8, width: 8 }).unwrap();
        let x = g.add(conv("shared", 4, 1, true), &[image]).unwrap();
        let x = g.add(Op::Relu, &[x]).unwrap();
        let x = g.add(conv("shared", 4, 1, true), &[x]).unwrap();
        let relu = g.add(Op::Relu, &[x]).unwrap();
        let x = g.add(conv("b", 4, 1, true), &[relu]).unwrap();
        let x = g.add(Op::Add, &[x, relu]).unwrap();
        assert_eq!(pairs(&g.finish(&[x])), []);
    }

    #[test]
    fn factors_are_bounded() {
        let factors = factors(&[1e30, 1.0, 1.0, 0.0, f32::INFINITY], &[1.0, 1.0, 1e-30, 1.0, 1.0]);
        assert!(factors.iter().all(|factor| (1.0 / 16.5..=16.5).contains(factor)), "{factors:?}");
        assert_eq!((factors[3], factors[4]), (1.0, 1.0));
    }
}
