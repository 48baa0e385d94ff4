//! A plain CSV: `dataset,split,case_id,patient_id,image_path,mask_path,text`, paths relative to its own folder.
//!
//! `dataset`, `case_id` and `patient_id` may be left out. An empty `mask_path` means that the target of the text is
//! absent.

use super::super::table::{Row, Table};
use super::{DataLayout, stem};
use crate::data::{DataError, MaskRule, Pathology, Sample, Split};
use std::path::{Path, PathBuf};

/// The manifest at `root`: the file itself, its `manifest.csv`, or the only CSV in it with the right columns.
pub fn find(root: &Path) -> Option<PathBuf> {
    if root.is_file() {
        return is_manifest(root).then(|| root.to_path_buf());
    }
    let named = root.join("manifest.csv");
    if named.is_file() {
        return Some(named);
    }
    let files = std::fs::read_dir(root).ok()?.flatten().map(|entry| entry.path());
    let mut manifests = files.filter(|file| is_manifest(file));
    let first = manifests.next()?;
    manifests.next().is_none().then_some(first)
}

fn is_manifest(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("csv"))
        && Table::read(path)
            .is_ok_and(|table| ["split", "image_path", "text"].iter().all(|column| table.find_column(column).is_some()))
}

struct Columns {
    split: usize,
    image: usize,
    mask: usize,
    text: usize,
    case: Option<usize>,
    patient: Option<usize>,
}

pub fn load(root: &Path, split: Split) -> Result<Vec<Sample>, DataError> {
    let path = find(root).unwrap_or_else(|| if root.is_file() { root.into() } else { root.join("manifest.csv") });
    if !path.is_file() {
        return Err(DataError::Absent { path, layout: DataLayout::Manifest, split, what: "table" });
    }
    let table = Table::read(&path)?;
    let columns = Columns {
        split: table.column("split")?,
        image: table.column("image_path")?,
        mask: table.column("mask_path")?,
        text: table.column("text")?,
        case: table.find_column("case_id"),
        patient: table.find_column("patient_id"),
    };
    let mut samples = Vec::new();
    for row in &table.rows {
        if columns.split_of(&table, row)? == split {
            samples.push(columns.sample(&table, row)?);
        }
    }
    Ok(samples)
}

impl Columns {
    fn split_of(&self, table: &Table, row: &Row) -> Result<Split, DataError> {
        let name = table.required(row, self.split, "split")?;
        Split::from_name(name).ok_or_else(|| DataError::Cell {
            path: table.path.clone(),
            row: row.number,
            column: "split",
            value: name.into(),
            expected: "train, val or test",
        })
    }

    fn sample(&self, table: &Table, row: &Row) -> Result<Sample, DataError> {
        let image = find_file(table, row, table.required(row, self.image, "image_path")?, "image")?;
        let text = table.required(row, self.text, "text")?;
        let optional = |column: Option<usize>| column.map(|c| row.get(c)).filter(|t| !t.is_empty()).map(str::to_string);
        let case_id = optional(self.case).unwrap_or_else(|| stem(&image));
        let mut sample = Sample::new(case_id, image, MaskRule::LabelOrHalf);
        if !row.get(self.mask).is_empty() {
            sample.masks.push(find_file(table, row, row.get(self.mask), "mask")?);
        }
        sample.patient = optional(self.patient);
        sample.pathology = Pathology::named_in(text);
        sample.prompts.push(text.to_string());
        Ok(sample)
    }
}

/// A manifest is its user's own list, so it may name any path, unlike the tables inside a data set.
fn find_file(table: &Table, row: &Row, name: &str, what: &'static str) -> Result<PathBuf, DataError> {
    let folder = table.path.parent().unwrap_or(Path::new(""));
    let path = folder.join(name);
    if path.is_file() {
        return Ok(path);
    }
    let (table, row) = (table.path.clone(), row.number);
    Err(DataError::MissingFile { table, row, what, name: name.into(), folder: folder.into() })
}

#[cfg(test)]
mod tests {
    use super::super::fixture::Fixture;
    use super::*;
    use crate::data::{LoadOptions, load_samples};

    const HEADER: &str = "dataset,split,case_id,patient_id,image_path,mask_path,text\n";

    fn fixture(rows: &str) -> Fixture {
        let fixture = Fixture::new();
        fixture.picture("pictures/a.png", 8, 6);
        fixture.picture("masks/a.png", 8, 6);
        fixture.file("list.csv", format!("{HEADER}{rows}").as_bytes());
        fixture
    }

    #[test]
    fn reads_the_rows_of_a_split() {
        let fixture = fixture(
            "clinic,train,c1,p1,pictures/a.png,masks/a.png,\"A cyst, left\"\n\
             clinic,validation,c2,,pictures/a.png,,A stone\n",
        );
        let train = load(fixture.root(), Split::Train).unwrap();
        assert_eq!(train.len(), 1);
        assert_eq!((train[0].case_id.as_str(), train[0].group()), ("c1", "p1"));
        assert_eq!(train[0].prompts, ["A cyst, left"]);
        let val = load(&fixture.root().join("list.csv"), Split::Val).unwrap();
        assert_eq!(val[0].group(), "c2");
        assert!(val[0].masks.is_empty());
        let error = load_samples(fixture.root(), Split::Test, &LoadOptions::default()).unwrap_err();
        assert!(matches!(error, DataError::EmptySplit { split: Split::Test, .. }), "{error}");
    }

    #[test]
    fn bad_rows_are_named() {
        for (row, expected) in [
            ("x,train,c,p,pictures/none.png,,text\n", "image `pictures/none.png`"),
            ("x,train,c,p,pictures/a.png,masks/none.png,text\n", "mask `masks/none.png`"),
            ("x,train,c,p,pictures/a.png,masks/a.png,\n", "no text"),
            ("x,holdout,c,p,pictures/a.png,masks/a.png,text\n", "`holdout`"),
        ] {
            let error = load(fixture(row).root(), Split::Train).unwrap_err().to_string();
            assert!(error.contains(expected) && error.contains("row 2"), "{error}");
        }
    }
}
