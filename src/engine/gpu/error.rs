//! GPU errors. None of them is fatal: the engine falls back to the CPU.

use crate::engine::EngineError;
use crate::lower::steps;

/// Why a GPU does not run a network, or no longer does.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GpuError {
    #[error("no GPU adapter found; install a Vulkan, Metal or DX12 driver")]
    NoAdapter,
    #[error("only software GPU drivers were found; install the GPU's own driver")]
    SoftwareOnly,
    #[error("GPU adapter {index} does not exist; {count} were found, see `inspect`")]
    NoSuchAdapter { index: usize, count: usize },
    #[error("the adapter cannot open a device: {reason}")]
    Refused { reason: String },
    #[error("{what} takes {needed}, and the adapter allows {most}")]
    Limit { what: String, needed: u64, most: u64 },
    #[error("the driver failed to {what}: {reason}")]
    Driver { what: &'static str, reason: String },
    #[error("the device was lost: {reason}")]
    Lost { reason: String },
    #[error("a frame was not finished after {seconds} s")]
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

/// A driver's message on one line, with the length of a log line at most.
pub(super) fn one_line(message: &str) -> String {
    const MOST: usize = 300;
    let words: Vec<&str> = message.split_whitespace().collect();
    let line = words.join(" ");
    match line.char_indices().nth(MOST) {
        Some((end, _)) => format!("{} ...", &line[..end]),
        None => line,
    }
}
