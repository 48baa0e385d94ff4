//! Compares a report with an earlier one.

use super::super::Failure;
use super::configuration::ComputeDevice;
use super::row::{Context, Row};
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
    /// What may differ.
    across: Vec<Difference>,
}

/// What makes a comparison one of other things than a change of the code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub(super) enum Difference {
    /// Another model file
    Model,
    /// Another version of this program
    Version,
    /// Another machine, or the same one used otherwise
    Machine,
}

impl Difference {
    fn name(self) -> &'static str {
        match self {
            Difference::Model => "model",
            Difference::Version => "version",
            Difference::Machine => "machine",
        }
    }
}

/// The fields of an earlier row that a comparison needs.
#[derive(Clone, Debug, PartialEq, Deserialize)]
struct EarlierRow {
    edition: String,
    precision: Precision,
    size: usize,
    threads: usize,
    prompts: usize,
    device: ComputeDevice,
    engine: String,
    isa: String,
    model_sha256: String,
    version: String,
    cpu: Option<String>,
    board: Option<String>,
    available_cores: Option<usize>,
    affinity: Option<String>,
    governor: Option<String>,
    // Unknown in reports of earlier versions.
    cpu_quota_cores: Option<f64>,
    #[serde(default = "one")]
    sessions: usize,
    rate_hz: Option<f64>,
    frame: [usize; 2],
    samples_ms: Vec<Vec<f64>>,
}

fn one() -> usize {
    1
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
    pub(crate) fn read(path: &Path, across: &[Difference]) -> Result<Self, Failure> {
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
        Ok(Self { path: path.into(), rows, across: across.to_vec() })
    }

    /// Refuses a report of another version or another machine.
    pub(crate) fn refuse_elsewhere(&self, context: &Context) -> Result<(), Failure> {
        self.rows.iter().try_for_each(|earlier| self.refuse(earlier.differs_in_context(context)))
    }

    /// Refuses differences that the user did not allow, in one line.
    fn refuse(&self, differences: Vec<(Difference, String)>) -> Result<(), Failure> {
        let refused: Vec<(Difference, String)> =
            differences.into_iter().filter(|(kind, _)| !self.across.contains(kind)).collect();
        if refused.is_empty() {
            return Ok(());
        }
        let mut kinds: Vec<Difference> = refused.iter().map(|(kind, _)| *kind).chain(self.across.clone()).collect();
        kinds.sort();
        kinds.dedup();
        let kinds: Vec<&str> = kinds.into_iter().map(Difference::name).collect();
        let what: Vec<String> = refused.into_iter().map(|(_, what)| what).collect();
        let (path, what, kinds) = (self.path.display(), what.join(", "), kinds.join(","));
        Err(format!("{path} is not comparable: {what}; measure it again, or allow that with --across {kinds}").into())
    }

    /// Compares every row that has a counterpart. Yields warnings for the user.
    pub(crate) fn compare(
        &self,
        rows: &mut [Row],
        context: &Context,
        max_regression_percent: Option<f64>,
    ) -> Result<Vec<String>, Failure> {
        let mut warnings = Vec::new();
        for row in rows.iter_mut() {
            let Some(earlier) = self.rows.iter().find(|earlier| earlier.is_of(row)) else {
                warnings.push(format!("{} has no row for: {}", self.path.display(), row.label()));
                continue;
            };
            let differences = [earlier.differs_in_context(context), earlier.differs_in_row(row)].concat();
            warnings.extend(differences.iter().map(|(_, what)| format!("{}: {what}", self.path.display())));
            self.refuse(differences)?;
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
        warnings.sort();
        warnings.dedup();
        Ok(warnings)
    }
}

impl EarlierRow {
    fn is_of(&self, row: &Row) -> bool {
        self.edition == row.edition
            && self.precision == row.precision
            && (self.size, self.threads, self.prompts) == (row.size, row.threads, row.prompts)
            && self.sessions == row.sessions
            && self.device == row.device
            && self.engine == row.engine
            && self.rate_hz == row.rate_hz
            && self.frame == row.frame
    }

    fn differs_in_context(&self, context: &Context) -> Vec<(Difference, String)> {
        use Difference::{Machine, Version};
        let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "unknown".into());
        let cores = |value: Option<usize>| value.map(|cores| cores.to_string());
        let quota = |value: Option<f64>| value.map(|cores| format!("{cores:.2} cores"));
        let mut found = Vec::new();
        let mut compare = |kind, what: &str, then: Option<String>, now: Option<String>| {
            if then != now {
                found.push((kind, format!("{what} {} then, {} now", text(&then), text(&now))));
            }
        };
        compare(Version, "version", Some(self.version.clone()), Some(context.version.into()));
        compare(Machine, "CPU", self.cpu.clone(), context.cpu.clone());
        compare(Machine, "board", self.board.clone(), context.board.clone());
        compare(Machine, "cores", cores(self.available_cores), cores(context.available_cores));
        compare(Machine, "quota", quota(self.cpu_quota_cores), quota(context.cpu_quota_cores));
        found
    }

    fn differs_in_row(&self, row: &Row) -> Vec<(Difference, String)> {
        let mut found = Vec::new();
        if self.model_sha256 != row.model_sha256 {
            let short = |sum: &str| sum.chars().take(12).collect::<String>();
            let (then, now) = (short(&self.model_sha256), short(&row.model_sha256));
            found.push((Difference::Model, format!("model {then} then, {now} now")));
        }
        let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "any".into());
        if self.affinity != row.affinity {
            let what = format!("pinned to {} then, {} now", text(&self.affinity), text(&row.affinity));
            found.push((Difference::Machine, what));
        }
        if self.governor != row.governor {
            let what = format!("governor {} then, {} now", text(&self.governor), text(&row.governor));
            found.push((Difference::Machine, what));
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::super::row::example::{context, row};
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
        Baseline::read(&path, &[])
    }

    fn compared(before_ms: f64, after_ms: f64, limit: Option<f64>) -> Comparison {
        let before = serde_json::to_string(&[a_row(before_ms)]).unwrap();
        let mut rows = [a_row(after_ms)];
        assert_eq!(baseline(&before).unwrap().compare(&mut rows, &context(), limit).unwrap(), Vec::<String>::new());
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
        assert!(
            Baseline::read(Path::new("/nowhere/at/all"), &[]).err().unwrap().to_string().contains("check the path")
        );
    }

    #[test]
    fn only_like_is_compared_with_like() {
        let mut before = a_row(10.0);
        before.threads = 2;
        let before = serde_json::to_string(&[before]).unwrap();
        let error = baseline(&before).unwrap().compare(&mut [a_row(10.0)], &context(), None).unwrap_err().to_string();
        assert!(error.contains("no row that can be compared"), "{error}");
        let mut at_once = a_row(10.0);
        at_once.sessions = 4;
        let before = serde_json::to_string(&[at_once]).unwrap();
        assert!(baseline(&before).unwrap().compare(&mut [a_row(10.0)], &context(), None).is_err());
    }

    #[test]
    fn what_else_differs_is_refused_unless_allowed() {
        use Difference::{Machine, Model, Version};
        type Change = fn(&mut Row);
        let changes: [(&str, Difference, Change); 7] = [
            ("model 111111111111 then, 000000000000 now", Model, |row| row.model_sha256 = "11".repeat(32)),
            ("version 0.0.1 then, 0.1.0 now", Version, |row| row.version = "0.0.1"),
            ("CPU unknown then, a CPU now", Machine, |row| row.cpu = None),
            ("cores 8 then, 2 now", Machine, |row| row.available_cores = Some(8)),
            ("quota 0.50 cores then, unknown now", Machine, |row| row.cpu_quota_cores = Some(0.5)),
            ("pinned to 0 then, 0-1 now", Machine, |row| row.affinity = Some("0".into())),
            ("governor powersave then, any now", Machine, |row| row.governor = Some("powersave".into())),
        ];
        for (what, kind, change) in changes {
            let mut before = a_row(10.0);
            change(&mut before);
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("before.json");
            std::fs::write(&path, serde_json::to_string(&[before]).unwrap()).unwrap();
            let compare =
                |across: &[Difference]| Baseline::read(&path, across)?.compare(&mut [a_row(10.0)], &context(), None);
            let others: Vec<Difference> =
                [Model, Version, Machine].into_iter().filter(|other| *other != kind).collect();
            for across in [&[][..], &others] {
                let error = compare(across).unwrap_err().to_string();
                assert!(error.contains(what) && error.contains(kind.name()) && error.lines().count() == 1, "{error}");
            }
            let warnings = compare(&[kind]).unwrap();
            assert!(warnings.len() == 1 && warnings[0].contains(what), "{warnings:?}");
            let is_early = Baseline::read(&path, &[]).unwrap().refuse_elsewhere(&context()).is_err();
            assert_eq!(
                is_early,
                ["version", "CPU", "cores", "quota"].iter().any(|early| what.starts_with(early)),
                "{what}"
            );
        }
    }
}
