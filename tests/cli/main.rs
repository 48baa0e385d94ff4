//! The `causalclipseg` command as a user types it.
#![expect(unreachable_pub, reason = "modules of one test program")]

mod bench;
mod cameras;
#[cfg(feature = "dicom")]
mod deidentify;
mod desk;
mod failures;
mod formats;
mod image_files;
mod inspect_and_verify;
#[cfg(feature = "onnx")]
mod interchange;
mod manners;
mod schema;
mod segment;
mod streams;

use assert_cmd::Command;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use toy_networks::toy;

/// The command, without warnings: only the reference engine runs the toy network, and the command reports that.
fn causalclipseg() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_causalclipseg"));
    command.env("RUST_LOG", "error");
    command
}

/// The bundle that is embedded in the command.
fn shipped() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models/tiny.ccs")
}

/// Names in a folder, hidden ones too; empty where it does not exist.
fn listing(folder: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}
