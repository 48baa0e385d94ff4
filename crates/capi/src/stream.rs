//! Streams: frames as they come, results through a callback.

use crate::failure::{CCS_STATUS_BUSY, CCS_STATUS_INTERNAL, Failure, ccs_status, guard, guard_into};
use crate::frame::{ccs_frame, frame};
use crate::handle::{self, Object, ccs_model, ccs_stream};
use crate::session::time_limit;
use crate::thread::{ThreadWishes, ccs_thread_start};
use crate::types::{
    boolean, ccs_measurements, ccs_quality, elements, options, place, read_options, reserved, sized, string, threshold,
    write,
};
use runtime::stream::{Backlog, DegradePolicy, FrameResult, Stream, StreamEvent, StreamOptions, Submission, Summary};
use runtime::{Finding, SessionOptions};
use std::ffi::{CString, c_char, c_void};
use std::ptr;
use std::sync::{Arc, Mutex, TryLockError};
use std::time::Duration;

/// The most frames that may wait in a stream.
pub const CCS_MAX_QUEUED_FRAMES: u32 = 8;

/// How a stream treats its frames; null means all zero.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ccs_stream_options {
    /// sizeof(ccs_stream_options).
    pub struct_size: u32,
    /// Frames that may wait, 1 to CCS_MAX_QUEUED_FRAMES; 0 is 1.
    pub queued_frames: u32,
    /// The time from submission to result after which a frame counts as late. 0: no deadline.
    pub deadline_ms: f64,
    /// The largest frame that is accepted, width x height x bytes a pixel; 0 is 64 MiB.
    pub max_frame_bytes: usize,
    /// A pixel is lesion where its probability is above this, above 0 and below 1; 0 is the model's own.
    pub threshold: f32,
    /// How much of each pixel's probability comes from the frames before, 0 (off) to below 1.
    pub smoothing: f32,
    /// 1: no frame is dropped, and a full queue refuses the next one. 0: newer frames replace older ones.
    pub keep_order: u32,
    /// 1: segment fewer frames while the deadline is missed.
    pub lower_rate: u32,
    /// 1: switch to the next of the models while the deadline is missed.
    pub smaller_input: u32,
    /// 1: measure every mask, see ccs_finding.
    pub measure: u32,
    /// 1: leave out ccs_finding.quality and the time that it takes.
    pub no_quality: u32,
    /// Set to 0.
    pub reserved: u32,
    /// Called first in the stream's thread; null: nothing is called.
    pub on_thread_start: ccs_thread_start,
    /// The first argument of `on_thread_start`.
    pub thread_user: *mut c_void,
    /// The cores that the stream's thread may run on; null and 0: any. Those that this process may not use are refused.
    pub cores: *const u32,
    /// The numbers that `cores` points to.
    pub core_count: usize,
    /// A frame on which the network takes longer, in microseconds, is abandoned and reported as CCS_EVENT_FAILED; see
    /// ccs_session_options.time_limit_us. 0: as long as it takes.
    pub time_limit_us: u32,
    /// Set to 0.
    pub reserved_2: u32,
}

/// A frame with its results.
pub const CCS_EVENT_FRAME: u32 = 0;
/// A frame failed; the event says why.
pub const CCS_EVENT_FAILED: u32 = 1;
/// `model_index` and `every_nth` changed.
pub const CCS_EVENT_LEVEL: u32 = 2;
/// The stream stopped; the event says why.
pub const CCS_EVENT_STOPPED: u32 = 3;

/// What one prompt found in one frame. Maps are the frame's height x width, without gaps.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ccs_finding {
    /// 255 for lesion, 0 elsewhere.
    pub mask: *const u8,
    /// The probability of lesion, 0 to 1.
    pub probability: *const f32,
    /// The confounder map; null if the model was opened without confounders.
    pub confounders: *const f32,
    /// All zero unless ccs_stream_options.measure is 1.
    pub measurements: ccs_measurements,
    /// If ccs_stream_options.no_quality is 1: all zero except `present`, -1, and `expected_dice`, NaN.
    pub quality: ccs_quality,
}

/// An event of a stream. Everything that it points to is valid until the callback returns.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ccs_event {
    /// sizeof(ccs_event).
    pub struct_size: u32,
    /// One of CCS_EVENT_*.
    pub kind: u32,
    /// The frame's number, from 0 in the order of submission.
    pub sequence: u64,
    /// The timestamp that was submitted with the frame.
    pub timestamp_us: u64,
    /// The frame's width, in pixels.
    pub width: u32,
    /// The frame's height, in pixels.
    pub height: u32,
    /// One finding for each prompt.
    pub findings: *const ccs_finding,
    /// The number of findings that `findings` points to.
    pub finding_count: usize,
    /// Counts the calls of ccs_stream_set_prompts that were in effect.
    pub prompt_generation: u64,
    /// From submission to result.
    pub latency_ms: f64,
    /// 1 if the latency exceeds the deadline.
    pub late: u32,
    /// The index of the stream's model that ran.
    pub model_index: u32,
    /// One of this many frames is segmented.
    pub every_nth: u32,
    /// Zero.
    pub reserved: u32,
    /// Why the frame failed or the stream stopped; null for other events.
    pub message: *const c_char,
}

/// Called on the stream's own thread, never twice at once. It must not throw; it may call any function of this library except
/// ccs_stream_close on its own stream. While it runs, no frame is segmented.
pub type ccs_callback = Option<unsafe extern "C" fn(user: *mut c_void, event: *const ccs_event)>;

/// The frame waits for the network.
pub const CCS_SUBMITTED: u32 = 0;
/// The frame was skipped, since the rate is lowered.
pub const CCS_SKIPPED: u32 = 1;
/// The frame was dropped, since several threads submitted at once.
pub const CCS_DROPPED: u32 = 2;
/// The queue is full and the frame was refused; only with keep_order.
pub const CCS_FULL: u32 = 3;

/// A latency's distribution, in milliseconds.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct ccs_latency {
    /// The minimum.
    pub min_ms: f64,
    /// The mean.
    pub mean_ms: f64,
    /// The median.
    pub p50_ms: f64,
    /// The 90th percentile.
    pub p90_ms: f64,
    /// The 99th percentile.
    pub p99_ms: f64,
    /// The 99.9th percentile.
    pub p999_ms: f64,
    /// The maximum.
    pub max_ms: f64,
}

/// The counts of a stream since it was opened.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ccs_statistics {
    /// sizeof(ccs_statistics).
    pub struct_size: u32,
    /// The index of the stream's model that runs now.
    pub model_index: u32,
    /// One of this many frames is segmented now.
    pub every_nth: u32,
    /// Zero.
    pub reserved: u32,
    /// The sum of processed, dropped, skipped, failed and those under way.
    pub submitted: u64,
    /// Frames with a result.
    pub processed: u64,
    /// Frames that newer ones replaced, or that waited when the stream was closed.
    pub dropped: u64,
    /// Frames left out to lower the rate.
    pub skipped: u64,
    /// Frames on which the network failed.
    pub failed: u64,
    /// Processed frames whose result came after the deadline.
    pub late: u64,
    /// How often the stream lowered its rate or input size to keep the deadline.
    pub degraded: u64,
    /// How often the stream raised them again.
    pub recovered: u64,
    /// From submission to result.
    pub latency: ccs_latency,
    /// The part of the latency from the queue to the worker.
    pub queue: ccs_latency,
    /// The part of the latency that the network and the quality took.
    pub compute: ccs_latency,
    /// The stream's other work: copying, counting.
    pub bookkeeping: ccs_latency,
}

sized!(ccs_statistics);
options!(ccs_stream_options);

impl From<Summary> for ccs_latency {
    fn from(summary: Summary) -> Self {
        let Summary { min, mean, p50, p90, p99, p999, max, .. } = summary;
        Self { min_ms: min, mean_ms: mean, p50_ms: p50, p90_ms: p90, p99_ms: p99, p999_ms: p999, max_ms: max }
    }
}

pub(super) struct OpenStream {
    stream: Stream,
    /// A camera's pixels as the runtime takes them, kept between frames.
    converted: Mutex<Vec<u8>>,
}

impl OpenStream {
    /// Runs with the kept memory, or with memory of its own if another thread submits at the same time, so that neither waits.
    fn with_memory<T>(&self, body: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        match self.converted.try_lock() {
            Ok(mut kept) => body(&mut kept),
            // Bytes that the next frame overwrites.
            Err(TryLockError::Poisoned(kept)) => {
                self.converted.clear_poison();
                body(&mut kept.into_inner())
            }
            Err(TryLockError::WouldBlock) => body(&mut Vec::new()),
        }
    }
}

/// The host's function and its argument.
struct Callback {
    function: unsafe extern "C" fn(*mut c_void, *const ccs_event),
    user: *mut c_void,
    measure: bool,
    /// Kept between frames.
    findings: Vec<ccs_finding>,
}

// SAFETY: the pointers are only handed to the host's function, and the host is told on which thread that runs.
unsafe impl Send for Callback {}

const NO_MEASUREMENTS: ccs_measurements = {
    // SAFETY: a struct of numbers, for which zero is a value.
    unsafe { std::mem::zeroed() }
};

const NO_QUALITY: ccs_quality = {
    // SAFETY: as above.
    let zeros: ccs_quality = unsafe { std::mem::zeroed() };
    ccs_quality { expected_dice: f64::NAN, present: -1, ..zeros }
};

const QUIET: ccs_event = ccs_event {
    struct_size: size_of::<ccs_event>() as u32,
    kind: CCS_EVENT_FRAME,
    sequence: 0,
    timestamp_us: 0,
    width: 0,
    height: 0,
    findings: ptr::null(),
    finding_count: 0,
    prompt_generation: 0,
    latency_ms: 0.0,
    late: 0,
    model_index: 0,
    every_nth: 1,
    reserved: 0,
    message: ptr::null(),
};

impl Callback {
    fn tell(&mut self, event: &StreamEvent<'_>) {
        match event {
            StreamEvent::Frame(result) => self.tell_frame(result),
            StreamEvent::Failed { sequence, timestamp_us, reason } => {
                let message = CString::new(reason.replace('\0', " ")).unwrap_or_default();
                self.call(&ccs_event {
                    kind: CCS_EVENT_FAILED,
                    sequence: *sequence,
                    timestamp_us: *timestamp_us,
                    message: message.as_ptr(),
                    ..QUIET
                });
            }
            StreamEvent::LevelChanged { to, .. } => self.call(&ccs_event {
                kind: CCS_EVENT_LEVEL,
                model_index: to.model as u32,
                every_nth: to.every_nth,
                ..QUIET
            }),
            StreamEvent::Stopped { reason } => {
                let message = CString::new(reason.replace('\0', " ")).unwrap_or_default();
                self.call(&ccs_event { kind: CCS_EVENT_STOPPED, message: message.as_ptr(), ..QUIET });
            }
            // An event without a number in this interface.
            _ => {}
        }
    }

    fn tell_frame(&mut self, result: &FrameResult<'_>) {
        self.findings.clear();
        let measure = self.measure;
        self.findings.extend(result.report.findings.iter().map(|found| ccs_finding::of(found, measure)));
        self.call(&ccs_event {
            sequence: result.sequence,
            timestamp_us: result.timestamp_us,
            width: result.frame.width() as u32,
            height: result.frame.height() as u32,
            findings: self.findings.as_ptr(),
            finding_count: self.findings.len(),
            prompt_generation: result.prompt_generation,
            latency_ms: result.latency.as_secs_f64() * 1e3,
            late: u32::from(result.late),
            model_index: result.level.model as u32,
            every_nth: result.level.every_nth,
            ..QUIET
        });
    }

    fn call(&self, event: &ccs_event) {
        // SAFETY: the host gave this function for events, and promised that it does not throw; the event and all that it
        // points to outlive the call.
        unsafe { (self.function)(self.user, event) }
    }
}

impl ccs_finding {
    /// Borrows a finding's maps.
    fn of(found: &Finding, measure: bool) -> Self {
        Self {
            mask: found.mask().pixels().as_slice().map_or(ptr::null(), <[u8]>::as_ptr),
            probability: found.probability().values().as_slice().map_or(ptr::null(), <[f32]>::as_ptr),
            confounders: found
                .confounders()
                .and_then(|map| map.values().as_slice().map(<[f32]>::as_ptr))
                .unwrap_or(ptr::null()),
            measurements: if measure { found.measurements().into() } else { NO_MEASUREMENTS },
            quality: found.quality().map_or(NO_QUALITY, Into::into),
        }
    }
}

impl ccs_stream_options {
    fn checked(self) -> Result<StreamOptions, Failure> {
        let default = StreamOptions::default();
        let deadline = match self.deadline_ms {
            0.0 => None,
            ms if ms > 0.0 && ms <= 3.6e6 => Some(Duration::from_secs_f64(ms / 1e3)),
            other => return Err(Failure::argument(format!("a deadline of {other} ms: give 0 to an hour"))),
        };
        reserved("ccs_stream_options.reserved", self.reserved)?;
        reserved("ccs_stream_options.reserved_2", self.reserved_2)?;
        let is_set = |name: &str, value| boolean(&format!("ccs_stream_options.{name}"), value);
        let keep_order = is_set("keep_order", self.keep_order)?;
        let degrade = DegradePolicy::OFF
            .with_lower_rate(is_set("lower_rate", self.lower_rate)?)
            .with_smaller_input(is_set("smaller_input", self.smaller_input)?);
        let session = SessionOptions::default()
            .with_threshold(threshold(self.threshold))
            .with_smoothing(self.smoothing)
            .with_quality(!is_set("no_quality", self.no_quality)?)
            .with_time_limit(time_limit(self.time_limit_us));
        let max_frame_bytes = if self.max_frame_bytes == 0 { default.max_frame_bytes } else { self.max_frame_bytes };
        Ok(default
            .with_deadline(deadline)
            .with_backlog(if keep_order { Backlog::KeepOrder } else { Backlog::LatestWins })
            .with_queued_frames(self.queued_frames.max(1) as usize)
            .with_max_frame_bytes(max_frame_bytes)
            .with_degrade(degrade)
            .with_session(session))
    }
}

/// # Safety
/// `prompts` has `count` zero-terminated strings.
unsafe fn strings<'a>(prompts: *const *const c_char, count: usize) -> Result<Vec<&'a str>, Failure> {
    // SAFETY: as promised.
    unsafe { elements(prompts, count, "prompts")?.iter().map(|text| string(*text, "a prompt")).collect() }
}

/// Opens a stream: `models` begins with the best, and the stream switches to the others when frames are late and
/// `smaller_input` is 1. `prompts` are 1 to CCS_MAX_PROMPTS sentences, UTF-8. `callback` receives the results. After a failure
/// `*stream` is 0, and `callback` is not called any more.
///
/// # Safety
/// `models` and `prompts` have as many elements as said; `options` is null or tells its size, and has what its pointers say;
/// `stream` may be written;
/// `user` is what `callback` expects, until the stream is closed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ccs_stream_open(
    models: *const ccs_model,
    model_count: usize,
    prompts: *const *const c_char,
    prompt_count: usize,
    options: *const ccs_stream_options,
    callback: ccs_callback,
    user: *mut c_void,
    stream: *mut ccs_stream,
) -> ccs_status {
    let open = |out: &mut ccs_stream| {
        // SAFETY: as the caller promises.
        let (options, models, prompts) = unsafe {
            (read_options(options)?, elements(models, model_count, "models")?, strings(prompts, prompt_count)?)
        };
        let ccs_stream_options { on_thread_start, thread_user, cores, core_count, .. } = options;
        // SAFETY: as the caller promises.
        let wishes = unsafe { ThreadWishes::read(on_thread_start, thread_user, cores, core_count) }?;
        let function = callback.ok_or_else(|| Failure::null("callback"))?;
        let models = models.iter().map(|model| handle::model(*model)).collect::<Result<Vec<_>, _>>()?;
        let measure = boolean("ccs_stream_options.measure", options.measure)?;
        let mut callback = Callback { function, user, measure, findings: Vec::new() };
        let options = options.checked()?.with_on_thread_start(wishes.start());
        let stream = Stream::start(models, &prompts, options, move |event| callback.tell(&event))?;
        wishes.check()?;
        let open = OpenStream { stream, converted: Mutex::default() };
        *out = ccs_stream { id: handle::keep(Object::Stream(Arc::new(open))) };
        Ok(())
    };
    // SAFETY: as the caller promises.
    unsafe { guard_into(stream, "stream", open) }
}

/// Submits a frame and returns at once: its region of interest is copied, and converted from a camera's format. `timestamp_us` is
/// the host's own and comes back with the result. `submission` may be null; it receives one of CCS_SUBMITTED, CCS_SKIPPED,
/// CCS_DROPPED, CCS_FULL.
///
/// # Safety
/// `frame` is null or a frame whose pixels can be read; `submission` is null or may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ccs_stream_submit(
    stream: ccs_stream,
    frame: *const ccs_frame,
    timestamp_us: u64,
    submission: *mut u32,
) -> ccs_status {
    guard(|| {
        let open = handle::stream(stream)?;
        let submitted = open.with_memory(|converted| -> Result<Submission, Failure> {
            // SAFETY: as the caller promises.
            let frame = unsafe { self::frame(frame, converted) }?;
            Ok(open.stream.submit(&frame, timestamp_us)?)
        });
        let became = match submitted? {
            Submission::Queued { .. } => CCS_SUBMITTED,
            Submission::Skipped { .. } => CCS_SKIPPED,
            Submission::Dropped { .. } => CCS_DROPPED,
            Submission::Full => CCS_FULL,
            other => return Err(Failure::new(CCS_STATUS_INTERNAL, format!("{other:?} has no number"))),
        };
        if !submission.is_null() {
            // SAFETY: as the caller promises.
            unsafe { *place(submission, "submission")? = became };
        }
        Ok(())
    })
}

/// Changes the prompts from the next frame on. Encodes them on the calling thread, which should not be the one that submits.
/// After a failure the old prompts stay.
///
/// # Safety
/// `prompts` has `prompt_count` zero-terminated strings.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ccs_stream_set_prompts(
    stream: ccs_stream,
    prompts: *const *const c_char,
    prompt_count: usize,
) -> ccs_status {
    guard(|| {
        let open = handle::stream(stream)?;
        // SAFETY: as the caller promises.
        open.stream.set_prompts(&unsafe { strings(prompts, prompt_count) }?)?;
        Ok(())
    })
}

/// Reports the counts so far. Set `statistics->struct_size` before the call.
///
/// # Safety
/// `statistics` is null or tells its size, and may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ccs_stream_statistics(stream: ccs_stream, statistics: *mut ccs_statistics) -> ccs_status {
    guard(|| {
        let found = handle::stream(stream)?.stream.statistics();
        let value = ccs_statistics {
            struct_size: size_of::<ccs_statistics>() as u32,
            model_index: found.level.model as u32,
            every_nth: found.level.every_nth,
            reserved: 0,
            submitted: found.submitted,
            processed: found.processed,
            dropped: found.dropped,
            skipped: found.skipped,
            failed: found.failed,
            late: found.late,
            degraded: found.degraded,
            recovered: found.recovered,
            latency: found.latency_ms.into(),
            queue: found.queue_ms.into(),
            compute: found.compute_ms.into(),
            bookkeeping: found.bookkeeping_ms.into(),
        };
        // SAFETY: as the caller promises.
        unsafe { write(statistics, value) }
    })
}

/// Ends a stream and frees its handle. Waiting frames are segmented first if `finish` is 1 and dropped if it is 0. After it
/// returns, the callback is not called again. Does nothing for the handle 0.
#[unsafe(no_mangle)]
pub extern "C" fn ccs_stream_close(stream: ccs_stream, finish: u32) -> ccs_status {
    guard(|| {
        if stream.id == 0 {
            return Ok(());
        }
        if handle::stream(stream)?.stream.is_own_thread() {
            let message = "a stream cannot be closed from its own callback: tell another thread to do it";
            return Err(Failure::new(CCS_STATUS_BUSY, message));
        }
        if let Object::Stream(shared) = handle::take("stream", stream.id)? {
            shared.stream.end(finish != 0);
        }
        Ok(())
    })
}

const _: () = assert!(CCS_MAX_QUEUED_FRAMES as usize == runtime::stream::MAX_QUEUED_FRAMES);
