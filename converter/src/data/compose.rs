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
    /// This arrangement, or the other one where the picture is too narrow to be divided.
    pub fn within(self, picture: &Picture) -> Self {
        match self {
            Self::SideBySide if picture.width < 2 => Self::Stacked,
            Self::Stacked if picture.height < 2 => Self::SideBySide,
            _ => self,
        }
    }

    /// The length of a picture's divided side, and of its other side.
    fn sides(self, picture: &Picture) -> (usize, usize) {
        match self {
            Self::SideBySide => (picture.width, picture.height),
            Self::Stacked => (picture.height, picture.width),
        }
    }

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
/// squeezed. The result has the first picture's size, and the second is scaled to it; pass pictures with one lesion each.
pub fn compose_pair(first: &Picture, second: &Picture, arrangement: Arrangement, rng: &mut impl Rng) -> [Picture; 2] {
    let (mut first, mut second) = (first.clone(), second.clone());
    if first.channels != second.channels {
        (first, second) = (first.in_color(), second.in_color());
    }
    let (width, height) = (first.width, first.height);
    let (along, across) = arrangement.sides(&first);
    let near = along / 2;
    let halves =
        [Half::of(&first, arrangement, near, across, rng), Half::of(&second, arrangement, along - near, across, rng)];
    let sources = [&first, &second];
    let assemble = |plane_of: &dyn Fn(usize) -> Option<Vec<u8>>| -> Vec<u8> {
        let planes = [plane_of(0), plane_of(1)];
        (0..width * height)
            .map(|index| {
                let (x, y) = (index % width, index / width);
                let along = if arrangement == Arrangement::SideBySide { x } else { y };
                let (which, offset) = if along < near { (0, 0) } else { (1, near) };
                let (x, y) = halves[which].source_of(x, y, offset);
                planes[which].as_ref().map_or(0, |plane| plane[y * sources[which].width + x])
            })
            .collect()
    };
    let pixels: Vec<u8> = (0..first.channels)
        .flat_map(|channel| assemble(&|which| Some(sources[which].plane(channel).to_vec())))
        .collect();
    [0, 1].map(|named| {
        let mask = assemble(&|which| (which == named).then(|| sources[which].mask.clone()));
        Picture { width, height, channels: first.channels, pixels: pixels.clone(), mask, other_lesions: None }
    })
}

/// The part of a picture that fills one half: along the divided side, a window from `start`, or all of it.
struct Half {
    arrangement: Arrangement,
    start: usize,
    /// The number of source pixels per pixel of the half, along the divided side and across.
    step: f32,
    step_across: f32,
    /// The last source pixel along the divided side and across.
    last: (usize, usize),
}

impl Half {
    /// `length` and `across` are the half's sides.
    fn of(picture: &Picture, arrangement: Arrangement, length: usize, across: usize, rng: &mut impl Rng) -> Self {
        /// The share of the windows that are squeezed although their lesion would fit, so that training has both kinds.
        const SQUEEZED: f64 = 0.25;
        let (side, side_across) = arrangement.sides(picture);
        let step_across = side_across as f32 / across as f32;
        // Keeps the picture's proportions.
        let wanted = ((length as f32 * step_across).round() as usize).max(1);
        let window = match picture.lesion_box().map(|found| span(found, arrangement)) {
            _ if wanted > side => None,
            None => Some((0, side - wanted)),
            Some((start, end)) if end - start <= wanted => Some((end.saturating_sub(wanted), start.min(side - wanted))),
            Some(_) => None,
        };
        let squeezed = rng.random_bool(SQUEEZED);
        let chance: f32 = rng.random();
        let (start, shown) = match window {
            Some((lowest, highest)) if !squeezed && lowest <= highest => {
                (lowest + ((highest - lowest) as f32 * chance).round() as usize, wanted)
            }
            _ => (0, side),
        };
        let last = (side - 1, side_across - 1);
        Self { arrangement, start, step: shown as f32 / length.max(1) as f32, step_across, last }
    }

    /// The source pixel for (x, y) of the composed picture, where this half begins at `offset`.
    fn source_of(&self, x: usize, y: usize, offset: usize) -> (usize, usize) {
        let along = |position: usize| (self.start + ((position - offset) as f32 * self.step) as usize).min(self.last.0);
        let across = |position: usize| ((position as f32 * self.step_across) as usize).min(self.last.1);
        match self.arrangement {
            Arrangement::SideBySide => (along(x), across(y)),
            Arrangement::Stacked => (across(x), along(y)),
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
    let (center, middle) = (picture.width / 2, picture.height / 2);
    let Some(found) = picture.box_of_all_lesions() else { return Vec::new() };
    [
        (found.left >= center, Place::Left),
        (found.right <= center, Place::Right),
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
                Arrangement::SideBySide => index % picture.width,
                Arrangement::Stacked => index / picture.width,
            };
            usize::from(along >= arrangement.sides(picture).0 / 2)
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

    /// Pictures of other proportions: each half shows its own lesion, and no half reads outside its picture.
    #[test]
    fn pictures_of_any_shape_are_composed() {
        let shaped = |width: usize, height: usize, level: u8| {
            let mask: Vec<u8> = (0..width * height)
                .map(|at| u8::from((width / 4..=width / 2).contains(&(at % width)) && at / width >= height / 3))
                .collect();
            let pixels = mask.iter().map(|lesion| if *lesion == 1 { level } else { 200 }).collect();
            Picture { width, height, channels: 1, pixels, mask, other_lesions: None }
        };
        let shapes = [(64, 64), (64, 20), (23, 64), (64, 1), (1, 64), (64, 2)];
        for (first, second) in shapes.iter().flat_map(|first| shapes.iter().map(move |second| (*first, *second))) {
            for arrangement in [Arrangement::SideBySide, Arrangement::Stacked] {
                let pictures = [shaped(first.0, first.1, 10), shaped(second.0, second.1, 20)];
                let arrangement = arrangement.within(&pictures[0]);
                for seed in 0..8 {
                    let rng = &mut ChaCha8Rng::seed_from_u64(seed);
                    let pair = compose_pair(&pictures[0], &pictures[1], arrangement, rng);
                    for (named, level) in [(0, 10), (1, 20)] {
                        assert_eq!((pair[named].width, pair[named].height), first);
                        let is_named = pair[named].pixels.iter().map(|pixel| u8::from(*pixel == level));
                        assert!(pair[named].mask.iter().copied().eq(is_named), "{first:?} {second:?} {arrangement:?}");
                    }
                }
            }
        }
        let [wide, tall] = [shaped(64, 32, 10), shaped(32, 64, 20)];
        let pair = compose_pair(&wide, &tall, Arrangement::SideBySide, &mut ChaCha8Rng::seed_from_u64(3));
        assert!(pair.iter().all(|picture| picture.mask.contains(&1)));
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
