//! The number of this process, on systems that have processes.

/// The system's number of this process. A page in a browser has none, and cannot fork: there it is 0.
pub fn process_id() -> u32 {
    // Without processes, the standard library panics.
    if cfg!(target_family = "wasm") { 0 } else { std::process::id() }
}
