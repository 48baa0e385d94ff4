//! The 1x1 convolution before the sentence's convolution moves into the sentence's linear layer.
//!
//! The two have no non-linearity between them. With the 1x1's matrix W and bias b, and the sentence's kernel K_k at tap
//! k, the logit is bias + sum over the taps inside the frame of K_k · (W x + b) = bias + sum of (W^T K_k) · x + K_k ·
//! b. So the map that W yields is never needed: the sentence's kernel becomes K'_k = W^T K_k, and each tap adds the
//! constant K_k · b where it reads inside the frame (zero padding comes after the bias, so nothing is added outside).
//!
//! All of these are linear in the layer that yields K from the sentence's state, so they are folded into its weight and
//! bias here, and a prompt costs one matrix product as before.

use super::LowerError;
use super::edit::{is_only_reader, kernel, matrix, prune, replace, store, vector};
use crate::graph::{Graph, NodeId, Op, TAPS, Weights};
use ndarray::{Array1, Array2, ArrayView2, Axis, Slice, concatenate};

/// Rewrites every sentence's convolution that is the only reader of a 1x1 convolution and of a linear layer.
pub fn prompt_fold(mut graph: Graph, weights: &mut Weights) -> Result<Graph, LowerError> {
    for id in graph.ids() {
        if graph.node(id).op != (Op::PromptConv { folded: false }) {
            continue;
        }
        let &[mix, layer] = graph.node(id).inputs.as_slice() else { continue };
        if !is_only_reader(&graph, mix, id) || !is_only_reader(&graph, layer, id) {
            continue;
        }
        fold(&mut graph, weights, id, mix, layer)?;
    }
    Ok(prune(&graph)?)
}

fn fold(graph: &mut Graph, weights: &mut Weights, id: NodeId, mix: NodeId, layer: NodeId) -> Result<(), LowerError> {
    let Op::Conv { weight: mix_weight, bias: mix_bias, kernel: 1, stride: 1, padding: 0, .. } =
        graph.node(mix).op.clone()
    else {
        return Ok(());
    };
    let Op::Linear { weight, bias, first_row, out, .. } = graph.node(layer).op.clone() else { return Ok(()) };
    let mixing = kernel(weights, &mix_weight)?.index_axis_move(Axis(3), 0).index_axis_move(Axis(2), 0);
    let mix_bias = match mix_bias {
        Some(name) => vector(weights, &name)?,
        None => Array1::zeros(mixing.nrows()),
    };
    let rows = matrix(weights, &weight)?.slice_axis(Axis(0), Slice::from(first_row..first_row + out)).to_owned();
    let folded = fold_rows(rows.view(), mixing.view(), &mix_bias, &weight)?;
    let weight_rows = folded.nrows();
    let bias = match bias {
        Some(name) => {
            // A bias is one more column of the layer, for an input that is always 1.
            let bias = vector(weights, &name)?;
            let column =
                bias.slice_axis(Axis(0), Slice::from(first_row..first_row + out)).insert_axis(Axis(1)).to_owned();
            let folded = fold_rows(column.view(), mixing.view(), &mix_bias, &name)?;
            Some(store(weights, &weight, "folded.bias", folded.remove_axis(Axis(1)).into_dyn()))
        }
        None => None,
    };
    let weight = store(weights, &weight, "folded.weight", folded.into_dyn());
    let linear = Op::Linear { weight, bias, weight_rows, first_row: 0, out: weight_rows };
    let (features, state) = (graph.node(mix).inputs[0], graph.node(layer).inputs.clone());
    // Between the two replacements the layer is wider than its reader expects; the second one resolves that.
    replace(graph, layer, linear, state)?;
    replace(graph, id, Op::PromptConv { folded: true }, vec![features, layer])?;
    Ok(())
}

/// The layer's rows (channel by channel nine taps, then the bias) as the folded layer's rows (tap by tap the channels
/// before the mixing, then nine constants, then the bias).
fn fold_rows(
    rows: ArrayView2<f32>,
    mixing: ArrayView2<f32>,
    mix_bias: &Array1<f32>,
    name: &str,
) -> Result<Array2<f32>, LowerError> {
    let kernel_rows = TAPS * mixing.nrows();
    let mut parts = Vec::with_capacity(TAPS + 2);
    let mut constants = Array2::zeros((TAPS, rows.ncols()));
    for tap in 0..TAPS {
        let of_tap = rows.slice_axis(Axis(0), Slice::new(tap as isize, Some(kernel_rows as isize), TAPS as isize));
        parts.push(mixing.t().dot(&of_tap));
        constants.row_mut(tap).assign(&mix_bias.dot(&of_tap));
    }
    parts.push(constants);
    parts.push(rows.slice_axis(Axis(0), Slice::from(kernel_rows..)).to_owned());
    let views: Vec<ArrayView2<f32>> = parts.iter().map(|part| part.view()).collect();
    concatenate(Axis(0), &views)
        .map_err(|error| LowerError::Weight { name: name.to_string(), reason: error.to_string() })
}
