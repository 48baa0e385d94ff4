//! Checks the documents in `docs/regulatory`: bills of materials and notices match the dependencies of the device build, the SOUP
//! list names each of them, and requirements name tests that exist.
//!
//! `UPDATE_REGULATORY=1 cargo test --workspace --test regulatory` writes what is generated anew.

mod components;
mod notices;
mod sbom;

use components::{Component, device_build};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn paper(name: &str) -> PathBuf {
    root().join("docs/regulatory").join(name)
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn build() -> &'static [Component] {
    static BUILD: LazyLock<Vec<Component>> = LazyLock::new(device_build);
    &BUILD
}

/// Compares a generated document with the committed one, or writes it.
fn check(name: &str, generated: &str) {
    let path = paper(name);
    if std::env::var_os("UPDATE_REGULATORY").is_some() {
        std::fs::write(&path, generated).unwrap();
        return;
    }
    let current = std::fs::read_to_string(&path).unwrap_or_default();
    let differs = current.lines().zip(generated.lines()).position(|(current, generated)| current != generated);
    assert!(
        current == generated,
        "docs/regulatory/{name} does not match the dependencies (line {}): run UPDATE_REGULATORY=1 cargo test --workspace --test \
         regulatory",
        differs.unwrap_or_else(|| current.lines().count().min(generated.lines().count())) + 1
    );
}

#[test]
fn bills_of_materials_are_those_of_the_device_build() {
    check("sbom.cdx.json", &sbom::cyclonedx(build()));
    check("sbom.spdx.json", &sbom::spdx(build()));
}

#[test]
fn notices_hold_the_licences_of_all_that_is_shipped() {
    check("third-party-notices.txt", &notices::of(build()));
}

/// Licences allowed in a device build; where a crate offers a choice, one of them must be listed here.
const LICENCES: [&str; 11] = [
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "BlueOak-1.0.0",
    "MIT",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

#[test]
fn licences_are_permissive() {
    for component in build() {
        let choices = component.licence.split(" OR ").map(|choice| choice.trim_matches(['(', ')']));
        let choices: Vec<&str> = choices.collect();
        let is_met =
            |choice: &&str| choice.split(" AND ").all(|part| LICENCES.contains(&part.trim_matches(['(', ')'])));
        assert!(choices.iter().any(is_met), "{} is under {}", component.name, component.licence);
    }
}

/// The cells of a table's row; `None` for other lines.
fn cells(line: &str) -> Option<Vec<&str>> {
    let line = line.trim().strip_prefix('|')?.strip_suffix('|')?;
    Some(line.split('|').map(str::trim).collect())
}

#[test]
fn every_component_is_in_the_list_of_soup() {
    let text = read(&paper("soup.md"));
    let rows: Vec<Vec<&str>> = text.lines().filter_map(cells).filter(|row| row.len() == 5).collect();
    let listed: BTreeSet<(String, String)> =
        rows.iter().skip(2).map(|row| (row[0].trim_matches('`').to_string(), row[1].to_string())).collect();
    let used: BTreeSet<(String, String)> = build()
        .iter()
        .filter(|component| !component.is_own)
        .map(|component| (component.name.clone(), component.version.clone()))
        .collect();
    let missing: Vec<_> = used.difference(&listed).collect();
    let left: Vec<_> = listed.difference(&used).collect();
    assert!(missing.is_empty() && left.is_empty(), "not in soup.md: {missing:?}; no longer used: {left:?}");
    assert!(rows.iter().skip(2).all(|row| row.iter().all(|cell| !cell.is_empty())), "an empty cell in soup.md");
}

/// `path::to/file.rs::test` of a requirement's last cell: the file exists and has a test function of that name.
#[test]
fn requirements_name_tests_that_exist() {
    let text = read(&paper("requirements.md"));
    let rows: Vec<Vec<&str>> = text.lines().filter_map(cells).filter(|row| row[0].starts_with("SR-")).collect();
    assert!(rows.len() > 20, "{} requirements", rows.len());
    let names: BTreeSet<&str> = rows.iter().map(|row| row[0]).collect();
    assert_eq!(names.len(), rows.len(), "a number is used twice");
    for row in rows {
        assert_eq!(row.len(), 3, "{row:?}");
        let tests: Vec<&str> = row[2].split(',').map(|test| test.trim().trim_matches('`')).collect();
        for test in tests {
            let (file, function) =
                test.rsplit_once("::").unwrap_or_else(|| panic!("{}: `{test}` names no test", row[0]));
            let source = read(&root().join(file));
            let declared = format!("fn {function}(");
            let at = source.find(&declared).unwrap_or_else(|| panic!("{}: {file} has no {function}", row[0]));
            let before = &source[..at];
            // Attributes and comments may come between `#[test]` and the function.
            let is_test = before.rfind("#[test]").is_some_and(|test| !before[test..].contains('{'));
            assert!(is_test, "{}: {function} in {file} is not a test", row[0]);
        }
    }
}

/// Links between documents lead to files that exist.
#[test]
fn links_between_papers_lead_somewhere() {
    for entry in std::fs::read_dir(root().join("docs/regulatory")).unwrap().flatten() {
        let path = entry.path();
        if path.extension().is_none_or(|extension| extension != "md") {
            continue;
        }
        let text = read(&path);
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = link.split('#').next().unwrap();
            let is_there = file.is_empty() || file.contains("://") || path.parent().unwrap().join(file).exists();
            assert!(is_there, "{} links to {link}", path.display());
        }
    }
}
