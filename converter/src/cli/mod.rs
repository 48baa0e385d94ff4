//! The commands. Each has its own file with its arguments and a `run`; a new one is a module and a line in
//! [`Command`] and in [`Command::run`].

mod confound;
mod evaluate;
mod export;
mod fit;
mod import;
mod init;
mod interpolate;
mod pack;
mod phantom;
mod provenance;
mod quantize;
mod repack;
mod study;
mod train;

use causalclipseg_convert::checkpoint::Checkpoint;
use clap::{Parser, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use std::error::Error;
use std::fmt::Display;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

/// Why a command failed, as one line of what, why and what to do.
type Failure = Box<dyn Error>;

/// Trains, imports, exports and packs models for the causalclipseg runtime.
#[derive(Debug, Parser)]
#[command(name = "causalclipseg-convert", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Confound(confound::Confound),
    Init(init::Init),
    Interpolate(interpolate::Interpolate),
    Import(import::Import),
    Evaluate(evaluate::Evaluate),
    Export(export::Export),
    Pack(pack::Pack),
    Phantom(phantom::Phantom),
    Provenance(provenance::Provenance),
    Quantize(quantize::Quantize),
    Repack(repack::Repack),
    Study(study::StudyCommand),
    Train(train::Train),
}

impl Command {
    fn run(self) -> Result<(), Failure> {
        match self {
            Command::Confound(command) => command.run(),
            Command::Init(command) => command.run(),
            Command::Interpolate(command) => command.run(),
            Command::Import(command) => command.run(),
            Command::Evaluate(command) => command.run(),
            Command::Export(command) => command.run(),
            Command::Pack(command) => command.run(),
            Command::Phantom(command) => command.run(),
            Command::Provenance(command) => command.run(),
            Command::Quantize(command) => command.run(),
            Command::Repack(command) => command.run(),
            Command::Study(command) => command.run(),
            Command::Train(command) => command.run(),
        }
    }
}

/// Runs the command line. Exit codes: 0 success, 1 failure, 2 wrong usage (clap exits with it itself).
pub fn main() -> ExitCode {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("warn")).format_timestamp(None).init();
    match Arguments::parse().command.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // Printed as one line, even if a library's message has several.
            let message = failure.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}

/// Prints for the user. A reader that closes the pipe early, such as `| head`, is not an error.
fn say(text: impl Display) -> Result<(), Failure> {
    match writeln!(io::stdout(), "{text}") {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(format!("cannot write to standard output ({error}); check where it is sent").into())
        }
        _ => Ok(()),
    }
}

/// Shows a spinner on stderr, if that is a terminal, during long work.
fn spinner(message: &'static str) -> ProgressBar {
    let style = ProgressStyle::with_template("{spinner} {msg} {elapsed}");
    let spinner = ProgressBar::new_spinner().with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
    spinner.enable_steady_tick(Duration::from_millis(100));
    spinner.set_message(message);
    spinner
}

/// Describes a written checkpoint in one line, for people.
fn summary(checkpoint: &Checkpoint, output: &Path) -> String {
    let Checkpoint { architecture, provenance, .. } = checkpoint;
    let size = architecture.input_size;
    let training = match (provenance.trained().unwrap_or(false), provenance.seed()) {
        (true, _) => "trained".to_string(),
        (false, Some(seed)) => format!("new layers drawn from seed {seed}, to be trained"),
        (false, None) => "untrained".to_string(),
    };
    format!("{}: {} at {size} x {size}, {training}", output.display(), architecture.edition)
}
