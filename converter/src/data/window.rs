//! Parts of a picture: windows around its lesion, and windows beside it, which show a frame without one.

use super::Picture;
use super::picture::LesionBox;
use rand::seq::IndexedRandom;
use rand::{Rng, RngExt};

/// The least side of a window, as a share of the picture's.
const LEAST: f32 = 0.27;
/// The largest ratio of a window's sides, relative to the picture's sides.
const MOST_UNEQUAL: f32 = 2.5;
/// The gap between a window and a lesion beside it, as a share of the picture's side: outlines are drawn slightly too
/// tight.
const GAP: f32 = 0.03;

/// A rectangle, as shares of the picture's width and height.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Window {
    pub left: f32,
    pub top: f32,
    pub width: f32,
    pub height: f32,
}

impl Window {
    pub const WHOLE: Self = Self { left: 0.0, top: 0.0, width: 1.0, height: 1.0 };

    /// A window without any part of a lesion; `None` where there is no space beside the lesions, or only black.
    pub fn beside_lesions(picture: &Picture, rng: &mut impl Rng) -> Option<Self> {
        const TRIES: usize = 4;
        let Some(lesions) = picture.box_of_all_lesions().map(|found| Self::of_box(found, picture)) else {
            return Some(Self::within(Self::WHOLE, rng));
        };
        let (right, bottom) = (lesions.left + lesions.width + GAP, lesions.top + lesions.height + GAP);
        let room: Vec<Self> = [
            Self { width: lesions.left - GAP, ..Self::WHOLE },
            Self { left: right, width: 1.0 - right, ..Self::WHOLE },
            Self { height: lesions.top - GAP, ..Self::WHOLE },
            Self { top: bottom, height: 1.0 - bottom, ..Self::WHOLE },
        ]
        .into_iter()
        .filter(|room| room.width >= LEAST && room.height >= LEAST)
        .collect();
        for _ in 0..TRIES {
            // Not weighted by their area: most of the free space is below the lesion, and skin, fat and gland are
            // beside it.
            let window = Self::within(*room.choose(rng)?, rng);
            if window.is_scan(picture) {
                return Some(window);
            }
        }
        None
    }

    /// A window with the complete lesion, or any window where there is none.
    pub fn around_lesion(picture: &Picture, rng: &mut impl Rng) -> Self {
        let Some(lesion) = picture.lesion_box().map(|found| Self::of_box(found, picture)) else {
            return Self::within(Self::WHOLE, rng);
        };
        let mut side = |start: f32, length: f32| {
            let least = (length * 1.1).clamp(LEAST, 1.0);
            let side = least + (1.0 - least) * rng.random::<f32>();
            let (lowest, highest) = ((start + length - side).max(0.0), start.min(1.0 - side));
            (lowest + (highest - lowest).max(0.0) * rng.random::<f32>(), side)
        };
        let ((left, width), (top, height)) = (side(lesion.left, lesion.width), side(lesion.top, lesion.height));
        Self { left, top, width, height }
    }

    fn within(room: Self, rng: &mut impl Rng) -> Self {
        let mut between = |low: f32, high: f32| low + (high - low).max(0.0) * rng.random::<f32>();
        let width = between(LEAST, room.width.min(room.height * MOST_UNEQUAL));
        let height = between(LEAST.max(width / MOST_UNEQUAL), room.height.min(width * MOST_UNEQUAL));
        let (left, top) =
            (between(room.left, room.left + room.width - width), between(room.top, room.top + room.height - height));
        Self { left, top, width, height }
    }

    /// Its width and height in pixels, at least one each.
    pub fn pixels(&self, picture: &Picture) -> (usize, usize) {
        let pixels = |part: f32, side: usize| ((part * side as f32).round() as usize).clamp(1, side);
        (pixels(self.width, picture.width), pixels(self.height, picture.height))
    }

    fn of_box(found: LesionBox, picture: &Picture) -> Self {
        let across = |pixels: usize| pixels as f32 / picture.width as f32;
        let down = |pixels: usize| pixels as f32 / picture.height as f32;
        Self {
            left: across(found.left),
            top: down(found.top),
            width: across(found.right - found.left),
            height: down(found.bottom - found.top),
        }
    }

    /// Whether at least half of it is brighter than the black beside a scan.
    fn is_scan(&self, picture: &Picture) -> bool {
        const BLACK: u8 = 6;
        const STEPS: usize = 12;
        let at = |part: f32, side: usize| ((part * side as f32) as usize).min(side - 1);
        let bright = (0..STEPS * STEPS).filter(|step| {
            let along = |k: usize| (k as f32 + 0.5) / STEPS as f32;
            let x = at(self.left + self.width * along(step % STEPS), picture.width);
            let y = at(self.top + self.height * along(step / STEPS), picture.height);
            picture.pixels[y * picture.width + x] > BLACK
        });
        2 * bright.count() >= STEPS * STEPS
    }
}

/// A part of a picture without any part of a lesion: left, top, width and height as shares of its width and height. `None` where
/// there is no space for one.
pub fn part_beside_lesions(picture: &Picture, rng: &mut impl Rng) -> Option<[f32; 4]> {
    Window::beside_lesions(picture, rng).map(|Window { left, top, width, height }| [left, top, width, height])
}

#[cfg(test)]
mod tests {
    use super::super::augment::tests::picture;
    use super::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    fn lesion_in(window: Window, picture: &Picture) -> usize {
        let size = picture.width as f32;
        let is_inside = |index: usize| {
            let (x, y) = (((index % picture.width) as f32 + 0.5) / size, ((index / picture.width) as f32 + 0.5) / size);
            (window.left..window.left + window.width).contains(&x)
                && (window.top..window.top + window.height).contains(&y)
        };
        (0..picture.area()).filter(|index| picture.mask[*index] == 1 && is_inside(*index)).count()
    }

    #[test]
    fn windows_beside_hold_no_lesion_and_windows_around_all_of_it() {
        let picture = picture(64, 30, 10, 52, 40);
        let all = picture.mask.iter().filter(|lesion| **lesion == 1).count();
        for seed in 0..300 {
            let rng = &mut ChaCha8Rng::seed_from_u64(seed);
            let beside = Window::beside_lesions(&picture, rng).unwrap();
            let around = Window::around_lesion(&picture, rng);
            assert_eq!((lesion_in(beside, &picture), lesion_in(around, &picture)), (0, all), "{beside:?} {around:?}");
            for window in [beside, around] {
                assert!(window.left >= 0.0 && window.left + window.width <= 1.001, "{window:?}");
                assert!(window.top >= 0.0 && window.top + window.height <= 1.001, "{window:?}");
                assert!(window.width >= LEAST - 0.001 && window.height >= LEAST - 0.001, "{window:?}");
            }
            assert!((1.0 / 2.51..2.51).contains(&(beside.width / beside.height)), "{beside:?}");
        }
    }

    #[test]
    fn a_lesion_that_fills_the_picture_leaves_no_room() {
        let rng = &mut ChaCha8Rng::seed_from_u64(1);
        assert_eq!(Window::beside_lesions(&picture(64, 15, 15, 50, 50), rng), None);
        let mut black = picture(64, 40, 40, 60, 60);
        black.pixels.fill(0);
        assert_eq!(Window::beside_lesions(&black, rng), None, "what is beside the scan shows no tissue");
    }
}
