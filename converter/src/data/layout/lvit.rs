//! LViT's layout of QaTa-COV19 and MosMedData+.
//!
//! `{Train,Val,Test}_Folder/{img,labelcol}/` and `{Train,Val,Test}_text.xlsx` with `Image` and `Description`; one
//! `Train_Val_text.xlsx` may be shared by two splits. `Image` is the name of the MASK, `mask_<x>.png`; the image is
//! `<x>.png`.

use super::super::table::Table;
use super::{DataLayout, existing_file, split_folder, stem, warn_of_unused};
use crate::data::{DataError, MaskRule, Pathology, Sample, Split};
use std::path::{Path, PathBuf};

const MASK_PREFIX: &str = "mask_";

pub fn load(root: &Path, split: Split) -> Result<Vec<Sample>, DataError> {
    let folder = split_folder(root, split);
    let (images, labels) = (folder.join("img"), folder.join("labelcol"));
    if !images.is_dir() {
        return Err(DataError::Absent { path: images, layout: DataLayout::Lvit, split, what: "images" });
    }
    let (path, is_shared) = find_table(root, split)?;
    let table = Table::read(&path)?;
    let image_column = table.column("Image")?;
    let text_column = table.column("Description")?;
    let mut samples = Vec::with_capacity(table.rows.len());
    for row in &table.rows {
        let mask_name = table.required(row, image_column, "Image")?;
        if is_shared && is_of_other_split(root, split, mask_name) {
            continue;
        }
        let text = strip_padding(table.required(row, text_column, "Description")?);
        if text.is_empty() {
            return Err(DataError::EmptyCell { path: table.path, row: row.number, column: "Description" });
        }
        let mask = existing_file(&labels, mask_name, "mask", &table.path, row.number)?;
        // MosMedData+ gives an image and its mask one name, without the prefix.
        let image_name = mask_name.strip_prefix(MASK_PREFIX).unwrap_or(mask_name);
        let image = existing_file(&images, image_name, "image", &table.path, row.number)?;
        let mut sample = Sample::new(stem(&image), image, MaskRule::Nonzero);
        sample.masks.push(mask);
        sample.pathology = Pathology::named_in(&text);
        sample.prompts.push(text);
        sample.patient = study(&sample.case_id);
        samples.push(sample);
    }
    warn_of_unused(&labels, &samples, &table.path);
    Ok(samples)
}

/// The split's table, and whether another split uses it as well.
fn find_table(root: &Path, split: Split) -> Result<(PathBuf, bool), DataError> {
    let own = format!("{}_text.xlsx", split.title());
    let shared = "Train_Val_text.xlsx";
    let folder = split_folder(root, split);
    let mut candidates = vec![(folder.join(&own), false), (root.join(&own), false)];
    if split != Split::Test {
        candidates
            .extend([root.to_path_buf(), folder, split_folder(root, Split::Train)].map(|f| (f.join(shared), true)));
    }
    candidates.into_iter().find(|(path, _)| path.is_file()).ok_or_else(|| DataError::Absent {
        path: root.join(own),
        layout: DataLayout::Lvit,
        split,
        what: "prompts",
    })
}

fn is_of_other_split(root: &Path, split: Split, mask_name: &str) -> bool {
    let has = |split| split_folder(root, split).join("labelcol").join(mask_name).is_file();
    !has(split) && [Split::Train, Split::Val].into_iter().any(has)
}

/// Sentences of fixed length end in ` EOF XXX`, which is padding.
fn strip_padding(text: &str) -> String {
    let mut words: Vec<&str> = text.split_whitespace().collect();
    while words.last().is_some_and(|word| matches!(*word, "EOF" | "XXX")) {
        words.pop();
    }
    words.join(" ")
}

/// MosMedData+ names slices `Morozov_study_0255_28`: the study is the patient.
fn study(case_id: &str) -> Option<String> {
    let (before, after) = case_id.split_once("study_")?;
    let number: String = after.chars().take_while(char::is_ascii_digit).collect();
    (!number.is_empty()).then(|| format!("{before}study_{number}"))
}

#[cfg(test)]
mod tests {
    use super::super::fixture::Fixture;
    use super::*;

    fn fixture(prefix: &str) -> Fixture {
        let fixture = Fixture::new();
        for (split, name) in [("Train", "one"), ("Val", "two")] {
            fixture.picture(&format!("{split}_Folder/img/{name}.png"), 8, 6);
            fixture.picture(&format!("{split}_Folder/labelcol/{prefix}{name}.png"), 8, 6);
        }
        fixture
    }

    #[test]
    fn one_table_serves_training_and_validation() {
        let fixture = fixture("mask_");
        fixture.workbook(
            "Train_Val_text.xlsx",
            &[
                &["Image", "Description"],
                &["mask_one.png", "Unilateral infection, lower left lung. EOF XXX"],
                &["mask_two.png", "Bilateral infection, all left lung EOF XXX XXX"],
            ],
        );
        for (split, case, prompt) in [
            (Split::Train, "one", "Unilateral infection, lower left lung."),
            (Split::Val, "two", "Bilateral infection, all left lung"),
        ] {
            let samples = load(fixture.root(), split).unwrap();
            assert_eq!(samples.len(), 1);
            assert_eq!(samples[0].case_id, case);
            assert_eq!(samples[0].prompts, [prompt]);
            assert_eq!(samples[0].mask_rule, MaskRule::Nonzero);
            assert!(samples[0].masks[0].ends_with(format!("mask_{case}.png")));
        }
    }

    #[test]
    fn a_row_of_no_split_is_an_error() {
        let fixture = fixture("mask_");
        fixture.workbook("Train_Val_text.xlsx", &[&["Image", "Description"], &["mask_three.png", "text"]]);
        let error = load(fixture.root(), Split::Train).unwrap_err().to_string();
        assert!(error.contains("mask_three.png") && error.contains("row 2"), "{error}");
    }

    #[test]
    fn masks_without_prefix_and_tables_in_the_split_folder_are_read() {
        let fixture = fixture("");
        fixture.workbook("Train_Folder/Train_text.xlsx", &[&["Image", "Description"], &["one.png", "text"]]);
        assert_eq!(load(fixture.root(), Split::Train).unwrap()[0].case_id, "one");
    }

    #[test]
    fn a_mask_with_no_image_is_an_error() {
        let fixture = fixture("mask_");
        std::fs::remove_file(fixture.root().join("Train_Folder/img/one.png")).unwrap();
        fixture.workbook("Train_text.xlsx", &[&["Image", "Description"], &["mask_one.png", "text"]]);
        let error = load(fixture.root(), Split::Train).unwrap_err().to_string();
        assert!(error.contains("image `one.png`"), "{error}");
    }

    #[test]
    fn padding_alone_is_no_text() {
        let fixture = fixture("mask_");
        fixture.workbook("Train_text.xlsx", &[&["Image", "Description"], &["mask_one.png", "EOF XXX"]]);
        assert!(matches!(load(fixture.root(), Split::Train), Err(DataError::EmptyCell { row: 2, .. })));
    }

    #[test]
    fn studies_are_patients() {
        assert_eq!(study("Morozov_study_0255_28").as_deref(), Some("Morozov_study_0255"));
        assert_eq!(study("sub-S09_run-1"), None);
    }
}
