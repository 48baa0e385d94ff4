//! The soak test: checks whether memory, file handles or latency grow between warming up and the end.

use causalclipseg::stream::{Histogram, Summary};
use comfy_table::Table;
use serde::Serialize;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Share of the time that passes before the first look, since the first frames still allocate.
const WARM_UP: f64 = 0.05;
/// Share of the time whose latencies are compared, after warming up and at the end.
const WINDOW: f64 = 0.1;
/// More than this, and more than [`GROWTH_SHARE`], is growth and not allocator noise.
const GROWTH_BYTES: u64 = 8 << 20;
const GROWTH_SHARE: f64 = 0.05;

/// The system's figures about this process; `None` where it has none.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct Footprint {
    pub rss_bytes: Option<u64>,
    pub open_files: Option<u64>,
    pub threads: Option<u64>,
}

impl Footprint {
    fn now() -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse::<u64>().ok()
        };
        // One of them belongs to the listing itself.
        let open_files = std::fs::read_dir("/proc/self/fd").ok().map(|files| (files.count() as u64).saturating_sub(1));
        Self { rss_bytes: field("VmRSS:").map(|kib| kib << 10), open_files, threads: field("Threads:") }
    }
}

/// Watches a run of a given length; without one, it does nothing.
pub(super) struct Soak {
    begun: Instant,
    length: Option<Duration>,
    early: Histogram,
    late: Histogram,
    start: Mutex<Option<Footprint>>,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct SoakReport {
    pub start: Footprint,
    pub end: Footprint,
    /// Latencies in the first tenth of the time after warming up.
    pub start_latency_ms: Summary,
    /// Latencies in the last tenth.
    pub end_latency_ms: Summary,
    /// A description of what grew.
    pub growth: Option<String>,
}

impl Soak {
    pub(crate) fn new(seconds: Option<f64>) -> Self {
        Self {
            begun: Instant::now(),
            length: seconds.map(Duration::from_secs_f64),
            early: Histogram::new(),
            late: Histogram::new(),
            start: Mutex::new(None),
        }
    }

    /// The share of the time that has passed, 0 to 1; `None` where this is not a soak test.
    fn passed(&self) -> Option<f64> {
        self.length.map(|length| self.begun.elapsed().as_secs_f64() / length.as_secs_f64())
    }

    pub(crate) fn is_over(&self) -> bool {
        self.passed().is_some_and(|passed| passed >= 1.0)
    }

    /// Records one result.
    pub(crate) fn note(&self, latency: Duration) {
        match self.passed() {
            Some(passed) if (WARM_UP..WARM_UP + WINDOW).contains(&passed) => self.early.record(latency),
            Some(passed) if passed >= 1.0 - WINDOW => self.late.record(latency),
            _ => {}
        }
    }

    /// Takes the first look once it has warmed up.
    pub(crate) fn observe(&self) {
        if self.passed().is_some_and(|passed| passed >= WARM_UP) {
            self.start.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(Footprint::now);
        }
    }

    /// Takes the last look.
    pub(crate) fn finish(&self) -> Option<SoakReport> {
        self.length?;
        let end = Footprint::now();
        let start = self.start.lock().unwrap_or_else(PoisonError::into_inner).unwrap_or(end);
        Some(SoakReport {
            start,
            end,
            start_latency_ms: self.early.summary(),
            end_latency_ms: self.late.summary(),
            growth: growth(&start, &end),
        })
    }
}

fn growth(start: &Footprint, end: &Footprint) -> Option<String> {
    let pair = |before: Option<u64>, after: Option<u64>| before.zip(after).filter(|(before, after)| after > before);
    if let Some((before, after)) = pair(start.rss_bytes, end.rss_bytes) {
        let more = after - before;
        if more > GROWTH_BYTES && more as f64 > before as f64 * GROWTH_SHARE {
            return Some(format!("memory went from {} to {} MiB", before >> 20, after >> 20));
        }
    }
    if let Some((before, after)) = pair(start.open_files, end.open_files) {
        return Some(format!("open files went from {before} to {after}"));
    }
    pair(start.threads, end.threads).map(|(before, after)| format!("threads went from {before} to {after}"))
}

impl SoakReport {
    pub(crate) fn table(&self) -> Table {
        let mut table = crate::cli::table();
        table.set_header(["soak", "memory", "open files", "threads", "p50", "p99", "max"]);
        let number = |value: Option<u64>| value.map_or("-".to_string(), |value| value.to_string());
        for (name, footprint, latency) in
            [("start", &self.start, &self.start_latency_ms), ("end", &self.end, &self.end_latency_ms)]
        {
            let memory = footprint.rss_bytes.map_or("-".into(), |bytes| format!("{:.1} MiB", bytes as f64 / 1048576.0));
            let ms = |ms: f64| format!("{ms:.2} ms");
            table.add_row([
                name.to_string(),
                memory,
                number(footprint.open_files),
                number(footprint.threads),
                ms(latency.p50),
                ms(latency.p99),
                ms(latency.max),
            ]);
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_told_from_ease() {
        let footprint =
            |mib: u64, files| Footprint { rss_bytes: Some(mib << 20), open_files: Some(files), threads: Some(2) };
        assert_eq!(growth(&footprint(100, 5), &footprint(105, 5)), None);
        assert_eq!(growth(&footprint(1000, 5), &footprint(1040, 5)), None);
        assert_eq!(growth(&footprint(100, 5), &footprint(90, 4)), None);
        let memory = growth(&footprint(100, 5), &footprint(120, 5)).unwrap();
        assert_eq!(memory, "memory went from 100 to 120 MiB");
        assert_eq!(growth(&footprint(100, 5), &footprint(100, 6)).unwrap(), "open files went from 5 to 6");
        assert_eq!(growth(&Footprint::default(), &footprint(100, 6)), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_has_a_footprint() {
        let now = Footprint::now();
        assert!(now.rss_bytes.unwrap() > 1 << 20 && now.open_files.unwrap() >= 3 && now.threads.unwrap() >= 1);
    }
}
