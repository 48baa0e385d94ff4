//! The clocks, on every target: in a browser the standard library's panic, and the page's are read instead.

#[cfg(not(all(target_family = "wasm", target_os = "unknown")))]
use std::time as system;
#[cfg(all(target_family = "wasm", target_os = "unknown"))]
use web_time as system;

pub(crate) use system::Instant;
#[cfg(feature = "dicom")]
pub(crate) use system::{SystemTime, UNIX_EPOCH};
