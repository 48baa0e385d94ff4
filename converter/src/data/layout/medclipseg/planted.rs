//! `confounder.csv`: what [`crate::confound`] planted in each image, and what it knew of the image before.

use super::super::super::table::Table;
use super::existing_file;
use crate::data::{DataError, Pathology, Sample, Split};
use std::collections::HashMap;
use std::path::Path;

/// The name of the table, beside the split folders.
pub(crate) const FILE: &str = "confounder.csv";
/// Its columns. `Others` holds the masks of lesions that the prompt does not name, with semicolons between.
pub(crate) const COLUMNS: [&str; 8] =
    ["Split", "Image", "Confounder", "Agrees", "Others", "Patient", "Pathology", "Device"];

pub(super) struct Planted {
    confounder: Option<String>,
    others: Vec<String>,
    patient: Option<String>,
    pathology: Option<Pathology>,
    device: Option<String>,
}

impl Planted {
    pub fn describe(&self, sample: &mut Sample, labels: &Path, table: &Path, row: usize) -> Result<(), DataError> {
        sample.confounder.clone_from(&self.confounder);
        for mask in &self.others {
            sample.other_masks.push(existing_file(labels, mask, "mask", table, row)?);
        }
        sample.patient = self.patient.clone().or(sample.patient.take());
        sample.pathology = self.pathology.or(sample.pathology);
        sample.device = self.device.clone().or(sample.device.take());
        Ok(())
    }
}

/// The split's rows by image name; nothing where the set has no such table.
pub(super) fn read(root: &Path, split: Split) -> Result<HashMap<String, Planted>, DataError> {
    let path = root.join(FILE);
    if !path.is_file() {
        return Ok(HashMap::new());
    }
    let table = Table::read(&path)?;
    let mut columns = [0; COLUMNS.len()];
    for (column, name) in columns.iter_mut().zip(COLUMNS) {
        *column = table.column(name)?;
    }
    let [of, image, confounder, _, others, patient, pathology, device] = columns;
    let mut rows = HashMap::new();
    for row in table.rows.iter().filter(|row| Split::from_name(row.get(of)) == Some(split)) {
        let text = |column: usize| Some(row.get(column)).filter(|text| !text.is_empty()).map(str::to_string);
        let planted = Planted {
            confounder: text(confounder),
            others: row.get(others).split(';').filter(|name| !name.is_empty()).map(str::to_string).collect(),
            patient: text(patient),
            pathology: text(pathology).as_deref().and_then(Pathology::named_in),
            device: text(device),
        };
        rows.insert(table.required(row, image, "Image")?.to_string(), planted);
    }
    Ok(rows)
}
