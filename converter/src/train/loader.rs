//! Draws batches ahead of the step that uses them, on several threads.

use super::device::panic_text;
use super::source::{Batch, Source, SourceError};
use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::{Builder, Scope};

/// The number of finished batches that each thread holds, besides the one that it draws.
const AHEAD: usize = 1;

/// The examples of each batch of an epoch, in an order that seed and epoch fix. A rest smaller than a batch is left out, since
/// the statistics of a smaller batch would weigh as much as any other's.
pub(super) fn batches(count: usize, batch: usize, seed: u64, epoch: usize) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..count).collect();
    // Any fixed mixing works, as long as neighbouring seeds and epochs differ in order.
    let mixed = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ (epoch as u64).wrapping_mul(0xD1B5_4A32_D192_ED03);
    order.shuffle(&mut ChaCha8Rng::seed_from_u64(mixed));
    let batch = batch.min(count);
    order.chunks_exact(batch.max(1)).map(<[usize]>::to_vec).collect()
}

/// Threads that draw an epoch's batches ahead; dropping it ends them.
pub(super) struct Loader {
    /// The receivers of the threads, which draw batches in turn, so that the order does not depend on their speed.
    receivers: Vec<Receiver<Result<Batch, SourceError>>>,
    turn: usize,
}

impl Loader {
    /// Starts this many threads, at least one, on `batches`; fails where the system refuses one. `builder` makes each thread's, whose
    /// name is set here.
    pub fn start<'scope>(
        builder: impl Fn() -> Builder,
        scope: &'scope Scope<'scope, '_>,
        source: &'scope dyn Source,
        batches: Vec<Vec<usize>>,
        epoch: usize,
        size: usize,
        threads: usize,
    ) -> Result<Self, SourceError> {
        let threads = threads.clamp(1, batches.len().max(1));
        let batches = Arc::new(batches);
        let start = |first: usize| {
            let (sender, receiver) = sync_channel(AHEAD);
            let batches = Arc::clone(&batches);
            let draw_all = move || {
                for indices in batches.iter().skip(first).step_by(threads) {
                    let batch = draw(source, epoch, indices, size);
                    let failed = batch.is_err();
                    if sender.send(batch).is_err() || failed {
                        return;
                    }
                }
            };
            match builder().name("loader".into()).spawn_scoped(scope, draw_all) {
                Ok(_) => Ok(receiver),
                Err(error) => {
                    Err(format!("no thread can be started to draw it: {error}; give fewer loader_threads").into())
                }
            }
        };
        Ok(Self { receivers: (0..threads).map(start).collect::<Result<_, SourceError>>()?, turn: 0 })
    }

    /// The next batch in the epoch's order. Do not call it again after an error.
    pub fn next(&mut self) -> Result<Batch, SourceError> {
        let receiver = &self.receivers[self.turn];
        self.turn = (self.turn + 1) % self.receivers.len();
        receiver.recv().unwrap_or_else(|_| Err("the thread that draws its batches ended early".into()))
    }
}

/// A panic in a source, or in the libraries that it uses, becomes an error, so that the run still writes its state.
pub(super) fn draw(source: &dyn Source, epoch: usize, indices: &[usize], size: usize) -> Result<Batch, SourceError> {
    catch_unwind(AssertUnwindSafe(|| Batch::draw(source, epoch, indices, size))).unwrap_or_else(|panic| {
        Err(format!("a panic while drawing examples {indices:?} of epoch {epoch}: {}", panic_text(&*panic)).into())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_has_its_own_order_and_every_example_at_most_once() {
        let first = batches(10, 3, 1, 0);
        assert_eq!(first.len(), 3);
        let mut seen: Vec<usize> = first.concat();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 9);
        assert_eq!(first, batches(10, 3, 1, 0));
        assert_ne!(first, batches(10, 3, 1, 1));
        assert_ne!(first, batches(10, 3, 2, 0));
    }

    use super::super::source::{Example, Question};

    /// Yields one grey pixel, the example's number; some examples fail.
    struct Numbers {
        wrong: Option<usize>,
        panics: bool,
    }

    impl Source for Numbers {
        fn count(&self) -> usize {
            40
        }

        fn draw(&self, _epoch: usize, index: usize, _size: usize) -> Result<Example, SourceError> {
            if self.wrong == Some(index) {
                assert!(!self.panics, "number {index} is broken");
                return Err("no such number".into());
            }
            // Makes threads finish in another order than they began.
            std::thread::sleep(std::time::Duration::from_micros(((index * 7) % 5) as u64 * 200));
            let question = Question { tokens: vec![1], mask: vec![0] };
            Ok(Example { image: vec![index as u8], questions: vec![question], fitted: None })
        }
    }

    fn drawn(source: &Numbers, threads: usize) -> Vec<Result<Vec<u8>, String>> {
        std::thread::scope(|scope| {
            let order = batches(source.count(), 3, 5, 2);
            let count = order.len();
            let mut loader = Loader::start(Builder::new, scope, source, order, 2, 1, threads).unwrap();
            let batch = |batch: Batch| batch.images.concat();
            (0..count).map(|_| loader.next().map(batch).map_err(|error| error.to_string())).collect()
        })
    }

    #[test]
    fn any_number_of_threads_yields_the_same_batches_in_the_same_order() {
        let source = Numbers { wrong: None, panics: false };
        let one = drawn(&source, 1);
        let expected: Vec<Vec<u8>> =
            batches(40, 3, 5, 2).iter().map(|batch| batch.iter().map(|index| *index as u8).collect()).collect();
        assert_eq!(one, expected.into_iter().map(Ok).collect::<Vec<_>>());
        for threads in [2, 3, 7, 100] {
            assert_eq!(drawn(&source, threads), one, "{threads} threads");
        }
    }

    #[test]
    fn a_source_that_fails_or_panics_is_an_error_at_its_batch() {
        for panics in [false, true] {
            let source = Numbers { wrong: Some(20), panics };
            let at = batches(40, 3, 5, 2).iter().position(|batch| batch.contains(&20)).unwrap();
            for threads in [1, 4] {
                let found = drawn(&source, threads);
                assert!(found[..at].iter().all(Result::is_ok));
                let error = found[at].clone().unwrap_err();
                assert!(error.contains(if panics { "number 20 is broken" } else { "no such number" }), "{error}");
            }
        }
    }

    /// A thread whose stack no address space holds is refused, as one beyond the system's limit is.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_thread_that_the_system_refuses_is_an_error_and_ends_the_others() {
        for first_refused in 0..3 {
            let started = std::cell::Cell::new(0);
            let builder = || match started.replace(started.get() + 1) {
                number if number >= first_refused => Builder::new().stack_size(1 << 60),
                _ => Builder::new(),
            };
            let source = Numbers { wrong: None, panics: false };
            // The scope ends only if the threads that were started do.
            let error = std::thread::scope(|scope| {
                let order = batches(source.count(), 3, 5, 2);
                Loader::start(builder, scope, &source, order, 2, 1, 3).err().unwrap().to_string()
            });
            assert!(error.contains("no thread can be started") && error.contains("fewer loader_threads"), "{error}");
            assert_eq!(started.get(), first_refused + 1);
        }
    }
}
