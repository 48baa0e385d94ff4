//! Why a data set is refused.

use super::{DataLayout, Split};
use std::path::PathBuf;

#[derive(Debug, thiserror::Error)]
pub enum DataError {
    #[error("cannot read {path}: {source}; check the path and its permissions")]
    Read { path: PathBuf, source: std::io::Error },
    #[error(
        "cannot tell the layout of {path}: it has no Train_Folder, anns, benign/malignant folders, manifest CSV or img beside folders of masks; \
         check the path, or name the layout with --layout"
    )]
    UnknownLayout { path: PathBuf },
    #[error("{path} does not exist, and the {layout} layout keeps the {split} split's {what} there; check --data")]
    Absent { path: PathBuf, layout: DataLayout, split: Split, what: &'static str },
    #[error("the {split} split in {path} contains no sample; choose another split or fill it")]
    EmptySplit { path: PathBuf, split: Split },
    #[error("{path} is not a readable table: {reason}; save it again as .xlsx or .csv")]
    Table { path: PathBuf, reason: String },
    #[error("{path} has no column `{column}` in its first row (found: {found}); rename the column")]
    Header { path: PathBuf, column: &'static str, found: String },
    #[error("row {row} of {path} has no {column}; fill the cell or delete the row")]
    EmptyCell { path: PathBuf, row: usize, column: &'static str },
    #[error("row {row} of {path} says `{value}` for {column}; expected {expected}")]
    Cell { path: PathBuf, row: usize, column: &'static str, value: String, expected: &'static str },
    #[error("row {row} of {table} names the {what} `{name}`, which is not in {folder}; add the file or delete the row")]
    MissingFile { table: PathBuf, row: usize, what: &'static str, name: String, folder: PathBuf },
    #[error("row {row} of {table} names `{name}`, which leads outside the data set; use a path below its folder")]
    OutsideName { table: PathBuf, row: usize, name: String },
    #[error("the mask {mask} belongs to no image: {image} does not exist; add the image or delete the mask")]
    OrphanMask { mask: PathBuf, image: PathBuf },
    #[error("{path} is not the JSON that was expected: {reason}; compare it with the MedVLSM layout")]
    Json { path: PathBuf, reason: String },
    #[error("no prompts called `{wanted}` in {path} (found: {found}); choose one of those")]
    UnknownPrompts { path: PathBuf, wanted: String, found: String },
    #[error("{path} has no prompt for the image `{image}`; add a row for it")]
    NoPrompt { path: PathBuf, image: String },
    #[error("cannot decode {path}: {reason}; replace the file")]
    Decode { path: PathBuf, reason: String },
    #[error(
        "{mask} is {} x {} pixels and its image {image} is {} x {}; a mask has to have its image's size",
        mask_size.0, mask_size.1, image_size.0, image_size.1
    )]
    SizeMismatch { mask: PathBuf, mask_size: (usize, usize), image: PathBuf, image_size: (usize, usize) },
    #[error(
        "--leave-device `{device}`: each name must be part of a device's, and not all images may be of these devices (found: {found})"
    )]
    Device { device: String, found: String },
    #[error(
        "{path} has {rows} rows for the image `{image}`, of which the data set has {samples} samples; give one row for each, \
         or a column `Ground Truth` with the masks' names (`nerve/a.png` where those of structures are alike)"
    )]
    PromptRows { path: PathBuf, image: String, rows: usize, samples: usize },
    #[error("{folds} folds of {groups} patients are not possible; give 2 to {groups}")]
    Folds { folds: usize, groups: usize },
    #[error("fold {fold} of {folds} does not exist; count from 0")]
    Fold { fold: usize, folds: usize },
    #[error("an input of {size} pixels a side is not possible; give 1 to {max}")]
    InputSize { size: usize, max: usize },
}
