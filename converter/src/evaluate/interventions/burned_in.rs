//! Finds, removes, moves and draws calipers and labels.

use super::scan::Scan;
use crate::data::looks::{fill, find_thin};
use crate::phantom::Canvas;
use embedded_graphics::geometry::Point;
use rand::Rng;
use rand::seq::IndexedRandom;

/// The pixels that look burned in.
pub(super) fn find(scan: &Scan) -> Vec<bool> {
    find_thin(&scan.pixels, scan.width(), scan.height())
}

/// Fills the marked pixels and their neighbours from the surrounding ones. Does nothing if all are marked.
pub(super) fn remove(scan: &mut Scan, marked: &[bool]) {
    let (width, height) = (scan.width(), scan.height());
    fill(&mut scan.pixels, width, height, marked);
}

/// Removes the marked pixels and draws them a third of the width to the right and a third of the height down, wrapping at the
/// image's edges.
pub(super) fn displace(scan: &mut Scan, marked: &[bool]) {
    let before = scan.pixels.clone();
    remove(scan, marked);
    let (width, height) = (scan.width(), scan.height());
    for index in (0..marked.len()).filter(|index| marked[*index]) {
        let (x, y) = ((index % width + width / 3) % width, (index / width + height / 3) % height);
        let pixel = &mut scan.pixels[y * width + x];
        *pixel = before[index].max(*pixel);
    }
}

/// Draws crosses at the ends of two diameters, dots between and their lengths, about `center` (x, y and half the sides, in
/// pixels).
pub(super) fn draw_calipers(scan: &mut Scan, center: [f32; 4]) {
    const BRIGHT: u8 = 230;
    /// The approximate size of a pixel; only the drawn numbers depend on it.
    const CM_PER_PX: f32 = 0.01;
    let [x, y, half_width, half_height] = center;
    let bottom = scan.height() as i32;
    let mut canvas = canvas(scan);
    for (number, half, along) in [(1, half_width, [1.0, 0.0]), (2, half_height, [0.0, 1.0])] {
        for sign in [-1.0, 1.0] {
            canvas.cross(x + sign * half * along[0], y + sign * half * along[1], BRIGHT);
        }
        let dots = (half / 3.0) as i32;
        for dot in -dots..=dots {
            let part = 3.0 * dot as f32;
            canvas.dot(x + part * along[0], y + part * along[1], BRIGHT);
        }
        let text = format!("{number} D {:.2} cm", 2.0 * half * CM_PER_PX);
        canvas.text(&text, Point::new(4, bottom - 28 + 11 * number), BRIGHT);
    }
}

/// The place for misplaced calipers: of nine places in the image, the farthest from the lesion's centre.
pub(super) fn elsewhere(scan: &Scan, lesion: [f32; 4]) -> [f32; 4] {
    let [x, y, half_width, half_height] = lesion;
    let places = (0..9).map(|place| {
        let at = |part: i32, side: usize| (1 + 2 * part) as f32 / 6.0 * side as f32;
        [at(place % 3, scan.width()), at(place / 3, scan.height())]
    });
    let distance = |place: &[f32; 2]| (place[0] - x).powi(2) + (place[1] - y).powi(2);
    let [x, y] = places.max_by(|a, b| distance(a).total_cmp(&distance(b))).unwrap_or([x, y]);
    [x, y, half_width, half_height]
}

/// Writes a label of an examination into a corner.
pub(super) fn draw_label(scan: &mut Scan, rng: &mut impl Rng) {
    const LABELS: [&str; 5] = ["RT BREAST 10:00", "LT BREAST 2:00", "AXILLA LT", "RAD 3 CM FN", "TRANS RT"];
    let label = LABELS.choose(rng).copied().unwrap_or(LABELS[0]);
    let room = scan.width() as i32 - 6 * label.len() as i32 - 4;
    let at = [[4, 12], [room, 12], [4, scan.height() as i32 - 6], [room, scan.height() as i32 - 6]];
    let [x, y] = at.choose(rng).copied().unwrap_or([4, 12]);
    canvas(scan).text(label, Point::new(x, y), 230);
}

fn canvas(scan: &mut Scan) -> Canvas<'_> {
    Canvas { width: scan.truth.width, height: scan.truth.height, pixels: &mut scan.pixels }
}

#[cfg(test)]
mod tests {
    use super::super::scan::tests::scan;
    use super::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    #[test]
    fn calipers_are_found_and_taken_away_again() {
        let clean = scan(90, 80, [20, 20, 50, 60]);
        assert!(!find(&clean).contains(&true));
        let mut marked = clean.clone();
        draw_calipers(&mut marked, clean.lesion_box().unwrap().center());
        let changed: Vec<bool> = clean.pixels.iter().zip(&marked.pixels).map(|(a, b)| a != b).collect();
        assert_eq!(find(&marked), changed, "what was drawn is what is found");
        assert!(changed.iter().filter(|changed| **changed).count() > 80);
        let found = find(&marked);
        remove(&mut marked, &found);
        let error = clean.pixels.iter().zip(&marked.pixels).map(|(a, b)| a.abs_diff(*b)).max();
        assert!(error <= Some(60), "{error:?}");
        assert!(!find(&marked).contains(&true));
    }

    #[test]
    fn broad_bright_tissue_is_not_burned_in() {
        let mut bright = scan(60, 60, [0; 4]);
        for y in 20..40 {
            bright.pixels[y * 60 + 10..y * 60 + 50].fill(250);
        }
        assert!(!find(&bright).contains(&true));
        let before = bright.clone();
        remove(&mut bright, &[true; 3600]);
        assert_eq!(bright, before, "there is nothing to fill from");
    }

    #[test]
    fn what_is_displaced_keeps_its_shape() {
        let mut moved = scan(60, 60, [0; 4]);
        moved.pixels[10 * 60 + 50] = 255;
        moved.pixels[10 * 60 + 51] = 254;
        let marked = find(&moved);
        displace(&mut moved, &marked);
        // 50 + 20 passes the edge.
        assert_eq!(moved.pixels[30 * 60 + 10..30 * 60 + 12], [255, 254]);
        assert!(moved.pixels[10 * 60 + 50] < 120);
        assert_eq!(find(&moved).iter().filter(|found| **found).count(), 2);
    }

    #[test]
    fn misplaced_calipers_are_far_from_the_lesion_and_labels_in_a_corner() {
        let clean = scan(90, 90, [5, 5, 25, 25]);
        let [x, y, ..] = elsewhere(&clean, clean.lesion_box().unwrap().center());
        assert_eq!([x, y], [75.0, 75.0]);
        for seed in 0..8 {
            let mut labelled = scan(200, 90, [0; 4]);
            draw_label(&mut labelled, &mut ChaCha8Rng::seed_from_u64(seed));
            let changed = find(&labelled);
            assert!(changed.iter().filter(|changed| **changed).count() > 40, "it is cut off");
            let rows: Vec<usize> = (0..changed.len()).filter(|i| changed[*i]).map(|i| i / 200).collect();
            assert!(rows.iter().all(|y| *y < 20) || rows.iter().all(|y| *y > 70));
        }
    }
}
