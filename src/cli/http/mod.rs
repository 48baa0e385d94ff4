//! HTTP for pages on this machine: listens on loopback only, and bounds the memory and time that a client can use.

mod request;
mod server;

pub(super) use request::{Reply, Request};
pub(super) use server::{Server, Site};
