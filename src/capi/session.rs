//! Sessions: a frame in, results into the host's buffers.

use super::failure::{Failure, ccs_status, guard};
use super::handle::{self, Object, ccs_model, ccs_prompt, ccs_session};
use super::model::{CCS_DEVICE_CPU, CCS_DEVICE_GPU};
use super::types::place;
use super::types::{
    ccs_contour, ccs_frame, ccs_measurements, ccs_point, ccs_quality, check_pointer, elements, elements_mut, frame,
    read_or, sized, write,
};
use crate::engine::RanOn;
use crate::mask::{Contour, Flag, FrameWatch, Measurements, Quality};
use crate::{Model, Segmentation, Session};
use ndarray::ArrayView2;
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};

/// How a session makes masks; null stands for the model's threshold.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[allow(non_camel_case_types)]
pub struct ccs_session_options {
    /// sizeof(ccs_session_options).
    pub struct_size: u32,
    /// A pixel is lesion where its probability is above this, 0 to 1; negative for the model's own.
    pub threshold: f32,
}

/// Where the time of one frame went, in milliseconds.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[allow(non_camel_case_types)]
pub struct ccs_timing {
    /// sizeof(ccs_timing).
    pub struct_size: u32,
    /// What computed it, CCS_DEVICE_CPU or CCS_DEVICE_GPU.
    pub ran_on: u32,
    pub preprocess_ms: f64,
    pub image_ms: f64,
    /// Of all prompts together.
    pub head_ms: f64,
    /// Of all prompts together.
    pub postprocess_ms: f64,
}

sized!(ccs_session_options, ccs_timing);

pub(super) struct SessionState {
    session: Session,
    model: Arc<Model>,
    threshold: Option<f32>,
    /// Of the last frame; none after a failure.
    found: Vec<Segmentation>,
    /// How many of `found` are results.
    count: usize,
    /// Of each result, once somebody asked.
    contours: Vec<Option<Vec<Contour>>>,
    mm_per_pixel: Option<[f32; 2]>,
    watch: FrameWatch,
    /// Of the last frame, whatever was found on it.
    frame_flags: Vec<Flag>,
    /// Of each prompt.
    unknown_words: Vec<bool>,
}

impl SessionState {
    fn result(&mut self, index: usize) -> Result<&Segmentation, Failure> {
        let count = self.count;
        self.found.get(index).filter(|_| index < count).ok_or_else(|| {
            let message = format!("there is no result {index}: the last call of ccs_segment gave {count}");
            Failure::new(ccs_status::NoResult, message)
        })
    }

    fn contours(&mut self, index: usize) -> Result<&[Contour], Failure> {
        let mask = self.result(index)?.mask.contours();
        let kept = self.contours.get_mut(index).ok_or_else(|| Failure::argument("the index is too large"))?;
        Ok(kept.get_or_insert(mask))
    }
}

/// Makes a place to run frames in. The session keeps what it needs of the model.
///
/// # Safety
/// `options` is null or tells its size; `session` may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ccs_session_new(
    model: ccs_model,
    options: *const ccs_session_options,
    session: *mut ccs_session,
) -> ccs_status {
    guard(|| {
        let default = ccs_session_options { struct_size: size_of::<ccs_session_options>() as u32, threshold: -1.0 };
        // SAFETY: as the caller promises.
        let (out, options) = unsafe { (place(session, "session")?, read_or(options, default)?) };
        let threshold = match options.threshold {
            own if own < 0.0 => None,
            given if (0.0..=1.0).contains(&given) => Some(given),
            other => {
                return Err(Failure::argument(format!("a threshold of {other}: give 0 to 1, or -1 for the model's")));
            }
        };
        let model = handle::model(model)?;
        let state = SessionState {
            session: model.session()?,
            model,
            threshold,
            found: Vec::new(),
            count: 0,
            contours: Vec::new(),
            mm_per_pixel: None,
            watch: FrameWatch::default(),
            frame_flags: Vec::new(),
            unknown_words: Vec::new(),
        };
        *out = ccs_session { id: handle::keep(Object::Session(Arc::new(Mutex::new(state)))) };
        Ok(())
    })
}

/// Frees a session's handle. Nothing happens with 0.
#[unsafe(no_mangle)]
pub extern "C" fn ccs_session_free(session: ccs_session) -> ccs_status {
    handle::free("session", session.id)
}

/// Locks a session, or finds it in use.
fn enter(session: &Mutex<SessionState>) -> Result<MutexGuard<'_, SessionState>, Failure> {
    match session.try_lock() {
        Ok(state) => Ok(state),
        // A panic came before the results were counted: there are none.
        Err(TryLockError::Poisoned(poisoned)) => {
            session.clear_poison();
            let mut state = poisoned.into_inner();
            state.count = 0;
            Ok(state)
        }
        Err(TryLockError::WouldBlock) => {
            let message = "another thread is using this session: make one for each thread";
            Err(Failure::new(ccs_status::Busy, message))
        }
    }
}

/// Segments a frame under `prompt_count` prompts: one pass over the image, then a short one for each prompt. The results
/// stay in the session until the next call; the functions below copy them out. After a failure there are none.
/// `timing` may be null.
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
        let state = &mut *state;
        state.count = 0;
        // SAFETY: as the caller promises.
        let (frame, handles) = unsafe { (self::frame(frame)?, elements(prompts, prompt_count, "prompts")?) };
        if handles.is_empty() {
            return Err(Failure::argument("no prompts: give at least one"));
        }
        let owned = handles.iter().map(|prompt| handle::prompt(*prompt)).collect::<Result<Vec<_>, _>>()?;
        if owned.iter().any(|prompt| !Arc::ptr_eq(&prompt.model, &state.model)) {
            let message = "a prompt was encoded by another model: encode it with the session's";
            return Err(Failure::new(ccs_status::OtherModel, message));
        }
        if !timing.is_null() {
            // SAFETY: as the caller promises; checked before the work, so that a wrong size costs nothing.
            unsafe { super::types::read(timing.cast_const()) }?;
        }
        let prompts: Vec<_> = owned.iter().map(|prompt| prompt.prompt.clone()).collect();
        state.frame_flags.clear();
        state.frame_flags.extend(state.watch.flags(&frame));
        state.unknown_words.clear();
        state.unknown_words.extend(prompts.iter().map(|prompt| prompt.has_unknown_words()));
        let seconds = state.session.segment_into(&frame, &prompts, &mut state.found)?;
        state.frame_flags.extend(state.session.is_unfamiliar().then_some(Flag::UnfamiliarFrame));
        if let Some(threshold) = state.threshold {
            for found in &mut state.found {
                found.mask.update(&found.probability, threshold)?;
            }
        }
        state.contours.clear();
        state.contours.resize(prompts.len(), None);
        state.mm_per_pixel = frame.mm_per_pixel();
        state.count = prompts.len();
        if !timing.is_null() {
            let ms = |seconds: f64| seconds * 1e3;
            let ran_on = match state.session.ran_on() {
                RanOn::Cpu => CCS_DEVICE_CPU,
                RanOn::Gpu => CCS_DEVICE_GPU,
            };
            let value = ccs_timing {
                struct_size: size_of::<ccs_timing>() as u32,
                ran_on,
                preprocess_ms: ms(seconds.preprocess),
                image_ms: ms(seconds.image),
                head_ms: ms(seconds.head),
                postprocess_ms: ms(seconds.postprocess),
            };
            // SAFETY: as the caller promises.
            unsafe { write(timing, value) }?;
        }
        Ok(())
    })
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
        return Err(Failure::new(ccs_status::BufferTooSmall, message));
    }
    // SAFETY: as the caller promises, and no more than what is needed.
    let out = unsafe { elements_mut(out, needed, what) }?;
    for (row, target) in map.rows().into_iter().zip(out.chunks_mut(stride)) {
        for (to, from) in target.iter_mut().zip(row) {
            *to = *from;
        }
    }
    Ok(())
}

/// Copies the mask of prompt `index`: the frame's height x width, 255 for lesion and 0 for none. `row_stride` counts
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
        let mut state = enter(&session)?;
        // SAFETY: as the caller promises.
        unsafe { copy_map(state.result(index)?.mask.pixels(), mask, capacity, row_stride, "mask") }
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
        let mut state = enter(&session)?;
        let values = state.result(index)?.probability.values();
        // SAFETY: as the caller promises.
        unsafe { copy_map(values, probability, capacity, row_stride, "probability") }
    })
}

/// Copies the confounder map of prompt `index`: where the lesion would be found in what the model set aside, 0 to 1. Only
/// of models opened with `confounders`. As ccs_mask otherwise.
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
        let mut state = enter(&session)?;
        let Some(map) = &state.result(index)?.confounders else {
            let message = "the model was opened without confounders: set ccs_model_options.confounders";
            return Err(Failure::new(ccs_status::NoConfounders, message));
        };
        // SAFETY: as the caller promises.
        unsafe { copy_map(map.values(), confounders, capacity, row_stride, "confounders") }
    })
}

/// Copies the boundaries of prompt `index`: `contours` are runs in `points`. `contour_count` and `point_count` get how
/// many there are, also where the buffers are too small; ask with capacities of 0 to learn them. Outer boundaries run
/// clockwise on the screen, holes counter-clockwise.
///
/// # Safety
/// The buffers have the elements that their capacities tell; the counts may be written.
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
        let mut state = enter(&session)?;
        let found = state.contours(index)?;
        *contour_count = found.len();
        *point_count = found.iter().map(|contour| contour.points.len()).sum();
        if contour_capacity < *contour_count || point_capacity < *point_count {
            let message = format!(
                "there are {contour_count} contours of {point_count} points, and room for {contour_capacity} and \
                 {point_capacity}"
            );
            return Err(Failure::new(ccs_status::BufferTooSmall, message));
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
        let mut state = enter(&session)?;
        state.contours(index)?;
        let mm_per_pixel = state.mm_per_pixel;
        let contours = state.contours.get(index).and_then(Option::as_deref).unwrap_or_default();
        let Some(found) = state.found.get(index) else { return Err(Failure::argument("the index is too large")) };
        let measured = Measurements::of(&found.mask, contours, Some(&found.probability), mm_per_pixel)?;
        // SAFETY: as the caller promises.
        unsafe { write(measurements, measured.into()) }
    })
}

/// Tells how far the result of prompt `index` can be trusted. A frame counts as frozen where it is the one that this
/// session segmented before, pixel for pixel. Set `quality->struct_size` before the call.
///
/// # Safety
/// `quality` is null or tells its size, and may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ccs_judge(session: ccs_session, index: usize, quality: *mut ccs_quality) -> ccs_status {
    guard(|| {
        let session = handle::session(session)?;
        let mut state = enter(&session)?;
        let found = state.result(index)?;
        let mut judged = Quality::of(&found.mask, &found.probability, found.confounders.as_ref())?;
        judged.flags.extend(&state.frame_flags);
        let unknown = state.unknown_words.get(index).copied().unwrap_or(false);
        judged.flags.extend(unknown.then_some(Flag::UnknownWords));
        // SAFETY: as the caller promises.
        unsafe { write(quality, (&judged).into()) }
    })
}
