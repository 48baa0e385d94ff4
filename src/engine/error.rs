//! Errors between a graph and its results.

use crate::bundle::BundleError;
use crate::graph::{GraphError, Shape};
use crate::kernels::IsaError;
use crate::lower::steps;
use std::time::Duration;

/// Why an engine refuses a network or an input.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages say it")]
pub enum EngineError {
    #[error("the network is not valid: {0}")]
    Graph(#[from] GraphError),
    /// tract found an error that the graph's own checks did not.
    #[error("the reference engine cannot {what}: {reason}")]
    Reference { what: &'static str, reason: String },
    #[error("this build has no reference engine: choose the fast one, or build with the feature `reference`")]
    NoReference,
    #[error("{given} inputs were given to a plan of {expected}")]
    InputCount { given: usize, expected: usize },
    #[error("input `{name}` is {given}, but the network takes {expected:?}")]
    Input { name: String, given: String, expected: Shape },
    #[error("input `{name}` holds {value} at element {index}; give finite numbers only")]
    NotFinite { name: String, index: usize, value: f32 },
    #[error("{count} tokens do not fit a context of {context}; shorten the prompt to 1 to {context} tokens")]
    TokenCount { count: usize, context: usize },
    #[error("token id {id} is outside a vocabulary of {vocabulary}; use the tokenizer that came with the model")]
    TokenId { id: u32, vocabulary: usize },
    #[error("the tokens do not end with {end}, the end of text; use the tokenizer that came with the model")]
    NoEndOfText { end: usize },
    #[error("a pool of {threads} threads cannot be created ({reason}); use fewer")]
    Threads { threads: usize, reason: String },
    #[error(transparent)]
    Isa(#[from] IsaError),
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The fast engine does not know this network; a build with the reference engine may run it.
    #[error("the fast engine does not run `{node}`: {reason}; a build with the feature `reference` may")]
    Unsupported { node: String, reason: String },
    /// A bug of this program, not a mistake of its user.
    #[error("internal error of the engine ({0}); please report it")]
    Internal(String),
    #[error("{given} prompts in one frame; at most {most} share an image pass")]
    Prompts { given: usize, most: usize },
    #[error("the confounders' head was not loaded; enable it when the engine is created")]
    NoConfounders,
    #[error("the frame was cancelled, and has no result")]
    Cancelled,
    #[error("the frame takes longer than the {:.3} ms that it may: allow more, or use a smaller model", limit.as_secs_f64() * 1e3)]
    TimeLimit { limit: Duration },
    #[error(
        "this process is a fork of the one that opened the model, whose threads it lacks: open models after the fork"
    )]
    Forked,
}

impl From<steps::Unsupported> for EngineError {
    fn from(unsupported: steps::Unsupported) -> Self {
        EngineError::Unsupported { node: unsupported.node, reason: unsupported.reason }
    }
}

impl EngineError {
    pub(super) fn threads(threads: usize) -> impl FnOnce(std::io::Error) -> Self {
        move |error| EngineError::Threads { threads, reason: error.to_string() }
    }

    /// Wraps a tract error, its causes on one line.
    #[cfg(feature = "reference")]
    pub(super) fn reference<E: std::fmt::Display>(what: &'static str) -> impl FnOnce(E) -> Self {
        move |error| EngineError::Reference { what, reason: format!("{error:#}").replace('\n', " ") }
    }
}
