//! Segments live frames on a thread of its own as they arrive, and drops frames that come too fast instead of queueing them
//! without bound.
//!
//! ```text
//! Stream::submit --copy--> free slot --> filled queue --> worker: segment --> receiver(StreamEvent)
//!      (your thread, never waits)                         (its own thread)     (on that thread)
//! ```
//!
//! Submitting copies the frame's region of interest into memory that the stream reuses, and returns. If frames arrive faster than
//! the network runs, the newest is kept and older ones are dropped and counted; so a result is never older than one frame's wait
//! and one frame's work. Prompts can be changed while frames run: they are encoded on the calling thread, and take effect between
//! two frames. A frame that fails or causes a panic is reported and the stream continues.
//!
//! All memory is bounded: slots, results and histograms are allocated once and grow only with the size of frames.

mod degrade;
mod exchange;
mod histogram;
mod prompts;
mod slot;
mod statistics;
mod worker;

pub use degrade::{DegradePolicy, Level};
pub use exchange::MAX_QUEUED_FRAMES;
pub use histogram::{Histogram, Summary};
pub use statistics::Statistics;
pub use worker::{FrameResult, StreamEvent};

use crate::engine::{ThreadRole, ThreadStart};
use crate::frame::{Frame, FrameError};
use crate::model::{Model, ModelError};
use crate::session::{SessionError, SessionOptions};
use exchange::Exchange;
use prompts::{Mailbox, PromptSet};
use slot::packed_bytes;
use statistics::{Counters, count};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError, mpsc};
use std::thread::{self, JoinHandle, Thread};
use std::time::{Duration, Instant};
use worker::Worker;

/// How a [`Stream`] treats its frames: `StreamOptions::default().with_backlog(Backlog::KeepOrder)`.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct StreamOptions {
    /// The time from submission to result after which a frame counts as late. `None`: no deadline.
    pub deadline: Option<Duration>,
    /// What happens when frames come faster than they are segmented.
    pub backlog: Backlog,
    /// Frames that may wait, 1 to [`MAX_QUEUED_FRAMES`].
    pub queued_frames: usize,
    /// The largest frame that is accepted: width x height x bytes a pixel. A stream keeps `queued_frames` + 2 of them.
    pub max_frame_bytes: usize,
    /// What may be lowered when frames are late; nothing by default.
    pub degrade: DegradePolicy,
    /// The options of results. Smoothing also restarts when the stream switches models.
    pub session: SessionOptions,
    /// A function that runs first in the stream's thread.
    pub on_thread_start: Option<ThreadStart>,
}

impl Default for StreamOptions {
    fn default() -> Self {
        Self {
            deadline: None,
            backlog: Backlog::LatestWins,
            queued_frames: 1,
            max_frame_bytes: 64 << 20,
            degrade: DegradePolicy::OFF,
            session: SessionOptions::default(),
            on_thread_start: None,
        }
    }
}

/// What happens when frames come faster than they are segmented.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Backlog {
    /// Keep the newest frame and drop older ones: for live video.
    #[default]
    LatestWins,
    /// Keep every frame, and refuse the next one while the queue is full: for recordings.
    KeepOrder,
}

/// The outcome of submitting a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Submission {
    /// The frame waits for the worker. Frames are numbered from 0, skipped ones too.
    Queued {
        /// The frame's number.
        sequence: u64,
    },
    /// The frame was skipped, since the stream has lowered its rate.
    Skipped {
        /// The frame's number.
        sequence: u64,
    },
    /// The frame was dropped, since several threads submitted at once.
    Dropped {
        /// The frame's number.
        sequence: u64,
    },
    /// The queue is full, and the frame was refused; only with [`Backlog::KeepOrder`].
    Full,
}

/// An error of starting or using a stream.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages say it")]
pub enum StreamError {
    #[error("a stream without a model: give at least one")]
    NoModel,
    #[error("a stream without a prompt: say what to look for")]
    NoPrompt,
    #[error("{name} is {value}: give {range}")]
    Option { name: &'static str, value: String, range: &'static str },
    #[error(
        "the frame takes {bytes} bytes and the stream at most {limit}: crop or shrink it, or raise max_frame_bytes"
    )]
    FrameBytes { bytes: usize, limit: usize },
    #[error("the stream's thread cannot be created ({0}): close other programs or raise the limit of threads")]
    Thread(std::io::Error),
    #[error("the stream has stopped ({0}): open a new one")]
    Stopped(String),
    #[error(
        "this process is a fork of the one that started the stream, whose thread it lacks: open streams after the fork"
    )]
    Forked,
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error(transparent)]
    Model(#[from] ModelError),
    #[error(transparent)]
    Session(#[from] SessionError),
}

/// A worker that segments frames as they arrive.
///
/// ```
/// use causalclipseg::frame::{Frame, PixelFormat};
/// use causalclipseg::stream::{Stream, StreamEvent, StreamOptions};
/// use causalclipseg::{Model, ModelOptions};
/// use std::sync::Arc;
///
/// let model = Arc::new(Model::open("models/tiny.ccs".as_ref(), ModelOptions::default())?);
/// let stream = Stream::start(vec![model], &["a dark nodule"], StreamOptions::default(), |event| match event {
///     StreamEvent::Frame(result) => println!("frame {}: {} findings", result.sequence, result.report.findings.len()),
///     StreamEvent::Failed { sequence, reason, .. } => eprintln!("frame {sequence}: {reason}"),
///     _ => {}
/// })?;
/// let pixels = vec![90; 320 * 240];
/// stream.submit(&Frame::packed(&pixels, PixelFormat::Gray8, 320, 240)?, 0)?;
/// assert_eq!(stream.finish().processed, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Any thread may submit, change prompts and ask for statistics; dropping the
/// stream closes it.
pub struct Stream {
    shared: Arc<Shared>,
    models: Vec<Arc<Model>>,
    /// The prompts' generation; locked while prompts are passed on, so that the last call wins.
    generation: Mutex<u64>,
    thread: Thread,
    worker: Mutex<Option<JoinHandle<()>>>,
}

/// The state that the stream and its worker share.
struct Shared {
    options: StreamOptions,
    exchange: Exchange,
    mailbox: Mailbox,
    counters: Counters,
    sequence: AtomicU64,
    ending: AtomicU8,
    /// Why the worker stopped.
    stopped: OnceLock<String>,
    /// Notifies waiting submitters that the queue may have a free place.
    room: (Mutex<()>, Condvar),
    /// The process that the worker belongs to.
    process: u32,
}

/// States of [`Shared::ending`].
const RUNNING: u8 = 0;
/// The waiting frames are segmented first.
const FINISHING: u8 = 1;
const CLOSING: u8 = 2;

/// A waiting submitter checks again after this long, in case it missed the notification.
const ROOM_CHECK: Duration = Duration::from_millis(2);

impl Stream {
    /// Starts a stream. `models` begins with the best; the stream switches to the others when frames are late and
    /// [`DegradePolicy::smaller_input`] allows it. `receive` is called on the stream's own thread, with one event after
    /// the other; while it runs, no frame does.
    ///
    /// # Errors
    /// No model, no prompt, a prompt that cannot be encoded, an option outside of its range.
    pub fn start(
        models: Vec<Arc<Model>>,
        prompts: &[&str],
        options: StreamOptions,
        receive: impl FnMut(StreamEvent<'_>) + Send + 'static,
    ) -> Result<Self, StreamError> {
        options.check()?;
        if models.is_empty() {
            return Err(StreamError::NoModel);
        }
        let prompts = Arc::new(PromptSet::encode(&models, prompts)?);
        let shared = Arc::new(Shared {
            exchange: Exchange::new(options.queued_frames),
            options,
            mailbox: Mailbox::new(),
            counters: Counters::default(),
            sequence: AtomicU64::new(0),
            ending: AtomicU8::new(RUNNING),
            stopped: OnceLock::new(),
            room: Default::default(),
            process: std::process::id(),
        });
        let worker = Worker::new(shared.clone(), models.clone(), prompts, Box::new(receive))?;
        let thread = thread::Builder::new().name("causalclipseg-stream".into());
        let hook = shared.options.on_thread_start.clone();
        let (started, starts) = mpsc::channel::<()>();
        let body = move || {
            hook.iter().for_each(|hook| hook.run(ThreadRole::Stream));
            drop(started);
            worker.run();
        };
        let worker = thread.spawn(body).map_err(StreamError::Thread)?;
        // Waits until the hook has returned and dropped its end of the channel.
        let _ = starts.recv();
        let thread = worker.thread().clone();
        Ok(Self { shared, models, generation: Mutex::new(0), thread, worker: Mutex::new(Some(worker)) })
    }

    /// Copies a frame's region of interest and hands it to the worker; never waits. `timestamp_us` is the caller's own
    /// and comes back with the result.
    ///
    /// # Errors
    /// [`StreamError::FrameBytes`], and [`StreamError::Stopped`] after the worker stopped.
    pub fn submit(&self, frame: &Frame<'_>, timestamp_us: u64) -> Result<Submission, StreamError> {
        let submitted = Instant::now();
        self.shared.check_process()?;
        let Shared { options, exchange, counters, .. } = &*self.shared;
        if let Some(reason) = self.shared.stopped.get() {
            return Err(StreamError::Stopped(reason.clone()));
        }
        if self.shared.ending.load(Ordering::Acquire) != RUNNING {
            return Err(StreamError::Stopped("it was closed".into()));
        }
        let (bytes, limit) = (packed_bytes(frame), options.max_frame_bytes);
        if bytes > limit {
            return Err(StreamError::FrameBytes { bytes, limit });
        }
        if options.backlog == Backlog::KeepOrder && exchange.is_full() {
            return Ok(Submission::Full);
        }
        let sequence = self.shared.sequence.fetch_add(1, Ordering::Relaxed);
        count(&counters.submitted);
        if !sequence.is_multiple_of(u64::from(counters.level().every_nth)) {
            count(&counters.skipped);
            return Ok(Submission::Skipped { sequence });
        }
        let Some(mut slot) = exchange.take_free() else {
            count(&counters.dropped);
            return Ok(Submission::Dropped { sequence });
        };
        slot.fill(frame);
        (slot.sequence, slot.timestamp_us, slot.submitted) = (sequence, timestamp_us, submitted);
        while options.backlog == Backlog::LatestWins && exchange.is_full() {
            // The queue is empty: the worker was faster.
            let Some(oldest) = exchange.take_oldest() else { break };
            count(&counters.dropped);
            exchange.give_back(oldest);
        }
        (slot.handling, slot.queued) = (submitted.elapsed(), Instant::now());
        if let Err(slot) = exchange.enqueue(slot) {
            count(&counters.dropped);
            exchange.give_back(slot);
            return Ok(Submission::Dropped { sequence });
        }
        self.thread.unpark();
        Ok(Submission::Queued { sequence })
    }

    /// As [`Stream::submit`], but waits up to `patience` while the queue is full; [`Submission::Full`] after that.
    pub fn submit_wait(
        &self,
        frame: &Frame<'_>,
        timestamp_us: u64,
        patience: Duration,
    ) -> Result<Submission, StreamError> {
        let begun = Instant::now();
        loop {
            let submission = self.submit(frame, timestamp_us)?;
            let left = patience.saturating_sub(begun.elapsed());
            if submission != Submission::Full || left.is_zero() {
                return Ok(submission);
            }
            let (lock, room) = &self.shared.room;
            let guard = lock.lock().unwrap_or_else(PoisonError::into_inner);
            drop(room.wait_timeout(guard, left.min(ROOM_CHECK)));
        }
    }

    /// Changes the prompts from the next frame on. Encodes them on the calling thread, which should not be the one that submits
    /// frames. Returns the number that results of these prompts carry as [`FrameResult::prompt_generation`].
    ///
    /// # Errors
    /// An empty list, or a prompt that cannot be encoded; the old prompts stay in effect.
    pub fn set_prompts(&self, prompts: &[&str]) -> Result<u64, StreamError> {
        self.shared.check_process()?;
        let mut set = PromptSet::encode(&self.models, prompts)?;
        let mut generation = self.generation.lock().unwrap_or_else(PoisonError::into_inner);
        *generation += 1;
        set.set_generation(*generation);
        self.shared.mailbox.put(Arc::new(set));
        Ok(*generation)
    }

    /// The counts so far.
    pub fn statistics(&self) -> Statistics {
        self.shared.counters.snapshot()
    }

    /// Whether this is the stream's own thread, on which `receive` runs.
    pub fn is_own_thread(&self) -> bool {
        self.thread.id() == thread::current().id()
    }

    /// Segments the waiting frames, then ends.
    pub fn finish(self) -> Statistics {
        self.end(true);
        self.statistics()
    }

    /// Ends after the frame that is being segmented; waiting frames are dropped.
    pub fn close(self) -> Statistics {
        self.end(false);
        self.statistics()
    }

    /// Ends a stream that is shared, like [`Stream::finish`] if `finish` and like [`Stream::close`] otherwise. Returns after the
    /// last event was received; called on the stream's own thread it only requests the end. In a fork of the process that started
    /// the stream it does nothing, since the fork lacks the thread.
    pub fn end(&self, finish: bool) {
        if self.shared.is_forked() {
            return;
        }
        // A request to close overrides one to finish.
        self.shared.ending.fetch_max(if finish { FINISHING } else { CLOSING }, Ordering::AcqRel);
        self.thread.unpark();
        if self.is_own_thread() {
            return;
        }
        // Locked while waiting, so that every caller returns after the stream's end.
        let mut worker = self.worker.lock().unwrap_or_else(PoisonError::into_inner);
        if worker.take().is_some_and(|worker| worker.join().is_err()) {
            log::error!("the stream's thread panicked");
        }
        // A frame that was submitted at the same moment.
        self.shared.drop_waiting();
    }
}

impl Shared {
    fn is_forked(&self) -> bool {
        std::process::id() != self.process
    }

    fn check_process(&self) -> Result<(), StreamError> {
        if self.is_forked() { Err(StreamError::Forked) } else { Ok(()) }
    }

    fn drop_waiting(&self) {
        while let Some(slot) = self.exchange.take_oldest() {
            count(&self.counters.dropped);
            self.exchange.give_back(slot);
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.end(false);
    }
}

impl StreamOptions {
    /// See [`Self::deadline`].
    pub fn with_deadline(self, deadline: Option<Duration>) -> Self {
        Self { deadline, ..self }
    }

    /// See [`Self::backlog`].
    pub fn with_backlog(self, backlog: Backlog) -> Self {
        Self { backlog, ..self }
    }

    /// See [`Self::queued_frames`].
    pub fn with_queued_frames(self, queued_frames: usize) -> Self {
        Self { queued_frames, ..self }
    }

    /// See [`Self::max_frame_bytes`].
    pub fn with_max_frame_bytes(self, max_frame_bytes: usize) -> Self {
        Self { max_frame_bytes, ..self }
    }

    /// See [`Self::degrade`].
    pub fn with_degrade(self, degrade: DegradePolicy) -> Self {
        Self { degrade, ..self }
    }

    /// See [`Self::session`].
    pub fn with_session(self, session: SessionOptions) -> Self {
        Self { session, ..self }
    }

    /// See [`Self::on_thread_start`].
    pub fn with_on_thread_start(self, on_thread_start: Option<ThreadStart>) -> Self {
        Self { on_thread_start, ..self }
    }

    fn check(&self) -> Result<(), StreamError> {
        let refuse = |name, value: String, range| Err(StreamError::Option { name, value, range });
        let Self { deadline, queued_frames, degrade, session, .. } = self;
        session.check()?;
        if deadline.is_some_and(|deadline| deadline.is_zero()) {
            return refuse("the deadline", "zero".into(), "more than 0");
        }
        if !(1..=MAX_QUEUED_FRAMES).contains(queued_frames) {
            return refuse("the number of queued frames", queued_frames.to_string(), "1 to 8");
        }
        if !(0.0..=1.0).contains(&degrade.late_share) {
            return refuse("the share of late frames", degrade.late_share.to_string(), "0 to 1");
        }
        Ok(())
    }
}
