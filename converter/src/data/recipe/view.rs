//! A sample as one example shows it: a window of its image, moved and with another brightness.

use super::{Recipe, chance, factor, symmetric};
use crate::data::augment::{
    Affine, Inverse, add_speckle, apply_affine, apply_gain, apply_gamma, flip_horizontal, resample,
};
use crate::data::graft::{cover_lesion, graft_beside};
use crate::data::looks::{FrameLayout, Looks};
use crate::data::window::Window;
use crate::data::{Dataset, Example, Picture, Place, Sample, move_place};
use rand::Rng;
use rand::seq::IndexedRandom;

/// The source of each point of an example.
struct Geometry {
    layout: FrameLayout,
    affine: Inverse,
    /// The square root of the aspect ratio: above 1 is wider.
    widening: f32,
    window: Window,
}

impl Geometry {
    /// The source in pixels of a picture of size `from`, for a pixel of an example of size `to`; `None` where the example
    /// is black.
    fn source_of(&self, x: f32, y: f32, to: (f32, f32), from: (f32, f32)) -> Option<(f32, f32)> {
        let (x, y) = self.layout.source_of((x + 0.5) / to.0, (y + 0.5) / to.1)?;
        // Wider and lower by the same factor: the area stays.
        let (x, y) = (0.5 + (x - 0.5) / self.widening, 0.5 + (y - 0.5) * self.widening);
        let (x, y) = self.affine.source_of(x * to.0 - 0.5, y * to.1 - 0.5);
        let (x, y) = ((x + 0.5) / to.0, (y + 0.5) / to.1);
        // Beyond the window may be the lesion that it leaves out.
        let is_inside = (0.0..1.0).contains(&x) && (0.0..1.0).contains(&y);
        let Window { left, top, width, height } = self.window;
        is_inside.then_some(((left + x * width) * from.0 - 0.5, (top + y * height) * from.1 - 0.5))
    }
}

impl Recipe {
    /// The sample with one of its prompts, flipped, moved and with another brightness, at the network's size. With the
    /// probability `free` it is a window beside the lesion, where there is space for one; its mask is then empty and
    /// its prompt untrue. It fills as much of the input as the runtime would give an image of its proportions.
    pub(super) fn view(
        &self,
        dataset: &Dataset,
        sample: &Sample,
        picture: &Picture,
        free: f64,
        rng: &mut impl Rng,
    ) -> Example {
        let prompt = sample.prompts.choose(rng).cloned().unwrap_or_default();
        let mut example = Example { picture: picture.clone(), prompt };
        if chance(self.flip, rng) {
            flip_horizontal(&mut example);
        }
        // With several lesions, words for a place distinguish one from the others: those stay.
        let before = middle(&example.picture).filter(|_| example.picture.other_lesions.is_none());
        let is_free = free > 0.0 && chance(free, rng);
        let is_grafted = self.graft > 0.0 && sample.structure.is_none() && chance(self.graft, rng);
        let window = match is_free && !is_grafted {
            true => Window::beside_lesions(&example.picture, rng),
            false => None,
        };
        let window = match window {
            None if chance(self.zoom, rng) => Some(Window::around_lesion(&example.picture, rng)),
            window => window,
        };
        match (is_free, is_grafted) {
            (true, true) => {
                cover_lesion(&mut example.picture, rng);
            }
            // The same probability as for the other images.
            (false, true) if chance(free, rng) => graft_beside(&mut example.picture, rng),
            _ => {}
        }
        let affine = chance(self.affine, rng).then(|| Affine {
            rotation_radians: symmetric(self.rotation_degrees, rng).to_radians(),
            scale: factor(self.scale, rng),
            shift: [symmetric(self.shift, rng), symmetric(self.shift, rng)],
        });
        let layout = chance(self.looks.layout, rng).then(|| FrameLayout::random(rng));
        let aspect = chance(self.looks.aspect, rng).then(|| factor(MOST_ASPECT, rng));
        let before_size = (example.picture.width, example.picture.height);
        let size = dataset.stored_size(window.unwrap_or(Window::WHOLE).pixels(&example.picture));
        let keeps_place = window.is_none() && layout.is_none() && aspect.is_none() && size == before_size;
        example.picture = if keeps_place {
            affine.map_or(example.picture.clone(), |affine| apply_affine(&example.picture, affine))
        } else {
            let [from, to] = [before_size, size].map(|(width, height)| (width as f32, height as f32));
            let geometry = Geometry {
                layout: layout.unwrap_or(FrameLayout::WHOLE),
                affine: affine.unwrap_or(Affine::NONE).inverse(to.0, to.1),
                widening: aspect.unwrap_or(1.0).sqrt(),
                window: window.unwrap_or(Window::WHOLE),
            };
            resample(&example.picture, size, |x, y| geometry.source_of(x, y, to, from))
        };
        if example.picture.other_lesions.as_ref().is_some_and(|others| others.iter().all(|lesion| *lesion == 0)) {
            example.picture.other_lesions = None;
        }
        if self.looks != Looks::NONE {
            self.looks.apply(&mut example.picture, rng);
        }
        example.picture.shrink(dataset.detail());
        if chance(self.intensity, rng) {
            apply_gamma(&mut example.picture, factor(self.contrast, rng));
            apply_gain(&mut example.picture, factor(self.contrast, rng), factor(self.contrast, rng));
        }
        if chance(self.speckle, rng) {
            let deviation = symmetric(self.speckle_deviation, rng).abs();
            add_speckle(&mut example.picture, deviation, rng);
        }
        keep_place_true(&mut example, before);
        example
    }
}

/// The largest change of the aspect ratio, as a share.
const MOST_ASPECT: f32 = 0.5;

/// The middle of the lesion's box, as shares of the width and height.
pub(super) fn middle(picture: &Picture) -> Option<(f32, f32)> {
    let found = picture.lesion_box()?;
    let (width, height) = (2.0 * picture.width as f32, 2.0 * picture.height as f32);
    Some(((found.left + found.right) as f32 / width, (found.top + found.bottom) as f32 / height))
}

/// Where the lesion was moved to another place, the prompt's words for its place are changed.
fn keep_place_true(example: &mut Example, before: Option<(f32, f32)>) {
    /// The largest shift that words for a place tolerate.
    const TOLERATED: f32 = 0.12;
    let (Some(before), Some(after)) = (before, middle(&example.picture)) else { return };
    if (before.0 - after.0).abs() > TOLERATED || (before.1 - after.1).abs() > TOLERATED {
        example.prompt = move_place(&example.prompt, Place::of_point(after.0, after.1));
    }
}
