//! Threads that the library starts, and the host's options for them.

use crate::failure::Failure;
use crate::types::elements;
use runtime::engine::{ThreadRole, ThreadStart};
use runtime::machine::restrict_to;
use std::ffi::c_void;
use std::sync::{Arc, Mutex, PoisonError};

/// A thread that shares the work on a model's frames.
pub const CCS_THREAD_WORKER: u32 = 0;
/// The thread that segments a stream's frames and calls the stream's callback.
pub const CCS_THREAD_STREAM: u32 = 1;

/// Called first in each thread that the library starts, on that thread, for example to name it or to set its priority. `kind` is
/// one of CCS_THREAD_*; `index` is a worker's number from 1, and 0 for a stream's thread. The call that starts the threads
/// returns when this has returned in all of them. It must not throw, and must not call this library.
pub type ccs_thread_start = Option<unsafe extern "C" fn(user: *mut c_void, kind: u32, index: u32)>;

/// The host's options for the threads that one call starts.
pub(super) struct ThreadWishes {
    hook: Option<Hook>,
    cores: Vec<usize>,
    /// Why a thread could not be bound to its cores; the first reason of several.
    refused: Arc<Mutex<Option<String>>>,
}

#[derive(Clone, Copy)]
struct Hook {
    function: unsafe extern "C" fn(*mut c_void, u32, u32),
    user: *mut c_void,
}

// SAFETY: the pointer is only handed to the host's function, and the host is told on which threads that runs.
unsafe impl Send for Hook {}
// SAFETY: as above.
unsafe impl Sync for Hook {}

impl Hook {
    fn run(&self, kind: u32, index: u32) {
        // SAFETY: the host gave this function for threads that start, and promised that it does not throw.
        unsafe { (self.function)(self.user, kind, index) }
    }
}

impl ThreadWishes {
    /// # Safety
    /// `cores` is null or has `core_count` numbers.
    pub(crate) unsafe fn read(
        function: ccs_thread_start,
        user: *mut c_void,
        cores: *const u32,
        core_count: usize,
    ) -> Result<Self, Failure> {
        // SAFETY: as promised.
        let cores = unsafe { elements(cores, core_count, "cores") }?;
        Ok(Self {
            hook: function.map(|function| Hook { function, user }),
            cores: cores.iter().map(|core| *core as usize).collect(),
            refused: Arc::default(),
        })
    }

    /// The function that the library runs first in those threads; `None` without options.
    pub(crate) fn start(&self) -> Option<ThreadStart> {
        if self.hook.is_none() && self.cores.is_empty() {
            return None;
        }
        let Self { hook, cores, refused } = self;
        let (hook, cores, refused) = (*hook, cores.clone(), refused.clone());
        Some(ThreadStart::new(move |role| {
            let (kind, index) = match role {
                ThreadRole::Worker { index } => (CCS_THREAD_WORKER, index),
                _ => (CCS_THREAD_STREAM, 0),
            };
            // A worker gets one core; a stream's thread may run on all of them.
            let own = match (kind, cores.as_slice()) {
                (_, []) => &[][..],
                (CCS_THREAD_WORKER, cores) => std::slice::from_ref(&cores[(index - 1) % cores.len()]),
                (_, cores) => cores,
            };
            if !own.is_empty()
                && let Err(error) = restrict_to(own)
            {
                refused.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error.to_string());
            }
            if let Some(hook) = hook {
                hook.run(kind, index as u32);
            }
        }))
    }

    /// Fails if a started thread does not run on the cores named for it.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        match &*self.refused.lock().unwrap_or_else(PoisonError::into_inner) {
            None => Ok(()),
            Some(reason) => Err(Failure::argument(format!("{reason}: name cores that this process may use"))),
        }
    }
}
