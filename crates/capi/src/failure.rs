//! The status and message of a failed call, and the conversion of panics into both.

use crate::log::{Call, line};
use crate::process;
use crate::types::place;
use runtime::engine::EngineError;
use runtime::frame::FrameError;
use runtime::mask::MaskError;
use runtime::stream::StreamError;
use runtime::{ModelError, ModelFileError, SessionError};
use std::cell::RefCell;
use std::ffi::{CString, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// The result of a call: one of CCS_STATUS_*.
pub type ccs_status = i32;
/// The call succeeded.
pub const CCS_STATUS_OK: ccs_status = 0;
/// A required pointer is null.
pub const CCS_STATUS_NULL: ccs_status = 1;
/// An argument is outside of its range, misaligned, or not UTF-8; or a reserved field is not zero.
pub const CCS_STATUS_ARGUMENT: ccs_status = 2;
/// A struct_size that this library does not accept: header and library differ.
pub const CCS_STATUS_STRUCT_SIZE: ccs_status = 3;
/// A handle that never existed, was freed, or is of another kind.
pub const CCS_STATUS_HANDLE: ccs_status = 4;
/// The prompt was encoded by another model than the session's.
pub const CCS_STATUS_OTHER_MODEL: ccs_status = 5;
/// Another thread is using the session; or a stream was closed from its own callback.
pub const CCS_STATUS_BUSY: ccs_status = 6;
/// The caller's buffer is too small; where the function returns a count, it is the required one.
pub const CCS_STATUS_BUFFER_TOO_SMALL: ccs_status = 7;
/// The result does not exist: nothing was segmented yet, the last call failed, the index is too large, or the options leave it
/// out.
pub const CCS_STATUS_NO_RESULT: ccs_status = 8;
/// The model was opened without the confounder map.
pub const CCS_STATUS_NO_CONFOUNDERS: ccs_status = 9;
/// The bundle cannot be read, is damaged, or fails its self-test.
pub const CCS_STATUS_BUNDLE: ccs_status = 10;
/// The bundle's weights were never trained, and the options do not allow that.
pub const CCS_STATUS_UNTRAINED: ccs_status = 11;
/// The prompt is empty, or too long.
pub const CCS_STATUS_PROMPT: ccs_status = 12;
/// The frame's sides, stride, buffer, region or pixel size do not fit together.
pub const CCS_STATUS_FRAME: ccs_status = 13;
/// The network failed.
pub const CCS_STATUS_ENGINE: ccs_status = 14;
/// The stream has stopped.
pub const CCS_STATUS_STOPPED: ccs_status = 15;
/// An internal error of the library; the handle may still be used, the result not.
pub const CCS_STATUS_INTERNAL: ccs_status = 16;
/// The model needs more than ccs_model_options.memory_cap_bytes.
pub const CCS_STATUS_MEMORY: ccs_status = 17;
/// The call was ended by ccs_session_cancel, without a result.
pub const CCS_STATUS_CANCELLED: ccs_status = 18;
/// The call took longer than the options' time_limit_us, and ended without a result.
pub const CCS_STATUS_TIME_LIMIT: ccs_status = 19;
/// This process is a fork of the one that used the library. A fork lacks the threads and may copy locked locks, so every call
/// fails.
pub const CCS_STATUS_FORKED: ccs_status = 20;
/// The bundle is not signed by any of ccs_model_options.public_keys.
pub const CCS_STATUS_SIGNATURE: ccs_status = 21;

/// A status and its message.
#[derive(Debug)]
pub(super) struct Failure {
    pub status: ccs_status,
    pub message: String,
}

impl Failure {
    pub(crate) fn new(status: ccs_status, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }

    pub(crate) fn null(what: &str) -> Self {
        Self::new(CCS_STATUS_NULL, format!("{what} is null"))
    }

    pub(crate) fn argument(message: impl Into<String>) -> Self {
        Self::new(CCS_STATUS_ARGUMENT, message)
    }
}

impl From<FrameError> for Failure {
    fn from(error: FrameError) -> Self {
        Self::new(CCS_STATUS_FRAME, error.to_string())
    }
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Self {
        let status = match error {
            EngineError::Prompts { .. } => CCS_STATUS_ARGUMENT,
            EngineError::TokenCount { .. } => CCS_STATUS_PROMPT,
            EngineError::Cancelled => CCS_STATUS_CANCELLED,
            EngineError::TimeLimit { .. } => CCS_STATUS_TIME_LIMIT,
            EngineError::Forked => CCS_STATUS_FORKED,
            _ => CCS_STATUS_ENGINE,
        };
        Self::new(status, error.to_string())
    }
}

impl From<MaskError> for Failure {
    fn from(error: MaskError) -> Self {
        let status = match error {
            MaskError::Threshold(_) => CCS_STATUS_ARGUMENT,
            _ => CCS_STATUS_ENGINE,
        };
        Self::new(status, error.to_string())
    }
}

impl From<ModelError> for Failure {
    fn from(error: ModelError) -> Self {
        let status = match error {
            ModelError::Engine(error) => return error.into(),
            ModelError::File(_) | ModelError::SelfTest(_) => CCS_STATUS_BUNDLE,
            ModelError::NoConfounders => CCS_STATUS_ARGUMENT,
            ModelError::Prompt(_) => CCS_STATUS_PROMPT,
            ModelError::Memory { .. } | ModelError::MemoryUnknown => CCS_STATUS_MEMORY,
            // Errors that a later runtime adds.
            _ => CCS_STATUS_ENGINE,
        };
        Self::new(status, error.to_string())
    }
}

impl From<ModelFileError> for Failure {
    fn from(error: ModelFileError) -> Self {
        Self::new(CCS_STATUS_BUNDLE, error.to_string())
    }
}

impl From<SessionError> for Failure {
    fn from(error: SessionError) -> Self {
        let status = match error {
            SessionError::Frame(error) => return error.into(),
            SessionError::Mask(error) => return error.into(),
            SessionError::Engine(error) => return error.into(),
            SessionError::ForeignPrompt { .. } => CCS_STATUS_OTHER_MODEL,
            SessionError::Smoothing(_) => CCS_STATUS_ARGUMENT,
            _ => CCS_STATUS_ENGINE,
        };
        Self::new(status, error.to_string())
    }
}

impl From<StreamError> for Failure {
    fn from(error: StreamError) -> Self {
        let status = match error {
            StreamError::Model(error) => return error.into(),
            StreamError::Session(error) => return error.into(),
            StreamError::Frame(error) => return error.into(),
            StreamError::FrameBytes { .. } => CCS_STATUS_FRAME,
            StreamError::Forked => CCS_STATUS_FORKED,
            StreamError::Stopped(_) => CCS_STATUS_STOPPED,
            StreamError::NoModel | StreamError::NoPrompt | StreamError::Option { .. } => CCS_STATUS_ARGUMENT,
            // StreamError::Thread, and errors that a later runtime adds.
            _ => CCS_STATUS_ENGINE,
        };
        Self::new(status, error.to_string())
    }
}

thread_local! {
    static LAST: RefCell<CString> = RefCell::default();
}

/// The message of the calling thread's last failed call: one line of what, why and what to do; "" before the first. It
/// is valid until the next call of this library on the same thread.
#[unsafe(no_mangle)]
pub extern "C" fn ccs_last_error() -> *const c_char {
    // A thread that is ending has already dropped its messages.
    LAST.try_with(|last| last.borrow().as_ptr()).unwrap_or(c"".as_ptr())
}

fn remember(message: &str) {
    let _ = LAST.try_with(|last| *last.borrow_mut() = line(message));
}

/// Runs a call's body, and turns an error or a panic into a status and this thread's message. Refuses to run it in a fork.
pub(super) fn guard(body: impl FnOnce() -> Result<(), Failure>) -> ccs_status {
    contain(|| process::check().and_then(|()| body()))
}

/// As [`guard`], for a call that creates a handle: the output is set to 0 first, so that a failed call leaves no old handle
/// there.
///
/// # Safety
/// `pointer` is null or may be written.
pub(super) unsafe fn guard_into<T: Default>(
    pointer: *mut T,
    what: &str,
    body: impl FnOnce(&mut T) -> Result<(), Failure>,
) -> ccs_status {
    contain(|| {
        // SAFETY: as promised.
        let out = unsafe { place(pointer, what) }?;
        process::check()?;
        process::claim();
        body(out)
    })
}

fn contain(body: impl FnOnce() -> Result<(), Failure>) -> ccs_status {
    let _call = Call::enter();
    // Whoever owns state that a panic left incomplete discards or rebuilds it.
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => CCS_STATUS_OK,
        Ok(Err(Failure { status, message })) => {
            remember(&message);
            status
        }
        Err(panic) => {
            let text = panic.downcast_ref::<&str>().copied();
            let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message");
            remember(&format!("a defect of causalclipseg ({text}): report it with what led there"));
            CCS_STATUS_INTERNAL
        }
    }
}
