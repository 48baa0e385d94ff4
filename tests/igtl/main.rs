//! OpenIGTLink: messages against another implementation's, and a node against good and bad peers.
#![expect(unreachable_pub, reason = "modules of one test program")]

mod bad_peers;
mod client;
mod command;
mod golden;
mod mutations;
mod node;

use std::path::{Path, PathBuf};
use toy_networks::toy;

/// The bundle that is embedded in the command.
fn shipped() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models/tiny.ccs")
}
