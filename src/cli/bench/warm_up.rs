//! Detects when a model is warm: caches, page tables, clock frequency and thread pools have settled.

use super::super::Failure;
use super::clock::{Clock, Stop};
use super::workload::Workload;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The number of frames in each of the two windows that are compared.
const WINDOW: usize = 3;
/// The largest relative difference between the two windows' medians that counts as stable.
const TOLERANCE: f64 = 0.05;
/// The longest warm-up, in seconds: more does not make a loaded machine quiet.
const MOST_SECONDS: f64 = 10.0;
const LEAST_FRAMES: u32 = 3;

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum WarmUp {
    Frames(u32),
    /// Runs until the median of three frames is within 5 % of that of the three before, or 10 seconds are over.
    UntilStable,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Warmed {
    pub frames: u32,
    /// Whether the times became stable; `None` where the number of frames was given.
    pub stable: Option<bool>,
}

pub(super) fn run(
    workload: &mut impl Workload,
    clock: &impl Clock,
    rule: WarmUp,
    stop: &Stop,
) -> Result<Warmed, Failure> {
    let begun = clock.now();
    let mut recent: Vec<Duration> = Vec::new();
    let mut frames = 0;
    loop {
        let elapsed = clock.now().saturating_sub(begun).as_secs_f64();
        let stable = match rule {
            WarmUp::Frames(_) => None,
            WarmUp::UntilStable => Some(is_stable(&recent)),
        };
        let is_over = match rule {
            WarmUp::Frames(wanted) => frames >= wanted,
            WarmUp::UntilStable => stable == Some(true) || frames >= LEAST_FRAMES && elapsed >= MOST_SECONDS,
        };
        if is_over || stop.is_requested() {
            return Ok(Warmed { frames, stable });
        }
        let start = clock.now();
        workload.run_frame()?;
        recent.push(clock.now().saturating_sub(start));
        if recent.len() > 2 * WINDOW {
            recent.remove(0);
        }
        frames += 1;
    }
}

fn is_stable(recent: &[Duration]) -> bool {
    if recent.len() < 2 * WINDOW {
        return false;
    }
    let median = |window: &[Duration]| {
        let mut window = window.to_vec();
        window.sort_unstable();
        window.get(window.len() / 2).map_or(0.0, Duration::as_secs_f64)
    };
    let (before, last) = recent.split_at(WINDOW);
    let (before, last) = (median(before), median(last));
    (last - before).abs() <= TOLERANCE * before
}

#[cfg(test)]
mod tests {
    use super::super::clock::manual::ManualClock;
    use super::super::workload::synthetic::{Synthetic, image};
    use super::*;

    fn warm(rule: WarmUp, ms_of: impl FnMut(u64) -> f64) -> Warmed {
        let clock = ManualClock::default();
        let mut ms_of = ms_of;
        let mut workload = Synthetic::new(&clock, |frame| image(ms_of(frame)));
        run(&mut workload, &clock, rule, &Stop::default()).unwrap()
    }

    #[test]
    fn the_rule_is_the_stated_one() {
        assert_eq!(warm(WarmUp::UntilStable, |_| 10.0), Warmed { frames: 6, stable: Some(true) });
        // 100, 50, 33, 25, 20: the windows agree once three frames of 20 stand beside three others.
        let falling = |frame: u64| (100.0 / (frame + 1) as f64).max(20.0);
        assert_eq!(warm(WarmUp::UntilStable, falling), Warmed { frames: 9, stable: Some(true) });
        // One stray frame in each window does not matter.
        let strays = |frame: u64| if frame % 3 == 1 { 50.0 } else { 10.0 };
        assert_eq!(warm(WarmUp::UntilStable, strays), Warmed { frames: 6, stable: Some(true) });
    }

    #[test]
    fn it_gives_up_and_says_so() {
        let growing = |frame: u64| 100.0 * 1.2f64.powi(frame as i32);
        let warmed = warm(WarmUp::UntilStable, growing);
        assert_eq!(warmed.stable, Some(false));
        assert!((15..20).contains(&warmed.frames), "{warmed:?}");
        assert_eq!(warm(WarmUp::UntilStable, |_| 20_000.0), Warmed { frames: 3, stable: Some(false) });
    }

    #[test]
    fn a_number_is_a_number() {
        assert_eq!(warm(WarmUp::Frames(0), |_| 10.0), Warmed { frames: 0, stable: None });
        assert_eq!(warm(WarmUp::Frames(4), |frame| frame as f64), Warmed { frames: 4, stable: None });
    }
}
