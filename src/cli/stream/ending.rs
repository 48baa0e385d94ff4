//! How a stream ended, and the command's exit code for it.

use super::super::Failure;
use super::super::interrupts::{Interrupts, Signal};
use std::io;
use std::process::ExitCode;
use std::sync::OnceLock;

/// The exit code of a command whose reader closed the pipe, as shells define it: 128 and SIGPIPE's number.
const READER_GONE: u8 = 141;

/// Why a stream ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    Source,
    /// The requested number of frames, or time, was reached.
    Limit,
    Signal(Signal),
    /// The reader of standard output closed the pipe.
    ReaderGone,
    /// Standard output cannot be written to, and why.
    OutputFailed(String),
    /// The source or the stream failed.
    Failed(String),
}

impl Ended {
    /// The name in JSON.
    pub(super) fn key(&self) -> &'static str {
        match self {
            Self::Source => "end_of_source",
            Self::Limit => "limit",
            Self::Signal(_) => "signal",
            Self::ReaderGone => "reader_gone",
            Self::OutputFailed(_) => "output_failed",
            Self::Failed(_) => "failed",
        }
    }

    /// The reason in words, where there is something to say.
    pub(super) fn reason(&self) -> Option<&str> {
        match self {
            Self::Source | Self::Limit | Self::ReaderGone => None,
            Self::Signal(signal) => Some(signal.name()),
            Self::OutputFailed(reason) | Self::Failed(reason) => Some(reason),
        }
    }

    /// Whether waiting frames are to be dropped.
    pub(super) fn is_abrupt(&self) -> bool {
        !matches!(self, Self::Source | Self::Limit | Self::Failed(_))
    }

    /// Whether standard output can be written to.
    pub(super) fn has_output(&self) -> bool {
        !matches!(self, Self::ReaderGone | Self::OutputFailed(_))
    }

    /// The command's own result; `None` where it depends on what was found.
    pub(super) fn outcome(&self) -> Option<Result<ExitCode, Failure>> {
        match self {
            Self::Source | Self::Limit => None,
            Self::Signal(signal) => Some(Ok(signal.exit_code())),
            Self::ReaderGone => Some(Ok(ExitCode::from(READER_GONE))),
            Self::OutputFailed(reason) => Some(Err(reason.clone().into())),
            Self::Failed(reason) => Some(Err(reason.clone().into())),
        }
    }
}

impl From<io::Error> for Ended {
    /// Converts an error of standard output.
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::ReaderGone,
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Self::OutputFailed("standard output: the disk is full; free some space, or send it elsewhere".into())
            }
            _ => Self::OutputFailed(format!("cannot write to standard output ({error}); check where it is sent")),
        }
    }
}

/// The events that may end a stream before its source does.
pub(super) struct Endings {
    interrupts: Interrupts,
    output: OnceLock<Ended>,
}

impl Endings {
    pub(super) fn new(interrupts: Interrupts) -> Self {
        Self { interrupts, output: OnceLock::new() }
    }

    /// Notes that a line could not be written.
    pub(super) fn note(&self, error: io::Error) {
        // The first failure says why.
        let _ = self.output.set(error.into());
    }

    /// Whether lines can still be written.
    pub(super) fn has_output(&self) -> bool {
        self.output.get().is_none()
    }

    /// The first ending that happened.
    pub(super) fn found(&self) -> Option<Ended> {
        self.output.get().cloned().or_else(|| self.interrupts.signal().map(Ended::Signal))
    }
}
