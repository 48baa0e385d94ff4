//! The network as data, and its transformation before an engine runs it. Pure: no files, no threads, no clock.
//!
//! * [`graph`]: nodes over a small set of operators, with every shape inferred and checked; costs; the cut into parts.
//! * [`lower`]: exact rewrites, and the flat list of fused steps that engines run.
//! * [`network`]: the description of the published network (feature `network`).
#![forbid(unsafe_code)]

pub mod graph;
pub mod lower;
#[cfg(feature = "network")]
pub mod network;
