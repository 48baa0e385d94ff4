//! The statistics of a stream.

use super::degrade::Level;
use super::histogram::{Histogram, Summary};
use serde::Serialize;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// Counts and latencies of a stream since it started. `submitted` is the sum of `processed`, `dropped`, `skipped`,
/// `failed` and those that are still under way.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Statistics {
    /// Frames that the stream accepted.
    pub submitted: u64,
    /// Frames with a result.
    pub processed: u64,
    /// Frames that gave way to newer ones, or that were waiting when the stream was closed.
    pub dropped: u64,
    /// Frames that were left out to lower the rate.
    pub skipped: u64,
    /// Frames that the network failed on.
    pub failed: u64,
    /// Processed frames whose result came after the deadline.
    pub late: u64,
    /// How often the prompts were changed.
    pub prompt_changes: u64,
    /// How often the level was lowered to keep the deadline.
    pub degraded: u64,
    /// How often the level was raised again.
    pub recovered: u64,
    /// The current model and rate.
    pub level: Level,
    /// From submission to result.
    pub latency_ms: Summary,
    /// The part of the latency from the queue to the worker; for an idle worker, the time to wake it.
    pub queue_ms: Summary,
    /// The part of the latency of the network with its preprocessing and postprocessing, and of the quality.
    pub compute_ms: Summary,
    /// The stream's other work for a processed frame, on both threads: copying, queueing, bookkeeping. The time in the queue is
    /// `queue_ms`; the receiver's own time is in neither.
    pub bookkeeping_ms: Summary,
}

/// The live counters behind [`Statistics`].
#[derive(Default)]
pub(super) struct Counters {
    pub submitted: AtomicU64,
    pub processed: AtomicU64,
    pub dropped: AtomicU64,
    pub skipped: AtomicU64,
    pub failed: AtomicU64,
    pub late: AtomicU64,
    pub prompt_changes: AtomicU64,
    pub degraded: AtomicU64,
    pub recovered: AtomicU64,
    pub level_model: AtomicU64,
    /// Zero counts as one.
    pub level_every_nth: AtomicU32,
    pub latency: Histogram,
    pub queue: Histogram,
    pub compute: Histogram,
    pub bookkeeping: Histogram,
}

pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}

impl Counters {
    pub(crate) fn level(&self) -> Level {
        let model = usize::try_from(self.level_model.load(Relaxed)).unwrap_or(0);
        Level { model, every_nth: self.level_every_nth.load(Relaxed).max(1) }
    }

    pub(crate) fn set_level(&self, level: Level) {
        self.level_model.store(level.model as u64, Relaxed);
        self.level_every_nth.store(level.every_nth, Relaxed);
    }

    pub(crate) fn snapshot(&self) -> Statistics {
        let read = |counter: &AtomicU64| counter.load(Relaxed);
        Statistics {
            processed: read(&self.processed),
            dropped: read(&self.dropped),
            skipped: read(&self.skipped),
            failed: read(&self.failed),
            late: read(&self.late),
            prompt_changes: read(&self.prompt_changes),
            degraded: read(&self.degraded),
            recovered: read(&self.recovered),
            level: self.level(),
            latency_ms: self.latency.summary(),
            queue_ms: self.queue.summary(),
            compute_ms: self.compute.summary(),
            bookkeeping_ms: self.bookkeeping.summary(),
            // Read last, so that no frame counts as done before it counts as submitted.
            submitted: read(&self.submitted),
        }
    }
}
