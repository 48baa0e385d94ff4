//! Hands instances to the handler, one after another.

use super::{Handler, HandlerError};
use crate::queue::Queue;
use crate::statistics::{Counters, count};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const LOOK_AROUND: Duration = Duration::from_millis(250);
/// The delays after what may pass, such as a full disk.
const RETRY: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(60)];
/// How often old records are dropped.
const TIDY: Duration = Duration::from_secs(3600);

pub(super) struct Worker {
    pub handler: Box<dyn Handler>,
    pub queue: Arc<Queue>,
    pub counters: Arc<Counters>,
    pub stop: Arc<AtomicBool>,
}

impl Worker {
    pub(super) fn run(mut self) {
        let mut delay = RETRY[0];
        let mut tidied = Instant::now();
        while !self.stop.load(Ordering::Acquire) {
            if tidied.elapsed() > TIDY {
                self.queue.tidy();
                tidied = Instant::now();
            }
            match self.step() {
                Ok(true) => delay = RETRY[0],
                Ok(false) => {
                    self.queue.settle_complete();
                    self.queue.wait(LOOK_AROUND);
                }
                Err(_) if self.stop.load(Ordering::Acquire) => {}
                Err(reason) => {
                    log::warn!("an instance is tried again in {} s: {reason}", delay.as_secs());
                    let until = Instant::now() + delay;
                    while Instant::now() < until && !self.stop.load(Ordering::Acquire) {
                        std::thread::sleep(LOOK_AROUND);
                    }
                    delay = (delay * 2).min(RETRY[1]);
                }
            }
        }
    }

    /// Processes one instance; `false` if none waits. On an error it waits on.
    fn step(&mut self) -> Result<bool, String> {
        let said =
            |error: io::Error| format!("the queue cannot be written to ({error}); check its folder and the disk");
        let Some((id, path)) = self.queue.next().map_err(said)? else { return Ok(false) };
        let folder = match self.queue.work_folder(&id) {
            Ok(folder) => folder,
            Err(error) => {
                self.queue.put_back(&id);
                return Err(said(error));
            }
        };
        let begun = Instant::now();
        // A panic costs its instance alone.
        let outcome = catch_unwind(AssertUnwindSafe(|| self.handler.process(&path, &folder)));
        let outcome =
            outcome.unwrap_or_else(|_| Err(HandlerError::Refused("the program failed on it; report this".into())));
        let kept = match outcome {
            Ok(results) => self.queue.finish(&id, &results).map(|()| {
                count(&self.counters.processed);
                log::info!("{id}: {} results in {:.2} s", results.len(), begun.elapsed().as_secs_f64());
            }),
            Err(HandlerError::Refused(reason)) => self.queue.fail(&id, &reason).map(|()| {
                count(&self.counters.failed);
                log::error!("{id}: {reason}; it is in `failed`");
            }),
            Err(HandlerError::Later(reason)) => {
                self.queue.put_back(&id);
                return Err(reason);
            }
        };
        kept.map(|()| true).map_err(|error| {
            self.queue.put_back(&id);
            said(error)
        })
    }
}
