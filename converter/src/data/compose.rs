//! Composes two images into one, and words requests for absent targets: both teach a network to read its prompt.

use super::picture::LesionBox;
use super::prompts::absent_thing_prompt;
use super::{Pathology, Picture, Place, image_prompt};
use rand::seq::IndexedRandom;
use rand::{Rng, RngExt};

/// How two pictures are arranged in one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrangement {
    /// The first is the left half, the second the right.
    SideBySide,
    /// The first is the upper half, the second the lower.
    Stacked,
}

impl Arrangement {
    /// The places of the first and the second picture.
    pub fn places(self) -> [Place; 2] {
        match self {
            Self::SideBySide => [Place::Left, Place::Right],
            Self::Stacked => [Place::Upper, Place::Lower],
        }
    }
}

/// Composes one picture of two, with the mask of each separately: `pictures[0]` has the first's lesion, `pictures[1]`
/// the second's, and both have equal pixels.
///
/// A half shows a window of its picture around the lesion where the lesion fits, otherwise the complete picture
/// squeezed. If sizes differ, the smaller one is used: pass pictures of one size, with one lesion each.
pub fn compose_pair(first: &Picture, second: &Picture, arrangement: Arrangement, rng: &mut impl Rng) -> [Picture; 2] {
    let (mut first, mut second) = (first.clone(), second.clone());
    if first.channels != second.channels {
        (first, second) = (first.in_color(), second.in_color());
    }
    let size = first.size.min(second.size);
    let near = size / 2;
    let halves = [Half::of(&first, arrangement, near, rng), Half::of(&second, arrangement, size - near, rng)];
    let sources = [&first, &second];
    let assemble = |plane_of: &dyn Fn(usize) -> Option<Vec<u8>>| -> Vec<u8> {
        let planes = [plane_of(0), plane_of(1)];
        (0..size * size)
            .map(|index| {
                let (x, y) = (index % size, index / size);
                let along = if arrangement == Arrangement::SideBySide { x } else { y };
                let (which, offset) = if along < near { (0, 0) } else { (1, near) };
                let (x, y) = halves[which].source_of(x, y, offset);
                planes[which].as_ref().map_or(0, |plane| plane[y * sources[which].size + x])
            })
            .collect()
    };
    let pixels: Vec<u8> = (0..first.channels)
        .flat_map(|channel| assemble(&|which| Some(sources[which].plane(channel).to_vec())))
        .collect();
    [0, 1].map(|named| {
        let mask = assemble(&|which| (which == named).then(|| sources[which].mask.clone()));
        Picture { size, channels: first.channels, pixels: pixels.clone(), mask, other_lesions: None }
    })
}

/// The part of a picture that fills one half: along the divided side, `length` pixels from `start`, or all of them.
struct Half {
    arrangement: Arrangement,
    start: usize,
    /// The number of source pixels per pixel of the half.
    step: f32,
}

impl Half {
    fn of(picture: &Picture, arrangement: Arrangement, length: usize, rng: &mut impl Rng) -> Self {
        /// The share of the windows that are squeezed although their lesion would fit, so that training has both kinds.
        const SQUEEZED: f64 = 0.25;
        let size = picture.size;
        let window = match picture.lesion_box().map(|found| span(found, arrangement)) {
            None => Some((0, size - length)),
            Some((start, end)) if end - start <= length => Some((end.saturating_sub(length), start.min(size - length))),
            Some(_) => None,
        };
        let squeezed = rng.random_bool(SQUEEZED);
        let chance: f32 = rng.random();
        match window {
            Some((lowest, highest)) if !squeezed && lowest <= highest => {
                let start = lowest + ((highest - lowest) as f32 * chance).round() as usize;
                Self { arrangement, start, step: 1.0 }
            }
            _ => Self { arrangement, start: 0, step: size as f32 / length.max(1) as f32 },
        }
    }

    /// The source pixel for (x, y) of the composed picture, where this half begins at `offset`.
    fn source_of(&self, x: usize, y: usize, offset: usize) -> (usize, usize) {
        let along = |position: usize| self.start + ((position - offset) as f32 * self.step) as usize;
        match self.arrangement {
            Arrangement::SideBySide => (along(x), y),
            Arrangement::Stacked => (x, along(y)),
        }
    }
}

fn span(found: LesionBox, arrangement: Arrangement) -> (usize, usize) {
    match arrangement {
        Arrangement::SideBySide => (found.left, found.right),
        Arrangement::Stacked => (found.top, found.bottom),
    }
}

/// The reason why a picture lacks a requested target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absence {
    /// The target is a lesion in a half without one.
    Place,
    /// The target is a lesion with a pathology that none has.
    Pathology,
    /// The target is another organ.
    Organ,
}

/// A prompt for a target that `picture` does not show. Its mask is empty.
///
/// `pathologies` are those of every lesion in the picture; if one is unknown, no wrong pathology is requested.
pub fn wrong_request(picture: &Picture, pathologies: &[Option<Pathology>], rng: &mut impl Rng) -> (Absence, String) {
    let places = empty_halves(picture);
    let wrong = pathologies.first().copied().flatten().map(Pathology::opposite);
    let wrong = wrong.filter(|wrong| pathologies.iter().all(|p| p.is_some_and(|p| p != *wrong)));
    let place = places.choose(rng).copied();
    // Places first: they can be checked in any image.
    match (rng.random_range(0..10), place, wrong) {
        (0..=4, Some(place), _) => (Absence::Place, image_prompt(&[], Some(place), rng)),
        (0..=6, _, Some(wrong)) => (Absence::Pathology, image_prompt(&[wrong.adjective()], None, rng)),
        _ => (Absence::Organ, absent_thing_prompt(rng)),
    }
}

/// The halves of a picture without any part of a lesion.
fn empty_halves(picture: &Picture) -> Vec<Place> {
    let middle = picture.size / 2;
    let Some(found) = picture.box_of_all_lesions() else { return Vec::new() };
    [
        (found.left >= middle, Place::Left),
        (found.right <= middle, Place::Right),
        (found.top >= middle, Place::Upper),
        (found.bottom <= middle, Place::Lower),
    ]
    .into_iter()
    .filter_map(|(is_empty, place)| is_empty.then_some(place))
    .collect()
}

#[cfg(test)]
mod tests {
    use super::super::augment::tests::picture;
    use super::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    fn halves_with_lesion(picture: &Picture, arrangement: Arrangement) -> [bool; 2] {
        let half = |index: usize| {
            let along = match arrangement {
                Arrangement::SideBySide => index % picture.size,
                Arrangement::Stacked => index / picture.size,
            };
            usize::from(along >= picture.size / 2)
        };
        [0, 1].map(|wanted| picture.mask.iter().enumerate().any(|(i, lesion)| *lesion == 1 && half(i) == wanted))
    }

    #[test]
    fn each_mask_stays_in_its_half_and_whole() {
        for seed in 0..40 {
            for arrangement in [Arrangement::SideBySide, Arrangement::Stacked] {
                let mut rng = ChaCha8Rng::seed_from_u64(seed);
                let (first, second) = (picture(33, 20, 20, 30, 30), picture(33, 1, 3, 32, 31));
                let pair = compose_pair(&first, &second, arrangement, &mut rng);
                assert_eq!(pair[0].pixels, pair[1].pixels);
                assert_eq!(halves_with_lesion(&pair[0], arrangement), [true, false]);
                assert_eq!(halves_with_lesion(&pair[1], arrangement), [false, true]);
                // Grey 40 is lesion in these pictures: no lesion pixel is lost and none is added.
                for (index, pixel) in pair[0].pixels.iter().enumerate() {
                    assert_eq!(*pixel == 40, pair[0].mask[index] + pair[1].mask[index] == 1);
                }
                let area = pair[0].mask.iter().filter(|lesion| **lesion == 1).count();
                assert!(area == 100 || (40..=60).contains(&area), "whole or squeezed: {area}");
            }
        }
    }

    #[test]
    fn grey_beside_colour_is_colour() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let color = picture(16, 1, 1, 4, 4).in_color();
        let pair = compose_pair(&picture(16, 2, 2, 5, 5), &color, Arrangement::Stacked, &mut rng);
        assert_eq!((pair[0].channels, pair[0].pixels.len()), (3, 768));
    }

    #[test]
    fn wrong_requests_name_nothing_that_is_there() {
        let picture = picture(32, 2, 10, 12, 28);
        for seed in 0..300 {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let (absence, prompt) = wrong_request(&picture, &[Some(Pathology::Benign)], &mut rng);
            let prompt = prompt.to_lowercase();
            let says = |word: &str| prompt.split(|c: char| !c.is_alphabetic()).any(|w| w == word);
            assert!(!says("benign") && !says("upper") && !says("top"), "{prompt}");
            assert!(!says("left") || says("ventricle"), "{prompt}");
            assert_eq!(absence == Absence::Pathology, says("malignant"), "{prompt}");
            assert_eq!(absence == Absence::Place, says("right") || says("lower") || says("bottom"), "{prompt}");
        }
        let unknown = [None, Some(Pathology::Benign)];
        for seed in 0..100 {
            let (_, prompt) = wrong_request(&picture, &unknown, &mut ChaCha8Rng::seed_from_u64(seed));
            assert!(Pathology::named_in(&prompt).is_none(), "{prompt}");
        }
    }
}
