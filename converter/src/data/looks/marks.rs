//! Calipers and labels: drawing, finding and removing them.

use crate::data::Picture;
use crate::phantom::Canvas;
use embedded_graphics::geometry::Point;
use rand::seq::IndexedRandom;
use rand::{Rng, RngExt};

/// The brightness from which a pixel may belong to a mark ...
const LEVEL: u8 = 170;
/// ... the contrast to its surroundings, after thin parts are removed ...
const CONTRAST: u8 = 80;
/// ... and the width, in pixels, below which it is a caliper or a letter, or a bright speck of tissue.
const THICKNESS: usize = 5;

/// Two diameters to measure, in pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Caliper {
    pub center: (f32, f32),
    /// Half of the width and of the height.
    pub half: (f32, f32),
}

/// Draws crosses at the ends of two diameters, dots between in some, their lengths in a corner.
pub fn draw_calipers(picture: &mut Picture, caliper: Caliper, rng: &mut impl Rng) {
    let level = rng.random_range(175..=255);
    let (dotted, lettered) = (rng.random_bool(0.6), rng.random_bool(0.6));
    let Caliper { center: (x, y), half: (half_width, half_height) } = caliper;
    let bottom = picture.height as i32;
    draw_on(picture, |canvas| {
        for (number, half, along) in [(1, half_width, [1.0, 0.0]), (2, half_height, [0.0, 1.0])] {
            for sign in [-1.0, 1.0] {
                canvas.cross(x + sign * half * along[0], y + sign * half * along[1], level);
            }
            let dots = if dotted { (half / 4.0) as i32 } else { -1 };
            for dot in -dots..=dots {
                let part = 4.0 * dot as f32;
                canvas.dot(x + part * along[0], y + part * along[1], level);
            }
            if lettered {
                let text = format!("{number} D {:.2} cm", half / 50.0);
                canvas.text(&text, Point::new(4, bottom - 28 + 11 * number), level);
            }
        }
    });
}

/// Draws a label of an examination, near the upper or the lower edge.
pub fn draw_label(picture: &mut Picture, rng: &mut impl Rng) {
    const LABELS: [&str; 8] = [
        "RT BREAST 10:00",
        "LT BREAST 2:00",
        "AXILLA LT",
        "RAD 3 CM FN",
        "TRANS RT",
        "L12-5",
        "MI 1.1 TIs 0.4",
        "15 fps",
    ];
    let label = LABELS.choose(rng).copied().unwrap_or(LABELS[0]);
    let level = rng.random_range(175..=255);
    let (width, height) = (picture.width as i32, picture.height as i32);
    let x = rng.random_range(2..(width - 6 * label.len() as i32).max(3));
    let y = if rng.random_bool(0.5) { 12 } else { height - 6 };
    draw_on(picture, |canvas| canvas.text(label, Point::new(x, y), level));
}

/// Draws the same on every channel.
fn draw_on(picture: &mut Picture, draw: impl Fn(&mut Canvas)) {
    let (width, height, area) = (picture.width, picture.height, picture.area());
    for plane in picture.pixels.chunks_exact_mut(area) {
        draw(&mut Canvas { width, height, pixels: plane });
    }
}

/// Finds the pixels that look burned in, by a white top-hat: the image minus its opening (F. Meyer, 1979). In colour,
/// in the first channel.
pub fn find_marks(picture: &Picture) -> Vec<bool> {
    find_thin(picture.plane(0), picture.width, picture.height)
}

/// Fills the marked pixels and their neighbours from their surroundings.
pub fn fill_marked(picture: &mut Picture, marked: &[bool]) {
    let (width, height, area) = (picture.width, picture.height, picture.area());
    for plane in picture.pixels.chunks_exact_mut(area) {
        fill(plane, width, height, marked);
    }
}

/// Finds the pixels of a grey image that are bright and thin.
pub(crate) fn find_thin(pixels: &[u8], width: usize, height: usize) -> Vec<bool> {
    let eroded = extremum(pixels, width, height, u8::min);
    let opened = extremum(&eroded, width, height, u8::max);
    let is_thin = |(pixel, opened): (&u8, &u8)| *pixel >= LEVEL && pixel.saturating_sub(*opened) >= CONTRAST;
    pixels.iter().zip(&opened).map(is_thin).collect()
}

/// The least or largest value in the square of [`THICKNESS`] around each pixel: along rows, then along columns.
fn extremum(pixels: &[u8], width: usize, height: usize, choose: fn(u8, u8) -> u8) -> Vec<u8> {
    const REACH: usize = THICKNESS / 2;
    let along = |pixels: &[u8], is_row: bool| -> Vec<u8> {
        let value = |index: usize| {
            let (x, y) = (index % width, index / width);
            let (at, end) = if is_row { (x, width) } else { (y, height) };
            let read = |k: usize| if is_row { pixels[y * width + k] } else { pixels[k * width + x] };
            (at.saturating_sub(REACH)..(at + REACH + 1).min(end)).map(read).fold(pixels[index], choose)
        };
        (0..pixels.len()).map(value).collect()
    };
    along(&along(pixels, true), false)
}

/// Fills the marked pixels and their neighbours, whose edges are blurred, from their surroundings; layer by layer, each
/// pixel the mean of the neighbours that are known. Does nothing where all are marked.
pub(crate) fn fill(pixels: &mut [u8], width: usize, height: usize, marked: &[bool]) {
    let neighbours = move |index: usize| {
        let (x, y) = (index % width, index / width);
        let rows = y.saturating_sub(1)..(y + 2).min(height);
        rows.flat_map(move |row| (x.saturating_sub(1)..(x + 2).min(width)).map(move |column| row * width + column))
    };
    let mut unknown = vec![false; marked.len()];
    for index in (0..marked.len()).filter(|index| marked[*index]) {
        neighbours(index).for_each(|near| unknown[near] = true);
    }
    let mut pending: Vec<usize> = (0..marked.len()).filter(|index| unknown[*index]).collect();
    while !pending.is_empty() {
        let filled: Vec<(usize, u8)> = pending
            .iter()
            .filter_map(|index| {
                let known = neighbours(*index).filter(|near| !unknown[*near]);
                let (sum, count) = known.fold((0usize, 0), |(sum, n), near| (sum + pixels[near] as usize, n + 1));
                (count > 0).then(|| (*index, (sum / count) as u8))
            })
            .collect();
        if filled.is_empty() {
            return;
        }
        for (index, value) in filled {
            pixels[index] = value;
            unknown[index] = false;
        }
        pending.retain(|index| unknown[*index]);
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::augment::tests::picture;
    use super::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    #[test]
    fn what_is_drawn_is_found_and_taken_away_again() {
        let clean = picture(160, 40, 40, 90, 80);
        assert!(!find_marks(&clean).contains(&true));
        let rng = &mut ChaCha8Rng::seed_from_u64(5);
        let mut marked = clean.clone();
        draw_calipers(&mut marked, Caliper { center: (65.0, 60.0), half: (25.0, 20.0) }, rng);
        draw_label(&mut marked, rng);
        let found = find_marks(&marked);
        assert!(found.iter().filter(|found| **found).count() > 50);
        fill_marked(&mut marked, &found);
        assert!(!find_marks(&marked).contains(&true));
        assert_eq!(marked.mask, clean.mask);
        let wrong = clean.pixels.iter().zip(&marked.pixels).filter(|(a, b)| a.abs_diff(**b) > 60).count();
        assert_eq!(wrong, 0);
    }
}
