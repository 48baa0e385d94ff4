//! The thread that segments.

use super::degrade::{Governor, Level};
use super::prompts::PromptSet;
use super::slot::Slot;
use super::statistics::count;
use super::{Backlog, CLOSING, FINISHING, Shared, StreamError};
use crate::frame::Frame;
use crate::model::{Model, Prompt};
use crate::session::{FrameReport, Session, SessionError};
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

/// An event that a stream passes to its receiver.
#[non_exhaustive]
pub enum StreamEvent<'a> {
    /// A frame with its result.
    Frame(FrameResult<'a>),
    /// A frame failed; the stream continues.
    Failed {
        /// The frame's number, in the order of submission.
        sequence: u64,
        /// The timestamp that was submitted with the frame.
        timestamp_us: u64,
        /// What failed.
        reason: &'a str,
    },
    /// The rate or the model changes, since the deadline was missed too often or kept for long enough.
    LevelChanged {
        /// The level until now.
        from: Level,
        /// The level from now on.
        to: Level,
    },
    /// The worker stopped, and no more frames are accepted.
    Stopped {
        /// What stopped it.
        reason: &'a str,
    },
}

/// The result of one frame, borrowed until the receiver returns.
#[non_exhaustive]
pub struct FrameResult<'a> {
    /// The frame's number, from 0 in the order of submission.
    pub sequence: u64,
    /// The timestamp that was submitted with the frame.
    pub timestamp_us: u64,
    /// The frame's size, region and pixels; pixels outside the region are zero.
    pub frame: Frame<'a>,
    /// The prompts.
    pub prompts: &'a [Prompt],
    /// The number of prompt changes before this result.
    pub prompt_generation: u64,
    /// The findings, in the prompts' order.
    pub report: &'a FrameReport,
    /// From submission to result.
    pub latency: Duration,
    /// Whether the latency exceeds the deadline.
    pub late: bool,
    /// The model and rate at which the frame ran.
    pub level: Level,
}

pub(super) type Receiver = Box<dyn FnMut(StreamEvent<'_>) + Send>;

/// The number of consecutive panics after which the worker stops, since the frames are then not the cause.
const MAX_PANICS: u32 = 3;

/// The interval at which an idle worker checks for frames, in case it missed a notification.
const IDLE_CHECK: Duration = Duration::from_millis(100);

pub(super) struct Worker {
    shared: Arc<Shared>,
    models: Vec<Arc<Model>>,
    sessions: Vec<Session>,
    prompts: Arc<PromptSet>,
    receive: Receiver,
    governor: Option<Governor>,
    level: Level,
    panics: u32,
}

impl Worker {
    pub(crate) fn new(
        shared: Arc<Shared>,
        models: Vec<Arc<Model>>,
        prompts: Arc<PromptSet>,
        receive: Receiver,
    ) -> Result<Self, StreamError> {
        let options = &shared.options;
        let session = |model: &Arc<Model>| Session::new(model, options.session.clone());
        let sessions = models.iter().map(session).collect::<Result<_, SessionError>>()?;
        let governor = options.deadline.map(|deadline| Governor::new(options.degrade, deadline, models.len()));
        Ok(Self { shared, models, sessions, prompts, receive, governor, level: Level::default(), panics: 0 })
    }

    /// Segments frames until the stream ends.
    pub(crate) fn run(mut self) {
        loop {
            // Read before looking for a frame, so that frames submitted before the end are still seen.
            let ending = self.shared.ending.load(Ordering::Acquire);
            if self.shared.is_forked() {
                // The receiver forked, and this is the copy's only thread, which has nothing left to do.
                return;
            }
            if ending == CLOSING || self.panics >= MAX_PANICS {
                break;
            }
            match self.next() {
                Some(slot) => self.step(slot),
                None if ending == FINISHING => break,
                None => thread::park_timeout(IDLE_CHECK),
            }
        }
        if self.panics >= MAX_PANICS {
            self.give_up();
        }
        self.shared.drop_waiting();
    }

    fn next(&self) -> Option<Box<Slot>> {
        let exchange = &self.shared.exchange;
        let mut slot = exchange.take_oldest()?;
        match self.shared.options.backlog {
            Backlog::KeepOrder => self.shared.room.1.notify_all(),
            Backlog::LatestWins => {
                while let Some(newer) = exchange.take_oldest() {
                    count(&self.shared.counters.dropped);
                    exchange.give_back(std::mem::replace(&mut slot, newer));
                }
            }
        }
        Some(slot)
    }

    fn step(&mut self, slot: Box<Slot>) {
        // State that a panic left incomplete is rebuilt below, or overwritten by the next frame.
        match catch_unwind(AssertUnwindSafe(|| self.process(&slot))) {
            Ok(Ok(())) => self.panics = 0,
            Ok(Err(error)) => {
                self.panics = 0;
                self.report(&slot, &error.to_string());
            }
            Err(panic) => {
                self.panics += 1;
                self.report(&slot, &format!("it panicked: {}", message_of(panic.as_ref())));
                self.renew();
            }
        }
        self.shared.exchange.give_back(slot);
    }

    fn process(&mut self, slot: &Slot) -> Result<(), SessionError> {
        let begun = Instant::now();
        let waited = begun.saturating_duration_since(slot.queued);
        let Shared { options, counters, mailbox, .. } = &*self.shared;
        if let Some(prompts) = mailbox.take_newest() {
            self.prompts = prompts;
            count(&counters.prompt_changes);
        }
        let frame = slot.frame()?;
        let level = self.level;
        // Levels are made from the number of models.
        let Some(session) = self.sessions.get_mut(level.model) else { return Ok(()) };
        let prompts = self.prompts.of_model(level.model);

        let computing = Instant::now();
        let report = session.run(&frame, prompts)?;
        let compute = computing.elapsed();

        let latency = slot.submitted.elapsed();
        let late = options.deadline.is_some_and(|deadline| latency > deadline);
        counters.latency.record(latency);
        counters.queue.record(waited);
        counters.compute.record(compute);
        count(&counters.processed);
        if late {
            count(&counters.late);
        }
        let receiving = Instant::now();
        (self.receive)(StreamEvent::Frame(FrameResult {
            sequence: slot.sequence,
            timestamp_us: slot.timestamp_us,
            frame,
            prompts,
            prompt_generation: self.prompts.generation(),
            report,
            latency,
            late,
            level,
        }));
        let elsewhere = compute + receiving.elapsed();
        if let Some(next) = self.governor.as_mut().and_then(|governor| governor.note(latency, compute)) {
            self.change_level(next);
        }
        let own = begun.elapsed().saturating_sub(elsewhere);
        self.shared.counters.bookkeeping.record(slot.handling + own);
        Ok(())
    }

    fn change_level(&mut self, to: Level) {
        let (from, counters) = (self.level, &self.shared.counters);
        let worse = to.model > from.model || to.every_nth > from.every_nth;
        count(if worse { &counters.degraded } else { &counters.recovered });
        log::warn!(
            "{}: from here on one of {} frames, by model {} of {}",
            if worse { "the deadline is missed too often" } else { "the deadline is kept again" },
            to.every_nth,
            to.model + 1,
            self.models.len()
        );
        counters.set_level(to);
        if let Ok([before, after]) = self.sessions.get_disjoint_mut([from.model, to.model]) {
            after.continue_from(before);
        }
        self.level = to;
        (self.receive)(StreamEvent::LevelChanged { from, to });
    }

    fn report(&mut self, slot: &Slot, reason: &str) {
        count(&self.shared.counters.failed);
        log::warn!("frame {} has no result: {reason}", slot.sequence);
        let (sequence, timestamp_us) = (slot.sequence, slot.timestamp_us);
        self.tell(StreamEvent::Failed { sequence, timestamp_us, reason });
    }

    /// Reports a failure to the receiver, which may itself be the cause.
    fn tell(&mut self, event: StreamEvent<'_>) {
        if catch_unwind(AssertUnwindSafe(|| (self.receive)(event))).is_err() {
            log::error!("the receiver of the stream's results panicked");
        }
    }

    fn renew(&mut self) {
        for (model, session) in self.models.iter().zip(&mut self.sessions) {
            match Session::new(model, self.shared.options.session.clone()) {
                Ok(mut fresh) => {
                    fresh.continue_from(session);
                    *session = fresh;
                }
                Err(error) => log::error!("no new session after a panic: {error}"),
            }
        }
    }

    fn give_up(&mut self) {
        let reason = format!("{MAX_PANICS} frames in a row panicked");
        log::error!("the stream stops: {reason}");
        // Only this thread sets it.
        let _ = self.shared.stopped.set(reason.clone());
        self.tell(StreamEvent::Stopped { reason: &reason });
    }
}

fn message_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a message")
}
