//! The `causalclipseg` command: arguments, files and tables around the library.

mod bench;
mod device;
#[cfg(feature = "dicom-net")]
mod dicom_node;
mod generated_model;
#[cfg(feature = "view")]
mod http;
#[cfg(feature = "igtl")]
mod igtl;
mod inspect;
mod interrupts;
mod manual;
mod model_source;
mod segment;
#[cfg(feature = "view")]
mod serve;
mod stream;
mod verify;
#[cfg(feature = "view")]
mod view;

pub(crate) use bench::CountingAllocator;

use causalclipseg::engine::is_contained;
use causalclipseg::io::source::RawFormat;
use causalclipseg::mask::check_threshold;
use clap::{Parser, Subcommand};
use comfy_table::{Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

/// Segments the lesion that a sentence describes in ultrasound images. Research software, not a medical device.
#[derive(Parser)]
#[command(name = "causalclipseg", version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// Say more on stderr: once for progress, twice for details
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    verbose: u8,
}

#[derive(Subcommand)]
enum Command {
    /// Mask the lesion that each prompt describes in each image
    Segment(Box<segment::Arguments>),
    /// Measure how long a frame takes on this machine
    Bench(Box<bench::Arguments>),
    /// Measures one configuration, for `bench`
    #[command(name = bench::WORKER_COMMAND, hide = true)]
    BenchWorker,
    /// Segment frames as they come: a clip, a folder, a pipe
    Stream(Box<stream::Arguments>),
    /// Segment images that come over OpenIGTLink, for example from PlusServer or 3D Slicer
    #[cfg(feature = "igtl")]
    Igtl(Box<igtl::Arguments>),
    /// Receive ultrasound over DICOM's network, segment it, and send SEG and SR on
    #[cfg(feature = "dicom-net")]
    DicomNode(Box<dicom_node::Arguments>),
    /// Show frames, masks and latencies on a page in a browser on this machine, and change the prompts there
    #[cfg(feature = "view")]
    View(Box<view::Arguments>),
    /// Serve a folder to a browser on this machine: the page that runs the model in the browser itself
    #[cfg(feature = "view")]
    Serve(serve::Arguments),
    /// Show what a bundle holds, or what was understood of an image file
    Inspect(inspect::Arguments),
    /// Check a bundle: its integrity, its signature, and its self-test on this CPU
    Verify(verify::Arguments),
    /// Print a shell's completions
    Completions(manual::CompletionArguments),
    /// Print the manual page, in roff
    Man(manual::PageArguments),
}

/// The error that a command reports before it ends with exit code 1: what failed, why, what to do.
type Failure = Box<dyn std::error::Error>;

/// Parses the arguments and runs a command. Exit codes: 0 done, 1 failed, 2 usage, 3 a limit missed.
pub(crate) fn run() -> ExitCode {
    let arguments = Arguments::parse();
    let level = ["warn", "info", "debug"][usize::from(arguments.verbose.min(2))];
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or(level)).format_timestamp(None).init();
    let usual = std::panic::take_hook();
    // An error is printed as one.
    std::panic::set_hook(Box::new(move |panic| {
        if !is_contained() {
            usual(panic);
        }
    }));
    let outcome = match arguments.command {
        Command::Segment(arguments) => segment::run(&arguments),
        Command::Bench(arguments) => bench::run(*arguments),
        Command::BenchWorker => bench::run_worker().map(|()| ExitCode::SUCCESS),
        Command::Stream(arguments) => stream::run(&arguments),
        #[cfg(feature = "igtl")]
        Command::Igtl(arguments) => igtl::run(&arguments),
        #[cfg(feature = "dicom-net")]
        Command::DicomNode(arguments) => dicom_node::run(*arguments),
        #[cfg(feature = "view")]
        Command::View(arguments) => view::run(&arguments),
        #[cfg(feature = "view")]
        Command::Serve(arguments) => serve::run(&arguments),
        Command::Inspect(arguments) => inspect::run(&arguments).map(|()| ExitCode::SUCCESS),
        Command::Verify(arguments) => verify::run(&arguments).map(|()| ExitCode::SUCCESS),
        Command::Completions(arguments) => manual::completions(&arguments).map(|()| ExitCode::SUCCESS),
        Command::Man(arguments) => manual::page(&arguments).map(|()| ExitCode::SUCCESS),
    };
    match outcome {
        Ok(code) => code,
        Err(failure) => {
            eprintln!("error: {}", one_line(failure.as_ref()));
            ExitCode::FAILURE
        }
    }
}

/// Prints for the user. A reader that closes the pipe, as `| head` does, is not a failure.
fn say(text: impl Display) -> Result<(), Failure> {
    match write_line(text) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(format!("cannot write to standard output ({error}); check where it is sent").into())
        }
        _ => Ok(()),
    }
}

/// Prints on standard output.
fn write_line(text: impl Display) -> io::Result<()> {
    writeln!(io::stdout(), "{text}")
}

/// The help text of `--raw`.
fn raw_help() -> String {
    format!(
        "Format of the frames on standard input, such as 640x480:gray8@30: size, format ({}), after a slash the \
         bytes from row to row where rows are padded, and frames per second if known",
        RawFormat::FORMATS
    )
}

/// Parses a threshold, as all commands take it.
fn threshold(text: &str) -> Result<f32, String> {
    let value = text.parse().map_err(|_| "give a number above 0 and below 1".to_string())?;
    check_threshold(value).map_err(|error| error.to_string())
}

/// An empty table in the style of all commands.
fn table() -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED);
    table
}

/// Shows on stderr, where that is a terminal, that something long is under way.
fn spinner() -> ProgressBar {
    let style = ProgressStyle::with_template("{spinner} {msg} {elapsed}");
    let spinner = ProgressBar::new_spinner().with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
    // Redrawing takes time from the cores that are being measured.
    spinner.enable_steady_tick(std::time::Duration::from_secs(1));
    spinner
}

/// An error and its causes on one line.
fn one_line(failure: &dyn std::error::Error) -> String {
    let mut line = failure.to_string();
    let mut cause = failure.source();
    while let Some(error) = cause {
        let text = error.to_string();
        // Many errors already quote their cause.
        if !line.contains(&text) {
            line = format!("{line}: {text}");
        }
        cause = error.source();
    }
    line.replace('\n', " ")
}
