//! Why a message, or a connection, is refused.

use super::header::TypeName;
use std::time::Duration;

/// The reason why bytes are not a valid message.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ProtocolError {
    #[error("the bytes are not an OpenIGTLink header ({what}): check which program is connected")]
    NotAHeader { what: String },
    #[error("a {kind} message announces {bytes} bytes, more than the limit of {limit}: send smaller messages")]
    TooLarge { kind: TypeName, bytes: u64, limit: u64 },
    #[error("a {kind} message has the checksum {announced:016x} and its body {actual:016x}: it was damaged on the way")]
    Checksum { kind: TypeName, announced: u64, actual: u64 },
    #[error("the {part} needs {needed} bytes and {actual} are left: the message is cut short")]
    CutShort { part: &'static str, needed: u64, actual: usize },
    #[error("the {part} is malformed: {what}")]
    Malformed { part: &'static str, what: String },
}

impl ProtocolError {
    pub(super) fn malformed(part: &'static str, what: impl Into<String>) -> Self {
        Self::Malformed { part, what: what.into() }
    }
}

/// Why nothing more is read from a connection.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("the connection failed ({0})")]
    Io(#[from] std::io::Error),
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
    #[error("a message was not complete after {waited:?}, with {missing} bytes missing: the sender has stalled")]
    Stalled { waited: Duration, missing: u64 },
}
