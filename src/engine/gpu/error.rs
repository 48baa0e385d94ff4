//! What can go wrong with a GPU. None of it is fatal: the CPU stands in.

use crate::engine::EngineError;
use crate::lower::steps;

/// Why a GPU does not run a network, or no longer does.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GpuError {
    #[error("there is no GPU adapter; install a Vulkan, Metal or DX12 driver")]
    NoAdapter,
    #[error("there is no GPU adapter but drivers that compute on the CPU")]
    SoftwareOnly,
    #[error("there is no GPU adapter {index}; there are {count}, see `inspect`")]
    NoSuchAdapter { index: usize, count: usize },
    #[error("the adapter gives no device: {reason}")]
    Refused { reason: String },
    #[error("{what} takes {needed}, and the adapter allows {most}")]
    Limit { what: String, needed: u64, most: u64 },
    #[error("the driver failed to {what}: {reason}")]
    Driver { what: &'static str, reason: String },
    #[error("the device was lost: {reason}")]
    Lost { reason: String },
    #[error("a frame was not done after {seconds} s")]
    Timeout { seconds: u64 },
    #[error("no shader is known for `{node}`: {reason}")]
    Unsupported { node: String, reason: String },
    #[error(transparent)]
    Engine(#[from] EngineError),
}

impl From<steps::Unsupported> for GpuError {
    fn from(unsupported: steps::Unsupported) -> Self {
        GpuError::Unsupported { node: unsupported.node, reason: unsupported.reason }
    }
}

/// A driver's message on one line, as long as a log's line may be.
pub(super) fn one_line(message: &str) -> String {
    const MOST: usize = 300;
    let words: Vec<&str> = message.split_whitespace().collect();
    let line = words.join(" ");
    match line.char_indices().nth(MOST) {
        Some((end, _)) => format!("{} ...", &line[..end]),
        None => line,
    }
}
