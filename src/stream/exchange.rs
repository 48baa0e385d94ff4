//! Passes frames from the submitting thread to the worker: slots circulate between two bounded queues, free ones and filled ones,
//! and neither side waits for the other.

use super::slot::Slot;
use heapless::mpmc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// The most frames that may wait.
pub const MAX_QUEUED_FRAMES: usize = 8;

/// A power of two that holds every slot there is: [`MAX_QUEUED_FRAMES`], one being filled and one being segmented.
const CAPACITY: usize = 16;

/// The number of attempts while the other thread is in the middle of an operation.
const ATTEMPTS: usize = 64;

/// heapless's queue fails while another thread is interrupted inside it, though it is neither full nor empty. That is why it is
/// deprecated as a pool; here every failure is handled: a frame that can't be queued is dropped and counted, like any frame that
/// arrives too fast, and returning a slot is retried until it succeeds.
type Queue = mpmc::Queue<Box<Slot>, CAPACITY>;

#[expect(deprecated, reason = "see `Queue`")]
fn queue() -> Queue {
    Queue::new()
}

pub(super) struct Exchange {
    free: Queue,
    filled: Queue,
    /// The number of frames in `filled`: a hint, since it is not updated atomically with the queue.
    waiting: AtomicUsize,
    depth: usize,
}

impl Exchange {
    /// An exchange for at most `depth` waiting frames, 1 to [`MAX_QUEUED_FRAMES`].
    pub(crate) fn new(depth: usize) -> Self {
        let depth = depth.clamp(1, MAX_QUEUED_FRAMES);
        let exchange = Self { free: queue(), filled: queue(), waiting: AtomicUsize::new(0), depth };
        for _ in 0..depth + 2 {
            exchange.give_back(Box::new(Slot::new()));
        }
        exchange
    }

    /// The number of waiting frames.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Acquire)
    }

    pub(crate) fn is_full(&self) -> bool {
        self.waiting() >= self.depth
    }

    /// Takes a free slot; `None` where several threads fill all of them.
    pub(crate) fn take_free(&self) -> Option<Box<Slot>> {
        retry(|| self.free.dequeue())
    }

    /// Takes the frame that has waited longest.
    pub(crate) fn take_oldest(&self) -> Option<Box<Slot>> {
        if self.waiting() == 0 {
            return None;
        }
        let slot = retry(|| self.filled.dequeue())?;
        self.waiting.fetch_sub(1, Ordering::AcqRel);
        Some(slot)
    }

    /// Appends a frame to those that wait. Returns it if the queue does not accept it.
    pub(crate) fn enqueue(&self, slot: Box<Slot>) -> Result<(), Box<Slot>> {
        // Counted before the slot is queued, so that the count never falls below zero.
        self.waiting.fetch_add(1, Ordering::AcqRel);
        put(&self.filled, slot).inspect_err(|_| {
            self.waiting.fetch_sub(1, Ordering::AcqRel);
        })
    }

    /// Returns a slot to the free ones. The queue has more places than there are slots, so it fails only while another thread is
    /// interrupted in the same place since the round before; sleeping lets that thread continue whatever its priority.
    pub(crate) fn give_back(&self, mut slot: Box<Slot>) {
        while let Err(refused) = put(&self.free, slot) {
            slot = refused;
            std::thread::sleep(Duration::from_micros(50));
        }
    }
}

fn put(queue: &Queue, mut slot: Box<Slot>) -> Result<(), Box<Slot>> {
    for _ in 0..ATTEMPTS {
        match queue.enqueue(slot) {
            Ok(()) => return Ok(()),
            Err(refused) => slot = refused,
        }
        std::hint::spin_loop();
    }
    Err(slot)
}

fn retry<T>(mut attempt: impl FnMut() -> Option<T>) -> Option<T> {
    for _ in 0..ATTEMPTS {
        if let Some(value) = attempt() {
            return Some(value);
        }
        std::hint::spin_loop();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Frame, PixelFormat};
    use std::collections::BTreeSet;
    use std::sync::atomic::AtomicBool;

    fn slots(exchange: &Exchange) -> usize {
        let taken: Vec<_> = std::iter::from_fn(|| exchange.take_free()).collect();
        let count = taken.len();
        taken.into_iter().for_each(|slot| exchange.give_back(slot));
        count
    }

    #[test]
    fn there_are_two_slots_more_than_may_wait() {
        for (depth, expected) in [(0, 3), (1, 3), (8, 10), (99, 10)] {
            assert_eq!(slots(&Exchange::new(depth)), expected);
        }
    }

    #[test]
    fn frames_keep_their_order() {
        let exchange = Exchange::new(3);
        for sequence in 0..3 {
            assert!(!exchange.is_full());
            let mut slot = exchange.take_free().unwrap();
            slot.sequence = sequence;
            assert!(exchange.enqueue(slot).is_ok());
        }
        assert!(exchange.is_full());
        let order: Vec<u64> = std::iter::from_fn(|| exchange.take_oldest()).map(|slot| slot.sequence).collect();
        assert_eq!((order, exchange.waiting()), (vec![0, 1, 2], 0));
    }

    /// Two threads exchange slots as a stream does, much faster than a network would: no slot is lost, none is given out twice,
    /// and frames arrive complete and in order.
    #[test]
    fn two_threads_never_share_a_slot() {
        let exchange = Exchange::new(2);
        let (done, total) = (AtomicBool::new(false), 200_000u64);
        let (dropped, received) = std::thread::scope(|scope| {
            let worker = scope.spawn(|| {
                let mut received = Vec::new();
                loop {
                    let finished = done.load(Ordering::Acquire);
                    match exchange.take_oldest() {
                        Some(slot) => {
                            let frame = slot.frame().unwrap();
                            let [r, _, b] = frame.rgb(0, 0);
                            assert_eq!((r, b), (slot.sequence as u8, slot.sequence as u8));
                            received.push(slot.sequence);
                            exchange.give_back(slot);
                        }
                        None if finished => break received,
                        None => std::hint::spin_loop(),
                    }
                }
            });
            let mut dropped = BTreeSet::new();
            for sequence in 0..total {
                let pixels = [sequence as u8; 3];
                let Some(mut slot) = exchange.take_free() else {
                    dropped.insert(sequence);
                    continue;
                };
                slot.fill(&Frame::packed(&pixels, PixelFormat::Rgb8, 1, 1).unwrap());
                slot.sequence = sequence;
                while exchange.is_full() {
                    let Some(oldest) = exchange.take_oldest() else { break };
                    dropped.insert(oldest.sequence);
                    exchange.give_back(oldest);
                }
                if let Err(slot) = exchange.enqueue(slot) {
                    dropped.insert(slot.sequence);
                    exchange.give_back(slot);
                }
            }
            done.store(true, Ordering::Release);
            (dropped, worker.join().unwrap())
        });
        assert!(received.is_sorted());
        assert_eq!(received.len() + dropped.len(), total as usize);
        assert!(received.iter().all(|sequence| !dropped.contains(sequence)));
        assert_eq!(slots(&exchange), 4);
    }
}
