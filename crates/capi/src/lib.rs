//! The C ABI: the library for hosts in C, C++, and whatever else calls C. `include/causalclipseg.h` is generated from this
//! crate; `docs/embedding.md` shows how to build and link.
//!
//! It exposes the runtime's public interface, a session's report and a stream's events, and adds no logic of its own.
//!
//! # The interface
//! * Handles are numbers, not addresses, and no number is used twice: a handle that was freed, or is of another
//!   kind, is recognised and refused, whatever the host does with it.
//! * Every struct that is passed by pointer begins with its own size. Options and frames of an older header are shorter, and
//!   what they lack counts as zero, which is always the default; any other size is refused, and so is a reserved field that is
//!   not zero.
//! * No panic reaches the host: it becomes [`CCS_STATUS_INTERNAL`], and a line for the host's log ([`ccs_set_log`]).
//! * The message of a failed call belongs to the thread that made it.
//!
//! # Threads
//! Models and prompts may be used by any number of threads at once. A session serves one call at a time; a second one gets
//! [`CCS_STATUS_BUSY`]. A stream may be used by any thread but its own, on which the callback runs: there it can't be
//! closed. A handle may be freed while another thread's call with it runs; that call ends as if it had not been.
//! In a fork of the process that uses the library every call fails with [`CCS_STATUS_FORKED`].

#![expect(unsafe_code, reason = "pointers, strings and handles come from C")]
#![expect(non_camel_case_types, reason = "C's names")]

mod failure;
mod frame;
mod handle;
mod log;
mod model;
mod process;
mod session;
mod stream;
#[cfg(test)]
mod tests;
mod thread;
mod types;

pub use self::log::*;
pub use failure::*;
pub use frame::*;
pub use handle::{ccs_model, ccs_open_handles, ccs_prompt, ccs_session, ccs_stream};
pub use model::*;
pub use session::*;
pub use stream::*;
pub use thread::*;
pub use types::*;

/// Raised whenever a function, a struct or a constant changes in a way that an older host would notice.
pub const CCS_ABI_VERSION: u32 = 4;

/// The ABI of the library that is linked: to be compared with CCS_ABI_VERSION of the header that was compiled.
#[unsafe(no_mangle)]
pub extern "C" fn ccs_abi_version() -> u32 {
    CCS_ABI_VERSION
}

/// The library's version, such as "0.1.0". It is never freed.
#[unsafe(no_mangle)]
pub extern "C" fn ccs_version() -> *const std::ffi::c_char {
    const VERSION: &std::ffi::CStr =
        match std::ffi::CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
            Ok(version) => version,
            Err(_) => c"",
        };
    VERSION.as_ptr()
}
