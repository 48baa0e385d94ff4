//! What a node did.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts since a node's start.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct NodeStatistics {
    /// Associations that were accepted.
    pub associations: u64,
    /// Associations that were refused, for a title or because there were too many.
    pub refused_associations: u64,
    /// Associations that ended by a failure: bytes that are not DICOM, silence, a broken connection.
    pub broken_associations: u64,
    /// Instances that were received and queued, from the network or the watched folder.
    pub received: u64,
    /// Instances that were received again, and were known.
    pub duplicates: u64,
    /// Instances that were answered with a failure status.
    pub refused: u64,
    /// Instances that were segmented.
    pub processed: u64,
    /// Instances, or results, that were moved to `failed`.
    pub failed: u64,
    /// Results that a destination took.
    pub sent: u64,
    /// Results that a destination committed to keep.
    pub committed: u64,
    /// Attempts to send that failed and are repeated.
    pub retries: u64,
    /// Instances whose results all destinations have.
    pub done: u64,
    /// Instances and results that are in the queue.
    pub waiting: u64,
}

macro_rules! counters {
    ($($name:ident),*) => {
        /// The same, counted by several threads.
        #[derive(Debug, Default)]
        pub(crate) struct Counters { $(pub $name: AtomicU64),* }

        impl Counters {
            pub(crate) fn read(&self, done: u64, waiting: u64) -> NodeStatistics {
                NodeStatistics { $($name: self.$name.load(Ordering::Relaxed),)* done, waiting }
            }
        }
    };
}

counters!(
    associations,
    refused_associations,
    broken_associations,
    received,
    duplicates,
    refused,
    processed,
    failed,
    sent,
    committed,
    retries
);

/// Counts one.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
