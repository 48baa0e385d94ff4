//! A run's log: one record for each epoch, a JSON object a line.

use super::error::TrainError;
use super::state::write_whole;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// One line of the log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EpochRecord {
    pub epoch: usize,
    pub size: usize,
    pub learning_rate: f64,
    pub pred: Option<f64>,
    pub pred_ad: Option<f64>,
    pub phi: Option<f64>,
    pub mask_means: [Option<f64>; 3],
    pub gradient_norm: Option<f64>,
    /// The divergence from the teacher's answers, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distillation: Option<f64>,
    pub validation_dice: Option<f64>,
    pub validation_iou: Option<f64>,
    /// Dice of the lesion that the prompt names, in composed pairs.
    pub pairs_dice: Option<f64>,
    pub images_per_second: f64,
    pub seconds: f64,
}

/// The log of a run; empty before its first epoch.
pub fn read_log(path: &Path) -> Result<Vec<EpochRecord>, TrainError> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(TrainError::Read { path: path.into(), source }),
    };
    let parse = |line: &str| {
        serde_json::from_str(line)
            .map_err(|error| TrainError::State { path: path.into(), reason: format!("its log: {error}") })
    };
    text.lines().filter(|line| !line.trim().is_empty()).map(parse).collect()
}

fn write_log(path: &Path, records: &[EpochRecord]) -> Result<(), TrainError> {
    let mut text = String::new();
    for record in records {
        text.push_str(&serde_json::to_string(record).expect("plain numbers"));
        text.push('\n');
    }
    write_whole(path, text.as_bytes())
}

/// Adds a record at the end.
pub(super) fn append(path: &Path, record: &EpochRecord) -> Result<(), TrainError> {
    let mut records = read_log(path)?;
    records.push(record.clone());
    write_log(path, &records)
}

/// Removes the records from `epoch` on, which a resumed run writes again.
pub(super) fn trim(path: &Path, epoch: usize) -> Result<(), TrainError> {
    let mut records = read_log(path)?;
    records.retain(|record| record.epoch < epoch);
    write_log(path, &records)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(epoch: usize) -> EpochRecord {
        let text = format!(
            r#"{{"epoch":{epoch},"size":64,"learning_rate":0.1,"pred":null,"pred_ad":null,"phi":null,
               "mask_means":[null,null,null],"gradient_norm":null,"validation_dice":null,"validation_iou":null,
               "pairs_dice":null,"images_per_second":1.0,"seconds":2.0}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn records_are_added_and_trimmed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.jsonl");
        assert_eq!(read_log(&path).unwrap(), []);
        (0..3).for_each(|epoch| append(&path, &record(epoch)).unwrap());
        trim(&path, 2).unwrap();
        append(&path, &record(2)).unwrap();
        assert_eq!(read_log(&path).unwrap(), [record(0), record(1), record(2)]);
        std::fs::write(&path, "{\"epoch\": 1}\n").unwrap();
        assert!(matches!(read_log(&path), Err(TrainError::State { .. })));
    }
}
