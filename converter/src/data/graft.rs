//! Copies tissue of a picture over another part of it: over its lesion, which gives a complete frame without one, or
//! beside it, so that the presence of a copy reveals nothing.

use super::Picture;
use super::augment::to_byte;
use rand::{Rng, RngExt};

/// A rectangle, in pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Rectangle {
    left: usize,
    top: usize,
    width: usize,
    height: usize,
}

impl Rectangle {
    fn meets(&self, other: &Self) -> bool {
        self.left < other.left + other.width
            && other.left < self.left + self.width
            && self.top < other.top + other.height
            && other.top < self.top + self.height
    }

    /// A random rectangle of this size in a picture, which must be at least as large.
    fn random(width: usize, height: usize, picture: &Picture, rng: &mut impl Rng) -> Self {
        let left = rng.random_range(0..=picture.width - width);
        Self { left, top: rng.random_range(0..=picture.height - height), width, height }
    }
}

/// The number of attempts to find a place.
const TRIES: usize = 64;

/// Covers the lesion with tissue from elsewhere in the picture. False where there is no lesion, or no space beside it;
/// the picture is then unchanged.
pub(super) fn cover_lesion(picture: &mut Picture, rng: &mut impl Rng) -> bool {
    let Some(lesion) = lesion_of(picture) else { return false };
    let mut place = || {
        let mut found = Rectangle::random(lesion.width, lesion.height, picture, rng);
        // Layers have a constant depth: every other attempt stays there.
        if rng.random_bool(0.5) {
            found.top = lesion.top;
        }
        found
    };
    let Some(source) = (0..TRIES).map(|_| place()).find(|source| !source.meets(&lesion)) else { return false };
    graft(picture, source, lesion, rng.random_bool(0.5));
    picture.mask.fill(0);
    true
}

/// Copies tissue beside the lesion over other tissue beside it. Does nothing where there is no space.
pub(super) fn graft_beside(picture: &mut Picture, rng: &mut impl Rng) {
    let lesion = lesion_of(picture).unwrap_or(Rectangle { left: 0, top: 0, width: 0, height: 0 });
    let shorter = picture.width.min(picture.height);
    let longest = (shorter / 2).max(1);
    let mut side = || rng.random_range((shorter / 6).clamp(1, longest)..=longest);
    let (width, height) = (side(), (side() * 2 / 3 + 1).min(picture.height));
    let mut place =
        || (0..TRIES).map(|_| Rectangle::random(width, height, picture, rng)).find(|place| !place.meets(&lesion));
    if let (Some(source), Some(target)) = (place(), place()) {
        graft(picture, source, target, rng.random_bool(0.5));
    }
}

/// The box around all lesions with the blur around their borders; `None` without one, and where it fills the picture.
fn lesion_of(picture: &Picture) -> Option<Rectangle> {
    let found = picture.box_of_all_lesions()?;
    let grown = |from: usize, to: usize, side: usize| {
        let rim = (to - from) / 5 + side / 32;
        let (from, to) = (from.saturating_sub(rim), (to + rim).min(side));
        (from, to - from)
    };
    let (left, width) = grown(found.left, found.right, picture.width);
    let (top, height) = grown(found.top, found.bottom, picture.height);
    (width < picture.width || height < picture.height).then_some(Rectangle { left, top, width, height })
}

/// Copies `source` over `target`, with the brightness of the target's surroundings, blended at its border.
fn graft(picture: &mut Picture, source: Rectangle, target: Rectangle, mirrored: bool) {
    let (row, area) = (picture.width, picture.area());
    let Rectangle { width, height, .. } = target;
    for plane in picture.pixels.chunks_exact_mut(area) {
        let patch: Vec<f32> = (0..width * height)
            .map(|index| {
                let (x, y) = (index % width, index / width);
                let x = if mirrored { width - 1 - x } else { x };
                f32::from(plane[(source.top + y) * row + source.left + x])
            })
            .collect();
        let rim = |value: &dyn Fn(usize, usize) -> f32| {
            let (mut sum, mut count) = (0.0, 0.0f32);
            for x in 0..width {
                sum += value(x, 0) + value(x, height - 1);
                count += 2.0;
            }
            for y in 0..height {
                sum += value(0, y) + value(width - 1, y);
                count += 2.0;
            }
            sum / count
        };
        let around = rim(&|x, y| f32::from(plane[(target.top + y) * row + target.left + x]));
        let gain = ((around + 4.0) / (rim(&|x, y| patch[y * width + x]) + 4.0)).clamp(0.5, 2.0);
        for y in 0..height {
            for x in 0..width {
                let share = ramp(x, width) * ramp(y, height);
                let value = &mut plane[(target.top + y) * row + target.left + x];
                *value = to_byte(f32::from(*value) * (1.0 - share) + gain * patch[y * width + x] * share);
            }
        }
    }
}

/// Rises from the border to 1 over an eighth of the length.
fn ramp(position: usize, length: usize) -> f32 {
    let from_rim = position.min(length - 1 - position) as f32 + 0.5;
    (from_rim / (length as f32 / 8.0).max(1.0)).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::super::augment::tests::picture;
    use super::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    #[test]
    fn a_covered_lesion_is_gone() {
        for seed in 0..20 {
            let rng = &mut ChaCha8Rng::seed_from_u64(seed);
            let mut covered = picture(64, 24, 8, 40, 22);
            assert!(cover_lesion(&mut covered, rng));
            assert_eq!(covered.lesion_fraction(), 0.0);
            assert!(covered.pixels.iter().all(|value| *value > 90), "grey 40 is lesion");
        }
        let mut large = picture(64, 6, 6, 58, 58);
        let before = large.clone();
        assert!(!cover_lesion(&mut large, &mut ChaCha8Rng::seed_from_u64(1)));
        assert!(large == before && !cover_lesion(&mut picture(64, 0, 0, 0, 0), &mut ChaCha8Rng::seed_from_u64(1)));
    }

    #[test]
    fn grafts_beside_leave_the_lesion() {
        let mut changed = 0;
        for seed in 0..20 {
            let rng = &mut ChaCha8Rng::seed_from_u64(seed);
            let mut original = picture(64, 20, 10, 44, 30);
            original.pixels.iter_mut().enumerate().for_each(|(index, value)| *value += (index % 7) as u8);
            let mut grafted = original.clone();
            graft_beside(&mut grafted, rng);
            assert_eq!(grafted.mask, original.mask);
            let lesion = |picture: &Picture| -> Vec<u8> {
                picture.pixels.iter().zip(&picture.mask).filter(|(_, lesion)| **lesion == 1).map(|(p, _)| *p).collect()
            };
            assert_eq!(lesion(&grafted), lesion(&original));
            changed += usize::from(grafted != original);
        }
        assert!(changed > 10, "{changed}");
    }
}
