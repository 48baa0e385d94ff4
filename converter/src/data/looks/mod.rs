//! Simulates other scanners, other settings and other ways of storage, so that a network does not learn the appearance
//! of one scanner. Every change keeps the mask true.

mod capture;
mod display;
mod focus;
mod grain;
mod jpeg;
mod layout;
mod marks;

pub use capture::apply_capture;
pub use display::{change_range, change_time_gain};
pub use focus::{blur, sharpen};
pub use grain::add_grain;
pub use jpeg::apply_jpeg;
pub use layout::FrameLayout;
pub use marks::{Caliper, draw_calipers, draw_label, fill_marked, find_marks};
pub(crate) use marks::{fill, find_thin};

use super::Picture;
use super::picture::LesionBox;
use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

/// Probabilities, 0..1, of each change. Their strengths are drawn for each example, from the ranges beside the changes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Looks {
    /// Probability of black margins, and, in a third of them, the fan of a curved probe.
    pub layout: f64,
    /// Probability of another aspect ratio, as a deeper or shallower setting gives an image that is stretched to a
    /// square; within the image's own frame where that is padded.
    pub aspect: f64,
    /// Probability of drawing calipers, on the lesion or anywhere, and a label.
    pub marks_drawn: f64,
    /// Probability of removing marks that look burned in.
    pub marks_removed: f64,
    /// Probability of another dynamic range and gain of the log compression.
    pub dynamic_range: f64,
    /// Probability of a time-gain curve.
    pub time_gain: f64,
    /// Probability of a blur or a sharpening.
    pub focus: f64,
    /// Probability of speckle with grains of another size.
    pub grain: f64,
    /// Probability of the scaling of a captured screen.
    pub capture: f64,
    /// Probability of JPEG's blocks.
    pub jpeg: f64,
}

impl Looks {
    /// No changes.
    pub const NONE: Self = Self {
        layout: 0.0,
        aspect: 0.0,
        marks_drawn: 0.0,
        marks_removed: 0.0,
        dynamic_range: 0.0,
        time_gain: 0.0,
        focus: 0.0,
        grain: 0.0,
        capture: 0.0,
        jpeg: 0.0,
    };

    /// Applies all changes except those that move the lesion, in the order of a scanner and a network of computers.
    pub(super) fn apply(&self, picture: &mut Picture, rng: &mut impl Rng) {
        if happens(self.marks_removed, rng) {
            let marked = find_marks(picture);
            fill_marked(picture, &marked);
        }
        if happens(self.focus, rng) {
            match rng.random_bool(0.6) {
                true => blur(picture, between(0.4, 2.2, rng), between(0.2, 1.4, rng)),
                false => sharpen(picture, between(0.3, 1.2, rng)),
            }
        }
        if happens(self.grain, rng) {
            add_grain(picture, between(0.05, 0.25, rng), between(1.0, 6.0, rng), between(0.8, 4.0, rng), rng);
        }
        if happens(self.time_gain, rng) {
            let sliders = std::array::from_fn(|_| between(-8.0, 8.0, rng));
            change_time_gain(picture, sliders);
        }
        if happens(self.dynamic_range, rng) {
            // Whoever sets a scanner keeps its greys in the middle.
            let range_db = between(44.0, 84.0, rng);
            change_range(picture, range_db, (60.0 - range_db) / 2.0 + between(-5.0, 5.0, rng));
        }
        if happens(self.marks_drawn, rng) {
            mark(picture, rng);
        }
        if happens(self.capture, rng) {
            apply_capture(picture, between(0.4, 0.9, rng), rng.random_bool(0.4));
        }
        if happens(self.jpeg, rng) {
            apply_jpeg(picture, rng.random_range(25..90));
        }
    }
}

/// Draws calipers on the lesion as often as elsewhere, and a label: neither reveals whether there is a lesion.
fn mark(picture: &mut Picture, rng: &mut impl Rng) {
    if rng.random_bool(0.7) {
        let (width, height) = (picture.width as f32, picture.height as f32);
        let lesion = picture.lesion_box().filter(|_| rng.random_bool(0.5));
        let caliper = match lesion {
            Some(LesionBox { left, top, right, bottom }) => {
                let middle = |from: usize, to: usize| (from + to) as f32 / 2.0;
                let half = |from: usize, to: usize| (to - from) as f32 / 2.0;
                Caliper {
                    center: (middle(left, right), middle(top, bottom)),
                    half: (half(left, right), half(top, bottom)),
                }
            }
            None => Caliper {
                center: (between(0.2, 0.8, rng) * width, between(0.2, 0.8, rng) * height),
                half: (between(0.05, 0.25, rng) * width, between(0.04, 0.2, rng) * height),
            },
        };
        draw_calipers(picture, caliper, rng);
    }
    if rng.random_bool(0.5) {
        draw_label(picture, rng);
    }
}

fn happens(chance: f64, rng: &mut impl Rng) -> bool {
    rng.random::<f64>() < chance
}

pub(super) fn between(low: f32, high: f32, rng: &mut impl Rng) -> f32 {
    low + (high - low) * rng.random::<f32>()
}

#[cfg(test)]
mod tests {
    use super::super::augment::tests::picture;
    use super::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    #[test]
    fn looks_change_pixels_and_no_mask_and_repeat() {
        let original = picture(96, 20, 30, 60, 70);
        let all = Looks {
            marks_drawn: 1.0,
            marks_removed: 1.0,
            dynamic_range: 1.0,
            time_gain: 1.0,
            focus: 1.0,
            grain: 1.0,
            capture: 1.0,
            jpeg: 1.0,
            ..Looks::NONE
        };
        let looked = |looks: &Looks, seed| {
            let mut changed = original.clone();
            looks.apply(&mut changed, &mut ChaCha8Rng::seed_from_u64(seed));
            changed
        };
        assert_eq!(looked(&Looks::NONE, 1), original);
        for seed in 0..10 {
            let changed = looked(&all, seed);
            assert_eq!(changed, looked(&all, seed));
            assert_ne!(changed.pixels, original.pixels);
            assert_eq!(changed.mask, original.mask);
        }
        let mut color = original.clone().in_color();
        all.apply(&mut color, &mut ChaCha8Rng::seed_from_u64(3));
        assert_eq!(color.pixels.len(), 3 * 96 * 96);
    }

    /// Otherwise calipers would reveal a lesion.
    #[test]
    fn frames_with_and_without_a_lesion_are_marked_equally_often() {
        let looks = Looks { marks_drawn: 0.5, ..Looks::NONE };
        let marked = |original: &Picture| {
            let is_marked = |seed: &u64| {
                let mut changed = original.clone();
                looks.apply(&mut changed, &mut ChaCha8Rng::seed_from_u64(*seed));
                changed != *original
            };
            (0..400).filter(is_marked).count()
        };
        let (with, without) = (marked(&picture(64, 20, 20, 40, 40)), marked(&picture(64, 0, 0, 0, 0)));
        assert!((130..210).contains(&with) && (130..210).contains(&without), "{with} {without}");
    }

    /// docs/images/looks.png: an unchanged phantom, then each change alone, with its largest strength.
    #[test]
    fn the_picture_of_the_docs_shows_these_looks() {
        use crate::phantom::Phantom;
        const SIDE: usize = 256;
        let phantom = Phantom::generate(7, 3, Some((SIDE, SIDE)));
        let mask = phantom.mask(0).lesion.into_iter().map(u8::from).collect();
        let original =
            Picture { width: SIDE, height: SIDE, channels: 1, pixels: phantom.pixels, mask, other_lesions: None };
        let changed = |change: &dyn Fn(&mut Picture, &mut ChaCha8Rng)| {
            let mut picture = original.clone();
            change(&mut picture, &mut ChaCha8Rng::seed_from_u64(4));
            picture
        };
        let fan = (0..)
            .map(|seed| FrameLayout::random(&mut ChaCha8Rng::seed_from_u64(seed)))
            .find(|layout| layout.source_of(0.1, 0.1).is_none() && layout.source_of(0.5, 0.1).is_some())
            .unwrap();
        let pictures = [
            original.clone(),
            crate::data::augment::resample(&original, (SIDE, SIDE), |x, y| {
                let side = SIDE as f32;
                fan.source_of(x / side, y / side).map(|(x, y)| (x * side, y * side))
            }),
            changed(&|picture, rng| mark(picture, rng)),
            changed(&|picture, _| change_range(picture, 44.0, 8.0)),
            changed(&|picture, _| change_time_gain(picture, [-8.0, 2.0, 8.0, 0.0, -8.0, -4.0])),
            changed(&|picture, _| blur(picture, 2.2, 1.2)),
            changed(&|picture, _| sharpen(picture, 1.2)),
            changed(&|picture, rng| add_grain(picture, 0.25, 6.0, 3.0, rng)),
            changed(&|picture, _| apply_capture(picture, 0.4, true)),
            changed(&|picture, _| apply_jpeg(picture, 25)),
        ];
        let sheet = image::GrayImage::from_fn(5 * SIDE as u32, 2 * SIDE as u32, |x, y| {
            let (x, y) = (x as usize, y as usize);
            image::Luma([pictures[y / SIDE * 5 + x / SIDE].pixels[y % SIDE * SIDE + x % SIDE]])
        });
        crate::docs_picture::compare("looks.png", &sheet);
    }
}
