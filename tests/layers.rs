//! The layers of docs/architecture.md: no crate depends on one above it, and the lower ones have few dependencies.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The crates of this workspace that each crate may use.
const LAYERS: [(&str, &[&str]); 10] = [
    ("causalclipseg-kernels-macros", &[]),
    ("causalclipseg-kernels", &["causalclipseg-kernels-macros"]),
    ("causalclipseg-graph", &[]),
    ("causalclipseg-bundle", &["causalclipseg-graph", "causalclipseg-kernels"]),
    ("causalclipseg-dicom-net", &[]),
    (
        "causalclipseg",
        &["causalclipseg-bundle", "causalclipseg-dicom-net", "causalclipseg-graph", "causalclipseg-kernels"],
    ),
    ("causalclipseg-capi", &["causalclipseg"]),
    ("causalclipseg-convert", &["causalclipseg"]),
    ("causalclipseg-shared-features", &[]),
    ("causalclipseg-toy-networks", &["causalclipseg"]),
];

/// The external crates that the lower crates may use, apart from tests and benchmarks.
const OUTSIDE: [(&str, &[&str]); 3] = [
    ("causalclipseg-kernels-macros", &[]),
    ("causalclipseg-kernels", &["thiserror"]),
    ("causalclipseg-graph", &["log", "ndarray", "rand", "rand_chacha", "serde", "thiserror"]),
];

/// A crate of the workspace: the path of its manifest, and its dependencies.
struct Member {
    manifest: PathBuf,
    dependencies: BTreeSet<String>,
}

fn members() -> BTreeMap<String, Member> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let cargo = std::env::var_os("CARGO").unwrap_or("cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1", "--manifest-path"])
        .arg(root.join("Cargo.toml"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_string();
    let member = |package: &Value| {
        let dependencies = package["dependencies"].as_array().unwrap().iter();
        let shipped = dependencies.filter(|dependency| dependency["kind"] != "dev");
        let member = Member {
            manifest: text(&package["manifest_path"]).into(),
            dependencies: shipped.map(|dependency| text(&dependency["name"])).collect(),
        };
        (text(&package["name"]), member)
    };
    metadata["packages"].as_array().unwrap().iter().map(member).collect()
}

#[test]
fn crates_use_only_what_is_below_them() {
    let members = members();
    let layers = BTreeMap::from(LAYERS);
    let outside = BTreeMap::from(OUTSIDE);
    for (name, member) in &members {
        let allowed = layers.get(name.as_str());
        let allowed = allowed.unwrap_or_else(|| panic!("`{name}` is not in a layer; say in this test what it may use"));
        for dependency in &member.dependencies {
            let is_own = members.contains_key(dependency);
            let is_allowed = match (is_own, outside.get(name.as_str())) {
                (true, _) => allowed.contains(&dependency.as_str()),
                (false, Some(outside)) => outside.contains(&dependency.as_str()),
                (false, None) => true,
            };
            assert!(is_allowed, "`{name}` uses `{dependency}`, which its layer must not");
        }
    }
    assert!(LAYERS.iter().all(|(name, _)| members.contains_key(*name)));
}

#[test]
fn crates_use_the_lints_of_the_workspace() {
    for (name, member) in members() {
        let manifest = std::fs::read_to_string(&member.manifest).unwrap();
        if member.manifest.components().any(|part| part.as_os_str() == "crates") {
            assert!(manifest.contains("[lints]\nworkspace = true"), "`{name}` does not use the workspace's lints");
        }
    }
}

/// In development builds a package gets the settings of dependencies, without checks, unless it is listed.
#[test]
fn development_builds_check_our_own_code() {
    let manifest = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")).unwrap();
    // A macro's own code runs in the compiler.
    for name in members().keys().filter(|name| !name.ends_with("-macros")) {
        let settings = manifest.lines().find(|line| line.starts_with(&format!("{name} = {{ opt-level")));
        let has_checks =
            |line: &str| line.contains("debug-assertions = true") && line.contains("overflow-checks = true");
        assert!(settings.is_some_and(has_checks), "[profile.dev.package] lacks `{name}` with its checks");
    }
}

/// External crates that run on the target, each with its features. Without what runs on the machine that builds: that has
/// features of its own, which would hide a difference.
fn linked(edges: &str, selection: &[&str]) -> BTreeSet<String> {
    let cargo = std::env::var_os("CARGO").unwrap_or("cargo".into());
    let output = Command::new(cargo)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["tree", "--offline", "--edges", &format!("{edges},no-proc-macro")])
        .args(["--prefix", "none", "--format", "{p} [{f}]"])
        .args(selection)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).unwrap();
    let lines = lines.lines().map(|line| line.trim_end_matches(" (*)").to_string());
    lines.filter(|line| !line.starts_with("causalclipseg")).collect()
}

/// External crates as tests are built with them.
fn built_for_tests(selection: &[&str]) -> BTreeSet<String> {
    linked("normal,dev", selection)
}

/// What a cart maker has to list, watch and update.
#[test]
fn a_device_links_at_most_a_hundred_crates() {
    let crates = linked("normal", &["--package", "causalclipseg-capi", "--no-default-features"]);
    assert!(crates.len() > 20 && crates.len() <= 100, "{} crates: {crates:#?}", crates.len());
    for absent in ["tract", "image ", "embedded-graphics", "clap", "dicom"] {
        assert!(!crates.iter().any(|name| name.starts_with(absent)), "a device links `{absent}`");
    }
}

/// The purpose of `crates/shared-features`: building tract takes minutes.
#[test]
fn testing_the_runtime_alone_or_with_gpus_builds_no_shared_crate_anew() {
    // As `.ci/run` builds them.
    let more =
        ["dicom-net", "gpu", "onnx", "reference-threads", "view"].map(|name| format!("causalclipseg/{name}")).join(",");
    let more = ["--features", &more];
    let everything = built_for_tests(&[&["--workspace"], &more[..]].concat());
    for selection in
        [&["--workspace"][..], &["--package", "causalclipseg"], &["--package", "causalclipseg", more[0], more[1]]]
    {
        let other: Vec<String> = built_for_tests(selection).difference(&everything).cloned().collect();
        assert!(
            other.is_empty(),
            "{selection:?} builds {other:#?}; give crates/shared-features the workspace's features"
        );
    }
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] }).collect()
}

/// The graph crate only computes: it gets all external data from its callers.
#[test]
fn the_graph_knows_no_system() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/graph/src");
    let files = sources(&folder);
    assert!(files.len() > 20, "{files:?}");
    for path in files {
        let text = std::fs::read_to_string(&path).unwrap();
        for module in ["env", "fs", "io", "net", "path", "process", "thread", "time"] {
            assert!(!text.contains("use std::{"), "{} hides what it uses in braces", path.display());
            assert!(!text.contains(&format!("std::{module}")), "{} uses std::{module}", path.display());
        }
    }
    assert!(std::fs::read_to_string(folder.join("lib.rs")).unwrap().contains("#![forbid(unsafe_code)]"));
}
