//! Keeps the workers of an engine off the core that their caller runs on.
//!
//! A scheduler may wake a worker on the caller's own core, since both share memory. There they take turns, although another core is idle, until the
//! scheduler moves one of them: in slow frames for milliseconds.

#[cfg(target_os = "linux")]
pub(crate) use system::Apart;

#[cfg(target_os = "linux")]
mod system {
    use rustix::thread::{CpuSet, Pid, gettid, sched_getaffinity, sched_getcpu, sched_setaffinity};
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Mutex, MutexGuard, PoisonError};

    /// The workers of an engine, whose calls take turns.
    pub(crate) struct Apart {
        /// The cores that the process may use, when the engine was created.
        allowed: Option<CpuSet>,
        threads: usize,
        /// The core that the workers were kept off last; none so far where it is no core's number.
        avoided: AtomicUsize,
        workers: Mutex<Vec<Worker>>,
    }

    struct Worker {
        id: Pid,
        /// The cores that it was given last.
        cores: CpuSet,
    }

    impl Apart {
        /// For an engine that shares its work among `threads`, including the caller. Where the process has fewer cores, or the system
        /// does not tell, workers stay where they are put.
        pub(crate) fn new(threads: usize) -> Self {
            let allowed = sched_getaffinity(None).ok().filter(|cores| cores.count() as usize >= threads);
            Self { allowed, threads, avoided: AtomicUsize::new(usize::MAX), workers: Mutex::default() }
        }

        /// Takes the calling thread as a worker, unless it was bound to cores of its own.
        pub(crate) fn add_this_thread(&self) {
            let Some(allowed) = self.allowed else { return };
            if sched_getaffinity(None) == Ok(allowed) {
                self.workers().push(Worker { id: gettid(), cores: allowed });
            }
        }

        /// Moves the workers off the calling thread's core, where it changed since the last call. Costs some nanoseconds where it did not.
        pub(crate) fn avoid_this_core(&self) {
            let Some(allowed) = self.allowed else { return };
            let core = sched_getcpu();
            if self.avoided.swap(core, Ordering::Relaxed) == core {
                return;
            }
            let mut others = allowed;
            if core < CpuSet::MAX_CPU {
                others.unset(core);
            }
            if (others.count() as usize) < self.threads - 1 {
                return;
            }
            // One that somebody else has bound since, or that has ended, is left alone.
            self.workers().retain_mut(|worker| {
                let is_ours = sched_getaffinity(Some(worker.id)) == Ok(worker.cores);
                worker.cores = others;
                is_ours && sched_setaffinity(Some(worker.id), &others).is_ok()
            });
        }

        fn workers(&self) -> MutexGuard<'_, Vec<Worker>> {
            self.workers.lock().unwrap_or_else(PoisonError::into_inner)
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;
        use crate::machine::{allowed_cores, restrict_to};
        use std::sync::{Arc, mpsc};
        use std::thread;

        /// A thread that reports its cores on request.
        fn worker(apart: &Arc<Apart>, bound_to: Option<usize>) -> (mpsc::Sender<()>, mpsc::Receiver<Vec<usize>>) {
            let (ask, asked) = mpsc::channel();
            let (tell, told) = mpsc::channel();
            let apart = apart.clone();
            thread::spawn(move || {
                bound_to.into_iter().for_each(|core| restrict_to(&[core]).unwrap());
                apart.add_this_thread();
                tell.send(allowed_cores().unwrap()).unwrap();
                while asked.recv().is_ok() {
                    tell.send(allowed_cores().unwrap()).unwrap();
                }
            });
            told.recv().unwrap();
            (ask, told)
        }

        fn cores((ask, told): &(mpsc::Sender<()>, mpsc::Receiver<Vec<usize>>)) -> Vec<usize> {
            ask.send(()).unwrap();
            told.recv().unwrap()
        }

        #[test]
        fn workers_follow_the_caller_unless_they_are_bound() {
            thread::spawn(|| {
                let all = allowed_cores().unwrap();
                if all.len() < 2 {
                    eprintln!("skipped: it needs two cores");
                    return;
                }
                let apart = Arc::new(Apart::new(2));
                let (free, bound) = (worker(&apart, None), worker(&apart, Some(all[0])));
                for core in [all[0], all[1], all[0]] {
                    restrict_to(&[core]).unwrap();
                    apart.avoid_this_core();
                    assert!(!cores(&free).contains(&core));
                    assert_eq!(cores(&free).len(), all.len() - 1);
                    assert_eq!(cores(&bound), [all[0]]);
                }
            })
            .join()
            .unwrap();
        }

        #[test]
        fn more_threads_than_cores_stay_where_they_are() {
            let all = allowed_cores().unwrap();
            let apart = Arc::new(Apart::new(all.len() + 1));
            let free = worker(&apart, None);
            apart.avoid_this_core();
            assert_eq!(cores(&free), all);
        }
    }
}

/// Where threads cannot be bound, workers stay where the system puts them.
#[cfg(not(target_os = "linux"))]
pub(crate) struct Apart;

#[cfg(not(target_os = "linux"))]
impl Apart {
    pub(crate) fn new(_: usize) -> Self {
        Self
    }

    pub(crate) fn add_this_thread(&self) {}

    pub(crate) fn avoid_this_core(&self) {}
}
