//! Compares a report with an earlier one.

use super::super::Failure;
use super::configuration::DeviceName;
use super::row::Row;
use super::statistics::{Interval, ratio_of_medians};
use causalclipseg::bundle::Precision;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Limit on the size of a report. A report with its samples takes some 50 kB a row.
const MOST_BYTES: u64 = 256 << 20;

/// An earlier report.
pub(super) struct Baseline {
    path: PathBuf,
    rows: Vec<EarlierRow>,
}

/// The fields of an earlier row that a comparison needs.
#[derive(Clone, Debug, PartialEq, Deserialize)]
struct EarlierRow {
    edition: String,
    precision: Precision,
    size: usize,
    threads: usize,
    prompts: usize,
    device: DeviceName,
    engine: String,
    isa: String,
    cpu: Option<String>,
    rate_hz: Option<f64>,
    frame: [usize; 2],
    samples_ms: Vec<Vec<f64>>,
}

/// How a configuration's median latency compares with the earlier one.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Comparison {
    /// New median over old: below 1 is faster.
    pub p50_ratio: f64,
    /// The 95 % confidence interval of that ratio.
    pub interval: Interval,
    /// Whether it is significantly slower by more than the limit; `None` where no limit was given.
    pub regressed: Option<bool>,
}

impl Baseline {
    /// Reads a report in `json` or `jsonl`.
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let refuse = |reason: String| format!("cannot compare with {}: {reason}", path.display());
        let bytes = std::fs::metadata(path).map_err(|error| refuse(format!("{error}; check the path")))?.len();
        if bytes > MOST_BYTES {
            return Err(refuse(format!("{bytes} bytes are not a report")).into());
        }
        let text = std::fs::read_to_string(path).map_err(|error| refuse(error.to_string()))?;
        let rows: Result<Vec<EarlierRow>, _> = match serde_json::from_str(&text) {
            Ok(rows) => Ok(rows),
            Err(_) if !text.trim_start().starts_with('[') => {
                text.lines().filter(|line| !line.trim().is_empty()).map(serde_json::from_str).collect()
            }
            Err(error) => Err(error),
        };
        let advice = "give what `bench --format json` or jsonl wrote";
        let rows = rows.map_err(|error| refuse(format!("it is not a report ({error}); {advice}")))?;
        if rows.is_empty() {
            return Err(refuse(format!("it has no rows; {advice}")).into());
        }
        Ok(Self { path: path.into(), rows })
    }

    /// Compares every row that has a counterpart. Yields warnings for the user.
    pub(crate) fn compare(
        &self,
        rows: &mut [Row],
        max_regression_percent: Option<f64>,
    ) -> Result<Vec<String>, Failure> {
        let mut warnings = Vec::new();
        for row in rows.iter_mut() {
            let Some(earlier) = self.rows.iter().find(|earlier| earlier.is_of(row)) else {
                warnings.push(format!("{} has no row for: {}", self.path.display(), row.label()));
                continue;
            };
            if earlier.cpu != row.cpu {
                let unknown = || "an unknown CPU".to_string();
                let cpu = earlier.cpu.clone().unwrap_or_else(unknown);
                warnings.push(format!("{} was measured on another machine: {cpu}", self.path.display()));
            }
            if earlier.isa != row.isa {
                warnings.push(format!("{} was measured with {}, this with {}", row.label(), earlier.isa, row.isa));
            }
            let Some((p50_ratio, interval)) = ratio_of_medians(&row.samples_ms, &earlier.samples_ms) else {
                warnings.push(format!("too few frames to compare: {}", row.label()));
                continue;
            };
            let regressed =
                max_regression_percent.map(|percent| p50_ratio > 1.0 + percent / 100.0 && !interval.contains(1.0));
            row.baseline = Some(Comparison { p50_ratio, interval, regressed });
        }
        if rows.iter().all(|row| row.baseline.is_none()) {
            let advice = "measure the same sizes, threads and prompts";
            return Err(format!("{} has no row that can be compared; {advice}", self.path.display()).into());
        }
        warnings.dedup();
        Ok(warnings)
    }
}

impl EarlierRow {
    fn is_of(&self, row: &Row) -> bool {
        self.edition == row.edition
            && self.precision == row.precision
            && (self.size, self.threads, self.prompts) == (row.size, row.threads, row.prompts)
            && self.device == row.device
            && self.engine == row.engine
            && self.rate_hz == row.rate_hz
            && self.frame == row.frame
    }
}

#[cfg(test)]
mod tests {
    use super::super::row::example::row;
    use super::*;

    fn wobbling(ms: f64) -> Vec<f64> {
        (0..60).map(|frame| ms * (1.0 + 0.01 * (frame % 7) as f64)).collect()
    }

    fn a_row(ms: f64) -> Row {
        let round = wobbling(ms);
        row(&[&round, &round, &round])
    }

    fn baseline(text: &str) -> Result<Baseline, Failure> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("before.json");
        std::fs::write(&path, text).unwrap();
        Baseline::read(&path)
    }

    fn compared(before_ms: f64, after_ms: f64, limit: Option<f64>) -> Comparison {
        let before = serde_json::to_string(&[a_row(before_ms)]).unwrap();
        let mut rows = [a_row(after_ms)];
        assert_eq!(baseline(&before).unwrap().compare(&mut rows, limit).unwrap(), Vec::<String>::new());
        rows[0].baseline.clone().unwrap()
    }

    #[test]
    fn ratios_and_regressions() {
        let slower = compared(10.0, 12.0, Some(10.0));
        assert!((slower.p50_ratio - 1.2).abs() < 1e-6 && slower.interval.contains(1.2), "{slower:?}");
        assert_eq!(slower.regressed, Some(true));
        assert_eq!(compared(10.0, 12.0, Some(25.0)).regressed, Some(false));
        assert_eq!(compared(10.0, 10.0, Some(0.0)).regressed, Some(false));
        assert_eq!(compared(10.0, 8.0, Some(0.0)).regressed, Some(false));
        assert_eq!(compared(10.0, 12.0, None).regressed, None);
    }

    #[test]
    fn reports_of_either_form_are_read() {
        let line = serde_json::to_string(&a_row(10.0)).unwrap();
        assert_eq!(baseline(&format!("{line}\n\n{line}\n")).unwrap().rows.len(), 2);
        assert_eq!(baseline(&format!("[{line},{line}]")).unwrap().rows.len(), 2);
        for text in ["", "[]", "{}", "[{}]", "no JSON", "[{\"edition\": 3}]", "\n\n"] {
            let error = baseline(text).err().unwrap().to_string();
            assert!(error.contains("cannot compare with") && error.contains("give what"), "{text}: {error}");
        }
        assert!(Baseline::read(Path::new("/nowhere/at/all")).err().unwrap().to_string().contains("check the path"));
    }

    #[test]
    fn only_like_is_compared_with_like() {
        let mut before = a_row(10.0);
        before.threads = 2;
        let before = serde_json::to_string(&[before]).unwrap();
        let error = baseline(&before).unwrap().compare(&mut [a_row(10.0)], None).unwrap_err().to_string();
        assert!(error.contains("no row that can be compared"), "{error}");
        let mut elsewhere = a_row(10.0);
        elsewhere.cpu = None;
        let before = serde_json::to_string(&[elsewhere]).unwrap();
        let warnings = baseline(&before).unwrap().compare(&mut [a_row(10.0)], None).unwrap();
        assert!(warnings[0].contains("another machine"), "{warnings:?}");
    }
}
