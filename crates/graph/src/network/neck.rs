//! The neck: three maps at 1/16 of the input, the masker of each, and the two sums of the masked maps.

use super::{Architecture, Masks, conv_norm_relu, stage};
use crate::graph::{GraphBuilder, GraphError, NodeId, Op, Shape, TAPS};

const PREFIX: &str = "neck_ad";

/// The aggregated causal features and, where the network has maskers, the aggregated confounders.
pub(super) fn describe(
    g: &mut GraphBuilder,
    arch: &Architecture,
    [v3, v4, v5]: [NodeId; 3],
) -> Result<(NodeId, Option<NodeId>), GraphError> {
    let fq3 = g.add(Op::AveragePool { size: 2 }, &[v3])?;
    let fq4 = conv_norm_relu(g, &format!("{PREFIX}.f2_v_proj"), v4, arch.decoder, 3)?;
    let fq4 = conv_norm_relu(g, &format!("{PREFIX}.f4_proj4"), fq4, arch.decoder, 3)?;
    let fq5 = carafe(g, arch, v5)?;
    let queries = [fq3, fq4, fq5];
    for (query, name) in queries.into_iter().zip(stage::QUERIES) {
        g.rename(query, name)?;
    }
    if arch.masks == Masks::Open {
        return Ok((aggregate(g, arch, &queries, stage::FEATURES)?, None));
    }
    let (mut causal, mut confounding) = (Vec::new(), Vec::new());
    for (index, query) in queries.into_iter().enumerate() {
        let mask = masker(g, &format!("{PREFIX}.masker{}", index + 3), query)?;
        g.rename(mask, stage::MASKS[index])?;
        let rest = g.add(Op::Complement, &[mask])?;
        causal.push(g.add(Op::Multiply, &[query, mask])?);
        confounding.push(g.add(Op::Multiply, &[query, rest])?);
    }
    let features = aggregate(g, arch, &causal, stage::FEATURES)?;
    Ok((features, Some(aggregate(g, arch, &confounding, stage::CONFOUNDERS)?)))
}

/// The sum of three maps' channels, by the one layer that causal features and confounders share.
fn aggregate(g: &mut GraphBuilder, arch: &Architecture, parts: &[NodeId], name: &str) -> Result<NodeId, GraphError> {
    let joined = g.add(Op::Concat, parts)?;
    let sum = conv_norm_relu(g, &format!("{PREFIX}.aggr"), joined, arch.decoder, 1)?;
    g.rename(sum, name)?;
    Ok(sum)
}

/// CARAFE (Wang et al., ICCV 2019), x 2 over 3 x 3 neighbourhoods, then a 1x1 convolution.
fn carafe(g: &mut GraphBuilder, arch: &Architecture, v5: NodeId) -> Result<NodeId, GraphError> {
    const SCALE: usize = 2;
    let conv = |part: &str, out_channels: usize, kernel: usize| Op::Conv {
        weight: format!("{PREFIX}.carafe.{part}.weight"),
        bias: Some(format!("{PREFIX}.carafe.{part}.bias")),
        out_channels,
        kernel,
        stride: 1,
        padding: kernel / 2,
    };
    let down = g.add(conv("down", arch.embed / 4, 1), &[v5])?;
    let logits = g.add(conv("encoder", SCALE * SCALE * TAPS, 3), &[down])?;
    let reassembled = g.add(Op::Carafe { scale: SCALE }, &[v5, logits])?;
    g.add(conv("out", arch.decoder, 1), &[reassembled])
}

/// How causal each element of a map is, in (0, 1).
fn masker(g: &mut GraphBuilder, prefix: &str, query: NodeId) -> Result<NodeId, GraphError> {
    let Shape::Map { channels, .. } = g.shape(query) else { unreachable!("the neck's queries are maps") };
    let with_coordinates = g.add(Op::AppendCoordinates, &[query])?;
    let x = conv_norm_relu(g, &format!("{prefix}.coordconv.conv1"), with_coordinates, channels, 3)?;
    let x = conv_norm_relu(g, &format!("{prefix}.conv2"), x, channels, 3)?;
    let with_coordinates = g.add(Op::AppendCoordinates, &[x])?;
    let x = conv_norm_relu(g, &format!("{prefix}.coordconv2.conv1"), with_coordinates, channels, 3)?;
    let conv = Op::Conv {
        weight: format!("{prefix}.conv.weight"),
        bias: Some(format!("{prefix}.conv.bias")),
        out_channels: channels,
        kernel: 3,
        stride: 1,
        padding: 1,
    };
    let x = g.add(conv, &[x])?;
    let x = g.add(Op::BatchNorm { prefix: format!("{prefix}.bn") }, &[x])?;
    g.add(Op::Sigmoid, &[x])
}
