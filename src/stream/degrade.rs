//! Lowers the load when frames are late: first the rate, if frames wait for each other, then the model, if a single frame takes
//! too long. It changes only what the caller allowed.

use serde::Serialize;
use std::time::Duration;

/// What a stream may lower to keep its deadline.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct DegradePolicy {
    /// Segment only every second, fourth or eighth frame.
    pub lower_rate: bool,
    /// Switch to the next of the stream's models: one with a smaller input.
    pub smaller_input: bool,
    /// The number of frames that are judged together.
    pub window_frames: u32,
    /// The share of late frames, 0 to 1, that is too much.
    pub late_share: f32,
}

impl DegradePolicy {
    /// Late frames are counted only.
    pub const OFF: Self = Self { lower_rate: false, smaller_input: false, window_frames: 32, late_share: 0.1 };
    /// Both measures are allowed.
    pub const FULL: Self = Self { lower_rate: true, smaller_input: true, ..Self::OFF };

    /// See [`Self::lower_rate`].
    pub fn with_lower_rate(self, lower_rate: bool) -> Self {
        Self { lower_rate, ..self }
    }

    /// See [`Self::smaller_input`].
    pub fn with_smaller_input(self, smaller_input: bool) -> Self {
        Self { smaller_input, ..self }
    }

    /// See [`Self::window_frames`].
    pub fn with_window_frames(self, window_frames: u32) -> Self {
        Self { window_frames, ..self }
    }

    /// See [`Self::late_share`].
    pub fn with_late_share(self, late_share: f32) -> Self {
        Self { late_share, ..self }
    }
}

impl Default for DegradePolicy {
    fn default() -> Self {
        Self::OFF
    }
}

/// The model and the rate that a stream runs at now; the default is the best model and every frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Level {
    /// The index of the stream's model that runs; 0 is the best.
    pub model: usize,
    /// One of this many submitted frames is segmented.
    pub every_nth: u32,
}

impl Default for Level {
    fn default() -> Self {
        Self { model: 0, every_nth: 1 }
    }
}

const MAX_EVERY_NTH: u32 = 8;
/// A step back up waits for this many good windows at first, and for twice as many after each step that did not hold.
const FIRST_PATIENCE: u32 = 4;
const MAX_PATIENCE: u32 = 1024;
/// The share of the deadline below which twice the frames fit.
const ROOMY: f64 = 0.45;

/// Watches how late frames are, and decides when to change the level.
pub(super) struct Governor {
    policy: DegradePolicy,
    deadline: Duration,
    models: usize,
    level: Level,
    frames: u32,
    late: u32,
    /// The longest time that the network took in this window.
    longest_compute: Duration,
    compute_too_long: u32,
    good_windows: u32,
    patience: u32,
    /// The last step went up, and it has not held for long yet.
    on_trial: bool,
}

impl Governor {
    pub(crate) fn new(policy: DegradePolicy, deadline: Duration, models: usize) -> Self {
        Self {
            policy,
            deadline,
            models,
            level: Level::default(),
            frames: 0,
            late: 0,
            longest_compute: Duration::ZERO,
            compute_too_long: 0,
            good_windows: 0,
            patience: FIRST_PATIENCE,
            on_trial: false,
        }
    }

    /// Records one frame. Returns the new level if it changes; `latency` counts from submission, `compute` is the network's part
    /// of it.
    pub(crate) fn note(&mut self, latency: Duration, compute: Duration) -> Option<Level> {
        self.frames += 1;
        self.late += u32::from(latency > self.deadline);
        self.compute_too_long += u32::from(compute > self.deadline);
        self.longest_compute = self.longest_compute.max(compute);
        if self.frames < self.policy.window_frames.max(1) {
            return None;
        }
        let next = self.judge();
        (self.frames, self.late, self.compute_too_long, self.longest_compute) = (0, 0, 0, Duration::ZERO);
        if next == self.level {
            return None;
        }
        self.level = next;
        Some(next)
    }

    fn judge(&mut self) -> Level {
        let too_many = |late: u32| f64::from(late) > f64::from(self.frames) * f64::from(self.policy.late_share);
        if too_many(self.late) {
            if self.on_trial {
                self.patience = (self.patience * 2).min(MAX_PATIENCE);
            }
            self.on_trial = false;
            self.good_windows = 0;
            return self.worse(too_many(self.compute_too_long));
        }
        if self.late > 0 {
            self.good_windows = 0;
            return self.level;
        }
        self.good_windows += 1;
        if self.good_windows < self.patience {
            return self.level;
        }
        self.good_windows = 0;
        if self.on_trial {
            self.patience = FIRST_PATIENCE;
        }
        let next = self.better();
        self.on_trial = next != self.level;
        next
    }

    fn worse(&self, compute_too_long: bool) -> Level {
        let Level { model, every_nth } = self.level;
        let smaller =
            (self.policy.smaller_input && model + 1 < self.models).then_some(Level { model: model + 1, ..self.level });
        let slower = (self.policy.lower_rate && every_nth < MAX_EVERY_NTH)
            .then_some(Level { every_nth: every_nth * 2, ..self.level });
        // A lower rate keeps frames from waiting for each other, but does not speed them up.
        let wanted = if compute_too_long { smaller.or(slower) } else { slower.or(smaller) };
        wanted.unwrap_or(self.level)
    }

    fn better(&self) -> Level {
        let Level { model, every_nth } = self.level;
        let roomy = self.longest_compute.as_secs_f64() < self.deadline.as_secs_f64() * ROOMY;
        match (model, every_nth) {
            (_, 2..) if roomy => Level { every_nth: every_nth / 2, ..self.level },
            // The larger model's current time is unknown, so patience limits how often it is tried.
            (1.., _) => Level { model: model - 1, ..self.level },
            _ => self.level,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn governor(policy: DegradePolicy, models: usize) -> Governor {
        Governor::new(DegradePolicy { window_frames: 10, ..policy }, ms(30), models)
    }

    /// Runs whole windows of equal frames, and returns the level after them.
    fn windows(governor: &mut Governor, count: u32, latency_ms: u64, compute_ms: u64) -> Level {
        (0..10 * count).for_each(|_| {
            governor.note(ms(latency_ms), ms(compute_ms));
        });
        governor.level
    }

    #[test]
    fn nothing_gives_way_unasked() {
        let mut governor = governor(DegradePolicy::OFF, 2);
        assert_eq!(windows(&mut governor, 50, 500, 500), Level::default());
    }

    #[test]
    fn frames_that_wait_for_each_other_lower_the_rate() {
        let mut governor = governor(DegradePolicy::FULL, 2);
        assert_eq!(windows(&mut governor, 1, 40, 20), Level { model: 0, every_nth: 2 });
        assert_eq!(windows(&mut governor, 1, 25, 20), Level { model: 0, every_nth: 2 });
        // The rate has an end; after it, the smaller model.
        assert_eq!(windows(&mut governor, 2, 40, 20), Level { model: 0, every_nth: 8 });
        assert_eq!(windows(&mut governor, 1, 40, 20), Level { model: 1, every_nth: 8 });
        assert_eq!(windows(&mut governor, 9, 40, 20), Level { model: 1, every_nth: 8 });
    }

    #[test]
    fn a_network_that_takes_too_long_gives_way_to_a_smaller_one() {
        let mut both = governor(DegradePolicy::FULL, 2);
        assert_eq!(windows(&mut both, 1, 60, 50), Level { model: 1, every_nth: 1 });
        let mut rate_only = governor(DegradePolicy { smaller_input: false, ..DegradePolicy::FULL }, 2);
        assert_eq!(windows(&mut rate_only, 1, 60, 50), Level { model: 0, every_nth: 2 });
        let mut no_other = governor(DegradePolicy { lower_rate: false, ..DegradePolicy::FULL }, 1);
        assert_eq!(windows(&mut no_other, 9, 60, 50), Level::default());
    }

    #[test]
    fn a_few_late_frames_are_borne() {
        let mut governor = governor(DegradePolicy::FULL, 1);
        for frame in 0..100 {
            assert_eq!(governor.note(ms(if frame % 10 == 0 { 90 } else { 10 }), ms(10)), None);
        }
    }

    #[test]
    fn it_comes_back_when_there_is_room() {
        let mut governor = governor(DegradePolicy::FULL, 2);
        windows(&mut governor, 1, 40, 20);
        windows(&mut governor, 1, 60, 50);
        assert_eq!(governor.level, Level { model: 1, every_nth: 2 });
        // 20 ms of 30 are too much for twice the frames, though the larger model may still fit.
        assert_eq!(windows(&mut governor, 16, 20, 20), Level { model: 0, every_nth: 2 });
        assert_eq!(windows(&mut governor, 64, 20, 20), Level { model: 0, every_nth: 2 });
        assert_eq!(windows(&mut governor, 64, 10, 10), Level::default());
    }

    #[test]
    fn a_step_up_that_does_not_hold_is_tried_less_and_less() {
        let mut governor = governor(DegradePolicy::FULL, 2);
        let mut tries = Vec::new();
        windows(&mut governor, 1, 60, 50);
        for window in 0..2000 {
            let before = governor.level.model;
            let ms = if before == 0 { 60 } else { 10 };
            windows(&mut governor, 1, ms, ms);
            if before == 1 && governor.level.model == 0 {
                tries.push(window);
            }
        }
        assert!((5..12).contains(&tries.len()), "{tries:?}");
        assert!(tries.windows(2).all(|pair| pair[1] - pair[0] >= 8));
        let gaps: Vec<i32> = tries.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(gaps.is_sorted(), "{gaps:?}");
    }
}
