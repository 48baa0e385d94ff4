//! Exact rewrites of a graph: the same function in fewer operations, one rewrite a file.
//!
//! | rewrite | what it removes |
//! |---|---|
//! | [`fold_batch_norm`] | batch norms that follow a convolution |
//! | [`coordinate_bias`] | the two coordinate channels, by a constant map |
//! | [`upsampled_conv`] | 3x3 products at the upsampled resolution, by 1x1 products at the low one |
//! | [`prompt_fold`] | the 1x1 convolution before the sentence's own, by a wider prompt layer |
//! | [`project_as_linear`] | projections, by linear layers |
//!
//! [`strip_fused`] is not a rewrite: it determines which values a fused engine never stores, and so never rounds.
//!
//! An average pool and a 1x1 convolution commute too, but the published network pools first everywhere already.

mod coordinate_bias;
mod edit;
mod fold_batch_norm;
mod fusion;
mod project_as_linear;
mod prompt_fold;
pub mod steps;
mod upsampled_conv;

pub use coordinate_bias::coordinate_bias;
pub use fold_batch_norm::fold_batch_norm;
pub use fusion::{strip_before_relu, strip_fused};
pub use project_as_linear::project_as_linear;
pub use prompt_fold::prompt_fold;
pub use upsampled_conv::upsampled_conv;

use crate::graph::{Graph, GraphError, Weights};
use std::collections::HashSet;

/// Why a graph cannot be rewritten.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LowerError {
    /// The graph before or after a rewrite is not valid.
    #[error("the network is not valid: {0}")]
    Graph(#[from] GraphError),
    /// A weight does not have the form that a rewrite needs.
    #[error("weight `{name}` cannot be rewritten: {reason}")]
    Weight {
        /// Its name.
        name: String,
        /// The reason.
        reason: String,
    },
}

/// A rewrite: keeps the graph's inputs, outputs and stage names, and adds the weights that it computes.
type Rewrite = fn(Graph, &mut Weights) -> Result<Graph, LowerError>;

/// The rewrites in this order: a folded norm gives the convolution the bias that the later rewrites move on.
const REWRITES: [(&str, Rewrite); 5] = [
    ("fold_batch_norm", fold_batch_norm),
    ("coordinate_bias", coordinate_bias),
    ("upsampled_conv", upsampled_conv),
    ("prompt_fold", prompt_fold),
    ("project_as_linear", project_as_linear),
];

/// Applies every rewrite. Weights that the result does not read are dropped.
pub fn rewrite(graph: Graph, mut weights: Weights) -> Result<(Graph, Weights), LowerError> {
    graph.validate()?;
    graph.check_weights(|name| weights.get(name).map(|value| value.shape()))?;
    let mut graph = graph;
    for (name, rewrite) in REWRITES {
        let before = graph.nodes.len();
        graph = rewrite(graph, &mut weights)?;
        // At once, so that only one copy of a large network is in memory.
        drop_unread(&graph, &mut weights);
        log::debug!("{name}: {before} nodes became {}", graph.nodes.len());
    }
    graph.validate()?;
    graph.check_weights(|name| weights.get(name).map(|value| value.shape()))?;
    Ok((graph, weights))
}

/// Removes the weights that no node reads.
pub fn drop_unread(graph: &Graph, weights: &mut Weights) {
    let read: HashSet<String> = graph.parameters().into_iter().map(|parameter| parameter.name).collect();
    weights.retain(|name, _| read.contains(name));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{GraphBuilder, Op, Shape};

    #[test]
    fn drops_what_nobody_reads() {
        let mut g = GraphBuilder::new();
        let x = g.input("image", Shape::Map { channels: 2, height: 4, width: 4 }).unwrap();
        let x = g.add(Op::AddMap { map: "map".into() }, &[x]).unwrap();
        let graph = g.finish(&[x]);
        let shapes = [("map", vec![2, 4, 4]), ("stranger", vec![3])];
        let weights = shapes.map(|(name, shape)| (name.to_string(), ndarray::ArrayD::zeros(shape))).into();
        let (_, weights) = rewrite(graph, weights).unwrap();
        assert_eq!(weights.keys().collect::<Vec<_>>(), ["map"]);
    }

    #[test]
    fn refuses_weights_that_do_not_fit() {
        let mut g = GraphBuilder::new();
        let x = g.input("image", Shape::Map { channels: 2, height: 4, width: 4 }).unwrap();
        let x = g.add(Op::BatchNorm { prefix: "bn".into() }, &[x]).unwrap();
        let error = rewrite(g.finish(&[x]), Weights::new()).unwrap_err();
        assert!(error.to_string().contains("bn.running_mean"), "{error}");
    }
}
