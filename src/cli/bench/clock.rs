//! Time as the benchmark sees it, behind a trait, so that tests control every figure.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Remaining time below which waiting spins: a sleep may end late by as much.
const SPIN: Duration = Duration::from_micros(500);
/// The longest single sleep, so that a request to stop is noticed.
const NAP: Duration = Duration::from_millis(20);

pub(super) trait Clock {
    /// The time since some fixed moment.
    fn now(&self) -> Duration;
    /// Returns at `due`, or at once where that is past, or soon after a request to stop.
    fn wait_until(&self, due: Duration, stop: &Stop);
}

/// A request to end early and print what was measured so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Stop(Arc<AtomicBool>);

impl Stop {
    pub(crate) fn request(&self) {
        self.0.store(true, Relaxed);
    }

    pub(crate) fn is_requested(&self) -> bool {
        self.0.load(Relaxed)
    }
}

pub(super) struct SystemClock {
    origin: Instant,
}

impl SystemClock {
    pub(crate) fn new() -> Self {
        Self { origin: Instant::now() }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Duration {
        self.origin.elapsed()
    }

    fn wait_until(&self, due: Duration, stop: &Stop) {
        while !stop.is_requested() {
            match due.checked_sub(self.now()) {
                None | Some(Duration::ZERO) => return,
                Some(left) if left > SPIN => std::thread::sleep((left - SPIN).min(NAP)),
                Some(_) => std::hint::spin_loop(),
            }
        }
    }
}

#[cfg(test)]
pub(super) mod manual {
    use super::{Clock, Stop};
    use std::cell::Cell;
    use std::time::Duration;

    /// A clock that moves only when it is told to.
    #[derive(Default)]
    pub(crate) struct ManualClock(Cell<Duration>);

    impl ManualClock {
        pub(crate) fn pass(&self, time: Duration) {
            self.0.set(self.0.get() + time);
        }
    }

    impl Clock for ManualClock {
        fn now(&self) -> Duration {
            self.0.get()
        }

        fn wait_until(&self, due: Duration, _: &Stop) {
            self.0.set(self.0.get().max(due));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_never_end_early_and_stop_when_asked() {
        let (clock, stop) = (SystemClock::new(), Stop::default());
        let due = clock.now() + Duration::from_millis(3);
        clock.wait_until(due, &stop);
        assert!(clock.now() >= due);
        clock.wait_until(Duration::ZERO, &stop);
        stop.request();
        clock.wait_until(Duration::from_secs(3600), &stop);
    }
}
