//! A node in a DICOM network: it receives ultrasound instances by C-STORE or from a folder, keeps them in a queue on disk,
//! hands each to a [`Handler`], and sends the files that the handler wrote to other nodes, with storage commitment where
//! they offer it.
//!
//! ```text
//! Listener (C-ECHO, C-STORE, N-EVENT-REPORT) --+
//!                                              +--> Queue --> Handler --> Queue --> Sender (C-STORE, N-ACTION)
//! Watcher (a folder) --------------------------+
//! ```
//!
//! The crate knows the protocol and the queue, and nothing of pixels or models. `dicom-ul` parses the protocol data units;
//! lengths are checked and every wait ends before it sees them.

#![forbid(unsafe_code)]

mod address;
mod association;
mod command;
mod commitment;
mod elements;
mod error;
mod instance;
mod limits;
mod listener;
mod node;
mod queue;
mod sender;
mod sop;
mod statistics;
#[cfg(test)]
mod tests;
#[cfg(feature = "tls")]
mod tls;
mod uid;
mod wire;

pub use address::{AddressError, AeTitle, Destination};
pub use association::fuzz_acceptor;
pub use error::NetError;
pub use limits::Limits;
pub use node::{Commitment, Handler, HandlerError, Node, NodeError, NodeOptions, WatchOptions};
pub use queue::{QueueError, QueueOptions};
pub use sender::echo;
pub use statistics::NodeStatistics;
#[cfg(feature = "tls")]
pub use tls::{ClientCertificates, Tls, TlsError};
