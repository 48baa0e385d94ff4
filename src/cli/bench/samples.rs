//! Latencies one by one, in bounded memory.

use serde::{Deserialize, Serialize};

/// Every latency of a run in nanoseconds; each time `capacity` is reached, every second one is dropped.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Samples {
    values: Vec<u64>,
    capacity: usize,
    stride: u64,
    seen: u64,
}

impl Samples {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { values: Vec::new(), capacity: capacity.max(2), stride: 1, seen: 0 }
    }

    pub(crate) fn push(&mut self, latency_ns: u64) {
        if self.seen.is_multiple_of(self.stride) {
            if self.values.len() == self.capacity {
                self.halve();
            }
            // Halving may have removed this one.
            if self.seen.is_multiple_of(self.stride) {
                self.values.push(latency_ns);
            }
        }
        self.seen += 1;
    }

    fn halve(&mut self) {
        let mut index = 0;
        self.values.retain(|_| {
            index += 1;
            index % 2 == 1
        });
        self.stride *= 2;
    }

    /// The latencies in order, `stride` frames apart.
    pub(crate) fn values(&self) -> &[u64] {
        &self.values
    }

    /// At most `most` of them, in milliseconds, evenly spaced.
    pub(crate) fn thinned_ms(&self, most: usize) -> Vec<f64> {
        let step = self.values.len().div_ceil(most.max(1)).max(1);
        self.values.iter().step_by(step).map(|ns| *ns as f64 / 1e6).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_store_keeps_evenly_spaced_samples() {
        for (pushed, kept) in [(0, vec![]), (3, vec![0, 1, 2]), (4, vec![0, 1, 2, 3]), (5, vec![0, 2, 4])] {
            let mut samples = Samples::new(4);
            (0..pushed).for_each(|value| samples.push(value));
            assert_eq!(samples.values(), kept, "{pushed}");
        }
        let mut samples = Samples::new(100);
        (0..100_000).for_each(|value| samples.push(value));
        let values = samples.values();
        assert!((50..=100).contains(&values.len()), "{}", values.len());
        let gap = values[1] - values[0];
        assert!(values.windows(2).all(|pair| pair[1] - pair[0] == gap) && values[0] == 0);
        assert_eq!(samples.thinned_ms(10).len(), values.len().div_ceil(values.len().div_ceil(10)));
    }
}
