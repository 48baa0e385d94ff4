//! Starts the measuring process, and stops it on an interrupt.

use super::super::Failure;
use super::clock::Stop;
use super::job::{Job, Outcome};
use std::io::{Read, Write};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

/// The hidden command that measures.
pub(in super::super) const WORKER_COMMAND: &str = "bench-worker";

/// The measuring process, if there is one: closing its stdin tells it to stop.
#[derive(Clone, Default)]
pub(super) struct Running {
    stdin: Arc<Mutex<Option<ChildStdin>>>,
    stop: Stop,
}

impl Running {
    /// The first interrupt ends the measurement and prints what was measured; the second one ends the command.
    pub(crate) fn stop_on_interrupt(&self) -> Result<(), Failure> {
        let running = self.clone();
        let handler = move || {
            if running.stop.is_requested() {
                std::process::exit(1);
            }
            running.request_stop();
        };
        ctrlc::set_handler(handler).map_err(|error| format!("cannot listen for interrupts: {error}").into())
    }

    pub(crate) fn stop(&self) -> &Stop {
        &self.stop
    }

    fn request_stop(&self) {
        self.stop.request();
        drop(self.stdin.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    /// Measures in a separate process.
    pub(crate) fn measure(&self, job: &Job) -> Result<Outcome, Failure> {
        let mut child = start()?;
        let told = tell(&mut child, job);
        let heard = match told {
            Ok(stdin) => {
                *self.stdin.lock().unwrap_or_else(PoisonError::into_inner) = Some(stdin);
                // An interrupt may have come before there was anything to stop.
                if self.stop.is_requested() {
                    self.request_stop();
                }
                hear(&mut child)
            }
            Err(error) => Err(error),
        };
        drop(self.stdin.lock().unwrap_or_else(PoisonError::into_inner).take());
        let status = child.wait()?;
        match heard {
            Ok(text) if !text.is_empty() => {
                let report: Result<Outcome, String> = serde_json::from_slice(&text)
                    .map_err(|error| format!("the measuring process ended in the middle of its report ({error})"))?;
                Ok(report?)
            }
            Ok(_) => Err(format!("the measuring process sent no report and {}", ending(status)).into()),
            Err(error) => {
                Err(format!("the measuring process cannot be reached ({error}); it {}", ending(status)).into())
            }
        }
    }
}

fn start() -> Result<Child, Failure> {
    let program =
        std::env::current_exe().map_err(|error| format!("cannot find this program to start it again: {error}"))?;
    let mut command = Command::new(program);
    command.arg(WORKER_COMMAND).stdin(Stdio::piped()).stdout(Stdio::piped());
    // The process ignores a terminal's interrupt: this one asks it to stop and waits for its report.
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    #[cfg(windows)]
    {
        const CREATE_NEW_PROCESS_GROUP: u32 = 0x200;
        std::os::windows::process::CommandExt::creation_flags(&mut command, CREATE_NEW_PROCESS_GROUP);
    }
    command.spawn().map_err(|error| format!("cannot start the measuring process: {error}").into())
}

/// Sends the job, its length first, and keeps the pipe open.
fn tell(child: &mut Child, job: &Job) -> std::io::Result<ChildStdin> {
    let mut stdin = child.stdin.take().ok_or_else(|| std::io::Error::other("it has no input"))?;
    let text = serde_json::to_vec(job)?;
    stdin.write_all(&(text.len() as u64).to_le_bytes())?;
    stdin.write_all(&text)?;
    stdin.flush()?;
    Ok(stdin)
}

fn hear(child: &mut Child) -> std::io::Result<Vec<u8>> {
    let mut text = Vec::new();
    child.stdout.take().ok_or_else(|| std::io::Error::other("it has no output"))?.read_to_end(&mut text)?;
    Ok(text)
}

/// How a process ended, in words. A missing instruction shows as signal 4, too little memory as signal 9.
fn ending(status: ExitStatus) -> String {
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
        return format!("ended by signal {signal}");
    }
    status.code().map_or("ended".into(), |code| format!("ended with code {code}"))
}
