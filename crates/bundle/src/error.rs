//! Why a bundle is refused.

use crate::layout::{FORMAT_VERSION, MAX_MANIFEST_BYTES};
use crate::replace::WriteError;
use causalclipseg_graph::graph::GraphError;
use std::fmt;
use std::path::PathBuf;

/// A refused bundle: which file, and why.
#[derive(Debug)]
pub struct BundleError {
    /// The file; `None` where the bundle came from memory.
    pub path: Option<PathBuf>,
    /// The reason.
    pub problem: Problem,
}

impl BundleError {
    pub(super) fn at(mut self, path: impl Into<PathBuf>) -> Self {
        self.path = Some(path.into());
        self
    }
}

impl fmt::Display for BundleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.path {
            // The problem names the path itself.
            _ if matches!(self.problem, Problem::Write(_)) => write!(f, "{}", self.problem),
            Some(path) => write!(f, "{}: {}", path.display(), self.problem),
            None => write!(f, "the bundle: {}", self.problem),
        }
    }
}

impl std::error::Error for BundleError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.problem.source()
    }
}

impl From<Problem> for BundleError {
    fn from(problem: Problem) -> Self {
        Self { path: None, problem }
    }
}

/// The reason why a bundle is refused, or could not be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages say it")]
pub enum Problem {
    #[error("cannot be read ({0}); check the path and its permissions")]
    Read(#[source] std::io::Error),
    #[error(transparent)]
    Write(WriteError),
    #[error("does not fit into memory ({0}); free some, or open the file instead")]
    Memory(#[source] std::io::Error),
    #[error("is not a file; give the path of a .ccs file")]
    NotAFile,
    #[error("is empty; copy or pack it again")]
    Empty,
    #[error("is not a causalclipseg bundle (wrong magic); make one with `causalclipseg-convert pack`")]
    Magic,
    #[error("was made for a newer version (format {0}, this program reads {FORMAT_VERSION}); update causalclipseg")]
    NewerVersion(u32),
    #[error("uses a feature that this version does not know (flags {0:#x}); update causalclipseg")]
    UnknownFlags(u32),
    #[error("is cut short: {found} bytes of {expected}; copy it again")]
    Truncated { expected: u64, found: u64 },
    #[error("has extra bytes after its end: {found} bytes instead of {expected}; copy it again")]
    Trailing { expected: u64, found: u64 },
    #[error("says its manifest has {0} bytes (at most {MAX_MANIFEST_BYTES} are read); copy or pack it again")]
    ManifestLength(u64),
    #[error("is damaged: the {0} has another SHA-256 sum than recorded; copy it again")]
    Damaged(String),
    #[error("has an invalid manifest: {0}; pack it again")]
    Manifest(String),
    #[error("has an invalid {what}: {reason}; pack it again")]
    Layout { what: String, reason: String },
    #[error("exceeds a limit: {what} is {found}, the limit is {limit}")]
    Limit { what: String, found: u64, limit: u64 },
    #[error("has an invalid graph: {0}; pack it again")]
    Graph(#[from] GraphError),
    #[error("has no tensor `{0}`; pack it again")]
    NoTensor(String),
    #[error("tensor `{tensor}` holds {value} at index {index}; import and pack the checkpoint again")]
    NotFinite { tensor: String, index: usize, value: f32 },
    #[error("tensor `{tensor}` holds {value} at index {index}, which f16 cannot hold; pack with f32")]
    Unrepresentable { tensor: String, index: usize, value: f32 },
    #[error("is not signed; pack it with a signing key")]
    NotSigned,
    #[error("is signed by another key ({0}); get it from the key's owner")]
    SignedByAnother(String),
    #[error("has a wrong signature: it was changed after signing, or damaged; do not use it")]
    WrongSignature,
}

impl Problem {
    pub(super) fn layout(what: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Layout { what: what.into(), reason: reason.into() }
    }
}
