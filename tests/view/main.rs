//! `causalclipseg view` and `serve`: what a browser asks for, and what nobody should be able to ask for.
#![expect(unreachable_pub, reason = "modules of one test program")]

mod bad_clients;
mod browser;
mod pages;

use std::path::PathBuf;

/// A synthetic image with two lesions.
fn phantom() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/images/phantom.png")
}
