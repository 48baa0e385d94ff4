//! Writes an evaluation as an HTML report: `index.html` with its pictures, and `evaluation.json` beside it.

mod chart;
mod markup;
mod overlays;
mod page;
mod training_log;

pub(crate) use chart::{Line, lines};
pub(crate) use markup::escape;
pub(crate) use page::STYLE;
pub use training_log::{LogError, TrainingLog};

use super::{EvaluateError, Evaluation};
use crate::data::Sample;
use causalclipseg::Model;
use causalclipseg::io::{WriteError, replace_file, write_json};
use std::io::Write;
use std::path::{Path, PathBuf};

#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    #[error("cannot make the folder {path}: {source}; check its parent's permissions")]
    Folder { path: PathBuf, source: std::io::Error },
    #[error(transparent)]
    Write(#[from] WriteError),
    #[error(transparent)]
    Overlay(#[from] EvaluateError),
}

/// Writes the report into `folder`, which is created if missing, and returns the page's path. The model runs once more on the few
/// images that are shown.
///
/// The folder receives a `.gitignore` unless it has one, since patients' images do not belong in a repository.
pub fn write(
    folder: &Path,
    evaluation: &Evaluation,
    model: &Model,
    samples: &[Sample],
    log: Option<&TrainingLog>,
) -> Result<PathBuf, ReportError> {
    std::fs::create_dir_all(folder).map_err(|source| ReportError::Folder { path: folder.into(), source })?;
    let ignore = folder.join(".gitignore");
    if !ignore.exists() {
        replace_file(&ignore, |file| file.write_all(b"*\n"))?;
    }
    write_json(&folder.join("evaluation.json"), evaluation)?;
    let galleries = overlays::write(folder, evaluation, model, samples)?;
    let page = folder.join("index.html");
    let html = page::html(evaluation, &galleries, log);
    replace_file(&page, |file| file.write_all(html.as_bytes()))?;
    Ok(page)
}
