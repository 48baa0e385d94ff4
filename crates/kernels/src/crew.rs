//! A thread pool that shares the work on one frame.
//!
//! A step of the network takes tens of microseconds, so its threads must synchronise faster than a general pool wakes
//! them: between the steps of a frame workers wait actively, and go to sleep when no step comes for a while. Work is
//! distributed in parts that are fixed beforehand, one or more a thread, so a result does not depend on which thread
//! was faster.

use crate::process_id;
use std::cell::UnsafeCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// The most threads of a crew, and so the most parts of a step.
pub const MAX_THREADS: usize = 64;

/// How long a thread waits actively for another before it sleeps: longer than the serial work between two steps, and than one thread's part of
/// a step usually outlasts another's. To wake a thread takes as long.
const SPIN: Duration = Duration::from_micros(50);
/// Waiting iterations between two looks at the clock. One takes 10 to 45 nanoseconds, depending on the CPU.
const TURNS_A_LOOK: u32 = 16;

/// Waits actively until `is_over` or for [`SPIN`]; returns whether it is over. The limit is a time instead of a number of turns, since the pause of
/// a turn differs fourfold between CPUs.
fn spin_until(is_over: impl Fn() -> bool) -> bool {
    let mut begun = None;
    loop {
        for _ in 0..TURNS_A_LOOK {
            if is_over() {
                return true;
            }
            std::hint::spin_loop();
        }
        if begun.get_or_insert_with(Instant::now).elapsed() > SPIN {
            return false;
        }
    }
}

/// The work of all workers: `work(part)` for each of their parts.
#[derive(Clone, Copy)]
struct Job {
    work: *const (dyn Fn(usize) + Sync + 'static),
    parts: usize,
}

struct Shared {
    job: UnsafeCell<Option<Job>>,
    /// The number of jobs so far; a worker starts when it changes.
    epoch: AtomicU32,
    /// The number of workers that have not finished the job of this epoch.
    running: AtomicUsize,
    asleep: [AtomicBool; MAX_THREADS],
    caller_sleeps: AtomicBool,
    /// Notifies a sleeping caller that the last worker has finished.
    done: (Mutex<()>, Condvar),
    failed: AtomicBool,
    stop: AtomicBool,
}

// SAFETY: `job` is written only by the crew's owner, while no worker runs (`running` is zero), and read only by workers
// between the release of `epoch` that follows the write and their own release of `running`.
unsafe impl Sync for Shared {}
// SAFETY: the pointer in `job` is used only while the call that it came from waits; see `Crew::run`.
unsafe impl Send for Shared {}

/// A fixed number of threads, including the caller's.
pub struct Crew {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    /// The process that they are threads of.
    process: u32,
    before_step: Option<Box<dyn Fn() + Send + Sync>>,
}

impl Default for Crew {
    fn default() -> Self {
        Self::alone()
    }
}

impl Crew {
    /// A crew of the caller alone.
    pub fn alone() -> Self {
        let shared = Arc::new(Shared {
            job: UnsafeCell::new(None),
            epoch: AtomicU32::new(0),
            running: AtomicUsize::new(0),
            asleep: [const { AtomicBool::new(false) }; MAX_THREADS],
            caller_sleeps: AtomicBool::new(false),
            done: Default::default(),
            failed: AtomicBool::new(false),
            stop: AtomicBool::new(false),
        });
        Self { shared, workers: Vec::new(), process: process_id(), before_step: None }
    }

    /// A crew of `threads`, 1 to [`MAX_THREADS`]: the caller and `threads - 1` workers. `on_start` runs first in each
    /// worker, with its number from 1, for example to bind it to a core; the crew is ready when it has returned in all of them.
    ///
    /// # Errors
    /// The system creates no more threads.
    pub fn new(threads: usize, on_start: impl Fn(usize) + Send + Sync + 'static) -> std::io::Result<Self> {
        let mut crew = Self::alone();
        let (started, starts) = mpsc::channel::<()>();
        let on_start = Arc::new(on_start);
        let threads = threads.clamp(1, MAX_THREADS);
        for index in 1..threads {
            let (shared, on_start, started) = (crew.shared.clone(), on_start.clone(), started.clone());
            let builder = thread::Builder::new().name(format!("causalclipseg-{index}"));
            // On an error the crew is dropped, which ends the workers that did start.
            crew.workers.push(builder.spawn(move || {
                on_start(index);
                drop(started);
                shared.serve(index, threads);
            })?);
        }
        drop(started);
        // Until every worker has dropped its end of the channel.
        let _ = starts.recv();
        Ok(crew)
    }

    /// Sets what the caller does before each step that it shares, in some nanoseconds: the system may have moved it to another core, a worker's.
    pub fn before_step(&mut self, before_step: impl Fn() + Send + Sync + 'static) {
        self.before_step = Some(Box::new(before_step));
    }

    /// The number of threads that share the work, including the caller's.
    pub fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Runs `work` once on each part, with parts distributed over the threads in turn; returns when all are done.
    ///
    /// # Panics
    /// `work` panics; this panics after all parts are done or abandoned.
    pub fn run<P: Send>(&mut self, parts: &mut [P], work: impl Fn(&mut P) + Sync) {
        if self.workers.is_empty() || parts.len() <= 1 {
            return parts.iter_mut().for_each(work);
        }
        let base = Parts(parts.as_mut_ptr());
        let count = parts.len();
        let on_part = |index: usize| {
            let base = &base;
            debug_assert!(index < count);
            // SAFETY: `index` is below `count`, and `Shared::take_turns` gives each index to one thread only, so this is the
            // only reference to the part; `parts` is borrowed exclusively until this function returns.
            work(unsafe { &mut *base.0.add(index) });
        };
        self.dispatch(&on_part, count);
    }

    fn dispatch(&mut self, work: &(dyn Fn(usize) + Sync), parts: usize) {
        self.before_step.iter().for_each(|before_step| before_step());
        let shared = &*self.shared;
        let threads = self.threads();
        // SAFETY: extends the lifetime of `work` for the workers. They use it only before they count themselves out of
        // `running`, and this function returns, or unwinds, only after `running` is zero.
        let work_for_all =
            unsafe { std::mem::transmute::<&(dyn Fn(usize) + Sync), &'static (dyn Fn(usize) + Sync + 'static)>(work) };
        // SAFETY: `&mut self`, and no worker runs between jobs: nothing else reads or writes `job` now.
        unsafe { *shared.job.get() = Some(Job { work: work_for_all, parts }) };
        shared.running.store(self.workers.len(), Ordering::Relaxed);
        shared.epoch.fetch_add(1, Ordering::SeqCst);
        for (worker, asleep) in self.workers.iter().zip(&shared.asleep[1..]) {
            if asleep.load(Ordering::SeqCst) {
                worker.thread().unpark();
            }
        }
        let own = catch_unwind(AssertUnwindSafe(|| take_turns(work, parts, 0, threads)));
        shared.wait_for_workers();
        if let Err(panic) = own {
            resume_unwind(panic);
        }
        if shared.failed.swap(false, Ordering::Relaxed) {
            panic!("a worker of the crew panicked");
        }
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        if process_id() != self.process {
            // A fork has the memory and not the threads: nobody would answer.
            return;
        }
        self.shared.stop.store(true, Ordering::SeqCst);
        self.shared.epoch.fetch_add(1, Ordering::SeqCst);
        for worker in self.workers.drain(..) {
            worker.thread().unpark();
            // A worker catches panics of its work, so it ends normally.
            let _ = worker.join();
        }
    }
}

/// The address of the parts, for threads that each take other parts.
struct Parts<P>(*mut P);
// SAFETY: each part goes to one thread, and parts may be sent.
unsafe impl<P: Send> Sync for Parts<P> {}

fn take_turns(work: &(dyn Fn(usize) + Sync), parts: usize, first: usize, threads: usize) {
    (first..parts).step_by(threads).for_each(work);
}

impl Shared {
    fn serve(&self, index: usize, threads: usize) {
        let mut seen = 0;
        loop {
            seen = self.wait(index, seen);
            if self.stop.load(Ordering::SeqCst) {
                return;
            }
            // SAFETY: the owner wrote `job` before the epoch that was just seen, and writes again only after this worker has
            // counted itself out below.
            let job = unsafe { *self.job.get() };
            if let Some(job) = job {
                // SAFETY: `Crew::dispatch` waits for `running` to become zero before the closure behind the pointer ends.
                let work = unsafe { &*job.work };
                if catch_unwind(AssertUnwindSafe(|| take_turns(work, job.parts, index, threads))).is_err() {
                    self.failed.store(true, Ordering::Relaxed);
                }
            }
            if self.running.fetch_sub(1, Ordering::SeqCst) == 1 && self.caller_sleeps.load(Ordering::SeqCst) {
                let _guard = self.done.0.lock().unwrap_or_else(PoisonError::into_inner);
                self.done.1.notify_one();
            }
        }
    }

    /// Returns when all workers have finished the job. A worker that shares the caller's core gets it when the caller sleeps.
    fn wait_for_workers(&self) {
        let is_over = || self.running.load(Ordering::SeqCst) == 0;
        if spin_until(is_over) {
            return;
        }
        let mut guard = self.done.0.lock().unwrap_or_else(PoisonError::into_inner);
        // The caller marks itself asleep before it checks the workers, and the last worker counts itself out before it checks
        // the mark: at least one of the two notices the other.
        self.caller_sleeps.store(true, Ordering::SeqCst);
        while !is_over() {
            guard = self.done.1.wait(guard).unwrap_or_else(PoisonError::into_inner);
        }
        self.caller_sleeps.store(false, Ordering::SeqCst);
    }

    /// Waits for an epoch after `seen`.
    fn wait(&self, index: usize, seen: u32) -> u32 {
        if spin_until(|| self.epoch.load(Ordering::SeqCst) != seen) {
            return self.epoch.load(Ordering::SeqCst);
        }
        self.asleep[index].store(true, Ordering::SeqCst);
        // The owner raises the epoch before it checks who sleeps, and this checks the epoch after it marked itself
        // asleep: at least one of the two notices the other. An early `unpark` makes `park` return at once.
        let epoch = loop {
            let epoch = self.epoch.load(Ordering::SeqCst);
            if epoch != seen {
                break epoch;
            }
            thread::park();
        };
        self.asleep[index].store(false, Ordering::SeqCst);
        epoch
    }
}

#[cfg(all(test, not(target_family = "wasm")))]
mod tests {
    use super::*;

    #[test]
    fn every_part_is_worked_on_once() {
        for threads in [1, 2, 3, 7] {
            let mut crew = Crew::new(threads, |_| ()).unwrap();
            assert_eq!(crew.threads(), threads);
            for round in 0..200 {
                let mut parts: Vec<(usize, u32)> = (0..round % 11).map(|index| (index, 0)).collect();
                crew.run(&mut parts, |(index, count)| *count += 1 + *index as u32);
                assert!(parts.iter().all(|(index, count)| *count == 1 + *index as u32), "{parts:?}");
            }
        }
    }

    #[test]
    fn workers_that_went_to_sleep_wake_up() {
        let mut crew = Crew::new(3, |_| ()).unwrap();
        for _ in 0..5 {
            thread::sleep(Duration::from_millis(5));
            let mut parts = [0u64; 6];
            crew.run(&mut parts, |part| *part += 1);
            assert_eq!(parts, [1; 6]);
        }
    }

    #[test]
    fn a_caller_that_went_to_sleep_wakes_up() {
        let mut crew = Crew::new(3, |_| ()).unwrap();
        for slow in 0..6 {
            let mut parts: Vec<(usize, bool)> = (0..6).map(|index| (index, false)).collect();
            crew.run(&mut parts, |(index, done)| {
                if *index == slow {
                    thread::sleep(Duration::from_millis(3));
                }
                *done = true;
            });
            assert!(parts.iter().all(|(_, done)| *done), "{parts:?}");
        }
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_crew_lives_on() {
        let mut crew = Crew::new(2, |_| ()).unwrap();
        for bad in 0..2 {
            let mut parts = [0usize, 1];
            let run = catch_unwind(AssertUnwindSafe(|| crew.run(&mut parts, |part| assert_ne!(*part, bad))));
            assert!(run.is_err());
        }
        let mut parts = [1, 2];
        crew.run(&mut parts, |part| *part *= 2);
        assert_eq!(parts, [2, 4]);
    }
}
