//! Counts durations in buckets, in a fixed amount of memory.
//!
//! Buckets are logarithmic over octaves and linear inside one, as in HdrHistogram: every octave is cut into 128 equal
//! buckets, so a duration is known to within 0.8 % whatever its size, and percentiles of a month of frames cost as much as
//! those of a second. Recording is two shifts and a handful of relaxed atomic additions.

use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Buckets of an octave, as a power of two.
const SPLIT_BITS: u32 = 7;
const SPLIT: usize = 1 << SPLIT_BITS;
/// The last octave ends at 2^42 ns, 73 minutes; longer durations are counted as that long.
const MAX_NS: u64 = (1 << 42) - 1;
const BUCKETS: usize = (42 - SPLIT_BITS as usize + 1) * SPLIT;

/// A histogram of durations from 1 ns to 73 minutes. Several threads may record while others read.
pub struct Histogram {
    counts: Box<[AtomicU64]>,
    count: AtomicU64,
    sum_ns: AtomicU64,
    min_ns: AtomicU64,
    max_ns: AtomicU64,
}

/// The figures of a latency table, in milliseconds; all zero if nothing was recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Exact.
    pub min: f64,
    /// Exact.
    pub mean: f64,
    /// The population's standard deviation, not a sample's.
    pub stddev: f64,
    /// The median: half of the values do not exceed it.
    pub p50: f64,
    /// 90 % of the values do not exceed it.
    pub p90: f64,
    /// 95 % of the values do not exceed it.
    pub p95: f64,
    /// 99 % of the values do not exceed it.
    pub p99: f64,
    /// 99.9 % of the values do not exceed it.
    pub p999: f64,
    /// Exact.
    pub max: f64,
}

impl Histogram {
    /// An empty histogram.
    pub fn new() -> Self {
        Self {
            counts: (0..BUCKETS).map(|_| AtomicU64::new(0)).collect(),
            count: AtomicU64::new(0),
            sum_ns: AtomicU64::new(0),
            min_ns: AtomicU64::new(u64::MAX),
            max_ns: AtomicU64::new(0),
        }
    }

    /// Counts one duration. Allocates nothing and never waits.
    pub fn record(&self, duration: Duration) {
        let ns = u64::try_from(duration.as_nanos()).unwrap_or(MAX_NS).min(MAX_NS);
        if let Some(bucket) = self.counts.get(bucket_of(ns)) {
            bucket.fetch_add(1, Relaxed);
        }
        self.sum_ns.fetch_add(ns, Relaxed);
        self.min_ns.fetch_min(ns, Relaxed);
        self.max_ns.fetch_max(ns, Relaxed);
        self.count.fetch_add(1, Relaxed);
    }

    /// Adds everything that `other` counted.
    pub fn add(&self, other: &Self) {
        for (mine, theirs) in self.counts.iter().zip(&other.counts) {
            mine.fetch_add(theirs.load(Relaxed), Relaxed);
        }
        self.count.fetch_add(other.count.load(Relaxed), Relaxed);
        self.sum_ns.fetch_add(other.sum_ns.load(Relaxed), Relaxed);
        self.min_ns.fetch_min(other.min_ns.load(Relaxed), Relaxed);
        self.max_ns.fetch_max(other.max_ns.load(Relaxed), Relaxed);
    }

    /// Clears the counts. Durations recorded at the same moment may be counted in part.
    pub fn clear(&self) {
        self.counts.iter().chain([&self.count, &self.sum_ns, &self.max_ns]).for_each(|counter| {
            counter.store(0, Relaxed);
        });
        self.min_ns.store(u64::MAX, Relaxed);
    }

    /// The number of recorded durations.
    pub fn count(&self) -> u64 {
        self.count.load(Relaxed)
    }

    /// The shortest duration, exactly; zero if nothing was recorded.
    pub fn min(&self) -> Duration {
        let ns = self.min_ns.load(Relaxed);
        Duration::from_nanos(if ns == u64::MAX { 0 } else { ns })
    }

    /// The longest duration, exactly.
    pub fn max(&self) -> Duration {
        Duration::from_nanos(self.max_ns.load(Relaxed))
    }

    /// The exact mean, as long as the sum stays below 584 years.
    pub fn mean(&self) -> Duration {
        Duration::from_nanos(self.sum_ns.load(Relaxed).checked_div(self.count()).unwrap_or(0))
    }

    /// The smallest recorded duration that at least `percent` of all do not exceed (the nearest-rank percentile), to
    /// within half a bucket, 0.4 %. `percent` is clamped to 0..=100; zero if nothing was recorded.
    pub fn percentile(&self, percent: f64) -> Duration {
        let count: u64 = self.counts.iter().map(|bucket| bucket.load(Relaxed)).sum();
        // `max` first: it turns NaN into 0.
        let rank = ((percent.clamp(0.0, 100.0) / 100.0 * count as f64).ceil() as u64).clamp(1, count.max(1));
        let mut seen = 0;
        for (index, bucket) in self.counts.iter().enumerate() {
            seen += bucket.load(Relaxed);
            if seen >= rank {
                return Duration::from_nanos(middle_of(index)).clamp(self.min(), self.max().max(self.min()));
            }
        }
        Duration::ZERO
    }

    /// The standard deviation of the buckets' middles about the mean.
    pub fn stddev(&self) -> Duration {
        let mean = self.mean().as_nanos() as f64;
        let (mut count, mut sum) = (0, 0.0);
        for (index, bucket) in self.counts.iter().enumerate() {
            let inside = bucket.load(Relaxed);
            count += inside;
            sum += inside as f64 * (middle_of(index) as f64 - mean).powi(2);
        }
        if count == 0 { Duration::ZERO } else { Duration::from_nanos((sum / count as f64).sqrt() as u64) }
    }

    /// A summary of the recorded durations.
    pub fn summary(&self) -> Summary {
        let ms = |duration: Duration| duration.as_secs_f64() * 1e3;
        let percentile = |percent| ms(self.percentile(percent));
        Summary {
            min: ms(self.min()),
            mean: ms(self.mean()),
            stddev: ms(self.stddev()),
            p50: percentile(50.0),
            p90: percentile(90.0),
            p95: percentile(95.0),
            p99: percentile(99.0),
            p999: percentile(99.9),
            max: ms(self.max()),
        }
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Self::new()
    }
}

/// The first octave's buckets are 1 ns wide, and so are the second's; from there each octave's are twice as wide as the
/// last one's.
fn bucket_of(ns: u64) -> usize {
    let shift = (u64::BITS - ns.leading_zeros()).saturating_sub(SPLIT_BITS + 1);
    shift as usize * SPLIT + (ns >> shift) as usize
}

/// The duration in a bucket's middle, in nanoseconds.
fn middle_of(bucket: usize) -> u64 {
    if bucket < 2 * SPLIT {
        return bucket as u64;
    }
    let shift = bucket / SPLIT - 1;
    let low = ((bucket - shift * SPLIT) as u64) << shift;
    low + (1 << shift) / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(durations_ns: &[u64]) -> Histogram {
        let histogram = Histogram::new();
        durations_ns.iter().for_each(|ns| histogram.record(Duration::from_nanos(*ns)));
        histogram
    }

    #[test]
    fn every_duration_has_a_bucket_close_to_it() {
        let mut last = 0;
        for ns in (0..3000).chain((0..42).flat_map(|power| [(1 << power) - 1, 1 << power, (1 << power) + 1])) {
            let bucket = bucket_of(ns);
            assert!(bucket < BUCKETS, "{ns}: {bucket}");
            assert!(middle_of(bucket).abs_diff(ns) as f64 <= ns as f64 * 0.004, "{ns}: {}", middle_of(bucket));
        }
        for ns in (0..1 << 20).step_by(37) {
            assert!(bucket_of(ns) >= last, "{ns}");
            last = bucket_of(ns);
        }
        assert_eq!(bucket_of(MAX_NS), BUCKETS - 1);
    }

    #[test]
    fn percentiles_are_those_of_the_sorted_list() {
        let mut state = 1u64;
        let mut durations: Vec<u64> = (0..5000)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                1 << (state >> 59) | (state >> 33) & 0xffff
            })
            .collect();
        let histogram = of(&durations);
        durations.sort_unstable();
        for percent in [0.1, 1.0, 25.0, 50.0, 90.0, 99.0, 99.9, 100.0] {
            let rank = (percent / 100.0 * durations.len() as f64).ceil() as usize;
            let exact = durations[rank - 1] as f64;
            let found = histogram.percentile(percent).as_nanos() as f64;
            assert!((found - exact).abs() <= exact * 0.004 + 1.0, "{percent}: {found} and {exact}");
        }
        let mean = durations.iter().sum::<u64>() / durations.len() as u64;
        assert_eq!(histogram.mean().as_nanos() as u64, mean);
        assert_eq!(histogram.min().as_nanos() as u64, durations[0]);
        assert_eq!(histogram.max().as_nanos() as u64, durations[durations.len() - 1]);
        let variance = durations.iter().map(|ns| (*ns as f64 - mean as f64).powi(2)).sum::<f64>() / 5000.0;
        assert!((histogram.stddev().as_nanos() as f64 / variance.sqrt() - 1.0).abs() < 0.01);
    }

    #[test]
    fn one_duration_is_every_percentile() {
        let histogram = of(&[1_234_567]);
        let ms = 1.234_567;
        let expected =
            Summary { min: ms, mean: ms, p50: ms, p90: ms, p95: ms, p99: ms, p999: ms, max: ms, stddev: 0.0 };
        let summary = Summary { stddev: 0.0, ..histogram.summary() };
        assert_eq!(summary, expected);
        assert!(histogram.stddev() < Duration::from_nanos(5000));
    }

    #[test]
    fn nothing_and_nonsense() {
        let empty = Histogram::new();
        assert_eq!(empty.summary(), Summary::default());
        assert_eq!(of(&[5]).percentile(f64::NAN), Duration::from_nanos(5));
        let endless = of(&[]);
        endless.record(Duration::MAX);
        assert_eq!(endless.max(), Duration::from_nanos(MAX_NS));
        assert_eq!(endless.percentile(200.0), Duration::from_nanos(MAX_NS).min(endless.percentile(50.0)));
    }

    #[test]
    fn adding_and_clearing() {
        let both = of(&[10, 20]);
        both.add(&of(&[5, 1_000_000]));
        assert_eq!((both.count(), both.min().as_nanos(), both.max().as_nanos()), (4, 5, 1_000_000));
        assert_eq!(both.percentile(75.0), Duration::from_nanos(20));
        both.clear();
        assert_eq!((both.count(), both.summary()), (0, Summary::default()));
    }

    #[test]
    fn threads_record_side_by_side() {
        let histogram = Histogram::new();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..1000).for_each(|us| histogram.record(Duration::from_micros(us))));
            }
        });
        assert_eq!(histogram.count(), 4000);
        assert_eq!(histogram.mean(), Duration::from_nanos(499_500));
    }
}
