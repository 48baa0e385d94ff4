//! A user's working folder: inputs, models and, in `out`, results.

use super::{listing, text, toy};
use assert_cmd::Command;
use image::DynamicImage;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A separate folder for each test, removed with it.
pub struct Desk {
    folder: TempDir,
}

impl Desk {
    pub fn empty() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    /// Creates a folder with the toy model, whose frames take almost no time.
    pub fn new() -> Self {
        let desk = Self::empty();
        toy::write(desk.folder());
        desk
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder().join(name)
    }

    pub fn text_path(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_string()
    }

    /// The toy model.
    pub fn bundle(&self) -> PathBuf {
        self.path(toy::FILE_NAME)
    }

    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        fs::write(self.path(name), content).unwrap();
        self.path(name)
    }

    pub fn save(&self, name: &str, image: impl Into<DynamicImage>) -> PathBuf {
        image.into().save(self.path(name)).unwrap();
        self.path(name)
    }

    /// The names of the files in `out`.
    pub fn results(&self) -> BTreeSet<String> {
        listing(&self.path("out"))
    }

    /// The names of the files in the folder and in `out`; a missing `out` counts as empty.
    fn files(&self) -> [BTreeSet<String>; 2] {
        let mut names = listing(self.folder());
        names.remove("out");
        [names, self.results()]
    }

    pub fn result(&self, name: &str) -> Vec<u8> {
        fs::read(self.path("out").join(name)).unwrap()
    }

    pub fn json(&self, name: &str) -> serde_json::Value {
        serde_json::from_slice(&self.result(name)).unwrap()
    }

    /// Asserts that a command fails as it should: one line that contains these parts, and no file left.
    pub fn refused(&self, command: &mut Command, parts: &[&str]) {
        let before = self.files();
        let output = command.assert().code(1).get_output().clone();
        let error = text(&output.stderr);
        assert!(error.starts_with("error: ") && error.lines().count() == 1, "{error}");
        for part in parts {
            assert!(error.contains(part), "`{part}` is not in: {error}");
        }
        assert_eq!(text(&output.stdout), "", "{error}");
        assert_eq!(self.files(), before, "{error}");
    }
}
