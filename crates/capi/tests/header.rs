//! The header that is checked in is the one that the sources give. Needs the tool `cbindgen`; as a dependency of the tests
//! it would change the features of half the tree.

use std::path::Path;
use std::process::Command;

#[test]
fn the_header_is_current() {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = own.join("../..");
    let expected = Path::new(env!("CARGO_TARGET_TMPDIR")).join("causalclipseg.h");
    let sources = Path::new(env!("CARGO_TARGET_TMPDIR")).join("capi.rs");
    // One file of all, since cbindgen takes one file or asks cargo about the whole crate.
    let rooms =
        ["failure", "frame", "handle", "lib", "log", "model", "process", "session", "stream", "thread", "types"];
    let read = |room: &str| std::fs::read_to_string(own.join(format!("src/{room}.rs"))).unwrap();
    let outer = ["//!", "#![", "mod ", "#[cfg(test)]"];
    let inner = |line: &&str| !outer.iter().any(|start| line.starts_with(start));
    let all: Vec<String> = rooms
        .map(read)
        .iter()
        .flat_map(|text| text.lines().filter(inner).map(str::to_string).collect::<Vec<_>>())
        .collect();
    std::fs::write(&sources, all.join("\n")).unwrap();
    let config = root.join("include/cbindgen.toml");
    let ran =
        Command::new("cbindgen").arg("--config").arg(config).arg("--output").arg(&expected).arg(&sources).output();
    let Ok(output) = ran else {
        println!("skipped: this machine has no `cbindgen`; `cargo install cbindgen` brings it");
        return;
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let current = std::fs::read_to_string(root.join("include/causalclipseg.h")).unwrap_or_default();
    let generated = std::fs::read_to_string(&expected).unwrap();
    assert!(
        generated == current,
        "include/causalclipseg.h is not what crates/capi/src says: copy {} over it",
        expected.display()
    );
}
