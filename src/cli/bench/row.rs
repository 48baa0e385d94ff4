//! One line of the report: everything that is known about one configuration. Its JSON keys are a contract, specified in
//! docs/bench.schema.json.

use super::baseline::Comparison;
use super::configuration::{ComputeDevice, Configuration};
use super::gpu::GpuFacts;
use super::job::{Agreement, Outcome};
use super::layers::LayerTime;
use super::statistics::{Interval, interval, mean, median};
use super::warm_up::Warmed;
use super::workload::Stages;
use causalclipseg::bundle::Precision;
use causalclipseg::stream::{Histogram, Summary};
use serde::Serialize;
use std::time::Duration;

/// The number of a round's latencies that a row keeps one by one.
const MOST_SAMPLES: usize = 2000;

/// The values that are the same for all rows of a report.
#[derive(Clone, Debug)]
pub(super) struct Context {
    pub version: &'static str,
    pub commit: Option<&'static str>,
    pub cpu: Option<String>,
    pub board: Option<String>,
    pub available_cores: Option<usize>,
    /// The CPU time that control groups allow, in cores.
    pub cpu_quota_cores: Option<f64>,
    /// The memory that control groups allow.
    pub memory_limit_bytes: Option<u64>,
    pub frame: [usize; 2],
    pub rate_hz: Option<f64>,
    pub deadline_ms: Option<f64>,
}

/// The numbers of a configuration.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counts {
    pub threads: usize,
    pub sessions: usize,
    pub prompts: usize,
}

impl Counts {
    pub(crate) fn of(configuration: &Configuration) -> Self {
        let Configuration { threads, sessions, prompts, .. } = *configuration;
        Self { threads, sessions, prompts }
    }
}

/// A figure before the first measured frame and after the last.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct BeforeAfter {
    pub before: Option<f64>,
    pub after: Option<f64>,
}

/// The 95 % confidence intervals of the mean and the median.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Intervals {
    pub mean: Option<Interval>,
    pub p50: Option<Interval>,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Row {
    pub model: String,
    pub edition: String,
    pub precision: Precision,
    /// False for generated weights, whose masks mean nothing.
    pub trained: bool,
    pub size: usize,
    pub threads: usize,
    /// Sessions of the model that ran at once.
    pub sessions: usize,
    pub prompts: usize,
    pub device: ComputeDevice,
    pub engine: String,
    pub isa: String,
    pub model_sha256: String,
    pub version: &'static str,
    pub commit: Option<&'static str>,
    pub cpu: Option<String>,
    pub board: Option<String>,
    pub available_cores: Option<usize>,
    /// The CPU time that control groups allow, in cores; `None`: no limit, or unknown.
    pub cpu_quota_cores: Option<f64>,
    /// The memory that control groups allow; `None`: no limit, or unknown.
    pub memory_limit_bytes: Option<u64>,
    /// The cores that the process was pinned to, if any.
    pub affinity: Option<String>,
    pub governor: Option<String>,
    pub frequency_mhz: BeforeAfter,
    pub temperature_c: BeforeAfter,
    /// Width and height, in pixels.
    pub frame: [usize; 2],
    pub rate_hz: Option<f64>,
    pub deadline_ms: Option<f64>,
    pub rounds: usize,
    pub warm_up: Warmed,
    /// The number of measured frames.
    pub runs: u64,
    pub latency_ms: Summary,
    pub interval_ms: Intervals,
    pub stages_ms: Stages,
    pub prompt_encode_ms: f64,
    pub prompt_cached_ms: f64,
    pub fps: f64,
    pub gmac: f64,
    pub gmac_per_s: Option<f64>,
    pub peak_gmac_per_s: Option<f64>,
    pub percent_of_peak: Option<f64>,
    pub open_ms: f64,
    pub first_frame_ms: f64,
    pub peak_rss_bytes: Option<u64>,
    pub allocations_per_frame: Option<f64>,
    pub deadline_misses: Option<u64>,
    /// The machine's energy in the measured time over the measured frames.
    pub energy_j_per_frame: Option<f64>,
    /// Where that figure comes from.
    pub energy_source: Option<String>,
    /// Microseconds that the benchmark's own loop adds to a frame.
    pub harness_us: f64,
    pub interrupted: bool,
    /// Facts about the GPU, where one ran every frame.
    pub gpu: Option<GpuFacts>,
    /// Why the model fell back to the CPU although a GPU was requested.
    pub device_fallback: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub baseline: Option<Comparison>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub check: Option<Agreement>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layers: Option<Vec<LayerTime>>,
    /// Latencies of each round, in order; every n-th where there are too many.
    pub samples_ms: Vec<Vec<f64>>,
}

impl Row {
    /// Summarises the rounds of one configuration; `None` where there are none.
    pub(crate) fn of(counts: Counts, device: ComputeDevice, outcomes: &[Outcome], context: &Context) -> Option<Self> {
        let (first, last) = (outcomes.first()?, outcomes.last()?);
        let all = |figure: fn(&Outcome) -> f64| outcomes.iter().map(figure).collect::<Vec<f64>>();
        let known = |figure: fn(&Outcome) -> Option<u64>| outcomes.iter().map(figure).collect::<Option<Vec<u64>>>();
        let runs: u64 = outcomes.iter().map(|outcome| outcome.frames).sum();
        let mut stages_ms = Stages::default();
        outcomes.iter().for_each(|outcome| stages_ms += outcome.stages_ms / (runs as f64 / outcome.frames as f64));
        let samples_ms: Vec<Vec<f64>> = outcomes.iter().map(|o| o.latencies_ns.thinned_ms(MOST_SAMPLES)).collect();
        let network_seconds = (stages_ms.image + stages_ms.head) / 1e3;
        let Counts { threads, sessions, prompts } = counts;
        // All sessions together.
        let gmac_per_s =
            (network_seconds > 0.0 && first.gmac > 0.0).then(|| sessions as f64 * first.gmac / network_seconds);
        let joules = outcomes.iter().map(|outcome| Some(outcome.energy.as_ref()?.joules)).sum::<Option<f64>>();
        let peak_gmac_per_s = outcomes.iter().filter_map(|outcome| outcome.peak_gmac_per_s).reduce(f64::max);
        let Context {
            version,
            commit,
            cpu,
            board,
            available_cores,
            cpu_quota_cores,
            memory_limit_bytes,
            frame,
            rate_hz,
            deadline_ms,
        } = context.clone();
        Some(Self {
            model: first.model.name.clone(),
            edition: first.model.edition.clone(),
            precision: first.model.precision,
            trained: first.model.trained,
            size: first.model.size,
            threads,
            sessions,
            prompts,
            device,
            engine: first.engine.clone(),
            isa: first.isa.clone(),
            model_sha256: first.model.sha256.clone(),
            version,
            commit,
            cpu,
            board,
            available_cores,
            cpu_quota_cores,
            memory_limit_bytes,
            affinity: first.cores.as_deref().map(causalclipseg::machine::format_cores),
            governor: last.after.governor.clone(),
            frequency_mhz: BeforeAfter { before: first.before.frequency_mhz, after: last.after.frequency_mhz },
            temperature_c: BeforeAfter { before: first.before.temperature_c, after: last.after.temperature_c },
            frame,
            rate_hz,
            deadline_ms,
            rounds: outcomes.len(),
            warm_up: Warmed {
                frames: outcomes.iter().map(|outcome| outcome.warm_up.frames).max().unwrap_or(0),
                stable: outcomes.iter().map(|o| o.warm_up.stable).reduce(|a, b| Some(a? && b?)).flatten(),
            },
            runs,
            latency_ms: summary(outcomes),
            interval_ms: Intervals { mean: interval(&samples_ms, mean), p50: interval(&samples_ms, median) },
            stages_ms,
            prompt_encode_ms: median(&all(|outcome| outcome.prompt_encode_ms)),
            prompt_cached_ms: median(&all(|outcome| outcome.prompt_cached_ms)),
            fps: runs as f64 / all(|outcome| outcome.elapsed_seconds).iter().sum::<f64>(),
            gmac: first.gmac,
            gmac_per_s,
            peak_gmac_per_s,
            percent_of_peak: gmac_per_s.zip(peak_gmac_per_s).map(|(rate, peak)| 100.0 * rate / peak),
            open_ms: median(&all(|outcome| outcome.open_ms)),
            first_frame_ms: median(&all(|outcome| outcome.first_frame_ms)),
            peak_rss_bytes: known(|outcome| outcome.peak_rss_bytes).and_then(|all| all.into_iter().max()),
            allocations_per_frame: known(|o| o.allocations).map(|all| all.iter().sum::<u64>() as f64 / runs as f64),
            deadline_misses: known(|outcome| outcome.deadline_misses).map(|all| all.iter().sum()),
            energy_j_per_frame: joules.map(|joules| joules / runs as f64),
            energy_source: first.energy.as_ref().map(|energy| energy.source.clone()),
            harness_us: median(&all(|outcome| outcome.harness_us)),
            interrupted: outcomes.iter().any(|outcome| outcome.interrupted),
            gpu: GpuFacts::of_rounds(outcomes),
            device_fallback: outcomes.iter().find_map(|outcome| outcome.device_fallback.clone()),
            baseline: None,
            check: outcomes.iter().rev().find_map(|outcome| outcome.check.clone()),
            layers: outcomes.iter().rev().find_map(|outcome| outcome.layers.clone()),
            samples_ms,
        })
    }

    /// The configuration in a few words.
    pub(crate) fn label(&self) -> String {
        let Self { model, size, threads, sessions, prompts, engine, .. } = self;
        let precision = super::report::precision(self.precision);
        let plural = super::configuration::plural;
        let untrained = if self.trained { "" } else { " (untrained)" };
        let (thread, prompt) = (plural(*threads, "thread"), plural(*prompts, "prompt"));
        let at_once = if *sessions > 1 { format!(", {sessions} sessions") } else { String::new() };
        format!("{model}{untrained} {precision} {size}, {threads} {thread}, {prompts} {prompt}{at_once}, {engine}")
    }
}

/// Percentiles of all rounds together.
fn summary(outcomes: &[Outcome]) -> Summary {
    let histogram = Histogram::new();
    let latencies = outcomes.iter().flat_map(|outcome| outcome.latencies_ns.values());
    latencies.for_each(|ns| histogram.record(Duration::from_nanos(*ns)));
    histogram.summary()
}

#[cfg(test)]
pub(super) mod example {
    use super::super::job::{Condition, Energy, ModelFacts, Outcome};
    use super::super::samples::Samples;
    use super::*;

    /// A round of latencies in milliseconds.
    pub(crate) fn outcome(latencies_ms: &[f64]) -> Outcome {
        let mut latencies_ns = Samples::new(1 << 20);
        latencies_ms.iter().for_each(|ms| latencies_ns.push((ms * 1e6) as u64));
        let frames = latencies_ms.len() as u64;
        let image = mean(latencies_ms) - 1.0;
        Outcome {
            model: ModelFacts {
                name: "a,b".into(),
                edition: "tiny".into(),
                size: 224,
                precision: Precision::F32,
                trained: false,
                sha256: "00".repeat(32),
            },
            engine: "reference".into(),
            isa: "generic".into(),
            gmac: 1.5,
            open_ms: 30.0,
            first_frame_ms: 20.0,
            prompt_encode_ms: 4.0,
            prompt_cached_ms: 0.02,
            warm_up: Warmed { frames: 6, stable: Some(true) },
            latencies_ns,
            frames,
            stages_ms: Stages { preprocess: 1.0, image, ..Stages::default() },
            elapsed_seconds: latencies_ms.iter().sum::<f64>() / 1e3,
            deadline_misses: Some(2),
            allocations: Some(10 * frames),
            peak_gmac_per_s: Some(200.0),
            peak_rss_bytes: Some(50_000_000),
            harness_us: 0.2,
            energy: Some(Energy { joules: 0.5 * frames as f64, source: "rapl".into() }),
            before: Condition { governor: None, frequency_mhz: Some(2000.0), temperature_c: None },
            after: Condition { governor: None, frequency_mhz: Some(1900.0), temperature_c: None },
            cores: Some(vec![0, 1]),
            gpu: None,
            device_fallback: None,
            layers: None,
            check: None,
            interrupted: false,
            warnings: Vec::new(),
        }
    }

    pub(crate) fn context() -> Context {
        Context {
            version: "0.1.0",
            commit: None,
            cpu: Some("a CPU".into()),
            board: None,
            available_cores: Some(2),
            cpu_quota_cores: None,
            memory_limit_bytes: None,
            frame: [640, 480],
            rate_hz: None,
            deadline_ms: None,
        }
    }

    pub(crate) fn row(rounds: &[&[f64]]) -> Row {
        let outcomes: Vec<Outcome> = rounds.iter().map(|latencies_ms| outcome(latencies_ms)).collect();
        Row::of(ONE, ComputeDevice::Cpu, &outcomes, &context()).unwrap()
    }

    pub(crate) const ONE: Counts = Counts { threads: 1, sessions: 1, prompts: 1 };
}

#[cfg(test)]
mod tests {
    use super::example::{ONE, context, outcome, row};
    use super::*;

    #[test]
    fn rounds_add_up() {
        let row = row(&[&[11.0, 11.0, 11.0], &[21.0]]);
        assert_eq!((row.runs, row.rounds, row.deadline_misses), (4, 2, Some(4)));
        assert_eq!((row.latency_ms.min, row.latency_ms.max, row.latency_ms.mean), (11.0, 21.0, 13.5));
        assert!((row.latency_ms.p50 / 11.0 - 1.0).abs() < 0.004);
        assert_eq!(row.samples_ms, [vec![11.0, 11.0, 11.0], vec![21.0]]);
        // Image stages of 10, 10, 10 and 20 ms: weighed by frames.
        assert!((row.stages_ms.image - 12.5).abs() < 1e-9 && (row.stages_ms.preprocess - 1.0).abs() < 1e-9);
        assert!((row.fps - 4.0 / 0.054).abs() < 1e-9);
        assert!((row.gmac_per_s.unwrap() - 120.0).abs() < 1e-9 && (row.percent_of_peak.unwrap() - 60.0).abs() < 1e-9);
        assert_eq!((row.allocations_per_frame, row.affinity.as_deref()), (Some(10.0), Some("0-1")));
        assert_eq!((row.energy_j_per_frame, row.energy_source.as_deref()), (Some(0.5), Some("rapl")));
        let four = Row::of(Counts { sessions: 4, ..ONE }, ComputeDevice::Cpu, &[outcome(&[11.0])], &context()).unwrap();
        assert_eq!((four.gmac_per_s, four.sessions), (Some(600.0), 4));
        assert_eq!(four.label(), "a,b (untrained) f32 224, 1 thread, 1 prompt, 4 sessions, reference");
        assert_eq!(row.frequency_mhz, BeforeAfter { before: Some(2000.0), after: Some(1900.0) });
        assert_eq!(row.label(), "a,b (untrained) f32 224, 1 thread, 1 prompt, reference");
    }

    #[test]
    fn what_one_round_does_not_know_the_row_does_not_know() {
        let mut silent = outcome(&[5.0, 5.0]);
        (silent.peak_rss_bytes, silent.allocations, silent.deadline_misses) = (None, None, None);
        (silent.peak_gmac_per_s, silent.energy) = (None, None);
        silent.warm_up.stable = Some(false);
        let row = Row::of(ONE, ComputeDevice::Cpu, &[outcome(&[5.0]), silent.clone()], &context()).unwrap();
        assert_eq!((row.peak_rss_bytes, row.allocations_per_frame, row.deadline_misses), (None, None, None));
        assert_eq!((row.warm_up.stable, row.peak_gmac_per_s), (Some(false), Some(200.0)));
        assert_eq!(row.energy_j_per_frame, None);
        let alone = Row::of(ONE, ComputeDevice::Cpu, &[silent], &context()).unwrap();
        assert_eq!((alone.peak_gmac_per_s, alone.percent_of_peak), (None, None));
        let json = serde_json::to_value(&alone).unwrap();
        assert!(json["peak_rss_bytes"].is_null() && json["commit"].is_null());
        assert!(Row::of(ONE, ComputeDevice::Cpu, &[], &context()).is_none());
    }
}
