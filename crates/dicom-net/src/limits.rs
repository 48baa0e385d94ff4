//! What a peer may use of time and memory.

use std::time::Duration;

/// Bounds on peers. A peer that exceeds one is disconnected; others go on.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Concurrent associations that peers open.
    pub associations: usize,
    /// Bytes of a protocol data unit with data, as announced to peers.
    pub pdu_bytes: u32,
    /// Bytes of one received object.
    pub object_bytes: u64,
    /// Time from a connection to the end of its negotiation.
    pub negotiation: Duration,
    /// Time that a peer may be silent between messages and within one.
    pub silence: Duration,
    /// Time for one protocol data unit, from its first byte to its last, and for one object.
    pub object_time: Duration,
    /// Time for the answer to a request of ours.
    pub response: Duration,
    /// Age at which an association ends.
    pub association_time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            associations: 8,
            pdu_bytes: 128 << 10,
            object_bytes: 1 << 30,
            negotiation: Duration::from_secs(10),
            silence: Duration::from_secs(60),
            object_time: Duration::from_secs(600),
            response: Duration::from_secs(120),
            association_time: Duration::from_secs(12 * 3600),
        }
    }
}
