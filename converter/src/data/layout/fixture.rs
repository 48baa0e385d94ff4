//! Small data sets for tests.

use image::{GrayImage, Luma};
use rust_xlsxwriter::Workbook;
use std::path::{Path, PathBuf};

pub struct Fixture(tempfile::TempDir);

impl Fixture {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn root(&self) -> &Path {
        self.0.path()
    }

    fn prepare(&self, name: &str) -> PathBuf {
        let path = self.root().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }

    pub fn file(&self, name: &str, content: &[u8]) {
        std::fs::write(self.prepare(name), content).unwrap();
    }

    /// A grey picture, dark with a bright left half.
    pub fn picture(&self, name: &str, width: u32, height: u32) {
        let image = GrayImage::from_fn(width, height, |x, _| Luma([if x < width / 2 { 255 } else { 0 }]));
        image.save(self.prepare(name)).unwrap();
    }

    pub fn workbook(&self, name: &str, rows: &[&[&str]]) {
        let mut workbook = Workbook::new();
        let sheet = workbook.add_worksheet();
        for (row, cells) in rows.iter().enumerate() {
            for (column, text) in cells.iter().enumerate() {
                sheet.write(row as u32, column as u16, *text).unwrap();
            }
        }
        workbook.save(self.prepare(name)).unwrap();
    }
}
