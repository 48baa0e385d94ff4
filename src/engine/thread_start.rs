//! The hook that runs first in each thread that the library starts.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// The purpose of a thread that the library started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ThreadRole {
    /// Shares the work on a frame with the calling thread, and waits actively between the steps of one frame.
    Worker {
        /// From 1; the calling thread is 0.
        index: usize,
    },
    /// Segments a stream's frames and calls its receiver.
    Stream,
}

/// A function that runs first in each thread that the library starts, on that thread, for example to name it, to bind it to a
/// core, or to raise its priority. The call that starts the threads continues when it has returned in all of them. A panic in it
/// is logged, and the thread continues.
#[derive(Clone)]
pub struct ThreadStart(Arc<dyn Fn(ThreadRole) + Send + Sync>);

impl ThreadStart {
    /// To be given to [`EngineOptions::with_on_thread_start`](super::EngineOptions::with_on_thread_start) and
    /// [`StreamOptions::with_on_thread_start`](crate::stream::StreamOptions::with_on_thread_start).
    pub fn new(hook: impl Fn(ThreadRole) + Send + Sync + 'static) -> Self {
        Self(Arc::new(hook))
    }

    pub(crate) fn run(&self, role: ThreadRole) {
        if catch_unwind(AssertUnwindSafe(|| (self.0)(role))).is_err() {
            log::error!("the hook at the start of a thread panicked ({role:?})");
        }
    }
}

impl fmt::Debug for ThreadStart {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("ThreadStart")
    }
}

/// The same hook, not one that does the same.
impl PartialEq for ThreadStart {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}
