//! Records which process uses the library. A fork copies handles and locks, but only the thread that forked: a call in it would
//! wait for threads that do not exist.

use crate::failure::{CCS_STATUS_FORKED, Failure};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

/// The process that made the first handle; 0 before that.
static OWNER: AtomicU32 = AtomicU32::new(0);

/// Marks the library as used by this process; its forks are refused from then on.
pub(super) fn claim() {
    let _ = OWNER.compare_exchange(0, process::id(), Ordering::AcqRel, Ordering::Relaxed);
}

pub(super) fn is_forked() -> bool {
    let owner = OWNER.load(Ordering::Acquire);
    owner != 0 && owner != process::id()
}

/// Refuses every call in a fork. Takes no lock: another thread may have held any when the process was copied.
pub(super) fn check() -> Result<(), Failure> {
    if is_forked() {
        let message =
            "this process is a fork of one that uses the library: fork before the first model is opened, or exec";
        return Err(Failure::new(CCS_STATUS_FORKED, message));
    }
    Ok(())
}
