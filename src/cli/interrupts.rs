//! Requests from outside to end a command: it ends in order, with the results so far.

use super::Failure;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;
use std::time::Duration;

/// The number that shells add to a signal's for the exit code of a program that it ended.
const OF_SIGNALS: u8 = 128;

/// How long a command may take to end in order, since it may wait for a source that sends nothing.
const PATIENCE: Duration = Duration::from_secs(5);

/// Listens to SIGINT and SIGTERM. The command acts on the first one; a second one ends it at once, and so does
/// `PATIENCE`.
#[derive(Clone)]
pub(super) struct Interrupts {
    seen: Arc<AtomicU8>,
}

/// One of the signals that ask a command to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Signal(u8);

impl Signal {
    /// The name, as `kill -l` prints it.
    pub(super) fn name(self) -> &'static str {
        if self == Self::TERMINATE { "SIGTERM" } else { "SIGINT" }
    }

    /// The exit code, 130 or 143, as shells define it.
    pub(super) fn exit_code(self) -> ExitCode {
        ExitCode::from(OF_SIGNALS + self.0)
    }

    const INTERRUPT: Self = Self(2);
    const TERMINATE: Self = Self(15);
}

impl Interrupts {
    /// Starts to listen. Call it before other threads are created: on Unix they inherit which signals are blocked.
    ///
    /// # Errors
    /// The system creates no thread.
    pub(super) fn listen() -> Result<Self, Failure> {
        let seen = Arc::new(AtomicU8::new(0));
        listen(seen.clone()).map_err(|error| format!("cannot listen for interrupts: {error}"))?;
        Ok(Self { seen })
    }

    /// The first signal that came.
    pub(super) fn signal(&self) -> Option<Signal> {
        Some(self.seen.load(Ordering::Acquire)).filter(|number| *number != 0).map(Signal)
    }
}

fn note(seen: &AtomicU8, signal: Signal) {
    let end = move || std::process::exit((OF_SIGNALS + signal.0).into());
    if seen.swap(signal.0, Ordering::AcqRel) != 0 {
        end();
    }
    let wait = move || {
        thread::sleep(PATIENCE);
        eprintln!("interrupted by {}", signal.name());
        end();
    };
    // Without a thread for it, a second signal still ends the command.
    let _ = thread::Builder::new().name("causalclipseg-patience".into()).spawn(wait);
}

#[cfg(unix)]
fn listen(seen: Arc<AtomicU8>) -> std::io::Result<()> {
    use nix::sys::signal::{SigSet, Signal as Number};
    let mut signals = SigSet::empty();
    signals.add(Number::SIGINT);
    signals.add(Number::SIGTERM);
    signals.thread_block()?;
    let wait = move || {
        while let Ok(number) = signals.wait() {
            note(&seen, if number == Number::SIGTERM { Signal::TERMINATE } else { Signal::INTERRUPT });
        }
    };
    thread::Builder::new().name("causalclipseg-signals".into()).spawn(wait).map(drop)
}

#[cfg(not(unix))]
fn listen(seen: Arc<AtomicU8>) -> Result<(), ctrlc::Error> {
    ctrlc::set_handler(move || note(&seen, Signal::INTERRUPT))
}
