//! Draws batches ahead of the step that uses them.

use super::source::{Batch, Source, SourceError};
use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::Scope;

/// Batches that wait ready.
const AHEAD: usize = 2;

/// The examples of each batch of an epoch, in an order that seed and epoch fix. A rest that fills no batch is left out:
/// statistics of a batch of another size would weigh as much as any.
pub(super) fn batches(count: usize, batch: usize, seed: u64, epoch: usize) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..count).collect();
    // Any fixed mixing will do: neighbouring seeds and epochs must not share an order.
    let mixed = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ (epoch as u64).wrapping_mul(0xD1B5_4A32_D192_ED03);
    order.shuffle(&mut ChaCha8Rng::seed_from_u64(mixed));
    let batch = batch.min(count);
    order.chunks_exact(batch.max(1)).map(<[usize]>::to_vec).collect()
}

/// Starts a thread that draws `batches` in order; dropping the receiver ends it.
pub(super) fn start<'scope>(
    scope: &'scope Scope<'scope, '_>,
    source: &'scope dyn Source,
    batches: Vec<Vec<usize>>,
    epoch: usize,
    size: usize,
) -> Receiver<Result<Batch, SourceError>> {
    let (sender, receiver) = sync_channel(AHEAD);
    scope.spawn(move || {
        for indices in batches {
            let batch = Batch::draw(source, epoch, &indices, size);
            let failed = batch.is_err();
            if sender.send(batch).is_err() || failed {
                return;
            }
        }
    });
    receiver
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
}
