//! Several sessions of one model at once, each on a thread of its own with its own frames.

use super::super::{Failure, one_line};
use super::clock::{Clock, Stop};
use super::pace::{self, Pace, Steady};
use super::workload::Workload;
use std::time::Duration;

/// Runs all workloads at once, each at the same pace; the results are those of all of them together: frames, latencies and
/// stages of each in turn, and the time until the last one ended.
///
/// # Errors
/// A workload fails. The others are asked to stop.
pub(super) fn run<W: Workload + Send, C: Clock + Sync>(
    workloads: &mut [W],
    clock: &C,
    pace: Pace,
    deadline: Option<Duration>,
    stop: &Stop,
) -> Result<Steady, Failure> {
    if let [only] = workloads {
        return pace::run(only, clock, pace, deadline, stop);
    }
    let one = |workload: &mut W| {
        let found = pace::run(workload, clock, pace, deadline, stop);
        // An error of one must not leave the others running for a week.
        found.map_err(|failure| {
            stop.request();
            one_line(failure.as_ref())
        })
    };
    let found: Vec<Result<Steady, String>> = std::thread::scope(|scope| {
        let started: Vec<_> = workloads.iter_mut().map(|workload| scope.spawn(|| one(workload))).collect();
        let ended =
            started.into_iter().map(|thread| thread.join().unwrap_or_else(|_| Err("a session panicked".into())));
        ended.collect()
    });
    let mut all: Option<Steady> = None;
    for steady in found {
        let steady = steady?;
        match &mut all {
            Some(all) => all.add(steady),
            None => all = Some(steady),
        }
    }
    let mut all = all.ok_or("there is no session to measure")?;
    // Each session counts those of all threads.
    all.allocations = None;
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::super::clock::SystemClock;
    use super::super::pace::Length;
    use super::super::workload::{FrameRecord, Stages};
    use super::*;
    use std::sync::{Arc, Barrier};

    /// Frames that end only if all sessions are in one at the same time.
    struct Together(Arc<Barrier>, bool);

    impl Workload for Together {
        fn run_frame(&mut self) -> Result<FrameRecord, Failure> {
            if self.1 {
                return Err("it broke".into());
            }
            self.0.wait();
            Ok(FrameRecord { stages: Stages { image: 1.0, ..Stages::default() }, allocations: Some(2) })
        }
        fn encode_new_prompt(&mut self) -> Result<(), Failure> {
            Ok(())
        }
        fn look_up_prompt(&mut self) -> Result<(), Failure> {
            Ok(())
        }
    }

    #[test]
    fn sessions_run_side_by_side_and_add_up() {
        let barrier = Arc::new(Barrier::new(3));
        let mut workloads: Vec<Together> = (0..3).map(|_| Together(barrier.clone(), false)).collect();
        let pace = Pace { rate_hz: None, length: Length::Frames(4) };
        let stop = Stop::default();
        let steady = run(&mut workloads, &SystemClock::new(), pace, None, &stop).unwrap();
        assert_eq!((steady.frames, steady.latencies_ns.values().len(), steady.stages.image), (12, 12, 12.0));
        assert_eq!((steady.allocations, steady.interrupted), (None, false));
        let alone =
            run(&mut [Together(Arc::new(Barrier::new(1)), false)], &SystemClock::new(), pace, None, &stop).unwrap();
        assert_eq!((alone.frames, alone.allocations), (4, Some(8)));
    }

    #[test]
    fn one_that_fails_ends_all() {
        let mut workloads: Vec<Together> =
            (0..2).map(|index| Together(Arc::new(Barrier::new(1)), index == 1)).collect();
        let pace = Pace { rate_hz: None, length: Length::Seconds { seconds: 600.0, at_least_frames: 1 } };
        let failed = run(&mut workloads, &SystemClock::new(), pace, None, &Stop::default()).unwrap_err();
        assert_eq!(failed.to_string(), "it broke");
        assert!(run::<Together, _>(&mut [], &SystemClock::new(), pace, None, &Stop::default()).is_err());
    }
}
