//! Why an interchange file is refused.

use super::{MAX_FILE_BYTES, MAX_NODES};
use crate::bundle::{BundleError, MAX_TOKENIZER_BYTES};
use crate::engine::EngineError;
use std::fmt;
use std::path::PathBuf;

/// A refused file, and the reason.
#[derive(Debug)]
pub struct OnnxError {
    /// The file.
    pub path: PathBuf,
    /// The reason.
    pub problem: Box<OnnxProblem>,
}

impl fmt::Display for OnnxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), printable(&self.problem.to_string()))
    }
}

/// A name out of the file, which may contain anything, as one line without control characters.
pub(super) fn printable(text: &str) -> String {
    text.chars().take(MAX_MESSAGE).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

const MAX_MESSAGE: usize = 1000;

impl std::error::Error for OnnxError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.problem.source()
    }
}

/// The reason why an interchange file is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OnnxProblem {
    #[error("cannot be read ({0}); check the path and its permissions")]
    Read(#[source] std::io::Error),
    #[error("is not a file; give the path of a model.onnx")]
    NotAFile,
    #[error("is empty; copy or export it again")]
    Empty,
    #[error("has {0} bytes, more than an ONNX file can have ({MAX_FILE_BYTES}); export the model again")]
    TooLarge(u64),
    #[error("is not an ONNX file ({0}); copy or export it again")]
    Format(String),
    #[error("has {0} nodes, and at most {MAX_NODES} are read; export a smaller network")]
    Nodes(usize),
    #[error("holds a tensor `{tensor}` that is not usable: {reason}; export the model again")]
    Tensor { tensor: String, reason: String },
    #[error("has a node `{node}` that is not run: {reason}; export the model again")]
    Node { node: String, reason: String },
    #[error(
        "takes {found}, not an image (f32 [1, 3, S, S], S a multiple of 32) and tokens (i64 [prompts, context]) with logits \
         (f32 [prompts, 1, S, S]) as the only output; give the model.onnx of an export"
    )]
    Interface { found: String },
    #[error("says of its model {0}; export it again")]
    Model(String),
    #[error("has no readable {TOKENIZER_FILE} beside it ({0}); `causalclipseg-convert export` writes one, copy it too")]
    NoTokenizer(#[source] std::io::Error),
    #[error("has a {TOKENIZER_FILE} beside it of {0} bytes, more than are read ({MAX_TOKENIZER_BYTES})")]
    LargeTokenizer(u64),
    #[error("cannot be run: {0}")]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Bundle(#[from] BundleError),
}

/// The name of the tokenizer's file beside an interchange file.
pub const TOKENIZER_FILE: &str = "tokenizer.json";
