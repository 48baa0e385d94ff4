//! Small networks with known results, for the tests: a bundle ([`toy`]), an ONNX file as another program writes it
//! ([`foreign`]), and editions of the published network with weights by formula ([`networks`]).
//!
//! Test code: failures are panics.

#![forbid(unsafe_code)]

pub mod foreign;
pub mod networks;
pub mod toy;

use std::path::{Path, PathBuf};

/// The path of the shipped bundle.
pub fn shipped() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/tiny.ccs")
}
