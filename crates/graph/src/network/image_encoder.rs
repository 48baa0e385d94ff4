//! CLIP's ModifiedResNet, and the attention pool that keeps every position.

use super::{Architecture, ConvNorm, linear, stage};
use crate::graph::{GraphBuilder, GraphError, NodeId, Op};

const PREFIX: &str = "backbone.visual";

/// Yields v3 (8 widths of channels at 1/8), v4 (16 widths at 1/16), v5 (the embedding's channels at 1/32).
pub(super) fn describe(g: &mut GraphBuilder, arch: &Architecture, image: NodeId) -> Result<[NodeId; 3], GraphError> {
    let width = arch.image.width;
    let mut x = image;
    for (number, out_channels, stride) in [(1, width / 2, 2), (2, width / 2, 1), (3, width, 1)] {
        let (conv, norm) = (format!("{PREFIX}.conv{number}"), format!("{PREFIX}.bn{number}"));
        x = ConvNorm { conv: &conv, norm: &norm, out_channels, kernel: 3, stride }.describe_with_relu(g, x)?;
    }
    x = g.add(Op::AveragePool { size: 2 }, &[x])?;
    let mut stages = [x; 4];
    for (index, blocks) in arch.image.layers.into_iter().enumerate() {
        let planes = width << index;
        for block in 0..blocks {
            let stride = if index > 0 && block == 0 { 2 } else { 1 };
            let prefix = format!("{PREFIX}.layer{}.{block}", index + 1);
            x = bottleneck(g, &prefix, x, planes, stride, block == 0)?;
        }
        stages[index] = x;
    }
    let [_, v3, v4, deepest] = stages;
    g.rename(v3, stage::V3)?;
    g.rename(v4, stage::V4)?;
    let v5 = attention_pool(g, arch, deepest)?;
    g.rename(v5, stage::V5)?;
    Ok([v3, v4, v5])
}

/// A bottleneck: 1x1, 3x3, an average pool in place of a stride, 1x1; yields four times `planes` channels.
fn bottleneck(
    g: &mut GraphBuilder,
    prefix: &str,
    input: NodeId,
    planes: usize,
    stride: usize,
    has_downsample: bool,
) -> Result<NodeId, GraphError> {
    let conv_norm = |number: usize, out_channels, kernel| {
        (format!("{prefix}.conv{number}"), format!("{prefix}.bn{number}"), out_channels, kernel)
    };
    let mut x = input;
    for (conv, norm, out_channels, kernel) in [conv_norm(1, planes, 1), conv_norm(2, planes, 3)] {
        x = ConvNorm { conv: &conv, norm: &norm, out_channels, kernel, stride: 1 }.describe_with_relu(g, x)?;
    }
    if stride > 1 {
        x = g.add(Op::AveragePool { size: stride }, &[x])?;
    }
    let (conv, norm, out_channels, kernel) = conv_norm(3, planes * 4, 1);
    x = ConvNorm { conv: &conv, norm: &norm, out_channels, kernel, stride: 1 }.describe(g, x)?;
    let mut shortcut = input;
    if has_downsample {
        if stride > 1 {
            shortcut = g.add(Op::AveragePool { size: stride }, &[shortcut])?;
        }
        let (conv, norm) = (format!("{prefix}.downsample.0"), format!("{prefix}.downsample.1"));
        shortcut = ConvNorm { conv: &conv, norm: &norm, out_channels, kernel: 1, stride: 1 }.describe(g, shortcut)?;
    }
    let sum = g.add(Op::Add, &[x, shortcut])?;
    g.add(Op::Relu, &[sum])
}

/// Attention over all positions with a row for every one, beside a 1x1 shortcut that CLIP does not have.
fn attention_pool(g: &mut GraphBuilder, arch: &Architecture, map: NodeId) -> Result<NodeId, GraphError> {
    let prefix = format!("{PREFIX}.attnpool");
    let (width, grid) = (arch.image.width * 32, arch.grid());
    let sequence = g.add(Op::GridToSequence, &[map])?;
    // Row 0 of the table belongs to CLIP's class token, which is not used here.
    let positions =
        Op::AddPositions { table: format!("{prefix}.positional_embedding"), rows: grid * grid + 1, skip: 1 };
    let sequence = g.add(positions, &[sequence])?;
    let q = linear(g, &format!("{prefix}.q_proj"), sequence, width)?;
    let k = linear(g, &format!("{prefix}.k_proj"), sequence, width)?;
    let v = linear(g, &format!("{prefix}.v_proj"), sequence, width)?;
    let attended = g.add(Op::Attention { heads: arch.image.width / 2, causal: false }, &[q, k, v])?;
    let attended = linear(g, &format!("{prefix}.c_proj"), attended, arch.embed)?;
    let attended = g.add(Op::SequenceToGrid { height: grid, width: grid }, &[attended])?;
    let (conv, norm) = (format!("{prefix}.connect.0"), format!("{prefix}.connect.1"));
    let shortcut =
        ConvNorm { conv: &conv, norm: &norm, out_channels: arch.embed, kernel: 1, stride: 1 }.describe(g, map)?;
    let sum = g.add(Op::Add, &[attended, shortcut])?;
    g.add(Op::Relu, &[sum])
}
