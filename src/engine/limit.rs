//! Ends a pass early: cancelled by another thread, or out of time.

use super::EngineError;
use crate::machine::clock::Instant;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

/// No pass runs.
const IDLE: u8 = 0;
const RUNNING: u8 = 1;
const CANCELLED: u8 = 2;

/// Ends the pass that runs now, from any thread: [`Session::canceller`](crate::Session::canceller).
#[derive(Clone, Debug, Default)]
pub struct Canceller(Arc<AtomicU8>);

impl Canceller {
    /// Ends the pass that runs now with [`EngineError::Cancelled`], before its next step. Does nothing if no pass runs; a pass
    /// that ends at the same moment keeps its result.
    pub fn cancel(&self) {
        let _ = self.0.compare_exchange(RUNNING, CANCELLED, Ordering::AcqRel, Ordering::Relaxed);
    }
}

/// The state that a running pass checks between two steps.
#[derive(Debug, Default)]
pub(crate) struct Limit {
    canceller: Canceller,
    until: Option<Instant>,
    allowed: Duration,
}

impl Limit {
    pub(crate) fn canceller(&self) -> &Canceller {
        &self.canceller
    }

    /// Begins a pass that may take `allowed`.
    pub(crate) fn begin(&mut self, allowed: Option<Duration>) {
        self.canceller.0.store(RUNNING, Ordering::Release);
        // A limit beyond the clock's range is no limit.
        self.until = allowed.and_then(|allowed| Instant::now().checked_add(allowed));
        self.allowed = allowed.unwrap_or_default();
    }

    /// Ends the pass: cancelling has no effect from now on.
    pub(crate) fn end(&mut self) {
        self.canceller.0.store(IDLE, Ordering::Release);
        self.until = None;
    }

    /// Fails if the pass was cancelled or is out of time. Costs one load; the clock is read only with a time limit.
    #[inline]
    pub(crate) fn check(&self) -> Result<(), EngineError> {
        if self.canceller.0.load(Ordering::Relaxed) == CANCELLED {
            return Err(EngineError::Cancelled);
        }
        match self.until {
            Some(until) if Instant::now() >= until => Err(EngineError::TimeLimit { limit: self.allowed }),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_running_pass_is_cancelled() {
        let mut limit = Limit::default();
        let canceller = limit.canceller().clone();
        canceller.cancel();
        assert!(limit.check().is_ok());
        limit.begin(None);
        assert!(limit.check().is_ok(), "the call came before the pass");
        canceller.cancel();
        assert!(matches!(limit.check(), Err(EngineError::Cancelled)));
        limit.end();
        canceller.cancel();
        limit.begin(None);
        assert!(limit.check().is_ok());
    }

    #[test]
    fn time_runs_out() {
        let mut limit = Limit::default();
        limit.begin(Some(Duration::from_secs(3600)));
        assert!(limit.check().is_ok());
        limit.begin(Some(Duration::MAX));
        assert!(limit.check().is_ok());
        limit.begin(Some(Duration::ZERO));
        let error = limit.check().unwrap_err().to_string();
        assert!(error.contains("longer than the 0.000 ms"), "{error}");
        limit.begin(None);
        assert!(limit.check().is_ok(), "the limit was the last pass's");
    }
}
