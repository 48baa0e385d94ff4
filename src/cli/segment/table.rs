//! The table that is printed at the end: a line for every input and prompt.

use super::super::Failure;
use super::SummaryFormat;
use super::summary::{Row, Summary};
use std::path::Path;

/// The results so far.
#[derive(Default)]
pub(super) struct Table {
    entries: Vec<Entry>,
}

/// One input.
enum Entry {
    Done(Vec<Summary>),
    Failed { input: String, reason: String },
}

impl Table {
    pub(super) fn add(&mut self, summaries: Vec<Summary>) {
        self.entries.push(Entry::Done(summaries));
    }

    pub(super) fn add_failure(&mut self, input: String, reason: String) {
        self.entries.push(Entry::Failed { input, reason });
    }

    /// The number of inputs that were tried.
    pub(super) fn inputs(&self) -> usize {
        self.entries.len()
    }

    /// The number of them without a result.
    pub(super) fn failures(&self) -> usize {
        self.entries.iter().filter(|entry| matches!(entry, Entry::Failed { .. })).count()
    }

    /// Whether any input has a result.
    pub(super) fn has_results(&self) -> bool {
        self.failures() < self.inputs()
    }

    /// The printed form. Failures are included for programs only; people read them when they happen.
    pub(super) fn render(&self, format: SummaryFormat, output: &Path) -> Result<String, Failure> {
        match format {
            SummaryFormat::Table => {
                let mut table = super::super::table();
                table.set_header(["input", "prompt", "area", "mean probability", "quality", "time"]);
                for entry in &self.entries {
                    if let Entry::Done(summaries) = entry {
                        table.add_rows(summaries.iter().map(Summary::row));
                    }
                }
                Ok(format!("{table}\nwritten to {}", output.display()))
            }
            SummaryFormat::Json => Ok(serde_json::to_string_pretty(&self.rows())?),
            SummaryFormat::Csv => {
                let mut writer = csv::Writer::from_writer(Vec::new());
                for row in self.rows() {
                    writer.serialize(row)?;
                }
                Ok(String::from_utf8(writer.into_inner()?)?.trim_end().to_string())
            }
        }
    }

    fn rows(&self) -> Vec<Row<'_>> {
        let mut rows = Vec::new();
        for entry in &self.entries {
            match entry {
                Entry::Done(summaries) => rows.extend(summaries.iter().map(Summary::for_programs)),
                Entry::Failed { input, reason } => rows.push(Row::of_failure(input, reason)),
            }
        }
        rows
    }
}
