//! `causalclipseg stream`: segments frames as they come, with results as lines or as a summary; and the soak test.

mod ending;
mod feed;
mod play;
mod reader;
mod soak;

use super::Failure;
use super::device::DeviceArguments;
use super::interrupts::Interrupts;
use super::model_source::{self, ModelSource};
use causalclipseg::frame::Region;
use causalclipseg::io::source::RawFormat;
use causalclipseg::kernels::MAX_THREADS;
use causalclipseg::mask::{Measurements, Quality};
use causalclipseg::stream::{Backlog, DegradePolicy, Level, Statistics, Stream, StreamEvent, StreamOptions, Summary};
use causalclipseg::{Model, ModelOptions, SessionOptions};
use clap::ValueEnum;
use ending::Endings;
pub(super) use feed::{Feed, Repeat};
use play::Play;
#[cfg(feature = "view")]
pub(super) use reader::Next;
pub(super) use reader::Reader;
use serde::Serialize;
use soak::{Soak, SoakReport};
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// A folder, a DICOM clip, a `.mha`, a picture, `-` for raw frames on standard input, or igtl://HOST:PORT for the images of
    /// an OpenIGTLink server; optional with --soak
    #[arg(value_name = "SOURCE", required_unless_present = "soak")]
    input: Option<PathBuf>,
    /// Prompt, a sentence that describes the lesion; several prompts share one pass over each frame
    #[arg(short, long = "prompt", required = true, value_name = "PROMPT")]
    prompts: Vec<String>,
    #[command(flatten)]
    source: ModelSource,
    #[command(flatten)]
    device: DeviceArguments,
    /// Bundle to switch to while the deadline is missed: one with a smaller input
    #[arg(long, value_name = "BUNDLE")]
    fallback: Vec<PathBuf>,
    /// Play the source at this rate, and drop all but the newest frame; without this and --live every frame is
    /// segmented, in order
    #[arg(long, value_name = "HZ", value_parser = rate)]
    rate: Option<f64>,
    /// Drop all but the newest frame at the source's own pace: standard input as frames come, a file by its frames'
    /// times
    #[arg(long, conflicts_with_all = ["rate", "soak"])]
    live: bool,
    /// Time from a frame to its result; a frame that takes longer is late
    #[arg(long, value_name = "MS", value_parser = milliseconds)]
    deadline_ms: Option<f64>,
    /// Reduction to apply while the deadline is missed
    #[arg(long, value_enum, default_value = "off", requires = "deadline_ms")]
    degrade: Degrade,
    /// Probability above which a pixel is lesion [default: the model's]
    #[arg(long, value_parser = super::threshold)]
    threshold: Option<f32>,
    /// Share of each pixel's probability that comes from the frames before
    #[arg(long, default_value = "0", value_parser = share, value_name = "SHARE")]
    smoothing: f32,
    /// Region of each frame that the network sees, in pixels [default: the source's]
    #[arg(long, value_name = "X,Y,WIDTH,HEIGHT", value_parser = region)]
    region: Option<Region>,
    #[arg(long, value_name = "WxH:FORMAT[/STRIDE][@HZ]", help = super::raw_help())]
    raw: Option<RawFormat>,
    /// Threads that share the work on one frame; results do not depend on it
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=MAX_THREADS as i64))]
    threads: u16,
    /// Output format: a summary for people or for programs, or a JSON line for every frame and prompt with a summary
    /// after them
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
    /// Play the source, or synthetic frames, repeatedly for so long, and compare memory, file handles and latency at
    /// start and end
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    soak: Option<f64>,
    /// End after N frames
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    frames: Option<u64>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Degrade {
    Off,
    /// Segment fewer frames
    Rate,
    /// Switch to the fallback bundles
    Size,
    /// Both, as needed
    Full,
}

impl Degrade {
    pub(crate) fn policy(self) -> DegradePolicy {
        DegradePolicy::OFF
            .with_lower_rate(matches!(self, Self::Rate | Self::Full))
            .with_smaller_input(matches!(self, Self::Size | Self::Full))
    }
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    Table,
    Json,
    Jsonl,
}

/// One frame under one prompt, as a line of JSON.
#[derive(Serialize)]
struct FrameLine<'a> {
    sequence: u64,
    timestamp_us: u64,
    prompt: &'a str,
    #[serde(flatten)]
    measurements: &'a Measurements,
    quality: Option<&'a Quality>,
    latency_ms: f64,
    late: bool,
    level: Level,
}

/// The report of a complete run.
#[derive(Serialize)]
struct Report<'a> {
    source: String,
    /// `end_of_source`, `limit`, `signal`, `reader_gone`, `output_failed` or `failed`.
    ended: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    model: &'a str,
    prompts: &'a [String],
    seconds: f64,
    /// Frames with a result per second.
    fps: f64,
    #[serde(flatten)]
    statistics: Statistics,
    soak: Option<SoakReport>,
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let endings = Arc::new(Endings::new(Interrupts::listen()?));
    let options = ModelOptions::default().with_threads(usize::from(arguments.threads));
    let options = arguments.device.options(options)?;
    let mut models = vec![Arc::new(Model::from_file(arguments.source.open()?, options.clone())?)];
    for path in &arguments.fallback {
        models.push(Arc::new(Model::from_file(model_source::open(Some(path))?, options.clone())?));
    }
    if arguments.degrade == Degrade::Size && models.len() == 1 {
        return Err("--degrade size has no bundle to switch to; pass one with --fallback".into());
    }
    let repeat = if arguments.soak.is_some() { Repeat::Always } else { Repeat::Never };
    let feed = Feed::open(arguments.input.as_deref(), arguments.raw, repeat)?;
    let (source, has_own_pace) = (feed.name(), feed.has_own_pace());
    let soak = Arc::new(Soak::new(arguments.soak));
    let prompts: Vec<&str> = arguments.prompts.iter().map(String::as_str).collect();
    let (watch, lines, output) = (soak.clone(), arguments.format == Format::Jsonl, endings.clone());
    let stream = Stream::start(models.clone(), &prompts, arguments.options(), move |event| {
        if let StreamEvent::Frame(result) = &event {
            watch.note(result.latency);
        }
        tell(&event, lines, &output);
    })?;
    let reader =
        Reader::start(feed).map_err(|error| format!("the thread that reads frames cannot be started: {error}"))?;

    let begun = Instant::now();
    let play = Play { arguments, stream: &stream, soak: &soak, endings: &endings, has_own_pace, begun };
    let ended = play.run(&reader);
    let soaked = soak.finish();
    let statistics = if ended.is_abrupt() { stream.close() } else { stream.finish() };
    // Lines may have failed after the last frame was read.
    let mut ended = if ended.has_output() { endings.found().unwrap_or(ended) } else { ended };
    let seconds = begun.elapsed().as_secs_f64();
    let report = Report {
        source,
        ended: ended.key(),
        reason: ended.reason().map(str::to_string),
        model: &models[0].description().name,
        prompts: &arguments.prompts,
        seconds,
        fps: statistics.processed as f64 / seconds,
        statistics,
        soak: soaked,
    };
    if ended.has_output()
        && let Err(error) = print(&report, arguments.format)?
    {
        ended = error.into();
    }
    if !ended.has_output() {
        // People may still want to read the counts.
        eprintln!("{}", summary_text(&report));
    }
    if let Some(outcome) = ended.outcome() {
        return outcome;
    }
    let grew = report.soak.as_ref().and_then(|soak| soak.growth.as_deref());
    if let Some(what) = grew {
        return Err(format!("the soak found growth: {what}; look for what is kept from frame to frame").into());
    }
    Ok(if report.statistics.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Prints the summary in the requested format; the inner error is standard output's.
fn print(report: &Report<'_>, format: Format) -> Result<io::Result<()>, Failure> {
    let text = match format {
        Format::Table => summary_text(report),
        Format::Json => serde_json::to_string_pretty(report)?,
        Format::Jsonl => serde_json::to_string(report)?,
    };
    Ok(super::write_line(text))
}

fn tell(event: &StreamEvent<'_>, lines: bool, endings: &Endings) {
    match event {
        StreamEvent::Frame(result) if lines && endings.has_output() => {
            for (found, prompt) in result.report.findings.iter().zip(result.prompts) {
                let line = FrameLine {
                    sequence: result.sequence,
                    timestamp_us: result.timestamp_us,
                    prompt: prompt.text(),
                    measurements: found.measurements(),
                    quality: found.quality(),
                    latency_ms: result.latency.as_secs_f64() * 1e3,
                    late: result.late,
                    level: result.level,
                };
                if let Ok(line) = serde_json::to_string(&line)
                    && let Err(error) = super::write_line(line)
                {
                    return endings.note(error);
                }
            }
        }
        StreamEvent::Failed { sequence, reason, .. } => {
            eprintln!("error: frame {sequence}: {}", reason.replace('\n', " "));
        }
        StreamEvent::LevelChanged { to, .. } => {
            let Level { model, every_nth } = to;
            eprintln!("from here on one of {every_nth} frames, by model {}", model + 1);
        }
        StreamEvent::Stopped { reason } => eprintln!("error: the stream stopped: {reason}"),
        _ => {}
    }
}

/// The summary for people.
fn summary_text(report: &Report<'_>) -> String {
    let mut text = tables(&report.statistics, report.fps);
    if let Some(soak) = &report.soak {
        text += &format!("\n{}", soak.table());
    }
    if let Some(reason) = &report.reason {
        text += &format!("\nended early: {reason}");
    }
    text
}

/// Counts and latencies of a stream, for people.
pub(super) fn tables(statistics: &Statistics, fps: f64) -> String {
    let Statistics { submitted, processed, dropped, skipped, failed, late, .. } = statistics;
    let mut counts = super::table();
    counts.set_header(["frames", "results", "dropped", "skipped", "failed", "late", "results a second"]);
    let numbers = [submitted, processed, dropped, skipped, failed, late].map(u64::to_string);
    counts.add_row(numbers.into_iter().chain([format!("{fps:.1}")]));
    let mut times = super::table();
    times.set_header(["ms", "min", "mean", "p50", "p90", "p99", "p99.9", "max"]);
    let mut add = |name: &str, summary: &Summary| {
        let Summary { min, mean, p50, p90, p99, p999, max, .. } = summary;
        let cells = [min, mean, p50, p90, p99, p999, max].map(|ms| format!("{ms:.3}"));
        times.add_row([name.to_string()].into_iter().chain(cells));
    };
    add("from frame to result", &statistics.latency_ms);
    add("of that waiting in the queue", &statistics.queue_ms);
    add("of that the network", &statistics.compute_ms);
    add("of that queue and bookkeeping", &statistics.bookkeeping_ms);
    format!("{counts}\n{times}")
}

impl Arguments {
    fn newest_wins(&self) -> bool {
        self.rate.is_some() || self.live
    }

    fn options(&self) -> StreamOptions {
        let session = SessionOptions::default().with_threshold(self.threshold).with_smoothing(self.smoothing);
        StreamOptions::default()
            .with_deadline(self.deadline_ms.map(|ms| Duration::from_secs_f64(ms / 1e3)))
            .with_backlog(if self.newest_wins() { Backlog::LatestWins } else { Backlog::KeepOrder })
            .with_degrade(self.degrade.policy())
            .with_session(session)
    }
}

pub(super) fn number(text: &str, range: std::ops::RangeInclusive<f64>) -> Result<f64, String> {
    let refuse = || format!("give a number from {} to {}", range.start(), range.end());
    text.parse().ok().filter(|value| range.contains(value)).ok_or_else(refuse)
}

pub(super) fn rate(text: &str) -> Result<f64, String> {
    number(text, 0.001..=100_000.0)
}

pub(super) fn milliseconds(text: &str) -> Result<f64, String> {
    number(text, 0.001..=3_600_000.0)
}

fn seconds(text: &str) -> Result<f64, String> {
    number(text, 0.1..=31_536_000.0)
}

pub(super) fn share(text: &str) -> Result<f32, String> {
    number(text, 0.0..=0.999).map(|value| value as f32)
}

pub(super) fn region(text: &str) -> Result<Region, String> {
    let numbers: Vec<usize> =
        text.split(',').map(|number| number.trim().parse().ok()).collect::<Option<_>>().unwrap_or_default();
    match numbers[..] {
        [x, y, width, height] if width > 0 && height > 0 => Ok(Region { x, y, width, height }),
        _ => Err("give left edge, upper edge, width and height in pixels, as in 100,60,600,480".into()),
    }
}
