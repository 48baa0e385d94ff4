//! `causalclipseg stream`: frames as they come, results as lines or as a summary; and the soak.

mod feed;
mod soak;

use super::Failure;
use super::device::DeviceArguments;
use super::model_source::{self, ModelSource};
use causalclipseg::frame::Region;
use causalclipseg::io::source::{FrameBuffer, RawFormat};
use causalclipseg::mask::{Measurements, Quality};
use causalclipseg::stream::{
    Backlog, DegradePolicy, Level, Statistics, Stream, StreamEvent, StreamOptions, Submission, Summary,
};
use causalclipseg::{Model, ModelOptions, SessionOptions};
use clap::ValueEnum;
use feed::Feed;
use serde::Serialize;
use soak::{Soak, SoakReport};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// A folder, a DICOM clip, a `.mha`, a picture, or `-` for raw frames on standard input; a soak can do without
    #[arg(value_name = "SOURCE", required_unless_present = "soak")]
    input: Option<PathBuf>,
    /// What to look for, as a sentence; several share one pass over each frame
    #[arg(short, long = "prompt", required = true, value_name = "PROMPT")]
    prompts: Vec<String>,
    #[command(flatten)]
    source: ModelSource,
    #[command(flatten)]
    device: DeviceArguments,
    /// Bundle to switch to while the deadline is missed: one with a smaller input
    #[arg(long, value_name = "BUNDLE")]
    fallback: Vec<PathBuf>,
    /// Play the source at this rate, and let the newest frame win; without it every frame is segmented, in order
    #[arg(long, value_name = "HZ", value_parser = rate)]
    rate: Option<f64>,
    /// Time from a frame to its result; what takes longer is late
    #[arg(long, value_name = "MS", value_parser = milliseconds)]
    deadline_ms: Option<f64>,
    /// What may be given up while the deadline is missed
    #[arg(long, value_enum, default_value = "off", requires = "deadline_ms")]
    degrade: Degrade,
    /// Probability above which a pixel is lesion [default: the model's]
    #[arg(long, value_parser = super::threshold)]
    threshold: Option<f32>,
    /// Share of each pixel's probability that comes from the frames before
    #[arg(long, default_value = "0", value_parser = share, value_name = "SHARE")]
    smoothing: f32,
    /// What the network sees of each frame, in pixels [default: as the source says]
    #[arg(long, value_name = "X,Y,WIDTH,HEIGHT", value_parser = region)]
    region: Option<Region>,
    /// What the frames on standard input are, as in 640x480:gray8@30
    #[arg(long, value_name = "FORMAT")]
    raw: Option<RawFormat>,
    /// Threads that share the work on one frame; results do not depend on it
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: u16,
    /// A summary for people or for programs, or a JSON line for every frame and prompt with a summary after them
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
    /// Play the source, or synthetic frames, over and over for so long, and compare memory, file handles and latency at
    /// start and end
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    soak: Option<f64>,
    /// End after so many frames
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
    /// Whatever helps
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

/// The whole run.
#[derive(Serialize)]
struct Report<'a> {
    source: String,
    model: &'a str,
    prompts: &'a [String],
    seconds: f64,
    /// Frames with a result, each second.
    fps: f64,
    #[serde(flatten)]
    statistics: Statistics,
    soak: Option<SoakReport>,
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let options = ModelOptions::default().with_threads(usize::from(arguments.threads));
    let options = arguments.device.options(options)?;
    let mut models = vec![Arc::new(Model::from_file(arguments.source.open()?, options.clone())?)];
    for path in &arguments.fallback {
        models.push(Arc::new(Model::from_file(model_source::open(Some(path))?, options.clone())?));
    }
    if arguments.degrade == Degrade::Size && models.len() == 1 {
        return Err("--degrade size has no bundle to switch to; pass one with --fallback".into());
    }
    let mut feed = Feed::open(arguments.input.as_deref(), arguments.raw, arguments.soak.is_some())?;
    let soak = Arc::new(Soak::new(arguments.soak));
    let prompts: Vec<&str> = arguments.prompts.iter().map(String::as_str).collect();
    let (watch, lines) = (soak.clone(), arguments.format == Format::Jsonl);
    let stream = Stream::start(models.clone(), &prompts, arguments.options(), move |event| {
        if let StreamEvent::Frame(result) = &event {
            watch.note(result.latency);
        }
        tell(&event, lines);
    })?;

    let begun = Instant::now();
    let fed = play(arguments, &mut feed, &stream, &soak);
    let soaked = soak.finish();
    let statistics = stream.finish();
    fed?;
    let seconds = begun.elapsed().as_secs_f64();
    let report = Report {
        source: feed.name().clone(),
        model: &models[0].description().name,
        prompts: &arguments.prompts,
        seconds,
        fps: statistics.processed as f64 / seconds,
        statistics,
        soak: soaked,
    };
    match arguments.format {
        Format::Table => say_tables(&report)?,
        Format::Json => super::say(serde_json::to_string_pretty(&report)?)?,
        Format::Jsonl => super::say(serde_json::to_string(&report)?)?,
    }
    let grew = report.soak.as_ref().and_then(|soak| soak.growth.as_deref());
    if let Some(what) = grew {
        return Err(format!("the soak found growth: {what}; look for what is kept from frame to frame").into());
    }
    Ok(if report.statistics.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Submits frames until the source, or the time, is over.
fn play(arguments: &Arguments, feed: &mut Feed, stream: &Stream, soak: &Soak) -> Result<(), Failure> {
    let begun = Instant::now();
    let mut buffer = FrameBuffer::default();
    let limit = arguments.frames.unwrap_or(u64::MAX);
    for number in 0..limit {
        if soak.is_over() || !feed.next(&mut buffer)? {
            break;
        }
        let mut frame = buffer.frame()?;
        if let Some(region) = arguments.region {
            frame = frame.with_region(region)?;
        }
        // From a source without timestamps: when the frame was played.
        let timestamp_us = match buffer.timestamp_s {
            Some(seconds) => (seconds.max(0.0) * 1e6) as u64,
            None => begun.elapsed().as_micros() as u64,
        };
        match arguments.rate {
            Some(hz) => {
                let due = Duration::from_secs_f64(number as f64 / hz);
                std::thread::sleep(due.saturating_sub(begun.elapsed()));
                stream.submit(&frame, timestamp_us)?;
            }
            None => while stream.submit_wait(&frame, timestamp_us, Duration::from_secs(1))? == Submission::Full {},
        }
        soak.observe();
    }
    Ok(())
}

fn tell(event: &StreamEvent<'_>, lines: bool) {
    match event {
        StreamEvent::Frame(result) if lines => {
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
                // A reader who has seen enough ends nothing: the summary comes on the same way.
                if let Ok(line) = serde_json::to_string(&line) {
                    let _ = super::say(line);
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

fn say_tables(report: &Report<'_>) -> Result<(), Failure> {
    super::say(tables(&report.statistics, report.fps))?;
    match &report.soak {
        Some(soak) => super::say(soak.table()),
        None => Ok(()),
    }
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
    fn options(&self) -> StreamOptions {
        let session = SessionOptions::default().with_threshold(self.threshold).with_smoothing(self.smoothing);
        StreamOptions::default()
            .with_deadline(self.deadline_ms.map(|ms| Duration::from_secs_f64(ms / 1e3)))
            .with_backlog(if self.rate.is_some() { Backlog::LatestWins } else { Backlog::KeepOrder })
            .with_degrade(self.degrade.policy())
            .with_session(session)
    }
}

pub(super) fn number(text: &str, range: std::ops::RangeInclusive<f64>) -> Result<f64, String> {
    let refuse = || format!("give a number from {} to {}", range.start(), range.end());
    text.parse().ok().filter(|value| range.contains(value)).ok_or_else(refuse)
}

fn rate(text: &str) -> Result<f64, String> {
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
