//! What can go wrong between a graph and its answers.

use crate::graph::{GraphError, Shape};

/// Why an engine refuses a network or an input.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    #[error("the network is not valid: {0}")]
    Graph(#[from] GraphError),
    /// tract found something that the graph's own checks did not.
    #[error("the reference engine cannot {what}: {reason}")]
    Reference { what: &'static str, reason: String },
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
    /// The graph does not have the form "an image map and a prompt vector meet in a head".
    #[error("output `{output}` cannot be split into an image part and a prompt part: {reason}")]
    Split { output: String, reason: String },
    #[error("a pool of {threads} threads cannot be made ({reason}); ask for fewer")]
    Threads { threads: usize, reason: String },
    #[error("the confounders' head was not loaded; ask for it when the engine is made")]
    NoConfounders,
}

impl EngineError {
    /// Wraps an error of tract's, its causes on one line.
    pub(super) fn reference<E: std::fmt::Display>(what: &'static str) -> impl FnOnce(E) -> Self {
        move |error| EngineError::Reference { what, reason: format!("{error:#}").replace('\n', " ") }
    }
}
