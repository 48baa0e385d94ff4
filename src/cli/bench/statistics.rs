//! How far a figure can be trusted: bootstrap intervals over rounds of latencies.
//!
//! Neighbouring frames are alike (one burst of other work slows several), and so are the frames of one process (where
//! its memory happens to lie, how hot the machine was). Drawing single frames would ignore both and give intervals that
//! are too narrow. So complete rounds are drawn and, inside each, blocks of consecutive frames (a block bootstrap).

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

const RESAMPLES: usize = 1000;
/// The share of the resamples that an interval spans.
const COVERAGE: f64 = 0.95;
/// A fixed seed: the same samples give the same interval.
const SEED: u64 = 1;

/// A range from `low` to `high`; in JSON a list of the two.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "[f64; 2]", into = "[f64; 2]")]
pub(super) struct Interval {
    pub low: f64,
    pub high: f64,
}

impl From<[f64; 2]> for Interval {
    fn from([low, high]: [f64; 2]) -> Self {
        Self { low, high }
    }
}

impl From<Interval> for [f64; 2] {
    fn from(interval: Interval) -> Self {
        [interval.low, interval.high]
    }
}

impl Interval {
    pub(crate) fn contains(self, value: f64) -> bool {
        (self.low..=self.high).contains(&value)
    }

    /// Half its width.
    pub(crate) fn radius(self) -> f64 {
        (self.high - self.low) / 2.0
    }
}

pub(super) fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// The middle value, or the mean of the two middle ones; zero for an empty list.
pub(super) fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    median_of(&mut values)
}

fn median_of(values: &mut [f64]) -> f64 {
    let middle = values.len() / 2;
    if values.is_empty() {
        return 0.0;
    }
    let is_even = values.len().is_multiple_of(2);
    let (below, upper, _) = values.select_nth_unstable_by(middle, f64::total_cmp);
    let upper = *upper;
    match below.iter().copied().reduce(f64::max) {
        Some(lower) if is_even => (lower + upper) / 2.0,
        _ => upper,
    }
}

/// The 95 % confidence interval of a statistic of the latencies; `None` with fewer than two latencies.
pub(super) fn interval(rounds: &[Vec<f64>], statistic: fn(&[f64]) -> f64) -> Option<Interval> {
    let estimate = statistic(&rounds.concat());
    let mut rng = ChaCha8Rng::seed_from_u64(SEED);
    let mut drawn = Vec::new();
    let resampled = (0..RESAMPLES).map(|_| resample(rounds, &mut rng, &mut drawn).then(|| statistic(&drawn)));
    let resampled: Vec<f64> = resampled.collect::<Option<_>>()?;
    Some(widened(middle_part(resampled), estimate, rounds.len()))
}

/// The ratio of two medians, new to old, and its 95 % confidence interval.
pub(super) fn ratio_of_medians(new: &[Vec<f64>], old: &[Vec<f64>]) -> Option<(f64, Interval)> {
    let ratio = |new: &[f64], old: &[f64]| Some(median(new) / median(old)).filter(|ratio| ratio.is_finite());
    let estimate = ratio(&new.concat(), &old.concat())?;
    let mut rng = ChaCha8Rng::seed_from_u64(SEED);
    let (mut drawn_new, mut drawn_old) = (Vec::new(), Vec::new());
    let resampled = (0..RESAMPLES).map(|_| {
        let is_drawn = resample(new, &mut rng, &mut drawn_new) && resample(old, &mut rng, &mut drawn_old);
        is_drawn.then(|| ratio(&drawn_new, &drawn_old)).flatten()
    });
    let resampled: Vec<f64> = resampled.collect::<Option<_>>()?;
    Some((estimate, widened(middle_part(resampled), estimate, new.len().min(old.len()))))
}

/// Draws as many rounds as there are and, from each, as many latencies as it has, in blocks of the square root of that
/// number. False where there is nothing to draw from.
fn resample(rounds: &[Vec<f64>], rng: &mut ChaCha8Rng, drawn: &mut Vec<f64>) -> bool {
    drawn.clear();
    if rounds.iter().any(Vec::is_empty) || rounds.iter().map(Vec::len).sum::<usize>() < 2 {
        return false;
    }
    for _ in rounds {
        let Some(round) = rounds.get(rng.random_range(0..rounds.len())) else { return false };
        let stretch = round.len().isqrt().max(1);
        let until = drawn.len() + round.len();
        while drawn.len() < until {
            let start = rng.random_range(0..round.len());
            // Blocks wrap around the end, so that every frame is drawn equally often.
            let frames = round.iter().cycle().skip(start).take(stretch.min(until - drawn.len()));
            drawn.extend(frames);
        }
    }
    true
}

fn middle_part(mut resampled: Vec<f64>) -> Interval {
    resampled.sort_by(f64::total_cmp);
    let at = |share: f64| resampled.get((share * (resampled.len() - 1) as f64).round() as usize).copied();
    let tail = (1.0 - COVERAGE) / 2.0;
    Interval { low: at(tail).unwrap_or(f64::NAN), high: at(1.0 - tail).unwrap_or(f64::NAN) }
}

/// A bootstrap over k groups understates their variance by (k - 1) / k.
fn widened(interval: Interval, estimate: f64, rounds: usize) -> Interval {
    if rounds < 2 {
        return interval;
    }
    let factor = (rounds as f64 / (rounds as f64 - 1.0)).sqrt();
    Interval {
        low: estimate - (estimate - interval.low) * factor,
        high: estimate + (interval.high - estimate) * factor,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A run on a noisy machine: each round is off by some percent, load comes in bursts, and every frame jitters.
    fn noisy_run(seed: u64, rounds: usize, frames: usize, scale: f64) -> Vec<Vec<f64>> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let round = |rng: &mut ChaCha8Rng| {
            let base = scale * 10.0 * (1.0 + rng.random_range(-0.02..0.02));
            let mut burst = 0;
            let frames = (0..frames).map(|_| {
                burst = if rng.random_bool(0.02) { 5 } else { burst - 1 };
                base * (1.0 + rng.random_range(0.0..0.05)) + if burst > 0 { 3.0 } else { 0.0 }
            });
            frames.collect()
        };
        (0..rounds).map(|_| round(&mut rng)).collect()
    }

    #[test]
    fn medians() {
        assert_eq!(median(&[]), 0.0);
        assert_eq!(median(&[3.0]), 3.0);
        assert_eq!(median(&[4.0, 1.0]), 2.5);
        assert_eq!(median(&[9.0, 1.0, 5.0]), 5.0);
        assert_eq!(median(&[9.0, 1.0, 5.0, 2.0]), 3.5);
    }

    #[test]
    fn an_interval_spans_its_statistic_and_narrows_with_frames() {
        let few = noisy_run(1, 3, 20, 1.0);
        let many = noisy_run(1, 3, 2000, 1.0);
        for rounds in [&few, &many] {
            let interval = interval(rounds, median).unwrap();
            assert!(interval.contains(median(&rounds.concat())), "{interval:?}");
        }
        let radius = |rounds: &[Vec<f64>]| interval(&rounds[..1], mean).unwrap().radius();
        assert!(radius(&many) < radius(&few) / 2.0);
        assert_eq!(interval(&few, median), interval(&few, median));
    }

    #[test]
    fn equal_frames_have_an_interval_of_no_width() {
        assert_eq!(interval(&[vec![5.0; 30]], mean), Some(Interval { low: 5.0, high: 5.0 }));
        assert_eq!(interval(&[vec![5.0]], mean), None);
        assert_eq!(interval(&[], mean), None);
        assert_eq!(interval(&[vec![1.0, 2.0], vec![]], mean), None);
    }

    /// Checks the interval's confidence over many pairs of runs of the same configuration.
    #[test]
    fn two_runs_agree_within_the_interval() {
        let pairs = 60;
        let agreed = (0..pairs).filter(|pair| {
            let (first, second) = (noisy_run(2 * pair, 5, 60, 1.0), noisy_run(2 * pair + 1, 5, 60, 1.0));
            let (_, ratio) = ratio_of_medians(&second, &first).unwrap();
            ratio.contains(1.0)
        });
        let agreed = agreed.count();
        assert!(agreed as f64 >= 0.88 * pairs as f64, "{agreed} of {pairs}");
    }

    #[test]
    fn a_real_difference_shows() {
        let (ratio, interval) = ratio_of_medians(&noisy_run(1, 5, 60, 1.2), &noisy_run(2, 5, 60, 1.0)).unwrap();
        assert!((ratio - 1.2).abs() < 0.05 && interval.low > 1.1 && interval.high < 1.3, "{ratio} {interval:?}");
        assert_eq!(ratio_of_medians(&[vec![1.0, 1.0]], &[vec![0.0, 0.0]]), None);
    }
}
