//! `causalclipseg dicom-node`: a node in a DICOM network.

mod handler;
#[cfg(feature = "dicom-tls")]
mod tls;

use super::Failure;
use super::interrupts::Interrupts;
use super::segment::{ObjectOptions, ObjectWriter};
use causalclipseg::io::dicom::transfer_syntaxes;
use causalclipseg_dicom_net::{
    AeTitle, Commitment, Destination, Limits, Node, NodeOptions, NodeStatistics, QueueOptions, WatchOptions,
};
use clap::ValueEnum;
use handler::Segmenter;
use serde::Serialize;
use std::net::{IpAddr, TcpListener};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// How often the command checks whether to end.
const LOOK_AROUND: Duration = Duration::from_millis(50);
/// How often the watched folder is looked at.
const WATCH_INTERVAL: Duration = Duration::from_millis(500);

#[derive(clap::Args)]
#[command(group = clap::ArgGroup::new("input").args(["port", "watch", "echo"]).required(true).multiple(true))]
pub(super) struct Arguments {
    /// This node's application entity title, by which peers call it
    #[arg(long, value_name = "AET")]
    aet: AeTitle,
    /// Port to receive on; 0 lets the system choose
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,
    /// Address to receive on
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0")]
    bind: IpAddr,
    /// Take the DICOM files that are put into this folder too, once they are completely written
    #[arg(long, value_name = "FOLDER")]
    watch: Option<PathBuf>,
    /// Time that a file in the watched folder must not change before it is taken
    #[arg(long, value_name = "SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=3600))]
    settle_s: u32,
    /// Node that results are sent to, such as ORTHANC@archive.local:4242; may be given more than once
    #[arg(long, value_name = "AET@HOST:PORT", required = true)]
    send: Vec<Destination>,
    #[command(flatten)]
    objects: ObjectOptions,
    /// Title of a peer that may send; may be given more than once [default: any]
    #[arg(long, value_name = "AET")]
    allow: Vec<AeTitle>,
    /// Folder of the queue: what was received and is not delivered yet, what was done, and what failed
    #[arg(long, value_name = "FOLDER", default_value = "dicom-queue")]
    queue: PathBuf,
    /// Whether destinations are asked to commit to keep results
    #[arg(long, value_enum, default_value = "if-offered")]
    commitment: CommitmentMode,
    /// Time that a report on commitment is awaited before it is asked for again
    #[arg(long, value_name = "SECONDS", default_value_t = 600, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    commitment_s: u32,
    /// Maximum number of concurrent associations of peers
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=256))]
    max_associations: u16,
    /// Largest instance that is accepted
    #[arg(long, value_name = "MIB", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    max_object_mib: u32,
    /// Maximum number of instances in the queue
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    max_queued: u32,
    /// Time that a peer may be silent
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=3600))]
    silence_s: u32,
    /// Longest time between two attempts to send; the first is one second
    #[arg(long, value_name = "SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    retry_s: u32,
    /// Time that an instance is known after its results were delivered: sent again, it is not processed again
    #[arg(long, value_name = "DAYS", default_value_t = 30, value_parser = clap::value_parser!(u32).range(0..=3650))]
    remember_days: u32,
    /// End after the results of N instances were delivered
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    instances: Option<u64>,
    /// Ask each destination whether it is there (C-ECHO), and end
    #[arg(long)]
    echo: bool,
    /// Output format of the summary at the end
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
    #[cfg(feature = "dicom-tls")]
    #[command(flatten)]
    tls: tls::TlsArguments,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum CommitmentMode {
    /// Results are delivered when their storage was answered with success
    Off,
    /// Ask where a destination offers it
    IfOffered,
    /// Results are delivered only with a commitment
    Required,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Table,
    Json,
}

/// The report of a complete run.
#[derive(Serialize)]
struct Report<'a> {
    aet: &'a str,
    model: &'a str,
    seconds: f64,
    #[serde(flatten)]
    statistics: NodeStatistics,
}

pub(super) fn run(arguments: Arguments) -> Result<ExitCode, Failure> {
    let mut options = arguments.node()?;
    if arguments.echo {
        return echo(&options);
    }
    let interrupts = Interrupts::listen()?;
    // Before the model, which takes longer to open.
    let listener = arguments.port.map(|port| listen(arguments.bind, port)).transpose()?;
    options.transfer_syntaxes = transfer_syntaxes().map(String::from).collect();
    let writer = ObjectWriter::new(arguments.objects, interrupts.clone())?;
    let model = writer.model().to_string();
    let aet = options.title.to_string();
    let node = Node::start(options, listener, Segmenter(writer))?;
    let begun = Instant::now();
    if let Some(address) = node.address() {
        eprintln!("{aet} is listening on {address}");
    }
    let enough = |node: &Node| arguments.instances.is_some_and(|instances| node.statistics().done >= instances);
    while interrupts.signal().is_none() && !enough(&node) && !node.is_broken() {
        thread::sleep(LOOK_AROUND);
    }
    let broken = node.is_broken();
    let statistics = node.stop();
    let report = Report { aet: &aet, model: &model, seconds: begun.elapsed().as_secs_f64(), statistics };
    match arguments.format {
        Format::Table => say_table(&report)?,
        Format::Json => super::say(serde_json::to_string_pretty(&report)?)?,
    }
    if broken {
        return Err("a part of the node has stopped, as the messages above say; start it again".into());
    }
    Ok(ExitCode::SUCCESS)
}

impl Arguments {
    fn node(&self) -> Result<NodeOptions, Failure> {
        let seconds = |seconds: u32| Duration::from_secs(seconds.into());
        let asked = |is_required| Commitment::Asked { is_required, patience: seconds(self.commitment_s), requests: 3 };
        let commitment = match self.commitment {
            CommitmentMode::Off => Commitment::Off,
            CommitmentMode::IfOffered => asked(false),
            CommitmentMode::Required => asked(true),
        };
        let mut destinations = self.send.clone();
        destinations.sort();
        destinations.dedup();
        let watch = self.watch.as_ref().map(|folder| WatchOptions {
            folder: folder.clone(),
            settle: seconds(self.settle_s),
            interval: WATCH_INTERVAL,
            identify: Arc::new(handler::identify),
        });
        let defaults = NodeOptions::new(self.aet.clone(), &self.queue);
        #[cfg_attr(not(feature = "dicom-tls"), expect(unused_mut, reason = "TLS is added to it"))]
        let mut options = NodeOptions {
            callers: self.allow.clone(),
            destinations,
            queue: QueueOptions {
                jobs: self.max_queued as usize,
                remember: Duration::from_secs(24 * 3600 * u64::from(self.remember_days)),
                ..QueueOptions::default()
            },
            limits: Limits {
                associations: usize::from(self.max_associations),
                object_bytes: u64::from(self.max_object_mib) << 20,
                silence: seconds(self.silence_s),
                ..Limits::default()
            },
            commitment,
            retry: [Duration::from_secs(1), seconds(self.retry_s)],
            watch,
            ..defaults
        };
        #[cfg(feature = "dicom-tls")]
        self.tls.add_to(&mut options)?;
        Ok(options)
    }
}

/// Asks all destinations; one line for each.
fn echo(options: &NodeOptions) -> Result<ExitCode, Failure> {
    let mut code = ExitCode::SUCCESS;
    for to in &options.destinations {
        match causalclipseg_dicom_net::echo(options, to) {
            Ok(()) => super::say(format!("{to}: answers"))?,
            Err(error) => {
                eprintln!("error: {to}: {error}");
                code = ExitCode::FAILURE;
            }
        }
    }
    Ok(code)
}

fn listen(address: IpAddr, port: u16) -> Result<TcpListener, Failure> {
    let failed = |error| format!("{address}:{port} cannot be listened on ({error}); check --bind and --port");
    TcpListener::bind((address, port)).map_err(|error| failed(error).into())
}

fn say_table(report: &Report<'_>) -> Result<(), Failure> {
    let counts = &report.statistics;
    let mut instances = super::table();
    instances.set_header(["received", "known", "refused", "segmented", "failed", "done", "waiting"]);
    instances.add_row(
        [
            counts.received,
            counts.duplicates,
            counts.refused,
            counts.processed,
            counts.failed,
            counts.done,
            counts.waiting,
        ]
        .map(|count| count.to_string()),
    );
    super::say(instances)?;
    let mut network = super::table();
    network.set_header([
        "sent",
        "committed",
        "repeated attempts",
        "associations",
        "refused associations",
        "broken associations",
    ]);
    network.add_row(
        [
            counts.sent,
            counts.committed,
            counts.retries,
            counts.associations,
            counts.refused_associations,
            counts.broken_associations,
        ]
        .map(|count| count.to_string()),
    );
    super::say(network)
}
