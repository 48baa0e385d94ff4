//! A projector: two upsampled convolutions, then the 3x3 convolution whose kernel the sentence generates.

use super::{Architecture, conv_norm_relu, linear};
use crate::graph::{GraphBuilder, GraphError, NodeId, Op, TAPS};

/// Yields one channel of logits at the input's size.
pub(super) fn describe(
    g: &mut GraphBuilder,
    arch: &Architecture,
    prefix: &str,
    features: NodeId,
    state: NodeId,
) -> Result<NodeId, GraphError> {
    let half = arch.decoder / 2;
    let x = g.add(Op::Upsample { scale: 4 }, &[features])?;
    let x = conv_norm_relu(g, &format!("{prefix}.vis.1"), x, arch.decoder, 3)?;
    let x = g.add(Op::Upsample { scale: 4 }, &[x])?;
    let x = conv_norm_relu(g, &format!("{prefix}.vis.3"), x, half, 3)?;
    let mix = Op::Conv {
        weight: format!("{prefix}.vis.4.weight"),
        bias: Some(format!("{prefix}.vis.4.bias")),
        out_channels: half,
        kernel: 1,
        stride: 1,
        padding: 0,
    };
    let x = g.add(mix, &[x])?;
    let kernel = linear(g, &format!("{prefix}.txt"), state, half * TAPS + 1)?;
    g.add(Op::PromptConv { folded: false }, &[x, kernel])
}
