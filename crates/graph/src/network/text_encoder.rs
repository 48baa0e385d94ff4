//! CLIP's text transformer: pre-norm blocks under a causal mask, read at the end of text.

use super::{Architecture, linear, stage};
use crate::graph::{GraphBuilder, GraphError, NodeId, Op};

const PREFIX: &str = "backbone";

/// Yields the sentence's state, as wide as the embedding.
pub(super) fn describe(g: &mut GraphBuilder, arch: &Architecture, tokens: NodeId) -> Result<NodeId, GraphError> {
    let text = &arch.text;
    let embed =
        Op::Embed { table: format!("{PREFIX}.token_embedding.weight"), vocabulary: text.vocabulary, width: text.width };
    let mut x = g.add(embed, &[tokens])?;
    let positions = Op::AddPositions { table: format!("{PREFIX}.positional_embedding"), rows: text.context, skip: 0 };
    x = g.add(positions, &[x])?;
    for layer in 0..text.layers {
        x = block(g, arch, &format!("{PREFIX}.transformer.resblocks.{layer}"), x)?;
    }
    let words = g.named(stage::WORDS, Op::LayerNorm { prefix: format!("{PREFIX}.ln_final") }, &[x])?;
    let end = g.add(Op::EndOfText, &[words, tokens])?;
    let project = Op::Project { matrix: format!("{PREFIX}.text_projection"), out: arch.embed };
    g.named(stage::STATE, project, &[end])
}

fn block(g: &mut GraphBuilder, arch: &Architecture, prefix: &str, x: NodeId) -> Result<NodeId, GraphError> {
    let width = arch.text.width;
    let normed = g.add(Op::LayerNorm { prefix: format!("{prefix}.ln_1") }, &[x])?;
    let mut project = |part: usize| {
        let op = Op::Linear {
            weight: format!("{prefix}.attn.in_proj_weight"),
            bias: Some(format!("{prefix}.attn.in_proj_bias")),
            weight_rows: 3 * width,
            first_row: part * width,
            out: width,
        };
        g.add(op, &[normed])
    };
    let (q, k, v) = (project(0)?, project(1)?, project(2)?);
    let attended = g.add(Op::Attention { heads: arch.text.heads, causal: true }, &[q, k, v])?;
    let attended = linear(g, &format!("{prefix}.attn.out_proj"), attended, width)?;
    let x = g.add(Op::Add, &[x, attended])?;
    let normed = g.add(Op::LayerNorm { prefix: format!("{prefix}.ln_2") }, &[x])?;
    let hidden = linear(g, &format!("{prefix}.mlp.c_fc"), normed, 4 * width)?;
    let hidden = g.add(Op::QuickGelu, &[hidden])?;
    let hidden = linear(g, &format!("{prefix}.mlp.c_proj"), hidden, width)?;
    g.add(Op::Add, &[x, hidden])
}
