//! Lines for the host's log. The library never writes to the host's standard error.

use crate::failure::{CCS_STATUS_BUSY, Failure, ccs_status, guard};
use log::{Level, LevelFilter, Log, Metadata, Record};
use std::cell::Cell;
use std::ffi::{CString, c_char, c_void};
use std::panic::PanicHookInfo;
use std::sync::{Once, PoisonError, RwLock};

/// No lines.
pub const CCS_LOG_OFF: u32 = 0;
/// Failures: an internal error, a stream that stopped.
pub const CCS_LOG_ERROR: u32 = 1;
/// Possible problems: frames without a result, a GPU that is not used.
pub const CCS_LOG_WARN: u32 = 2;
/// Single events: a model was opened.
pub const CCS_LOG_INFO: u32 = 3;
/// Times and sizes, some of them for each frame.
pub const CCS_LOG_DEBUG: u32 = 4;
/// Everything, including lines of the libraries that this one uses.
pub const CCS_LOG_TRACE: u32 = 5;

/// Called with each line for the log: its level, CCS_LOG_ERROR to CCS_LOG_TRACE, the module that it comes from, such as
/// "causalclipseg::stream", and one line of text. Both strings are lent until the call returns. It may be called from any thread
/// and from several at once. It must not throw, and must not call ccs_set_log; lines that other functions of this library log
/// when called from it are dropped.
pub type ccs_log =
    Option<unsafe extern "C" fn(user: *mut c_void, level: u32, module: *const c_char, message: *const c_char)>;

/// The host's function and its argument.
struct Receiver {
    function: unsafe extern "C" fn(*mut c_void, u32, *const c_char, *const c_char),
    user: *mut c_void,
}

// SAFETY: the pointer is only handed to the host's function, and the host is told that any thread may call that.
unsafe impl Send for Receiver {}
// SAFETY: as above.
unsafe impl Sync for Receiver {}

/// Locked for reading while a line is handed over, so that a receiver that is replaced is not called any more.
static RECEIVER: RwLock<Option<Receiver>> = RwLock::new(None);

thread_local! {
    /// Whether this thread is in the host's function now.
    static IS_TELLING: Cell<bool> = const { Cell::new(false) };
    /// Calls of this library that this thread is in.
    static CALLS: Cell<u32> = const { Cell::new(0) };
}

struct HostLog;

impl Log for HostLog {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        let is_nested = || IS_TELLING.try_with(|telling| telling.replace(true)).unwrap_or(true);
        if !self.enabled(record.metadata()) || is_nested() {
            return;
        }
        if let Some(Receiver { function, user }) = &*RECEIVER.read().unwrap_or_else(PoisonError::into_inner) {
            let (module, message) = (line(record.target()), line(&record.args().to_string()));
            // SAFETY: the host gave this function for lines like this one, and promised that it does not throw; both strings
            // outlive the call.
            unsafe { function(*user, number(record.level()), module.as_ptr(), message.as_ptr()) };
        }
        let _ = IS_TELLING.try_with(|telling| telling.set(false));
    }

    fn flush(&self) {}
}

/// One line as a C string.
pub(super) fn line(text: &str) -> CString {
    let bytes: Vec<u8> = text.bytes().map(|byte| if matches!(byte, 0 | b'\n' | b'\r') { b' ' } else { byte }).collect();
    CString::new(bytes).unwrap_or_default()
}

fn number(level: Level) -> u32 {
    match level {
        Level::Error => CCS_LOG_ERROR,
        Level::Warn => CCS_LOG_WARN,
        Level::Info => CCS_LOG_INFO,
        Level::Debug => CCS_LOG_DEBUG,
        Level::Trace => CCS_LOG_TRACE,
    }
}

fn filter(level: u32) -> Result<LevelFilter, Failure> {
    Ok(match level {
        CCS_LOG_OFF => LevelFilter::Off,
        CCS_LOG_ERROR => LevelFilter::Error,
        CCS_LOG_WARN => LevelFilter::Warn,
        CCS_LOG_INFO => LevelFilter::Info,
        CCS_LOG_DEBUG => LevelFilter::Debug,
        CCS_LOG_TRACE => LevelFilter::Trace,
        other => return Err(Failure::argument(format!("{other} is not a level: give one of CCS_LOG_*"))),
    })
}

/// Passes all lines up to `level` to `callback`, for all handles and threads, from now on. Null or CCS_LOG_OFF ends that and is
/// the default: without a callback the library is silent. When this returns, the previous callback is not called any more.
///
/// # Safety
/// `user` is what `callback` expects, until another callback replaces it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ccs_set_log(callback: ccs_log, user: *mut c_void, level: u32) -> ccs_status {
    guard(|| {
        let filter = filter(level)?;
        if IS_TELLING.get() {
            return Err(Failure::new(CCS_STATUS_BUSY, "the log cannot be changed from its own callback"));
        }
        static LOGGER: Once = Once::new();
        // Nobody else sets one: a shared library has its own copy of `log`, and so has a static one.
        LOGGER.call_once(|| drop(log::set_logger(&HostLog)));
        let receiver = callback.map(|function| Receiver { function, user });
        let filter = if receiver.is_some() { filter } else { LevelFilter::Off };
        let mut place = RECEIVER.write().unwrap_or_else(PoisonError::into_inner);
        *place = receiver;
        log::set_max_level(filter);
        Ok(())
    })
}

/// Marks a call of this library as running until it is dropped.
pub(super) struct Call(());

impl Call {
    /// From the first call on, a panic is logged: nothing is written to the host's standard error.
    pub(crate) fn enter() -> Self {
        static HOOK: Once = Once::new();
        HOOK.call_once(|| {
            let before = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                let is_in_call = CALLS.try_with(|calls| calls.get() > 0).unwrap_or(false);
                // In a shared library every panic is ours; in this crate's tests it may be an assertion's.
                if is_in_call || cfg!(not(test)) {
                    tell(panic);
                } else {
                    before(panic);
                }
            }));
        });
        let _ = CALLS.try_with(|calls| calls.set(calls.get() + 1));
        Self(())
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let _ = CALLS.try_with(|calls| calls.set(calls.get().saturating_sub(1)));
    }
}

fn tell(panic: &PanicHookInfo<'_>) {
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    log::error!("a defect of causalclipseg at {place}: {}", panic.payload_as_str().unwrap_or("no message"));
}
