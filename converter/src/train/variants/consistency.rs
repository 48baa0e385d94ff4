//! Applies the interventions of `evaluate --interventions` to training images, without their padding.

use crate::evaluate::disturb_plane;
use crate::train::source::Batch;
use causalclipseg::frame::Region;
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
        let fitted = batch.fitted_of(index);
        let mask = cut(mask, batch.size, fitted);
        for plane in image.chunks_exact_mut(area) {
            let mut part = cut(plane, batch.size, fitted);
            // The same on every channel.
            disturb_plane(&mut part, &mask, fitted.width, &mut ChaCha8Rng::seed_from_u64(seed));
            let rows = plane.chunks_exact_mut(batch.size).skip(fitted.y);
            for (row, part) in rows.zip(part.chunks_exact(fitted.width)) {
                row[fitted.x..fitted.x + fitted.width].copy_from_slice(part);
            }
        }
    }
}

/// A part of a square plane of `size` pixels a side.
fn cut(plane: &[u8], size: usize, part: Region) -> Vec<u8> {
    let rows = plane.chunks_exact(size).skip(part.y).take(part.height);
    rows.flat_map(|row| &row[part.x..part.x + part.width]).copied().collect()
}
