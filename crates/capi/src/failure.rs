//! What a call reports when it fails, and the wall that panics do not pass.

use runtime::frame::FrameError;
use runtime::mask::MaskError;
use runtime::stream::StreamError;
use runtime::{ModelError, ModelFileError, SessionError};
use std::cell::RefCell;
use std::ffi::{CString, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What became of a call.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ccs_status {
    /// Done.
    Ok = 0,
    /// A pointer that must not be null is.
    Null = 1,
    /// An argument is outside of its range, misaligned, or not UTF-8; or a reserved field is not zero.
    Argument = 2,
    /// A struct's struct_size is not one that this library knows: header and library differ.
    StructSize = 3,
    /// A handle that never was, was freed, or is of another kind.
    Handle = 4,
    /// A prompt of another model than the session's.
    OtherModel = 5,
    /// Another thread is using the session; or a stream was closed from its own callback.
    Busy = 6,
    /// The caller's buffer is too small; where the function tells a count, it is the one that is needed.
    BufferTooSmall = 7,
    /// There is no such result: nothing was segmented yet, the last call failed, the index is too large, or the options leave
    /// it out.
    NoResult = 8,
    /// The model was opened without the confounder map.
    NoConfounders = 9,
    /// The bundle cannot be read, is damaged, or fails its self-test.
    Bundle = 10,
    /// The bundle's weights were never trained, and the options do not allow that.
    Untrained = 11,
    /// The prompt is empty, or too long.
    Prompt = 12,
    /// The frame's sides, stride, buffer, region or pixel size do not fit together.
    Frame = 13,
    /// The network failed.
    Engine = 14,
    /// The stream has stopped.
    Stopped = 15,
    /// A defect of the library; the handle may still be used, the result not.
    Internal = 16,
    /// The model needs more than ccs_model_options.memory_cap_bytes.
    Memory = 17,
}

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
        Self::new(ccs_status::Null, format!("{what} is null"))
    }

    pub(crate) fn argument(message: impl Into<String>) -> Self {
        Self::new(ccs_status::Argument, message)
    }
}

impl From<FrameError> for Failure {
    fn from(error: FrameError) -> Self {
        Self::new(ccs_status::Frame, error.to_string())
    }
}

impl From<MaskError> for Failure {
    fn from(error: MaskError) -> Self {
        let status = match error {
            MaskError::Threshold(_) => ccs_status::Argument,
            _ => ccs_status::Engine,
        };
        Self::new(status, error.to_string())
    }
}

impl From<ModelError> for Failure {
    fn from(error: ModelError) -> Self {
        let status = match error {
            ModelError::File(_) | ModelError::SelfTest(_) => ccs_status::Bundle,
            ModelError::NoConfounders => ccs_status::Argument,
            ModelError::Prompt(_) => ccs_status::Prompt,
            ModelError::Memory { .. } | ModelError::MemoryUnknown => ccs_status::Memory,
            // ModelError::Engine, and what a later runtime adds.
            _ => ccs_status::Engine,
        };
        Self::new(status, error.to_string())
    }
}

impl From<ModelFileError> for Failure {
    fn from(error: ModelFileError) -> Self {
        Self::new(ccs_status::Bundle, error.to_string())
    }
}

impl From<SessionError> for Failure {
    fn from(error: SessionError) -> Self {
        let status = match error {
            SessionError::Frame(error) => return error.into(),
            SessionError::Mask(error) => return error.into(),
            SessionError::ForeignPrompt { .. } => ccs_status::OtherModel,
            SessionError::Smoothing(_) => ccs_status::Argument,
            _ => ccs_status::Engine,
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
            StreamError::FrameBytes { .. } => ccs_status::Frame,
            StreamError::Stopped(_) => ccs_status::Stopped,
            StreamError::NoModel | StreamError::NoPrompt | StreamError::Option { .. } => ccs_status::Argument,
            // StreamError::Thread, and what a later runtime adds.
            _ => ccs_status::Engine,
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
    // A thread that is ending has lost its messages already.
    LAST.try_with(|last| last.borrow().as_ptr()).unwrap_or(c"".as_ptr())
}

fn remember(message: &str) {
    let line: Vec<u8> = message.bytes().map(|byte| if matches!(byte, 0 | b'\n') { b' ' } else { byte }).collect();
    let _ = LAST.try_with(|last| *last.borrow_mut() = CString::new(line).unwrap_or_default());
}

/// Runs a call's body: what it reports becomes a status and this thread's message, and so does a panic.
pub(super) fn guard(body: impl FnOnce() -> Result<(), Failure>) -> ccs_status {
    // What a panic leaves half done is thrown away or made anew by those who hold it.
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => ccs_status::Ok,
        Ok(Err(Failure { status, message })) => {
            remember(&message);
            status
        }
        Err(panic) => {
            let text = panic.downcast_ref::<&str>().copied();
            let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message");
            remember(&format!("a defect of causalclipseg ({text}): report it with what led there"));
            ccs_status::Internal
        }
    }
}
