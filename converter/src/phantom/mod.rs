//! Synthetic B-mode ultrasound images, with lesions and a sentence that describes one of them.
//!
//! Tests and examples need freely available images with an exact ground truth. A phantom is generated as a scanner
//! forms an image: scatterers of random phase in layered tissue, smoothed by the beam, attenuated with depth, their
//! envelope compressed to decibels ([Wagner et al., "Statistics of Speckle in Ultrasound B-Scans", 1983]). Equal seeds
//! give equal bytes on one kind of machine.

mod annotation;
mod beam;
mod folder;
mod geometry;
mod imitation;
mod lesion;
mod noise;
mod request;
mod tissue;

pub(crate) use annotation::Canvas;
pub use folder::{PhantomError, WriteOptions, write_folder};
pub(crate) use folder::{Row, write_prompts};
pub use lesion::{Echogenicity, Lesion};

use crate::data::{Mask, Place, image_prompt};
use geometry::Geometry;
use noise::Noise;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tissue::Tissue;

/// The sizes of phantoms, in pixels, one of which is drawn.
const SIZES: [(usize, usize); 6] = [(320, 256), (400, 320), (360, 360), (480, 400), (560, 440), (640, 480)];
/// The least and the largest side of a phantom, in pixels.
pub const SIDE_RANGE: std::ops::RangeInclusive<usize> = 96..=2048;

/// A grey image with its lesions and prompts that name one each.
#[derive(Clone, Debug)]
pub struct Phantom {
    pub width: usize,
    pub height: usize,
    /// The pixels row by row, 0..255.
    pub pixels: Vec<u8>,
    /// The lesions, at least one, unless [`Contents`] has none; none overlap.
    pub lesions: Vec<Lesion>,
    /// The prompts, at least one: for each lesion that is distinguishable. The first was drawn at random, the others
    /// follow in the order of `lesions`. Without a lesion, one for an absent lesion.
    pub requests: Vec<Request>,
}

/// A prompt and the only lesion that it fits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Its index in [`Phantom::lesions`].
    pub lesion: usize,
    pub prompt: String,
}

/// The contents of a phantom besides tissue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contents {
    pub lesions: bool,
    /// Whether there are structures that look like a lesion but are not: vessels, ducts, ribs and other shadows,
    /// lobules of fat.
    pub imitations: bool,
}

impl Contents {
    pub const LESIONS: Self = Self { lesions: true, imitations: false };
}

impl Phantom {
    /// A phantom with lesions and without imitations: see [`Self::with_contents`].
    pub fn generate(seed: u64, index: u64, size: Option<(usize, usize)>) -> Self {
        Self::with_contents(seed, index, size, Contents::LESIONS)
    }

    /// The phantom number `index` of a seed. `size` is width and height in pixels, clamped to [`SIDE_RANGE`]; without
    /// one it is random.
    pub fn with_contents(seed: u64, index: u64, size: Option<(usize, usize)>, contents: Contents) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(index);
        let rng = &mut rng;
        let (width, height) = size.unwrap_or(SIZES[rng.random_range(0..SIZES.len())]);
        let clamp = |side: usize| side.clamp(*SIDE_RANGE.start(), *SIDE_RANGE.end());
        let (width, height) = (clamp(width), clamp(height));
        let geometry = Geometry::random(width, height, rng);
        let lesions = if contents.lesions { distinguishable_lesions(&geometry, rng) } else { Vec::new() };
        let tissue = Tissue::random(width, height, Noise::new(rng), rng);
        let mut bodies = lesions.clone();
        if contents.imitations {
            bodies.extend(imitation::place(&geometry, &lesions, rng));
        }
        let mut pixels = beam::image(&geometry, &tissue, &bodies, rng);
        let first = request::pick(&lesions, (width, height), rng);
        // Imitations are measured as lesions are.
        annotation::draw(&mut pixels, &geometry, &bodies, rng);
        let others = (0..lesions.len()).filter(|lesion| *lesion != first.lesion);
        let others: Vec<Request> =
            others.filter_map(|lesion| request::word(&lesions, lesion, (width, height), rng)).collect();
        let requests = std::iter::once(first).chain(others).collect();
        Self { width, height, pixels, lesions, requests }
    }

    /// Two lesions, one in the left and one in the right part of the image, each prompted by its side, without burned-in marks,
    /// for [`crate::confound`]. As with [`Self::with_contents`] otherwise.
    pub fn pair(seed: u64, index: u64, (width, height): (usize, usize)) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(index);
        let rng = &mut rng;
        let clamp = |side: usize| side.clamp(*SIDE_RANGE.start(), *SIDE_RANGE.end());
        let (width, height) = (clamp(width), clamp(height));
        // Most geometries have space for two; others are drawn again.
        let (geometry, lesions) = loop {
            let geometry = Geometry::random(width, height, rng);
            let found =
                (0..PAIR_ATTEMPTS).map(|_| lesion::place(&geometry, rng)).find_map(|placed| sides(placed, width));
            if let Some(lesions) = found {
                break (geometry, lesions);
            }
        };
        let tissue = Tissue::random(width, height, Noise::new(rng), rng);
        let pixels = beam::image(&geometry, &tissue, &lesions, rng);
        let places = [Place::Left, Place::Right].into_iter().enumerate();
        let requests =
            places.map(|(lesion, place)| Request { lesion, prompt: image_prompt(&[], Some(place), rng) }).collect();
        Self { width, height, pixels, lesions, requests }
    }

    /// The pixels of one lesion.
    pub fn mask(&self, lesion: usize) -> Mask {
        let inside = |index: usize| {
            let (x, y) = ((index % self.width) as f32, (index / self.width) as f32);
            self.lesions.get(lesion).is_some_and(|lesion| lesion.contains(x, y))
        };
        Mask { width: self.width, height: self.height, lesion: (0..self.width * self.height).map(inside).collect() }
    }
}

const PAIR_ATTEMPTS: usize = 100;

/// Two lesions on clearly different sides, the left one first.
fn sides(mut lesions: Vec<Lesion>, width: usize) -> Option<Vec<Lesion>> {
    lesions.sort_by(|one, other| one.center.0.total_cmp(&other.center.0));
    let part = |lesion: &Lesion| lesion.center.0 / width as f32;
    let apart = matches!(lesions.as_slice(), [left, right] if part(left) < 0.42 && part(right) > 0.58);
    apart.then_some(lesions)
}

/// Places lesions of which at least one is distinguishable by a prompt.
fn distinguishable_lesions(geometry: &Geometry, rng: &mut ChaCha8Rng) -> Vec<Lesion> {
    const ATTEMPTS: usize = 30;
    let size = (geometry.width, geometry.height);
    let mut lesions = lesion::place(geometry, rng);
    for _ in 0..ATTEMPTS {
        if request::is_possible(&lesions, size) {
            return lesions;
        }
        lesions = lesion::place(geometry, rng);
    }
    // A single one always has a place.
    lesions.truncate(1);
    lesions
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mean(phantom: &Phantom, mask: &Mask) -> f32 {
        let inside: Vec<f32> = phantom
            .pixels
            .iter()
            .zip(&mask.lesion)
            .filter(|(_, lesion)| **lesion)
            .map(|(p, _)| f32::from(*p))
            .collect();
        inside.iter().sum::<f32>() / inside.len().max(1) as f32
    }

    /// The ring around a lesion, as wide as half of its radius.
    fn ring(phantom: &Phantom, index: usize) -> Mask {
        let lesion = &phantom.lesions[index];
        let mut mask = phantom.mask(index);
        for (i, inside) in mask.lesion.iter_mut().enumerate() {
            let ratio = lesion.radius_ratio((i % phantom.width) as f32, (i / phantom.width) as f32);
            // Only above the lesion's centre: its shadow may be below.
            *inside = (1.15..1.5).contains(&ratio) && ((i / phantom.width) as f32) < lesion.center.1;
        }
        mask
    }

    #[test]
    fn equal_seeds_give_equal_bytes() {
        let one = Phantom::generate(4, 7, None);
        let again = Phantom::generate(4, 7, None);
        assert_eq!((one.pixels, one.requests), (again.pixels, again.requests));
        assert_ne!(Phantom::generate(4, 7, Some((160, 128))).pixels, Phantom::generate(4, 8, Some((160, 128))).pixels);
        assert_ne!(Phantom::generate(4, 7, Some((160, 128))).pixels, Phantom::generate(5, 7, Some((160, 128))).pixels);
    }

    #[test]
    fn lesions_are_as_bright_as_they_are_called() {
        let (mut dark, mut bright) = (Vec::new(), Vec::new());
        for index in 0..40 {
            let phantom = Phantom::generate(1, index, Some((240, 200)));
            for (number, lesion) in phantom.lesions.iter().enumerate() {
                let mask = phantom.mask(number);
                assert!(mask.area() > 60, "{lesion:?}");
                let contrast = mean(&phantom, &mask) - mean(&phantom, &ring(&phantom, number));
                if lesion.echogenicity == Echogenicity::Hyperechoic { &mut bright } else { &mut dark }.push(contrast);
            }
        }
        let wrong = dark.iter().filter(|contrast| **contrast > -8.0).count()
            + bright.iter().filter(|contrast| **contrast < 8.0).count();
        assert!(bright.len() >= 8 && dark.len() >= 20, "{} {}", bright.len(), dark.len());
        assert!(wrong * 20 <= dark.len() + bright.len(), "{wrong} of {dark:?} {bright:?}");
    }

    #[test]
    fn masks_of_one_phantom_do_not_overlap() {
        for index in 0..20 {
            let phantom = Phantom::generate(2, index, Some((240, 200)));
            let masks: Vec<Mask> = (0..phantom.lesions.len()).map(|lesion| phantom.mask(lesion)).collect();
            for pixel in 0..phantom.pixels.len() {
                assert!(masks.iter().filter(|mask| mask.lesion[pixel]).count() <= 1);
            }
            assert!(phantom.requests.iter().all(|request| request.lesion < masks.len()));
        }
    }

    #[test]
    fn imitations_are_no_lesions_and_leave_lesions_alone() {
        let mut changed = 0;
        for index in 0..20 {
            let contents = Contents { lesions: true, imitations: true };
            let phantom = Phantom::with_contents(2, index, Some((200, 160)), contents);
            assert!(!phantom.lesions.is_empty());
            changed += usize::from(phantom.pixels != Phantom::generate(2, index, Some((200, 160))).pixels);
            let free =
                Phantom::with_contents(2, index, Some((200, 160)), Contents { lesions: false, imitations: true });
            assert!(free.lesions.is_empty() && free.mask(0).area() == 0 && free.requests.len() == 1);
            assert!(!free.requests[0].prompt.is_empty());
        }
        assert!(changed > 15, "{changed}");
    }

    #[test]
    fn pairs_have_a_lesion_on_each_side_and_are_asked_for_by_it() {
        for index in 0..12 {
            let pair = Phantom::pair(5, index, (112, 96));
            let [left, right] = pair.lesions.as_slice() else { panic!("{} lesions", pair.lesions.len()) };
            assert!(left.center.0 < 48.0 && right.center.0 > 64.0);
            assert!((0..2).all(|lesion| pair.mask(lesion).area() > 10));
            let words = [0, 1].map(|lesion: usize| pair.requests[lesion].prompt.to_lowercase());
            assert!(!words[0].contains("right") && !words[1].contains("left"), "{words:?}");
            assert_eq!(pair.pixels, Phantom::pair(5, index, (112, 96)).pixels);
        }
    }

    #[test]
    fn sizes_vary_and_are_clamped() {
        let sizes: std::collections::HashSet<(usize, usize)> = (0..12)
            .map(|index| Phantom::generate(3, index, None))
            .map(|phantom| (phantom.width, phantom.height))
            .collect();
        assert!(sizes.len() > 2);
        let tiny = Phantom::generate(3, 0, Some((1, 100)));
        assert_eq!((tiny.width, tiny.height, tiny.pixels.len()), (96, 100, 9600));
    }
}
