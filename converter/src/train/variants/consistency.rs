//! Applies the interventions of `evaluate --interventions` to training images.

use crate::evaluate::disturb_plane;
use crate::train::source::Batch;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Changes each image of a batch by one intervention, drawn at random; marks are drawn on the lesion of one of its prompts.
pub(super) fn disturb(images: &mut [Vec<u8>], batch: &Batch, rng: &mut impl Rng) {
    let area = batch.size * batch.size;
    let asked = batch.tokens.len() / batch.images.len().max(1);
    for (index, image) in images.iter_mut().enumerate() {
        let question = index * asked + rng.random_range(0..asked.max(1));
        let mask = &batch.masks[question * area..(question + 1) * area];
        let seed = rng.random();
        for plane in image.chunks_exact_mut(area) {
            // The same on every channel.
            disturb_plane(plane, mask, batch.size, &mut ChaCha8Rng::seed_from_u64(seed));
        }
    }
}
