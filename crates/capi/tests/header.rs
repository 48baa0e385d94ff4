//! The committed header equals the one generated from the sources. Needs the tool `cbindgen`; as a dependency of the tests it
//! would change the features of half the tree.

use std::path::Path;
use std::process::Command;

#[test]
fn the_header_is_current() {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = own.join("../..");
    let expected = Path::new(env!("CARGO_TARGET_TMPDIR")).join("causalclipseg.h");
    let sources = Path::new(env!("CARGO_TARGET_TMPDIR")).join("capi.rs");
    // All modules in one file, since cbindgen takes one file or asks cargo about the whole crate.
    let modules =
        ["failure", "frame", "handle", "lib", "log", "model", "process", "session", "stream", "thread", "types"];
    let read = |module: &str| std::fs::read_to_string(own.join(format!("src/{module}.rs"))).unwrap();
    let outer = ["//!", "#![", "mod ", "#[cfg(test)]"];
    let inner = |line: &&str| !outer.iter().any(|start| line.starts_with(start));
    let all: Vec<String> = modules
        .map(read)
        .iter()
        .flat_map(|text| text.lines().filter(inner).map(str::to_string).collect::<Vec<_>>())
        .collect();
    std::fs::write(&sources, all.join("\n")).unwrap();
    let config = root.join("include/cbindgen.toml");
    let ran =
        Command::new("cbindgen").arg("--config").arg(config).arg("--output").arg(&expected).arg(&sources).output();
    let Ok(output) = ran else {
        println!("skipped: `cbindgen` is not installed; run `cargo install cbindgen`");
        return;
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let current = std::fs::read_to_string(root.join("include/causalclipseg.h")).unwrap_or_default();
    let generated = std::fs::read_to_string(&expected).unwrap();
    assert!(
        generated == current,
        "include/causalclipseg.h differs from crates/capi/src: copy {} over it",
        expected.display()
    );
}
