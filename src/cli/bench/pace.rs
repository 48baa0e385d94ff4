//! Runs frames back to back or at a fixed rate, and keeps their latencies.

use super::super::Failure;
use super::clock::{Clock, Stop};
use super::samples::Samples;
use super::workload::{Stages, Workload};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The number of latencies that are kept one by one: nine hours at 30 Hz.
const MOST_SAMPLES: usize = 1 << 20;

/// When the next frame starts, and when there are no more.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Pace {
    /// The rate at which frames are due, whether or not the one before is done; `None`: each starts when the last one
    /// ends.
    pub rate_hz: Option<f64>,
    pub length: Length,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Length {
    Frames(u64),
    Seconds {
        seconds: f64,
        /// The minimum number of frames, however long they take.
        at_least_frames: u64,
    },
}

impl Pace {
    /// When a frame is due, as seconds from the start; `None` where it is due as soon as it can be.
    fn due(&self, frame: u64) -> Option<Duration> {
        self.rate_hz.map(|rate_hz| Duration::from_secs_f64(frame as f64 / rate_hz))
    }

    fn is_over(&self, frame: u64, elapsed: Duration) -> bool {
        match self.length {
            Length::Frames(frames) => frame >= frames,
            Length::Seconds { seconds, at_least_frames } => {
                // At a rate, the number of frames is fixed by what was due, not by how many were done.
                let reached = self.due(frame).unwrap_or(elapsed);
                frame >= at_least_frames && reached.as_secs_f64() >= seconds
            }
        }
    }
}

/// The results of a run.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Steady {
    pub latencies_ns: Samples,
    pub frames: u64,
    /// Sums over all frames, in seconds.
    pub stages: Stages,
    pub elapsed: Duration,
    /// The number of frames that missed their deadline; `None` where no deadline was set.
    pub deadline_misses: Option<u64>,
    /// The sum over all frames; `None` if it is unknown for any of them.
    pub allocations: Option<u64>,
    pub interrupted: bool,
}

impl Steady {
    /// Adds the results of frames that ran at the same time.
    pub(crate) fn add(&mut self, other: Steady) {
        other.latencies_ns.values().iter().for_each(|ns| self.latencies_ns.push(*ns));
        self.frames += other.frames;
        self.stages += other.stages;
        self.elapsed = self.elapsed.max(other.elapsed);
        self.deadline_misses = self.deadline_misses.zip(other.deadline_misses).map(|(mine, more)| mine + more);
        self.allocations = self.allocations.zip(other.allocations).map(|(mine, more)| mine + more);
        self.interrupted |= other.interrupted;
    }
}

/// Runs frames until the pace says that it is over, or a stop is requested.
///
/// A frame's latency counts from when it was due. At a fixed rate that includes the time for which it waited for the
/// frames before it: a slow frame that delays ten others counts as eleven slow frames, as it does on a live scanner.
pub(super) fn run(
    workload: &mut impl Workload,
    clock: &impl Clock,
    pace: Pace,
    deadline: Option<Duration>,
    stop: &Stop,
) -> Result<Steady, Failure> {
    let begun = clock.now();
    let mut steady = Steady {
        latencies_ns: Samples::new(MOST_SAMPLES),
        frames: 0,
        stages: Stages::default(),
        elapsed: Duration::ZERO,
        deadline_misses: deadline.map(|_| 0),
        allocations: Some(0),
        interrupted: false,
    };
    while !pace.is_over(steady.frames, clock.now().saturating_sub(begun)) {
        let due = match pace.due(steady.frames) {
            Some(after) => {
                clock.wait_until(begun + after, stop);
                begun + after
            }
            None => clock.now(),
        };
        if stop.is_requested() {
            steady.interrupted = true;
            break;
        }
        let record = workload.run_frame()?;
        let latency = clock.now().saturating_sub(due);
        steady.latencies_ns.push(u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX));
        steady.frames += 1;
        steady.stages += record.stages;
        steady.allocations = steady.allocations.zip(record.allocations).map(|(sum, more)| sum + more);
        if let (Some(misses), Some(deadline)) = (&mut steady.deadline_misses, deadline) {
            *misses += u64::from(latency > deadline);
        }
    }
    steady.elapsed = clock.now().saturating_sub(begun);
    Ok(steady)
}

#[cfg(test)]
mod tests {
    use super::super::clock::SystemClock;
    use super::super::clock::manual::ManualClock;
    use super::super::workload::FrameRecord;
    use super::super::workload::synthetic::{Synthetic, image};
    use super::*;

    const RATE_30: Pace = Pace { rate_hz: Some(30.0), length: Length::Frames(90) };

    fn ms(ms: f64) -> Duration {
        Duration::from_secs_f64(ms / 1e3)
    }

    fn latencies(steady: &Steady) -> Vec<f64> {
        steady.latencies_ns.thinned_ms(usize::MAX)
    }

    fn at(pace: Pace, deadline: Option<Duration>, ms_of: impl FnMut(u64) -> f64) -> Steady {
        let clock = ManualClock::default();
        let mut ms_of = ms_of;
        let mut workload = Synthetic::new(&clock, |frame| image(ms_of(frame)));
        run(&mut workload, &clock, pace, deadline, &Stop::default()).unwrap()
    }

    #[test]
    fn injected_stages_are_the_figures() {
        let clock = ManualClock::default();
        let stages = Stages { preprocess: 0.001, image: 0.020, prompt: 0.0005, head: 0.003, postprocess: 0.002 };
        let mut workload = Synthetic::new(&clock, |_| stages);
        workload.allocations = Some(3);
        let pace = Pace { rate_hz: None, length: Length::Frames(40) };
        let steady = run(&mut workload, &clock, pace, None, &Stop::default()).unwrap();
        assert_eq!((steady.frames, steady.deadline_misses, steady.allocations), (40, None, Some(120)));
        for (found, injected) in (steady.stages / 40.0).values().iter().zip(stages.values()) {
            assert!((found - injected).abs() < 1e-12, "{found} is not {injected}");
        }
        assert!(latencies(&steady).iter().all(|latency| (latency - 26.5).abs() < 1e-6));
        assert!((steady.elapsed.as_secs_f64() - 40.0 * 0.0265).abs() < 1e-9);
    }

    /// The same with real sleeps, which may take longer but never less.
    #[test]
    fn slept_stages_are_the_figures_at_least() {
        struct Sleeper;
        impl Workload for Sleeper {
            fn run_frame(&mut self) -> Result<FrameRecord, Failure> {
                let clock = SystemClock::new();
                std::thread::sleep(ms(2.0));
                let head = clock.now();
                std::thread::sleep(ms(4.0));
                let image = clock.now() - head;
                let stages = Stages { head: head.as_secs_f64(), image: image.as_secs_f64(), ..Stages::default() };
                Ok(FrameRecord { stages, allocations: None })
            }
            fn encode_new_prompt(&mut self) -> Result<(), Failure> {
                Ok(())
            }
            fn look_up_prompt(&mut self) -> Result<(), Failure> {
                Ok(())
            }
        }
        let pace = Pace { rate_hz: None, length: Length::Frames(5) };
        let steady = run(&mut Sleeper, &SystemClock::new(), pace, Some(ms(5.9)), &Stop::default()).unwrap();
        let stages = steady.stages / 5.0;
        assert!(stages.head >= 0.002 && stages.image >= 0.004 && stages.preprocess == 0.0, "{stages:?}");
        assert!(latencies(&steady).iter().all(|latency| *latency >= 6.0));
        // The difference between the latencies' sum and the stages' sum is the harness.
        let total: f64 = latencies(&steady).iter().sum();
        let inside: f64 = steady.stages.values().iter().sum();
        assert!(total / 1e3 >= inside);
        assert_eq!((steady.deadline_misses, steady.allocations), (Some(5), None));
    }

    #[test]
    fn a_stage_of_50_ms_at_30_hz_misses_every_deadline() {
        let steady = at(RATE_30, Some(ms(1e3 / 30.0)), |_| 50.0);
        assert_eq!((steady.frames, steady.deadline_misses), (90, Some(90)));
        // Frame k is due at k / 30 s and done at (k + 1) * 50 ms.
        for (frame, latency) in latencies(&steady).iter().enumerate() {
            let expected = (frame as f64 + 1.0) * 50.0 - frame as f64 * 1e3 / 30.0;
            assert!((latency - expected).abs() < 1e-3, "frame {frame}: {latency}, not {expected}");
        }
    }

    #[test]
    fn a_stage_of_20_ms_at_30_hz_misses_none_and_waits_between() {
        let steady = at(RATE_30, Some(ms(1e3 / 30.0)), |_| 20.0);
        assert_eq!((steady.frames, steady.deadline_misses), (90, Some(0)));
        assert!(latencies(&steady).iter().all(|latency| (latency - 20.0).abs() < 1e-3));
        assert!((steady.elapsed.as_secs_f64() - (89.0 / 30.0 + 0.020)).abs() < 1e-6);
    }

    #[test]
    fn one_slow_frame_delays_those_behind_it() {
        // 100 ms instead of 10: frames 10 to 13 were due before it was done at 433.3 ms.
        let steady = at(RATE_30, Some(ms(1e3 / 30.0)), |frame| if frame == 10 { 100.0 } else { 10.0 });
        let late: Vec<(usize, f64)> = latencies(&steady)
            .into_iter()
            .enumerate()
            .filter(|(_, latency)| *latency > 10.01)
            .map(|(frame, latency)| (frame, latency.round()))
            .collect();
        assert_eq!(late, [(10, 100.0), (11, 77.0), (12, 53.0), (13, 30.0)]);
        assert_eq!(steady.deadline_misses, Some(3));
    }

    #[test]
    fn lengths_are_kept() {
        let frames = |rate_hz, seconds, at_least_frames, frame_ms: f64| {
            let pace = Pace { rate_hz, length: Length::Seconds { seconds, at_least_frames } };
            at(pace, None, |_| frame_ms).frames
        };
        assert_eq!(frames(None, 1.0, 1, 100.0), 10);
        assert_eq!(frames(None, 1.0, 15, 100.0), 15);
        assert_eq!(frames(None, 1.0, 1, 5000.0), 1);
        assert_eq!(frames(Some(30.0), 2.0, 1, 10.0), 60);
        assert_eq!(frames(Some(30.0), 2.0, 1, 500.0), 60);
    }

    #[test]
    fn a_request_to_stop_keeps_what_is_there() {
        let clock = ManualClock::default();
        let stop = Stop::default();
        let mut workload = Synthetic::new(&clock, |frame| {
            if frame == 6 {
                stop.request();
            }
            image(10.0)
        });
        let steady = run(&mut workload, &clock, RATE_30, None, &stop).unwrap();
        assert_eq!((steady.frames, steady.interrupted, steady.latencies_ns.values().len()), (7, true, 7));
    }

    /// The harness itself, on an empty workload.
    #[test]
    fn the_harness_costs_less_than_a_hundredth_of_a_small_frame() {
        struct Nothing;
        impl Workload for Nothing {
            fn run_frame(&mut self) -> Result<FrameRecord, Failure> {
                Ok(FrameRecord { stages: Stages::default(), allocations: Some(0) })
            }
            fn encode_new_prompt(&mut self) -> Result<(), Failure> {
                Ok(())
            }
            fn look_up_prompt(&mut self) -> Result<(), Failure> {
                Ok(())
            }
        }
        let pace = Pace { rate_hz: None, length: Length::Frames(2000) };
        let a_run = || run(&mut Nothing, &SystemClock::new(), pace, Some(ms(1.0)), &Stop::default()).unwrap();
        // The best of many runs, since other programs use this machine too.
        let best = (0..20).map(|_| a_run().elapsed / 2000).min().unwrap();
        println!("the harness takes {best:?} a frame");
        // The tiny model's frame takes some 5 ms on one x86 core.
        assert!(best < Duration::from_micros(50), "{best:?}");
    }
}
