//! Runs work on several threads, each with a session of its own.

use super::EvaluateError;
use causalclipseg::{Model, Session};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// The results of `work` for every index below `count`, in order.
///
/// # Errors
/// The error of the lowest index; after an error, no new work begins.
pub fn map_indices<T: Send>(
    model: &Model,
    count: usize,
    threads: usize,
    work: impl Fn(&mut Session, usize) -> Result<T, EvaluateError> + Sync,
) -> Result<Vec<T>, EvaluateError> {
    let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
    let run = || {
        let mut session = super::session(model)?;
        let mut done = Vec::new();
        while !failed.load(Ordering::Relaxed) {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= count {
                break;
            }
            let result = work(&mut session, index);
            failed.fetch_or(result.is_err(), Ordering::Relaxed);
            done.push((index, result));
        }
        Ok::<_, EvaluateError>(done)
    };
    let mut results = std::thread::scope(|scope| {
        let workers: Vec<_> = (1..threads.min(count)).map(|_| scope.spawn(run)).collect();
        let mut all = run()?;
        for worker in workers {
            match worker.join() {
                Ok(results) => all.extend(results?),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        Ok::<_, EvaluateError>(all)
    })?;
    results.sort_unstable_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}
