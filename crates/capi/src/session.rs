//! Sessions: a frame in, results into the host's buffers.

use crate::failure::{
    CCS_STATUS_BUFFER_TOO_SMALL, CCS_STATUS_BUSY, CCS_STATUS_NO_CONFOUNDERS, CCS_STATUS_NO_RESULT, Failure, ccs_status,
    guard, guard_into,
};
use crate::frame::{ccs_frame, frame};
use crate::handle::{self, Object, ccs_model, ccs_prompt, ccs_session};
use crate::model::{CCS_DEVICE_CPU, CCS_DEVICE_GPU};
use crate::types::{boolean, options, place, read_options, threshold};
use crate::types::{
    ccs_contour, ccs_measurements, ccs_point, ccs_quality, check_pointer, elements, elements_mut, sized, write,
};
use ndarray::ArrayView2;
use runtime::engine::{Canceller, RanOn};
use runtime::{Finding, FrameReport, Session, SessionOptions};
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};
use std::time::Duration;

/// The most prompts of one call or stream.
pub const CCS_MAX_PROMPTS: u32 = 256;

/// How a session makes results; null means all zero.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ccs_session_options {
    /// sizeof(ccs_session_options).
    pub struct_size: u32,
    /// A pixel is lesion where its probability is above this, above 0 and below 1; 0 is the model's own.
    pub threshold: f32,
    /// How much of each pixel's probability comes from the frames before, 0 (off) to below 1. The frames of a session are treated
    /// as one sequence.
    pub smoothing: f32,
    /// 1 to leave out the quality (ccs_judge) and the time that it takes, or 0.
    pub no_quality: u32,
    /// A call of ccs_segment that takes longer, in microseconds, ends with CCS_STATUS_TIME_LIMIT before the network's next step.
    /// The work on all prompts together is one step, and so is a GPU's pass. 0: as long as it takes.
    pub time_limit_us: u32,
}

/// The time that each stage of one frame took, in milliseconds.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ccs_timing {
    /// sizeof(ccs_timing).
    pub struct_size: u32,
    /// The device that ran the network, CCS_DEVICE_CPU or CCS_DEVICE_GPU.
    pub ran_on: u32,
    /// From pixels to the network's input.
    pub preprocess_ms: f64,
    /// The part of the network that does not depend on prompts.
    pub image_ms: f64,
    /// The part of the network that depends on prompts, for all prompts together.
    pub head_ms: f64,
    /// From logits to masks and quality, for all prompts together.
    pub postprocess_ms: f64,
}

sized!(ccs_timing);
options!(ccs_session_options);

pub(super) struct OpenSession {
    /// Outside the lock, which a running call holds.
    canceller: Canceller,
    state: Mutex<SessionState>,
}

struct SessionState {
    session: Session,
    /// The last frame's report. Its memory is reused, also after a failure.
    report: FrameReport,
    /// Whether it holds results.
    is_done: bool,
    /// A camera's pixels, converted for the runtime.
    converted: Vec<u8>,
}

impl SessionState {
    fn finding(&self, index: usize) -> Result<&Finding, Failure> {
        let findings = if self.is_done { self.report.findings.as_slice() } else { &[] };
        findings.get(index).ok_or_else(|| {
            let message = format!("there is no result {index}: the last call of ccs_segment gave {}", findings.len());
            Failure::new(CCS_STATUS_NO_RESULT, message)
        })
    }
}

/// Creates a session. It keeps what it needs of the model. After a failure `*session` is 0.
///
/// # Safety
/// `options` is null or tells its size; `session` may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ccs_session_new(
    model: ccs_model,
    options: *const ccs_session_options,
    session: *mut ccs_session,
) -> ccs_status {
    let make = |out: &mut ccs_session| {
        // SAFETY: as the caller promises.
        let given = unsafe { read_options(options) }?;
        let options = SessionOptions::default()
            .with_threshold(threshold(given.threshold))
            .with_smoothing(given.smoothing)
            .with_quality(!boolean("ccs_session_options.no_quality", given.no_quality)?)
            .with_time_limit(time_limit(given.time_limit_us));
        let session = Session::new(&*handle::model(model)?, options)?;
        let canceller = session.canceller();
        let state = SessionState { session, report: FrameReport::default(), is_done: false, converted: Vec::new() };
        let open = OpenSession { canceller, state: Mutex::new(state) };
        *out = ccs_session { id: handle::keep(Object::Session(Arc::new(open))) };
        Ok(())
    };
    // SAFETY: as the caller promises.
    unsafe { guard_into(session, "session", make) }
}

/// Converts a time limit from C, where 0 means no limit.
pub(super) fn time_limit(us: u32) -> Option<Duration> {
    (us != 0).then(|| Duration::from_micros(us.into()))
}

/// Frees a session's handle. Does nothing for 0.
#[unsafe(no_mangle)]
pub extern "C" fn ccs_session_free(session: ccs_session) -> ccs_status {
    handle::free("session", session.id)
}

/// Locks a session, or finds it in use.
fn enter(session: &OpenSession) -> Result<MutexGuard<'_, SessionState>, Failure> {
    match session.state.try_lock() {
        Ok(state) => Ok(state),
        // A panic left the results incomplete, so they are dropped.
        Err(TryLockError::Poisoned(poisoned)) => {
            session.state.clear_poison();
            let mut state = poisoned.into_inner();
            state.is_done = false;
            Ok(state)
        }
        Err(TryLockError::WouldBlock) => {
            let message = "another thread is using this session: make one for each thread";
            Err(Failure::new(CCS_STATUS_BUSY, message))
        }
    }
}

/// Segments a frame under `prompt_count` prompts: one pass over the image, then a short one for each prompt. The results stay in
/// the session until the next call; the functions below copy them out. After a failure the session holds no results.
/// `prompt_count` is 1 to CCS_MAX_PROMPTS. `timing` may be null.
///
/// # Safety
/// `frame` is null or a frame whose pixels can be read; `prompts` has `prompt_count` handles; `timing` is null or tells
/// its size, and may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ccs_segment(
    session: ccs_session,
    frame: *const ccs_frame,
    prompts: *const ccs_prompt,
    prompt_count: usize,
    timing: *mut ccs_timing,
) -> ccs_status {
    guard(|| {
        let session = handle::session(session)?;
        let mut state = enter(&session)?;
        let SessionState { session, report, is_done, converted } = &mut *state;
        *is_done = false;
        // SAFETY: as the caller promises.
        let (frame, handles) = unsafe { (self::frame(frame, converted)?, elements(prompts, prompt_count, "prompts")?) };
        if handles.is_empty() {
            return Err(Failure::argument("no prompts: give at least one"));
        }
        if handles.len() > CCS_MAX_PROMPTS as usize {
            let message = format!("{} prompts: give 1 to {CCS_MAX_PROMPTS}", handles.len());
            return Err(Failure::argument(message));
        }
        if !timing.is_null() {
            // SAFETY: as the caller promises; checked before the work, so that a wrong size costs nothing.
            unsafe { crate::types::read(timing.cast_const()) }?;
        }
        let prompts = handles.iter().map(|prompt| handle::prompt(*prompt)).collect::<Result<Vec<_>, _>>()?;
        session.run_into(&frame, &prompts, report)?;
        *is_done = true;
        if !timing.is_null() {
            // SAFETY: as the caller promises.
            unsafe { write(timing, (&*report).into()) }?;
        }
        Ok(())
    })
}

/// Ends another thread's running call of ccs_segment with this session: it returns CCS_STATUS_CANCELLED before the network's next
/// step. The work on all prompts together is one step, and so is a GPU's pass. Does nothing if no call runs; a call that ends at
/// the same moment keeps its results. Returns at once.
#[unsafe(no_mangle)]
pub extern "C" fn ccs_session_cancel(session: ccs_session) -> ccs_status {
    guard(|| {
        handle::session(session)?.canceller.cancel();
        Ok(())
    })
}

impl From<&FrameReport> for ccs_timing {
    fn from(report: &FrameReport) -> Self {
        let ms = |seconds: f64| seconds * 1e3;
        Self {
            struct_size: size_of::<Self>() as u32,
            ran_on: match report.ran_on {
                RanOn::Cpu => CCS_DEVICE_CPU,
                RanOn::Gpu => CCS_DEVICE_GPU,
            },
            preprocess_ms: ms(report.seconds.preprocess),
            image_ms: ms(report.seconds.image),
            head_ms: ms(report.seconds.head),
            postprocess_ms: ms(report.seconds.postprocess),
        }
    }
}

/// Copies a map row by row; `row_stride` and `capacity` count elements.
///
/// # Safety
/// `out` has `capacity` elements and may be written.
unsafe fn copy_map<T: Copy>(
    map: ArrayView2<'_, T>,
    out: *mut T,
    capacity: usize,
    row_stride: usize,
    what: &str,
) -> Result<(), Failure> {
    check_pointer(out, what)?;
    let (height, width) = map.dim();
    let stride = if row_stride == 0 { width } else { row_stride };
    if stride < width {
        return Err(Failure::argument(format!("a row stride of {stride} is shorter than a row of {width}")));
    }
    let needed = height.saturating_sub(1).checked_mul(stride).and_then(|rows| rows.checked_add(width));
    let needed = needed.ok_or_else(|| Failure::argument(format!("a row stride of {stride} is too large")))?;
    if capacity < needed {
        let message = format!("{what} has room for {capacity} elements and {needed} are needed");
        return Err(Failure::new(CCS_STATUS_BUFFER_TOO_SMALL, message));
    }
    // SAFETY: as the caller promises, and no more than what is needed.
    let out = unsafe { elements_mut(out, needed, what) }?;
    for (row, target) in map.rows().into_iter().zip(out.chunks_mut(stride)) {
        let target = target.get_mut(..width).unwrap_or_default();
        match row.as_slice() {
            Some(row) => target.copy_from_slice(row),
            None => target.iter_mut().zip(row).for_each(|(to, from)| *to = *from),
        }
    }
    Ok(())
}

/// Copies the mask of prompt `index`: the frame's height x width, 255 for lesion and 0 elsewhere. `row_stride` counts
/// elements from one row to the next, 0 for rows without a gap; `capacity` counts the elements that `mask` has.
///
/// # Safety
/// `mask` has `capacity` bytes and may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ccs_mask(
    session: ccs_session,
    index: usize,
    mask: *mut u8,
    capacity: usize,
    row_stride: usize,
) -> ccs_status {
    guard(|| {
        let session = handle::session(session)?;
        let state = enter(&session)?;
        // SAFETY: as the caller promises.
        unsafe { copy_map(state.finding(index)?.mask().pixels(), mask, capacity, row_stride, "mask") }
    })
}

/// Copies the probabilities of prompt `index`, 0 to 1; 0 outside of the region of interest. As ccs_mask otherwise.
///
/// # Safety
/// `probability` has `capacity` floats and may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ccs_probability(
    session: ccs_session,
    index: usize,
    probability: *mut f32,
    capacity: usize,
    row_stride: usize,
) -> ccs_status {
    guard(|| {
        let session = handle::session(session)?;
        let state = enter(&session)?;
        let values = state.finding(index)?.probability().values();
        // SAFETY: as the caller promises.
        unsafe { copy_map(values, probability, capacity, row_stride, "probability") }
    })
}

/// Copies the confounder map of prompt `index`: the probability, 0 to 1, of lesion computed from the features that the model set
/// aside as confounders. Only for models opened with `confounders`. As ccs_mask otherwise.
///
/// # Safety
/// `confounders` has `capacity` floats and may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ccs_confounders(
    session: ccs_session,
    index: usize,
    confounders: *mut f32,
    capacity: usize,
    row_stride: usize,
) -> ccs_status {
    guard(|| {
        let session = handle::session(session)?;
        let state = enter(&session)?;
        let Some(map) = state.finding(index)?.confounders() else {
            let message = "the model was opened without confounders: set ccs_model_options.confounders";
            return Err(Failure::new(CCS_STATUS_NO_CONFOUNDERS, message));
        };
        // SAFETY: as the caller promises.
        unsafe { copy_map(map.values(), confounders, capacity, row_stride, "confounders") }
    })
}

/// Copies the boundaries of prompt `index`: `contours` are runs in `points`. `contour_count` and `point_count` receive the
/// required numbers, also if the buffers are too small; call with capacities of 0 to query them. The first call traces the
/// boundaries, and later ones copy them. Outer boundaries run clockwise on the screen, holes counter-clockwise.
///
/// # Safety
/// The buffers have as many elements as their capacities say; the counts may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ccs_contours(
    session: ccs_session,
    index: usize,
    contours: *mut ccs_contour,
    contour_capacity: usize,
    contour_count: *mut usize,
    points: *mut ccs_point,
    point_capacity: usize,
    point_count: *mut usize,
) -> ccs_status {
    guard(|| {
        // SAFETY: as the caller promises.
        let (contour_count, point_count) =
            unsafe { (place(contour_count, "contour_count")?, place(point_count, "point_count")?) };
        let session = handle::session(session)?;
        let state = enter(&session)?;
        let found = state.finding(index)?.contours();
        *contour_count = found.len();
        *point_count = found.iter().map(|contour| contour.points.len()).sum();
        if contour_capacity < *contour_count || point_capacity < *point_count {
            let message = format!(
                "there are {contour_count} contours of {point_count} points, and room for {contour_capacity} and \
                 {point_capacity}"
            );
            return Err(Failure::new(CCS_STATUS_BUFFER_TOO_SMALL, message));
        }
        // SAFETY: as the caller promises.
        let (contours, points) = unsafe {
            (elements_mut(contours, *contour_count, "contours")?, elements_mut(points, *point_count, "points")?)
        };
        let mut first_point = 0;
        for (to, from) in contours.iter_mut().zip(found) {
            *to = ccs_contour { first_point, point_count: from.points.len(), hole: u32::from(from.hole), reserved: 0 };
            first_point += from.points.len();
        }
        for (to, [x, y]) in points.iter_mut().zip(found.iter().flat_map(|contour| &contour.points)) {
            *to = ccs_point { x: *x, y: *y };
        }
        Ok(())
    })
}

/// Measures the mask of prompt `index`. Set `measurements->struct_size` before the call.
///
/// # Safety
/// `measurements` is null or tells its size, and may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ccs_measure(
    session: ccs_session,
    index: usize,
    measurements: *mut ccs_measurements,
) -> ccs_status {
    guard(|| {
        let session = handle::session(session)?;
        let state = enter(&session)?;
        // SAFETY: as the caller promises.
        unsafe { write(measurements, state.finding(index)?.measurements().into()) }
    })
}

/// Reports how far the result of prompt `index` can be trusted. A frame counts as frozen if it equals the one that this session
/// segmented before, pixel for pixel. Set `quality->struct_size` before the call. Returns CCS_STATUS_NO_RESULT if
/// ccs_session_options.no_quality is 1.
///
/// # Safety
/// `quality` is null or tells its size, and may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ccs_judge(session: ccs_session, index: usize, quality: *mut ccs_quality) -> ccs_status {
    guard(|| {
        let session = handle::session(session)?;
        let state = enter(&session)?;
        let Some(found) = state.finding(index)?.quality() else {
            let message = "the session leaves out the quality: set ccs_session_options.no_quality to 0";
            return Err(Failure::new(CCS_STATUS_NO_RESULT, message));
        };
        // SAFETY: as the caller promises.
        unsafe { write(quality, found.into()) }
    })
}

const _: () = assert!(CCS_MAX_PROMPTS as usize == runtime::engine::MAX_PROMPTS);
