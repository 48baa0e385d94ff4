//! Distances between the rims of two masks.

use super::{Comparison, squared_distances};
use crate::data::Mask;

/// For each rim pixel of one mask, the distance to the nearest rim pixel of the other, in pixels, ascending.
///
/// The rim of a mask is the set of its pixels with one of their four neighbours outside the mask or the image; distances are
/// between pixel centres. They are infinite if the other mask is empty.
#[derive(Clone, Debug, PartialEq)]
pub struct SurfaceDistances {
    pub(super) found_to_truth: Vec<f64>,
    pub(super) truth_to_found: Vec<f64>,
    /// The image's diagonal, in pixels.
    pub(super) diagonal: f64,
}

impl SurfaceDistances {
    pub fn of(comparison: &Comparison) -> Self {
        let (found, truth) = (rim(comparison.found), rim(comparison.truth));
        // Only distances inside the bounding box of both rims are needed.
        let corner = [0, 1].map(|axis| found.iter().chain(&truth).map(|point| point[axis]).min().unwrap_or(0));
        let end = [0, 1].map(|axis| found.iter().chain(&truth).map(|point| point[axis] + 1).max().unwrap_or(0));
        let moved = |points: &[[usize; 2]]| -> Vec<[usize; 2]> {
            points.iter().map(|[x, y]| [x - corner[0], y - corner[1]]).collect()
        };
        let (found, truth) = (moved(&found), moved(&truth));
        let size = [end[0] - corner[0], end[1] - corner[1]];
        let (width, height) = comparison.truth.size();
        Self {
            found_to_truth: distances(size, &found, &truth),
            truth_to_found: distances(size, &truth, &found),
            diagonal: (width as f64).hypot(height as f64),
        }
    }
}

fn distances([width, height]: [usize; 2], from: &[[usize; 2]], to: &[[usize; 2]]) -> Vec<f64> {
    if from.is_empty() {
        return Vec::new();
    }
    let Some(squared) = squared_distances(width, height, to) else { return vec![f64::INFINITY; from.len()] };
    let mut distances: Vec<f64> = from.iter().map(|[x, y]| (squared[y * width + x] as f64).sqrt()).collect();
    distances.sort_unstable_by(f64::total_cmp);
    distances
}

/// The rim's pixels as `[x, y]`, in reading order.
fn rim(mask: &Mask) -> Vec<[usize; 2]> {
    let (width, height) = mask.size();
    let is_lesion = |x: usize, y: usize| mask.lesion[y * width + x];
    let is_inner = |x: usize, y: usize| {
        x > 0
            && y > 0
            && x + 1 < width
            && y + 1 < height
            && is_lesion(x - 1, y)
            && is_lesion(x + 1, y)
            && is_lesion(x, y - 1)
            && is_lesion(x, y + 1)
    };
    let pixels = (0..height).flat_map(|y| (0..width).map(move |x| [x, y]));
    pixels.filter(|[x, y]| is_lesion(*x, *y) && !is_inner(*x, *y)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::mask;
    use super::*;

    #[test]
    fn the_rim_is_one_pixel_wide_and_the_image_ends_a_mask() {
        let ring = rim(&mask(&[".....", ".###.", ".###.", ".###.", "....."]));
        assert_eq!(ring, [[1, 1], [2, 1], [3, 1], [1, 2], [3, 2], [1, 3], [2, 3], [3, 3]]);
        assert_eq!(rim(&mask(&["###", "###", "###"])).len(), 8);
        assert_eq!(rim(&mask(&["...", "..."])), [[0; 2]; 0]);
    }

    #[test]
    fn each_rim_has_its_distances() {
        let (found, truth) = (mask(&["#....", "....."]), mask(&["...#.", "....#"]));
        let distances = SurfaceDistances::of(&Comparison::new(&found, &truth).unwrap());
        assert_eq!(distances.found_to_truth, [3.0]);
        assert_eq!(distances.truth_to_found, [3.0, 17f64.sqrt()]);
    }
}
