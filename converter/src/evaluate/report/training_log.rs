//! Reads a training run's log, one JSON object for each epoch.

use std::path::{Path, PathBuf};

/// The rows of a run's log.jsonl.
#[derive(Clone, Debug, Default)]
pub struct TrainingLog {
    rows: Vec<serde_json::Value>,
}

#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("cannot read the log {path}: {source}; check the path")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("line {line} of the log {path} is not JSON ({source}); pass a run's log.jsonl")]
    Line { path: PathBuf, line: usize, source: serde_json::Error },
}

/// `[x, y]`, in the order of the log.
pub type Points = Vec<[f64; 2]>;

impl TrainingLog {
    pub fn load(path: &Path) -> Result<Self, LogError> {
        let text = std::fs::read_to_string(path).map_err(|source| LogError::Read { path: path.into(), source })?;
        let parse = |(index, line): (usize, &str)| {
            serde_json::from_str(line).map_err(|source| LogError::Line { path: path.into(), line: index + 1, source })
        };
        let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
        Ok(Self { rows: lines.map(parse).collect::<Result<_, _>>()? })
    }

    /// A figure by epoch, counted from one, for the epochs that have it.
    pub fn series(&self, key: &str) -> Points {
        self.points(|row| row.get(key)?.as_f64())
    }

    /// Entry `index` of a list by epoch, counted from one.
    pub fn list_series(&self, key: &str, index: usize) -> Points {
        self.points(|row| row.get(key)?.get(index)?.as_f64())
    }

    fn points(&self, value: impl Fn(&serde_json::Value) -> Option<f64>) -> Points {
        let point = |(index, row): (usize, &serde_json::Value)| {
            let epoch = row.get("epoch").and_then(serde_json::Value::as_f64).unwrap_or(index as f64);
            Some([epoch + 1.0, value(row)?])
        };
        self.rows.iter().enumerate().filter_map(point).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_by_epoch() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log.jsonl");
        let first = r#"{"epoch":0,"pred":0.7,"validation_dice":null,"mask_means":[null,null,null]}"#;
        let second = r#"{"epoch":1,"pred":0.5,"validation_dice":0.4,"mask_means":[0.1,0.2,0.3]}"#;
        std::fs::write(&path, format!("{first}\n\n{second}\n")).unwrap();
        let log = TrainingLog::load(&path).unwrap();
        assert_eq!(log.series("pred"), [[1.0, 0.7], [2.0, 0.5]]);
        assert_eq!(log.series("validation_dice"), [[2.0, 0.4]]);
        assert_eq!(log.list_series("mask_means", 2), [[2.0, 0.3]]);
        assert_eq!(log.series("nothing"), Points::new());
        std::fs::write(&path, format!("{first}\nepoch 1\n")).unwrap();
        let error = TrainingLog::load(&path).unwrap_err().to_string();
        assert!(error.contains("line 2") && error.contains("log.jsonl"), "{error}");
    }
}
