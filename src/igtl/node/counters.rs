//! The counters of a node.

use crate::stream::Statistics;
use serde::Serialize;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Counts of a node since it started, and those of its stream.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NodeStatistics {
    #[serde(flatten)]
    pub stream: Statistics,
    /// Peers that are connected now.
    pub peers: usize,
    /// Connections that were established or accepted.
    pub connections: u64,
    /// Peers that were refused because there were too many.
    pub turned_away: u64,
    /// Connections that ended because of what the peer sent, or failed to send.
    pub broken_connections: u64,
    /// Images that were passed to the stream; those that are not its `processed` were too many or failed.
    pub images: u64,
    /// Images that cannot be segmented: volumes, vectors, too large, region outside.
    pub refused_images: u64,
    /// Images of other devices, and our own masks sent back.
    pub ignored_images: u64,
    /// Messages that were damaged or contradicted themselves.
    pub damaged_messages: u64,
    /// Messages of types that are not read: TRANSFORM, VIDEO, and so on.
    pub skipped_messages: u64,
    /// Prompts that were refused.
    pub refused_prompts: u64,
    /// Results that were replaced by newer ones because a peer was slow.
    pub superseded_results: u64,
}

/// The live counters behind [`NodeStatistics`].
#[derive(Default)]
pub(super) struct Counters {
    pub connections: AtomicU64,
    pub turned_away: AtomicU64,
    pub broken_connections: AtomicU64,
    pub images: AtomicU64,
    pub refused_images: AtomicU64,
    pub ignored_images: AtomicU64,
    pub damaged_messages: AtomicU64,
    pub skipped_messages: AtomicU64,
    pub refused_prompts: AtomicU64,
    pub superseded_results: AtomicU64,
}

pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}

impl Counters {
    pub(crate) fn snapshot(&self, stream: Statistics, peers: usize) -> NodeStatistics {
        let read = |counter: &AtomicU64| counter.load(Relaxed);
        NodeStatistics {
            stream,
            peers,
            connections: read(&self.connections),
            turned_away: read(&self.turned_away),
            broken_connections: read(&self.broken_connections),
            images: read(&self.images),
            refused_images: read(&self.refused_images),
            ignored_images: read(&self.ignored_images),
            damaged_messages: read(&self.damaged_messages),
            skipped_messages: read(&self.skipped_messages),
            refused_prompts: read(&self.refused_prompts),
            superseded_results: read(&self.superseded_results),
        }
    }
}
