//! A 3x3 convolution after bilinear upsampling needs its products at the low resolution only.
//!
//! Upsampling acts on each channel by itself, and a tap's matrix W_k mixes channels at one pixel, so the two commute:
//! W * Up(x) = sum over the nine taps k of shift_k(Up(W_k x)). The nine products W_k x together are one 1x1 convolution
//! to nine times the channels, run on scale² times fewer pixels; [`Op::BlendTaps`] upsamples, shifts and sums them.
//!
//! The shift comes after the upsampling: at its edges the upsampled frame repeats pixels, and only reads beyond that
//! frame are zero. The convolution's bias is added once, after the sum.

use super::LowerError;
use super::edit::{is_only_reader, kernel, prune, replace, store};
use crate::graph::{Graph, Op, TAPS, Weights};

/// Rewrites every 3x3 convolution (stride 1, padding 1) that is the only reader of an upsampling.
pub fn upsampled_conv(mut graph: Graph, weights: &mut Weights) -> Result<Graph, LowerError> {
    for id in graph.ids() {
        let Op::Conv { weight, bias, out_channels, kernel: 3, stride: 1, padding: 1 } = graph.node(id).op.clone()
        else {
            continue;
        };
        let source = graph.node(id).inputs[0];
        let Op::Upsample { scale } = graph.node(source).op else { continue };
        // At scale 1 there is nothing to save.
        if scale < 2 || !is_only_reader(&graph, source, id) {
            continue;
        }
        let low = graph.node(source).inputs[0];
        let filters = kernel(weights, &weight)?;
        let input_channels = filters.dim().1;
        let taps = filters.permuted_axes([2, 3, 0, 1]).as_standard_layout().into_owned();
        let taps = taps
            .into_shape_with_order(vec![TAPS * out_channels, input_channels, 1, 1])
            .map_err(|error| LowerError::Weight { name: weight.clone(), reason: error.to_string() })?;
        let products = Op::Conv {
            weight: store(weights, &weight, "taps.weight", taps),
            bias: None,
            out_channels: TAPS * out_channels,
            kernel: 1,
            stride: 1,
            padding: 0,
        };
        replace(&mut graph, source, products, vec![low])?;
        replace(&mut graph, id, Op::BlendTaps { scale, bias }, vec![source])?;
    }
    Ok(prune(&graph)?)
}
