//! `causalclipseg igtl`: a node in an OpenIGTLink network.

use super::Failure;
use super::device::DeviceArguments;
use super::model_source::{self, ModelSource};
use super::stream::{Degrade, Format, milliseconds, number, region, share, tables};
use causalclipseg::frame::Region;
use causalclipseg::igtl::{DeviceName, Limits, Node, NodeOptions, NodeStatistics};
use causalclipseg::kernels::MAX_THREADS;
use causalclipseg::stream::StreamOptions;
use causalclipseg::{Model, ModelOptions, SessionOptions};
use serde::Serialize;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// OpenIGTLink's registered port.
const DEFAULT_PORT: u16 = 18944;
/// How often the command checks whether to end.
const LOOK_AROUND: Duration = Duration::from_millis(50);

#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    mode: Mode,
}

#[derive(clap::Subcommand)]
enum Mode {
    /// Connect to a server that sends images, such as PlusServer, and reconnect whenever the connection ends
    Connect {
        /// For example cart.local:18944; the port may be left out
        #[arg(value_name = "HOST:PORT", value_parser = server)]
        server: String,
        /// Also accept programs that receive the results here, such as 3D Slicer
        #[arg(long, value_name = "ADDRESS", value_parser = address)]
        serve: Option<String>,
        #[command(flatten)]
        options: Box<Options>,
    },
    /// Accept programs that send images or only receive results
    Listen {
        /// :PORT on all interfaces, or ADDRESS:PORT on one, such as 127.0.0.1:18944
        #[arg(value_name = "ADDRESS", value_parser = address)]
        address: String,
        #[command(flatten)]
        options: Box<Options>,
    },
}

#[derive(clap::Args)]
struct Options {
    /// Prompt, a sentence that describes the lesion; several prompts share one pass over each frame. STRING messages change it
    #[arg(short, long = "prompt", required = true, value_name = "PROMPT")]
    prompts: Vec<String>,
    #[command(flatten)]
    source: ModelSource,
    #[command(flatten)]
    device: DeviceArguments,
    /// Bundle to switch to while the deadline is missed: one with a smaller input
    #[arg(long, value_name = "BUNDLE")]
    fallback: Vec<PathBuf>,
    /// Time from a frame to its result; a frame that takes longer is late
    #[arg(long, value_name = "MS", value_parser = milliseconds)]
    deadline_ms: Option<f64>,
    /// Reduction to apply while the deadline is missed
    #[arg(long, value_enum, default_value = "off", requires = "deadline_ms")]
    degrade: Degrade,
    /// Probability above which a pixel is lesion [default: the model's]
    #[arg(long, value_parser = share)]
    threshold: Option<f32>,
    /// Share of each pixel's probability that comes from the frames before
    #[arg(long, default_value = "0", value_parser = share, value_name = "SHARE")]
    smoothing: f32,
    /// Region of each frame that the network sees, in pixels [default: all]
    #[arg(long, value_name = "X,Y,WIDTH,HEIGHT", value_parser = region)]
    region: Option<Region>,
    /// Threads that share the work on one frame; results do not depend on it
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=MAX_THREADS as i64))]
    threads: u16,
    /// Output format: a summary for people or for programs, or a JSON line for every frame and prompt with a summary
    /// after them
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
    /// End after N results
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    frames: Option<u64>,
    /// First part of the device names of results, as in LesionMask, LesionContour, LesionReport
    #[arg(long, default_value = "Lesion", value_name = "NAME")]
    name: String,
    /// Device whose STRING messages are the prompts, one a line; with a number appended, only the prompt with that
    /// number
    #[arg(long, default_value = "Prompt", value_name = "DEVICE", value_parser = device_name)]
    prompt_device: String,
    /// Device whose images are segmented [default: any]
    #[arg(long, value_name = "DEVICE", value_parser = device_name)]
    image_device: Option<String>,
    /// Value that is white in images of more than 8 bits a component [default: the largest value so far]
    #[arg(long, value_name = "VALUE", value_parser = white_level)]
    white_level: Option<f64>,
    /// Maximum number of connected programs
    #[arg(long, default_value_t = 8, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    clients: u16,
    /// Time between two STATUS messages to each program
    #[arg(long, default_value = "2000", value_name = "MS", value_parser = milliseconds)]
    heartbeat_ms: f64,
    /// Largest image that is accepted
    #[arg(long, default_value_t = 64, value_name = "MIB", value_parser = clap::value_parser!(u16).range(1..=1024))]
    max_frame_mib: u16,
    /// Accept messages whose checksum does not match, from senders that leave it out
    #[arg(long)]
    ignore_crc: bool,
}

/// The report of a complete run.
#[derive(Serialize)]
struct Report<'a> {
    source: &'a str,
    model: &'a str,
    /// The prompts at the end.
    prompts: Vec<String>,
    seconds: f64,
    /// Frames with a result per second.
    fps: f64,
    #[serde(flatten)]
    statistics: NodeStatistics,
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let (server, served, options) = match &arguments.mode {
        Mode::Connect { server, serve, options } => (Some(server), serve.as_ref(), options),
        Mode::Listen { address, options } => (None, Some(address), options),
    };
    let listener = served.map(|address| listen(address)).transpose()?;
    let models = options.models()?;
    let ending = Arc::new(AtomicBool::new(false));
    let of_handler = ending.clone();
    ctrlc::set_handler(move || of_handler.store(true, Ordering::Release))?;

    let prompts: Vec<&str> = options.prompts.iter().map(String::as_str).collect();
    let lines = options.format == Format::Jsonl;
    let observe = move |line: &str| {
        if lines {
            // A reader of standard output that closes the pipe does not end the node; the summary would be written there too.
            let _ = super::say(line);
        }
    };
    let node = Node::start(models.clone(), &prompts, options.stream(), options.node(), observe)?;
    let begun = Instant::now();
    if let Some(listener) = listener {
        eprintln!("listening on {}", listener.local_addr()?);
        node.listen(listener)?;
    }
    if let Some(server) = server {
        eprintln!("connecting to {server}");
        node.connect(server.clone())?;
    }
    let enough = |node: &Node| options.frames.is_some_and(|frames| node.statistics().stream.processed >= frames);
    while !ending.load(Ordering::Acquire) && node.stopped().is_none() && !enough(&node) {
        thread::sleep(LOOK_AROUND);
    }
    let stopped = node.stopped().map(String::from);
    let prompts = node.prompts();
    let statistics = node.stop();
    let seconds = begun.elapsed().as_secs_f64();
    let report = Report {
        source: server.or(served).map_or("", String::as_str),
        model: &models[0].description().name,
        prompts,
        seconds,
        fps: statistics.stream.processed as f64 / seconds,
        statistics,
    };
    match options.format {
        Format::Table => say_tables(&report)?,
        Format::Json => super::say(serde_json::to_string_pretty(&report)?)?,
        Format::Jsonl => super::say(serde_json::to_string(&report)?)?,
    }
    match stopped {
        Some(reason) => Err(format!("segmenting has stopped: {reason}; start the node again").into()),
        None => Ok(ExitCode::SUCCESS),
    }
}

fn listen(address: &str) -> Result<TcpListener, Failure> {
    TcpListener::bind(address)
        .map_err(|error| format!("{address} can't be listened on ({error}); check address and port").into())
}

fn say_tables(report: &Report<'_>) -> Result<(), Failure> {
    let NodeStatistics {
        connections,
        turned_away,
        broken_connections,
        refused_images,
        ignored_images,
        damaged_messages,
        skipped_messages,
        superseded_results,
        ..
    } = &report.statistics;
    let mut network = super::table();
    network.set_header([
        "connections",
        "turned away",
        "broken",
        "refused images",
        "ignored images",
        "damaged messages",
        "skipped messages",
        "superseded results",
    ]);
    let counts = [
        connections,
        turned_away,
        broken_connections,
        refused_images,
        ignored_images,
        damaged_messages,
        skipped_messages,
        superseded_results,
    ];
    network.add_row(counts.map(u64::to_string));
    super::say(format!("{}\n{network}", tables(&report.statistics.stream, report.fps)))
}

impl Options {
    fn models(&self) -> Result<Vec<Arc<Model>>, Failure> {
        let options = ModelOptions::default().with_threads(usize::from(self.threads));
        let options = self.device.options(options)?;
        let mut models = vec![Arc::new(Model::from_file(self.source.open()?, options.clone())?)];
        for path in &self.fallback {
            models.push(Arc::new(Model::from_file(model_source::open(Some(path))?, options.clone())?));
        }
        if self.degrade == Degrade::Size && models.len() == 1 {
            return Err("--degrade size has no bundle to switch to; pass one with --fallback".into());
        }
        Ok(models)
    }

    fn stream(&self) -> StreamOptions {
        let session = SessionOptions::default().with_threshold(self.threshold).with_smoothing(self.smoothing);
        StreamOptions::default()
            .with_deadline(self.deadline_ms.map(|ms| Duration::from_secs_f64(ms / 1e3)))
            .with_degrade(self.degrade.policy())
            .with_session(session)
    }

    fn node(&self) -> NodeOptions {
        let frame_bytes = u64::from(self.max_frame_mib) << 20;
        let defaults = Limits::default();
        NodeOptions {
            limits: Limits {
                frame_bytes,
                skipped_bytes: frame_bytes.max(defaults.skipped_bytes),
                check_crc: !self.ignore_crc,
                ..defaults
            },
            name: self.name.clone(),
            prompt_device: self.prompt_device.clone(),
            image_device: self.image_device.as_deref().and_then(DeviceName::new),
            region: self.region,
            white: self.white_level,
            max_peers: usize::from(self.clients),
            heartbeat: Duration::from_secs_f64(self.heartbeat_ms / 1e3),
        }
    }
}

fn port(text: &str) -> Option<u16> {
    text.parse().ok()
}

/// The address to listen on; without a host, on all interfaces.
fn address(text: &str) -> Result<String, String> {
    let wrong = || format!("`{text}` is not an address to listen on: give :{DEFAULT_PORT} or 127.0.0.1:{DEFAULT_PORT}");
    let (host, number) = text.rsplit_once(':').ok_or_else(wrong)?;
    port(number).ok_or_else(wrong)?;
    Ok(if host.is_empty() { format!("0.0.0.0{text}") } else { text.into() })
}

/// The server to connect to; without a port, OpenIGTLink's.
pub(super) fn server(text: &str) -> Result<String, String> {
    let bare_ipv6 = text.matches(':').count() > 1 && !text.contains('[');
    match text.rsplit_once(':') {
        _ if text.is_empty() || bare_ipv6 => {
            Err(format!("`{text}` is not HOST:PORT: write cart.local:{DEFAULT_PORT}, or [::1]:{DEFAULT_PORT}"))
        }
        Some(("", number)) if port(number).is_some() => Ok(format!("localhost:{number}")),
        Some((_, number)) if port(number).is_some() => Ok(text.into()),
        None => Ok(format!("{text}:{DEFAULT_PORT}")),
        Some((_, number)) => Err(format!("`{number}` is not a port: give 1 to 65535")),
    }
}

fn device_name(text: &str) -> Result<String, String> {
    match DeviceName::new(text) {
        Some(name) if !name.is_empty() => Ok(text.into()),
        _ => Err("a device's name has 1 to 20 characters".into()),
    }
}

fn white_level(text: &str) -> Result<f64, String> {
    number(text, 1e-6..=1e12)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        assert_eq!(address(":18944").unwrap(), "0.0.0.0:18944");
        assert_eq!(address("[::1]:5").unwrap(), "[::1]:5");
        assert!(address("18944").is_err() && address(":x").is_err() && address(":70000").is_err());
        assert_eq!(server("cart").unwrap(), "cart:18944");
        assert_eq!(server(":5").unwrap(), "localhost:5");
        assert_eq!(server("[::1]:5").unwrap(), "[::1]:5");
        assert!(
            server("::1").is_err() && server("cart:").is_err() && server("").is_err() && server("a:99999").is_err()
        );
    }
}
