//! The crates of a device build, as cargo resolves them.

use crate::root;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Command;

/// The targets of devices; the lists hold the union of their dependencies.
const TARGETS: [&str; 2] = ["x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"];

/// One crate whose code is in the library.
#[derive(Debug, Default)]
pub(crate) struct Component {
    pub(crate) name: String,
    pub(crate) version: String,
    /// An SPDX expression.
    pub(crate) licence: String,
    pub(crate) repository: String,
    /// The SHA-256 of the package as fetched; empty for crates of this project.
    pub(crate) checksum: String,
    pub(crate) is_own: bool,
    /// Crates that it is built with, by name and version.
    pub(crate) dependencies: BTreeSet<(String, String)>,
}

impl Component {
    pub(crate) fn key(&self) -> (String, String) {
        (self.name.clone(), self.version.clone())
    }

    /// Where a crate's sources are, fetched by cargo.
    pub(crate) fn sources(&self) -> Option<PathBuf> {
        let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
        let home = home.or_else(|| std::env::home_dir().map(|home| home.join(".cargo")))?;
        let registries = std::fs::read_dir(home.join("registry/src")).ok()?.flatten();
        let mut folders = registries.map(|registry| registry.path().join(format!("{}-{}", self.name, self.version)));
        folders.find(|folder| folder.is_dir())
    }
}

fn cargo_tree(target: &str) -> String {
    let cargo = std::env::var_os("CARGO").unwrap_or("cargo".into());
    let output = Command::new(cargo)
        .args(["tree", "--locked", "-p", "causalclipseg-capi", "--no-default-features"])
        .args(["-e", "normal,no-proc-macro", "--prefix", "depth", "-f", "|{p}|{l}|{r}|", "--target", target])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The crates of a device build, sorted by name and version, the C library first.
pub(crate) fn device_build() -> Vec<Component> {
    let checksums = checksums();
    let mut found: BTreeMap<(String, String), Component> = BTreeMap::new();
    for target in TARGETS {
        // The crates from the root down to the line before.
        let mut path: Vec<(String, String)> = Vec::new();
        for line in cargo_tree(target).lines() {
            let fields: Vec<&str> = line.split('|').collect();
            let [depth, package, licence, repository, ..] = fields.as_slice() else { panic!("{line}") };
            let depth: usize = depth.parse().unwrap();
            let mut words = package.split(' ');
            let (name, version) = (words.next().unwrap(), words.next().unwrap().trim_start_matches('v'));
            let key = (name.to_string(), version.to_string());
            path.truncate(depth);
            if let Some(parent) = path.last() {
                found.entry(parent.clone()).or_default().dependencies.insert(key.clone());
            }
            path.push(key.clone());
            let component = found.entry(key.clone()).or_default();
            component.name = key.0.clone();
            component.version = key.1.clone();
            component.licence = licence.replace('/', " OR ");
            component.repository = repository.to_string();
            component.checksum = checksums.get(&key).cloned().unwrap_or_default();
            component.is_own = component.checksum.is_empty();
        }
    }
    let mut all: Vec<Component> = found.into_values().collect();
    all.sort_by_key(|component| (component.name != "causalclipseg-capi", component.key()));
    assert!(all.len() > 20 && all[0].name == "causalclipseg-capi");
    all
}

/// The packages that Cargo.lock lists as fetched.
fn checksums() -> BTreeMap<(String, String), String> {
    let text = std::fs::read_to_string(root().join("Cargo.lock")).unwrap();
    let field = |package: &str, name: &str| {
        let (_, rest) = package.split_once(&format!("{name} = \""))?;
        rest.split_once('"').map(|(value, _)| value.to_string())
    };
    let entry = |package: &str| {
        Some(((field(package, "\nname")?, field(package, "\nversion")?), field(package, "\nchecksum")?))
    };
    text.split("[[package]]").filter_map(entry).collect()
}
