//! Bias correction: rounded weights shift a layer's mean, and its bias can compensate the shift (Nagel et al., ICCV
//! 2019).
//!
//! The shift of an output is the mean over images and pixels of (W' - W) * x. It is measured by running the difference
//! of the weights beside the layer, including borders.

use super::QuantiseError;
use super::inputs::CalibrationSet;
use super::observe::Observation;
use super::weights::Integers;
use causalclipseg::graph::{Graph, Node, NodeId, Op, Shape, TAPS, Weights};
use ndarray::{ArrayD, Axis};
use std::collections::BTreeMap;

/// The bias that compensates a layer's shift, and the index in it of the layer's first output.
struct Target {
    bias: String,
    first: usize,
    /// The number of outputs that share a bias in turn, as the nine tap products of a channel do.
    outputs: usize,
}

/// Subtracts the shifts caused by `quantised` weights from the biases.
pub fn correct_biases(
    graph: &Graph,
    weights: &mut Weights,
    quantised: &Integers,
    set: &CalibrationSet,
) -> Result<(), QuantiseError> {
    let (with_differences, all_weights, layers) = add_differences(graph, weights, quantised);
    let nodes: Vec<NodeId> = layers.keys().copied().collect();
    let mut sums: BTreeMap<NodeId, (Vec<f64>, usize)> = BTreeMap::new();
    Observation::plan(&with_differences, &all_weights, &nodes)?.run(
        set,
        || {},
        |id, value| {
            let means = channel_means(value, with_differences.node(id).shape);
            let (sum, count) = sums.entry(id).or_insert_with(|| (vec![0.0; means.len()], 0));
            sum.iter_mut().zip(means).for_each(|(sum, mean)| *sum += mean);
            *count += 1;
            Ok(())
        },
    )?;
    // Nodes that share a bias share the mean of their shifts.
    let mut shifts: BTreeMap<String, Vec<(f64, usize)>> = BTreeMap::new();
    for (id, target) in &layers {
        let Some((sum, count)) = sums.get(id) else { continue };
        let Some(length) = weights.get(&target.bias).map(|bias| bias.len()) else { continue };
        let shifts = shifts.entry(target.bias.clone()).or_insert_with(|| vec![(0.0, 0); length]);
        let mut of_layer = vec![0.0; target.outputs];
        for (index, sum) in sum.iter().enumerate() {
            of_layer[index % target.outputs] += sum / *count as f64;
        }
        for ((total, count), shift) in shifts.iter_mut().skip(target.first).zip(of_layer) {
            *total += shift;
            *count += 1;
        }
    }
    for (name, shifts) in shifts {
        let Some(bias) = weights.get_mut(&name) else { continue };
        for (bias, (total, count)) in bias.iter_mut().zip(shifts) {
            *bias -= (total / count.max(1) as f64) as f32;
        }
    }
    Ok(())
}

/// The graph with a second layer beside each quantised one, with the difference of the weights and no bias.
fn add_differences(
    graph: &Graph,
    weights: &Weights,
    quantised: &Integers,
) -> (Graph, Weights, BTreeMap<NodeId, Target>) {
    let mut extended = graph.clone();
    extended.nodes.iter_mut().for_each(|node| node.quantisation = None);
    let mut all_weights = weights.clone();
    let mut layers = BTreeMap::new();
    for id in graph.ids() {
        let node = graph.node(id);
        let (Op::Conv { weight, .. } | Op::Linear { weight, .. }) = &node.op else { continue };
        let (Some(target), Some(rounded), Some(true_weight)) =
            (target(graph, id), quantised.get(weight), weights.get(weight))
        else {
            continue;
        };
        let name = format!("{weight}.difference");
        all_weights.entry(name.clone()).or_insert_with(|| rounded.dequantise() - true_weight);
        let op = match node.op.clone() {
            Op::Conv { out_channels, kernel, stride, padding, .. } => {
                Op::Conv { weight: name, bias: None, out_channels, kernel, stride, padding }
            }
            Op::Linear { weight_rows, first_row, out, .. } => {
                Op::Linear { weight: name, bias: None, weight_rows, first_row, out }
            }
            _ => continue,
        };
        layers.insert(NodeId(extended.nodes.len()), target);
        extended.nodes.push(Node { name: format!("{}/difference", node.name), op, ..node.clone() });
        extended.nodes.iter_mut().next_back().iter_mut().for_each(|node| node.quantisation = None);
    }
    (extended, all_weights, layers)
}

fn target(graph: &Graph, id: NodeId) -> Option<Target> {
    match &graph.node(id).op {
        Op::Conv { bias: Some(bias), out_channels, .. } => {
            Some(Target { bias: bias.clone(), first: 0, outputs: *out_channels })
        }
        Op::Linear { bias: Some(bias), first_row, out, .. } => {
            Some(Target { bias: bias.clone(), first: *first_row, outputs: *out })
        }
        // Interpolation keeps a mean, so the sum over taps shifts the blended channel.
        Op::Conv { bias: None, out_channels, .. } => {
            let mut readers = graph.readers(id);
            match (readers.next().map(|reader| &graph.node(reader).op), readers.next()) {
                (Some(Op::BlendTaps { bias: Some(bias), .. }), None) => {
                    Some(Target { bias: bias.clone(), first: 0, outputs: out_channels / TAPS })
                }
                _ => None,
            }
        }
        _ => None,
    }
}

fn channel_means(value: &ArrayD<f32>, shape: Shape) -> Vec<f64> {
    let mean = |values: ndarray::ArrayViewD<f32>| {
        values.iter().map(|value| f64::from(*value)).sum::<f64>() / values.len().max(1) as f64
    };
    match shape {
        Shape::Map { .. } => value.axis_iter(Axis(0)).map(mean).collect(),
        Shape::Sequence { .. } => value.axis_iter(Axis(1)).map(mean).collect(),
        _ => value.iter().map(|value| f64::from(*value)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::inputs::CalibrationItem;
    use super::super::weights::{WeightBits, dequantise_weights, quantise_weights};
    use super::*;
    use causalclipseg::engine::{InputValue, ReferencePlan};
    use causalclipseg::graph::GraphBuilder;
    use causalclipseg::prompt::Tokens;

    /// A layer whose small weights all round the same way, on bright images: its mean is restored, single pixels are
    /// not.
    #[test]
    fn means_come_back() {
        let mut g = GraphBuilder::new();
        let image = g.input("image", Shape::Map { channels: 2, height: 6, width: 6 }).unwrap();
        let op = |name: &str, bias: Option<&str>, out_channels, kernel| Op::Conv {
            weight: name.into(),
            bias: bias.map(str::to_string),
            out_channels,
            kernel,
            stride: 1,
            padding: kernel / 2,
        };
        let x = g.add(op("a", Some("a.bias"), 3, 3), &[image]).unwrap();
        let taps = g.add(op("taps", None, 18, 1), &[image]).unwrap();
        let blended = g.add(Op::BlendTaps { scale: 2, bias: Some("blend.bias".into()) }, &[taps]).unwrap();
        let graph = g.finish(&[x, blended]);
        let weights: Weights = graph
            .parameters()
            .into_iter()
            .map(|parameter| {
                let value = ArrayD::from_shape_fn(parameter.shape.clone(), |index| {
                    // The largest weight of an output determines its scale; the others are slightly above half a step.
                    if parameter.shape.len() == 4 && index[1] == 0 && index[3] == 0 { 1.0 } else { 0.0043 }
                });
                (parameter.name, value)
            })
            .collect();
        let item = |offset: usize| CalibrationItem {
            image: ArrayD::from_shape_fn(vec![2, 6, 6], |i| 1.0 + ((i[1] * 5 + i[2] * 3 + offset) % 7) as f32 / 7.0),
            tokens: Tokens::from_ids(vec![1, 2]),
        };
        let set = CalibrationSet { items: vec![item(0), item(3)] };
        let means = |weights: &Weights| {
            let plan = ReferencePlan::new(&graph, weights).unwrap();
            let outputs = plan.run(&[InputValue::Array(&set.items[0].image)]).unwrap();
            outputs
                .iter()
                .flat_map(|output| output.outer_iter().map(|c| c.mean().unwrap()).collect::<Vec<_>>())
                .collect::<Vec<f32>>()
        };
        let quantised = quantise_weights(&graph, &weights, WeightBits::Seven);
        let distance = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
        let expected = means(&weights);
        let before = distance(&means(&dequantise_weights(&weights, &quantised)), &expected);
        let mut corrected = weights.clone();
        correct_biases(&graph, &mut corrected, &quantised, &set).unwrap();
        let after = distance(&means(&dequantise_weights(&corrected, &quantised)), &expected);
        assert!(before > 1e-3 && after < 0.25 * before, "{before} to {after}");
    }
}
