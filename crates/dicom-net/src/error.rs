//! Failures of an association.

use std::io;

/// Why an association failed or ended early.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages say it")]
pub enum NetError {
    #[error("cannot connect to {address} ({source}); check host, port and firewall")]
    Connect { address: String, source: io::Error },
    #[error("the connection broke ({0})")]
    Io(#[from] io::Error),
    #[error("the peer closed the connection")]
    Closed,
    #[error("the peer was silent for too long")]
    Timeout,
    #[error("this node is ending")]
    Stopped,
    #[error("the peer sent what is not DICOM: {0}")]
    Malformed(&'static str),
    #[error("the peer sent a protocol data unit that cannot be read ({0})")]
    Pdu(String),
    #[error("the peer sent more than the limit of {limit} bytes: {what}")]
    TooLarge { what: &'static str, limit: u64 },
    #[error("the peer refused the association: {0}")]
    Rejected(String),
    #[error("the association of `{calling}` was refused: {reason}")]
    Refused { calling: String, reason: &'static str },
    #[error("the peer aborted the association")]
    Aborted,
    #[error("the peer accepts no {0}")]
    NotAccepted(&'static str),
    #[cfg(feature = "tls")]
    #[error("TLS: {0}")]
    Tls(String),
}
