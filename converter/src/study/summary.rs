//! The figures of a study, with intervals by a bootstrap over seeds and patients.

use super::judge::{CaseResult, MaskUse};
use super::{RunResult, StudyConfig, StudyError};
use crate::confound::Set;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;
use std::collections::BTreeMap;

/// A mean and its 95 % interval.
///
/// The percentile bootstrap over seeds and over patients with all of their images; the draws are the same for all arms and sets,
/// so that differences are paired.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Interval {
    pub mean: f64,
    pub low: f64,
    pub high: f64,
}

/// The figures of an arm on one set with one kind of masks.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SetSummary {
    pub set: Set,
    pub masks: MaskUse,
    /// Dice with the prompted lesion.
    pub dice: Interval,
    /// Mean Dice with the other lesions.
    pub other: Option<f64>,
    /// The share of prompts whose mask covers more of the prompted lesion than of the others.
    pub obeyed: Option<f64>,
}

/// The verdict on an arm, by its drop and its clean Dice compared with the baseline's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Baseline,
    /// At least halves the drop, and costs at most half a point of clean Dice.
    Helps,
    /// At least halves the drop, and costs more.
    HelpsAtACost,
    DoesNotHelp,
}

/// An arm over all of its seeds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ArmSummary {
    pub arm: String,
    pub seeds: usize,
    pub theta_steps: u64,
    pub image_passes: u64,
    /// The mean time of a run's training.
    pub seconds: f64,
    pub sets: Vec<SetSummary>,
    /// Dice on the confounded set minus Dice on the reversed one, with the masks as trained.
    pub drop: Interval,
    /// The drop minus the baseline's.
    pub drop_change: Interval,
    /// Dice without marks minus the baseline's.
    pub clean_change: Interval,
    /// The drop of each seed.
    pub drop_by_seed: Vec<f64>,
    pub verdict: Verdict,
}

/// A study's figures.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    pub study: String,
    pub baseline: String,
    pub resamples: usize,
    pub arms: Vec<ArmSummary>,
}

/// Sums of one patient's Dice.
#[derive(Clone, Copy, Default)]
struct Sums {
    dice: f64,
    count: f64,
}

/// By set and masks, by seed, by patient: all arms have the same patients in the same order.
type Table = BTreeMap<(Set, MaskUse), Vec<Vec<Sums>>>;

/// Summarises the finished runs; arms without one are left out.
///
/// # Errors
/// [`StudyError::NoBaseline`] if no run of the baseline is finished.
pub fn summarise(config: &StudyConfig, results: &[RunResult]) -> Result<Summary, StudyError> {
    let of = |arm: &str| -> Vec<&RunResult> { results.iter().filter(|result| result.arm == arm).collect() };
    let baseline = of(&config.baseline);
    if baseline.is_empty() {
        return Err(StudyError::NoBaseline(config.baseline.clone()));
    }
    let mut arms = Vec::new();
    for arm in &config.arms {
        let runs = of(&arm.name);
        if !runs.is_empty() {
            arms.push(summarise_arm(&arm.name, &runs, &baseline, config));
        }
    }
    Ok(Summary { study: config.name.clone(), baseline: config.baseline.clone(), resamples: config.resamples, arms })
}

fn summarise_arm(name: &str, runs: &[&RunResult], baseline: &[&RunResult], config: &StudyConfig) -> ArmSummary {
    let own = table(runs);
    // Only seeds that both have are compared.
    let shared: Vec<(&RunResult, &RunResult)> = runs
        .iter()
        .filter_map(|run| baseline.iter().find(|other| other.seed == run.seed).map(|other| (*run, *other)))
        .collect();
    let [paired, paired_baseline] = [
        table(&shared.iter().map(|pair| pair.0).collect::<Vec<_>>()),
        table(&shared.iter().map(|pair| pair.1).collect::<Vec<_>>()),
    ];
    let learned = |set| (set, MaskUse::Learned);
    let drop_of = |table: &Table, draw: &Draw| {
        mean(table, learned(Set::Confounded), draw) - mean(table, learned(Set::Reversed), draw)
    };
    let clean_of = |table: &Table, draw: &Draw| mean(table, learned(Set::Unmarked), draw);
    let resamples = config.resamples;
    let drop = interval(&own, resamples, &|draw| drop_of(&own, draw));
    let drop_change = interval(&paired, resamples, &|draw| drop_of(&paired, draw) - drop_of(&paired_baseline, draw));
    let clean_change = interval(&paired, resamples, &|draw| clean_of(&paired, draw) - clean_of(&paired_baseline, draw));
    let baseline_drop = drop.mean - drop_change.mean;
    let sets = own.keys().map(|key| {
        let cases: Vec<&CaseResult> = runs
            .iter()
            .flat_map(|run| run.sets.iter().filter(|set| (set.set, set.masks) == *key))
            .flat_map(|set| &set.cases)
            .collect();
        let others: Vec<(f64, f64)> = cases.iter().filter_map(|case| Some((case.dice, case.other?))).collect();
        let share = |total: f64| (!others.is_empty()).then(|| total / others.len() as f64);
        SetSummary {
            set: key.0,
            masks: key.1,
            dice: interval(&own, resamples, &|draw| mean(&own, *key, draw)),
            other: share(others.iter().map(|(_, other)| other).sum()),
            obeyed: share(others.iter().filter(|(dice, other)| dice > other).count() as f64),
        }
    });
    let by_seed = |seed: usize| {
        let draw = Draw { seeds: vec![seed], patients: (0..patients(&own)).collect() };
        drop_of(&own, &draw)
    };
    ArmSummary {
        arm: name.into(),
        seeds: runs.len(),
        theta_steps: runs[0].theta_steps,
        image_passes: runs[0].image_passes,
        seconds: runs.iter().map(|run| run.seconds).sum::<f64>() / runs.len() as f64,
        sets: sets.collect(),
        drop,
        drop_change,
        clean_change,
        drop_by_seed: (0..runs.len()).map(by_seed).collect(),
        verdict: verdict(name == config.baseline, drop.mean, baseline_drop, clean_change.mean),
    }
}

/// Whether at least half of the baseline's drop is gone, at a cost of at most half a point of clean Dice.
fn verdict(is_baseline: bool, drop: f64, baseline: f64, clean_change: f64) -> Verdict {
    const MOST_COST: f64 = 0.005;
    match () {
        () if is_baseline => Verdict::Baseline,
        () if drop > 0.5 * baseline => Verdict::DoesNotHelp,
        () if clean_change < -MOST_COST => Verdict::HelpsAtACost,
        () => Verdict::Helps,
    }
}

fn table(runs: &[&RunResult]) -> Table {
    let mut table = Table::new();
    let mut numbers: BTreeMap<&str, usize> = BTreeMap::new();
    let all = runs.iter().flat_map(|run| &run.sets).flat_map(|set| &set.cases);
    all.for_each(|case| {
        numbers.insert(&case.patient, 0);
    });
    numbers.values_mut().enumerate().for_each(|(number, place)| *place = number);
    for (seed, run) in runs.iter().enumerate() {
        for set in &run.sets {
            let seeds = table.entry((set.set, set.masks)).or_default();
            seeds.resize(seed + 1, vec![Sums::default(); numbers.len()]);
            for case in &set.cases {
                let sums = &mut seeds[seed][numbers[case.patient.as_str()]];
                sums.dice += case.dice;
                sums.count += 1.0;
            }
        }
    }
    table
}

/// How often each seed and patient counts.
struct Draw {
    seeds: Vec<usize>,
    patients: Vec<usize>,
}

fn patients(table: &Table) -> usize {
    table.values().next().and_then(|seeds| seeds.first()).map_or(0, Vec::len)
}

fn mean(table: &Table, key: (Set, MaskUse), draw: &Draw) -> f64 {
    let Some(seeds) = table.get(&key) else { return 0.0 };
    let mut sums = Sums::default();
    for seed in draw.seeds.iter().filter_map(|seed| seeds.get(*seed)) {
        for patient in draw.patients.iter().filter_map(|patient| seed.get(*patient)) {
            sums.dice += patient.dice;
            sums.count += patient.count;
        }
    }
    if sums.count > 0.0 { sums.dice / sums.count } else { 0.0 }
}

fn interval(table: &Table, resamples: usize, figure: &dyn Fn(&Draw) -> f64) -> Interval {
    let (seeds, patients) = (table.values().next().map_or(0, Vec::len), patients(table));
    let all = Draw { seeds: (0..seeds).collect(), patients: (0..patients).collect() };
    let mean = figure(&all);
    if seeds == 0 || patients == 0 || resamples == 0 {
        return Interval { mean, low: mean, high: mean };
    }
    // One seed for all figures, so that they use the same draws.
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let mut draw = |count: usize| (0..count).map(|_| rng.random_range(0..count)).collect::<Vec<_>>();
    let mut figures: Vec<f64> =
        (0..resamples).map(|_| figure(&Draw { seeds: draw(seeds), patients: draw(patients) })).collect();
    figures.sort_unstable_by(f64::total_cmp);
    let at = |part: f64| figures[((resamples - 1) as f64 * part).round() as usize];
    Interval { mean, low: at(0.025), high: at(0.975) }
}

#[cfg(test)]
mod tests {
    use super::super::SetResults;
    use super::super::config::tests::STUDY;
    use super::*;

    /// `dice` on the confounded and on the reversed set, and without marks; patients vary a little.
    fn run(arm: &str, seed: u64, dice: [f64; 3]) -> RunResult {
        let cases = |dice: f64| -> Vec<CaseResult> {
            (0..10)
                .map(|patient| CaseResult {
                    image: patient.to_string(),
                    patient: format!("p{}", patient / 2),
                    dice: dice + 0.01 * (f64::from(patient) - 4.5),
                    other: Some(0.3),
                })
                .collect()
        };
        let sets = [Set::Confounded, Set::Reversed, Set::Unmarked].into_iter().zip(dice);
        let sets = sets.map(|(set, dice)| SetResults { set, masks: MaskUse::Learned, cases: cases(dice) }).collect();
        RunResult { arm: arm.into(), seed, theta_steps: 1, image_passes: 1, seconds: 1.0, epochs: Vec::new(), sets }
    }

    #[test]
    fn drops_are_paired_and_judged_by_the_rule() {
        let config: StudyConfig = toml::from_str(STUDY).unwrap();
        let arm = |confounded: f64, reversed: f64, clean: f64| {
            let mut results: Vec<RunResult> =
                (1..=2).map(|seed| run("no module", seed, [0.8 + 0.02 * seed as f64, 0.4, 0.7])).collect();
            results
                .extend((1..=2).map(|seed| run("the game", seed, [confounded + 0.02 * seed as f64, reversed, clean])));
            summarise(&config, &results).unwrap().arms
        };
        let arms = arm(0.8, 0.4, 0.7);
        assert!((arms[0].drop.mean - 0.43).abs() < 1e-9 && arms[0].verdict == Verdict::Baseline);
        assert!((arms[0].drop_by_seed[1] - 0.44).abs() < 1e-9);
        // The same in every seed and patient: no draw differs.
        let change = arms[1].drop_change;
        assert!(change.mean.abs() < 1e-9 && change.low.abs() < 1e-9 && change.high.abs() < 1e-9);
        assert_eq!(arms[1].verdict, Verdict::DoesNotHelp);
        assert!(arms[1].drop.low < arms[1].drop.mean && arms[1].drop.mean < arms[1].drop.high);
        assert_eq!(arm(0.8, 0.65, 0.7)[1].verdict, Verdict::Helps);
        assert_eq!(arm(0.8, 0.65, 0.69)[1].verdict, Verdict::HelpsAtACost);
        let reversed = arms[0].sets.iter().find(|set| set.set == Set::Reversed).unwrap();
        assert_eq!(reversed.obeyed, Some(1.0));
        assert!(reversed.other.is_some_and(|other| (other - 0.3).abs() < 1e-9));
        assert!((reversed.dice.mean - 0.4).abs() < 1e-9 && reversed.dice.low < 0.4 && reversed.dice.high > 0.4);
    }

    #[test]
    fn nothing_is_compared_with_nothing() {
        let config: StudyConfig = toml::from_str(STUDY).unwrap();
        let only = [run("the game", 1, [0.5; 3])];
        assert!(matches!(summarise(&config, &only), Err(StudyError::NoBaseline(_))));
    }
}
