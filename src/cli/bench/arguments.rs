//! The command line of `bench`.

use super::super::device::{PrecisionName, cache_folder};
use super::super::model_source::ModelName;
use super::baseline::Difference;
use super::configuration::{Axes, EngineName};
use super::pace::{Length, Pace};
use super::report::Format;
use super::warm_up::WarmUp;
use causalclipseg::engine::Device;
use causalclipseg::kernels::{Isa, MAX_THREADS};
use causalclipseg::machine::parse_cores;
use std::path::PathBuf;

/// Seconds measured for each configuration where the command line gives no length.
const DEFAULT_SECONDS: f64 = 5.0;
const DEFAULT_LEAST_FRAMES: u64 = 21;
const MOST_SECONDS: f64 = 7.0 * 86_400.0;
const MOST_FRAMES: u64 = 1 << 32;
const MOST_EDGE: usize = 16_384;

#[derive(Debug, clap::Args)]
pub(in super::super) struct Arguments {
    /// Models: bundles, or random:rn101, random:rn50, random:tiny, each optionally with :int8, for full-size networks
    /// with generated weights [default: the model inside this command]
    #[arg(short, long = "model", value_name = "BUNDLE,...", value_delimiter = ',')]
    models: Vec<ModelName>,
    /// Numbers of threads
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_value = "1",
          value_parser = clap::value_parser!(u16).range(1..=MAX_THREADS as i64))]
    threads: Vec<u16>,
    /// Numbers of sessions of the model that run at once, each on its own thread and at the same pace; lengths count for
    /// each
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_value = "1",
          value_parser = clap::value_parser!(u16).range(1..=64))]
    sessions: Vec<u16>,
    /// Side lengths of the network's input in pixels, multiples of 32; a bundle has one size [default: the model's;
    /// 224]
    #[arg(long = "size", value_name = "S,...", value_delimiter = ',', value_parser = size)]
    sizes: Vec<usize>,
    /// Numbers of prompts for each frame
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_value = "1",
          value_parser = clap::value_parser!(u16).range(1..=256))]
    prompts: Vec<u16>,
    /// Devices: cpu, gpu, gpu:N with a number from `inspect`, auto
    #[arg(long = "device", value_name = "DEVICE,...", value_delimiter = ',', default_value = "cpu")]
    devices: Vec<Device>,
    /// Number format for weights and feature maps on a GPU
    #[arg(long, value_enum, default_value = "auto")]
    gpu_precision: PrecisionName,
    /// Folder for a GPU's compiled shaders and measured tiles [default: causalclipseg in the user's cache folder]
    #[arg(long, value_name = "DIR")]
    gpu_cache: Option<PathBuf>,
    /// Engines
    #[arg(long = "engine", value_delimiter = ',', value_enum, default_value = "auto")]
    engines: Vec<EngineName>,
    /// Instruction sets, such as avx2,avx512-vnni [default: the fastest that this CPU has]
    #[arg(long = "isa", value_name = "ISA,...", value_delimiter = ',')]
    isas: Vec<Isa>,
    /// Warm-up frames before the measured ones [default: until the medians of two windows of three frames agree within
    /// 5 %]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(..=1_000_000))]
    warmup: Option<u32>,
    /// Frames to measure for each configuration [default: 5 seconds, and 21 frames at least]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=MOST_FRAMES),
          conflicts_with = "duration")]
    runs: Option<u64>,
    /// Seconds to measure for each configuration
    #[arg(long, value_name = "S", value_parser = seconds)]
    duration: Option<f64>,
    /// Rate at which frames are due; latency counts from when a frame was due [default: back to back]
    #[arg(long, value_name = "HZ", value_parser = rate)]
    rate: Option<f64>,
    /// Latency above which a frame counts as late [default with --rate: until the next frame is due]
    #[arg(long, value_name = "MS", value_parser = positive)]
    deadline_ms: Option<f64>,
    /// Rounds of a measurement, each in a fresh process, interleaved over all configurations
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=1000))]
    rounds: u16,
    /// Width and height of the frames in pixels
    #[arg(long, value_name = "WxH", default_value = "640x480", value_parser = frame)]
    frame: [usize; 2],
    /// Output format
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
    /// Exit with 3 if any p99 exceeds MS
    #[arg(long, value_name = "MS", value_parser = positive)]
    budget_ms: Option<f64>,
    /// Compare with an earlier report in json or jsonl
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,
    /// Compare with a baseline although these differ: the model's file, the version of this program, or the machine and
    /// how it is used (CPU, board, cores, governor, quota)
    #[arg(long, value_name = "WHAT,...", value_delimiter = ',', value_enum, requires = "baseline")]
    across: Vec<Difference>,
    /// Exit with 3 if any median is significantly slower than the baseline's by more than PERCENT
    #[arg(long, value_name = "PERCENT", value_parser = percent, requires = "baseline")]
    max_regression: Option<f64>,
    /// Time every step of the network
    #[arg(long)]
    layers: bool,
    /// Write the stages and steps of a frame as a trace for Perfetto or Chrome's tracing
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Draw histogram and timeline of the latencies (SVG)
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    /// Compare the masks of this folder's images with those of the reference engine in f32
    #[arg(long, value_name = "DIR")]
    check: Option<PathBuf>,
    /// Bundle whose masks are --check's reference [default: the measured one]
    #[arg(long, value_name = "BUNDLE", requires = "check")]
    check_against: Option<PathBuf>,
    /// Seconds to wait before every measurement
    #[arg(long, value_name = "S", default_value = "0", value_parser = seconds_or_none)]
    cooldown: f64,
    /// Cores to run on, such as 0,2 or 4-7
    #[arg(long, value_name = "CORES", value_parser = cores, conflicts_with = "big_cores")]
    affinity: Option<CoreList>,
    /// Run on the fast cores of a machine that has fast and slow ones
    #[arg(long)]
    big_cores: bool,
}

/// Cores in order. (An alias, since clap treats a plain `Vec` as an option with several values.)
pub(super) type CoreList = std::sync::Arc<[usize]>;

/// The measurements to run, and the use of their results.
#[derive(Debug)]
pub(super) struct BenchPlan {
    pub axes: Axes,
    pub warm_up: WarmUp,
    /// The pace of each round.
    pub rounds: Vec<Pace>,
    pub deadline_ms: Option<f64>,
    pub frame: [usize; 2],
    pub format: Format,
    pub budget_ms: Option<f64>,
    pub baseline: Option<PathBuf>,
    pub across: Vec<Difference>,
    pub max_regression_percent: Option<f64>,
    pub layers: bool,
    pub trace: Option<PathBuf>,
    pub plot: Option<PathBuf>,
    pub check: Option<PathBuf>,
    pub check_against: Option<PathBuf>,
    pub cooldown_seconds: f64,
    pub gpu_precision: PrecisionName,
    pub gpu_cache: Option<PathBuf>,
    pub cores: Cores,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Cores {
    Any,
    Big,
    These(Vec<usize>),
}

impl From<Arguments> for BenchPlan {
    fn from(arguments: Arguments) -> Self {
        let rounds = arguments.rounds();
        let numbers = |list: &[u16]| list.iter().copied().map(usize::from).collect();
        let axes = Axes {
            sizes: arguments.sizes,
            threads: numbers(&arguments.threads),
            sessions: numbers(&arguments.sessions),
            prompts: numbers(&arguments.prompts),
            devices: arguments.devices,
            engines: arguments.engines,
            isas: arguments.isas,
            models: if arguments.models.is_empty() { vec![ModelName::Embedded] } else { arguments.models },
        };
        Self {
            axes,
            warm_up: arguments.warmup.map_or(WarmUp::UntilStable, WarmUp::Frames),
            rounds,
            deadline_ms: arguments.deadline_ms.or(arguments.rate.map(|rate| 1e3 / rate)),
            frame: arguments.frame,
            format: arguments.format,
            budget_ms: arguments.budget_ms,
            baseline: arguments.baseline,
            across: arguments.across,
            max_regression_percent: arguments.max_regression,
            layers: arguments.layers,
            trace: arguments.trace,
            plot: arguments.plot,
            check: arguments.check,
            check_against: arguments.check_against,
            cooldown_seconds: arguments.cooldown,
            gpu_precision: arguments.gpu_precision,
            gpu_cache: arguments.gpu_cache.or_else(cache_folder),
            cores: match arguments.affinity {
                Some(cores) => Cores::These(cores.to_vec()),
                None if arguments.big_cores => Cores::Big,
                None => Cores::Any,
            },
        }
    }
}

impl Arguments {
    /// Shares frames or seconds among the rounds.
    fn rounds(&self) -> Vec<Pace> {
        let rounds = u64::from(self.rounds);
        let share = |total: u64, round: u64, rounds: u64| total / rounds + u64::from(round < total % rounds);
        let pace = |length| Pace { rate_hz: self.rate, length };
        match self.runs {
            Some(runs) => {
                // Every round gets at least one frame.
                let rounds = rounds.min(runs);
                (0..rounds).map(|round| pace(Length::Frames(share(runs, round, rounds)))).collect()
            }
            None => {
                let least = if self.duration.is_some() { 1 } else { DEFAULT_LEAST_FRAMES.div_ceil(rounds) };
                let seconds = self.duration.unwrap_or(DEFAULT_SECONDS) / rounds as f64;
                (0..rounds).map(|_| pace(Length::Seconds { seconds, at_least_frames: least })).collect()
            }
        }
    }
}

fn number(text: &str, what: &str, is_good: impl Fn(f64) -> bool) -> Result<f64, String> {
    text.trim().parse().ok().filter(|value| is_good(*value)).ok_or_else(|| format!("give {what}"))
}

fn positive(text: &str) -> Result<f64, String> {
    number(text, "a number of milliseconds above 0", |value| value > 0.0 && value <= MOST_SECONDS * 1e3)
}

fn seconds(text: &str) -> Result<f64, String> {
    number(text, "a number of seconds above 0, up to a week", |value| value > 0.0 && value <= MOST_SECONDS)
}

fn seconds_or_none(text: &str) -> Result<f64, String> {
    number(text, "a number of seconds, up to a week", |value| (0.0..=MOST_SECONDS).contains(&value))
}

fn rate(text: &str) -> Result<f64, String> {
    number(text, "a rate from 0.01 to 10000 Hz", |value| (0.01..=10_000.0).contains(&value))
}

fn percent(text: &str) -> Result<f64, String> {
    number(text, "a percentage from 0 to 1000", |value| (0.0..=1000.0).contains(&value))
}

fn size(text: &str) -> Result<usize, String> {
    let size = text.trim().parse().ok().filter(|size: &usize| (32..=4096).contains(size) && size.is_multiple_of(32));
    size.ok_or_else(|| "give a multiple of 32 from 32 to 4096".into())
}

fn frame(text: &str) -> Result<[usize; 2], String> {
    let edge = |text: &str| text.trim().parse().ok().filter(|edge| (1..=MOST_EDGE).contains(edge));
    let edges = text.split_once(['x', 'X']).and_then(|(width, height)| Some([edge(width)?, edge(height)?]));
    edges.ok_or_else(|| format!("give width and height from 1 to {MOST_EDGE}, such as 640x480"))
}

fn cores(text: &str) -> Result<CoreList, String> {
    parse_cores(text).map(Into::into).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, clap::Parser)]
    struct Alone {
        #[command(flatten)]
        bench: Arguments,
    }

    fn plan(arguments: &[&str]) -> BenchPlan {
        Alone::try_parse_from([&["bench"], arguments].concat()).unwrap().bench.into()
    }

    #[test]
    fn nothing_said() {
        let plan = plan(&[]);
        assert_eq!(plan.axes.configurations().len(), 1);
        assert_eq!((plan.warm_up, plan.deadline_ms, &plan.cores), (WarmUp::UntilStable, None, &Cores::Any));
        let Length::Seconds { seconds, at_least_frames } = plan.rounds[0].length else { panic!("{:?}", plan.rounds) };
        assert!((seconds * 3.0 - 5.0).abs() < 1e-9 && at_least_frames == 7 && plan.rounds.len() == 3);
    }

    #[test]
    fn lists_and_lengths() {
        let plan =
            plan(&["-m", "random:rn50,x.ccs", "--threads", "1,2", "--prompts", "1,8", "--runs", "8", "--rate", "25"]);
        assert_eq!(plan.axes.configurations().len(), 8);
        let frames: Vec<Length> = plan.rounds.iter().map(|pace| pace.length).collect();
        assert_eq!(frames, [3, 3, 2].map(Length::Frames));
        assert_eq!((plan.rounds[0].rate_hz, plan.deadline_ms), (Some(25.0), Some(40.0)));
        assert_eq!(self::plan(&["--runs", "2"]).rounds.len(), 2);
        assert_eq!(self::plan(&["--rate", "30", "--deadline-ms", "20"]).deadline_ms, Some(20.0));
        assert_eq!(self::plan(&["--affinity", "1,4-5"]).cores, Cores::These(vec![1, 4, 5]));
        assert_eq!(self::plan(&["--frame", "800X600"]).frame, [800, 600]);
    }

    #[test]
    fn what_cannot_be_meant() {
        for arguments in [
            &["--runs", "0"][..],
            &["--runs", "-3"],
            &["--runs", "5", "--duration", "1"],
            &["--duration", "0"],
            &["--duration", "NaN"],
            &["--duration", "inf"],
            &["--rate", "0"],
            &["--rate", "1e9"],
            &["--threads", "0"],
            &["--threads", "65"],
            &["--sessions", "0"],
            &["--across", "version"],
            &["--baseline", "x.json", "--across", "everything"],
            &["--threads", "1,many"],
            &["--threads", ""],
            &["--prompts", "0"],
            &["--size", "100"],
            &["--size", "0"],
            &["--isa", "mmx"],
            &["--engine", "steam"],
            &["--device", "foo"],
            &["--device", "cpu,gpu:x"],
            &["-m", "random:rn999"],
            &["--frame", "640"],
            &["--frame", "0x5"],
            &["--frame", "99999x1"],
            &["--budget-ms", "-1"],
            &["--max-regression", "5"],
            &["--affinity", "3-1"],
            &["--affinity", "1", "--big-cores"],
            &["--check-against", "x.ccs"],
            &["--rounds", "0"],
            &["--cooldown", "-1"],
            &["--format", "xml"],
        ] {
            assert!(Alone::try_parse_from([&["bench"], arguments].concat()).is_err(), "{arguments:?}");
        }
    }
}
