//! Boundaries of a mask as closed polygons along pixel edges.
//!
//! Along edges, not through centres: a single pixel is then a square and not a point, and the area that the polygons
//! enclose, minus holes, is exactly the mask's area. Pixels that touch at a corner are connected, so a boundary may
//! pass through such a corner twice.

use ndarray::ArrayView2;
use serde::{Deserialize, Serialize};

/// One closed boundary.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contour {
    /// Whether this is the border of a hole. Outer boundaries run clockwise on the screen, holes counter-clockwise.
    pub hole: bool,
    /// Corners `[x, y]` in pixels, 0 to width and 0 to height; the last joins the first. Neighbours differ in one
    /// coordinate only.
    pub points: Vec<[u32; 2]>,
}

/// The directions of a walk along the edges: right, down, left, up. The mask is on its right.
const STEPS: [[isize; 2]; 4] = [[1, 0], [0, 1], [-1, 0], [0, -1]];

impl Contour {
    /// Follows every boundary of `pixels` (height x width; not zero is inside) once, in reading order of its first
    /// edge.
    pub(super) fn of(pixels: ArrayView2<'_, u8>) -> Vec<Self> {
        let (height, width) = pixels.dim();
        let mut contours = Vec::new();
        // Every boundary, outer or inner, runs to the right somewhere, along the upper edge of a pixel of the mask:
        // marking those edges is enough to find each boundary once.
        let mut seen = vec![false; width * height];
        for y in 0..height {
            for x in 0..width {
                let upper_edge = pixels[[y, x]] != 0 && (y == 0 || pixels[[y - 1, x]] == 0);
                if upper_edge && !seen[y * width + x] {
                    contours.push(follow(pixels, [x, y], &mut seen));
                }
            }
        }
        contours
    }

    /// Twice the enclosed area in square pixels; negative for a hole.
    fn doubled_area(points: &[[u32; 2]]) -> i64 {
        let next = points.iter().cycle().skip(1);
        let cross = |a: &[u32; 2], b: &[u32; 2]| i64::from(a[0]) * i64::from(b[1]) - i64::from(a[1]) * i64::from(b[0]);
        points.iter().zip(next).map(|(a, b)| cross(a, b)).sum()
    }

    /// The enclosed area in square pixels; negative for a hole, so that the sum over a mask's contours is its area.
    pub fn signed_area_px(&self) -> f64 {
        Self::doubled_area(&self.points) as f64 / 2.0
    }
}

fn follow(pixels: ArrayView2<'_, u8>, start: [usize; 2], seen: &mut [bool]) -> Contour {
    let width = pixels.ncols();
    let inside = |x: isize, y: isize| {
        let (Ok(x), Ok(y)) = (usize::try_from(x), usize::try_from(y)) else { return false };
        pixels.get([y, x]).is_some_and(|pixel| *pixel != 0)
    };
    let first = start.map(|coordinate| coordinate as isize);
    let ([mut x, mut y], mut heading) = (first, 0);
    let mut points = Vec::new();
    loop {
        if heading == 0 {
            seen[y as usize * width + x as usize] = true;
        }
        x += STEPS[heading][0];
        y += STEPS[heading][1];
        // The pixels ahead of the corner just reached, on the left and on the right.
        let [left, right] = match heading {
            0 => [[x, y - 1], [x, y]],
            1 => [[x, y], [x - 1, y]],
            2 => [[x - 1, y], [x - 1, y - 1]],
            _ => [[x - 1, y - 1], [x, y - 1]],
        };
        let turned = if inside(left[0], left[1]) {
            // Also where only the corner touches: that keeps such pixels in one boundary.
            (heading + 3) % 4
        } else if inside(right[0], right[1]) {
            heading
        } else {
            (heading + 1) % 4
        };
        if turned != heading {
            points.push([x as u32, y as u32]);
        }
        heading = turned;
        if [x, y] == first && heading == 0 {
            break;
        }
    }
    // The walk starts in reading order, so a first corner where the path turned closes the list; begin with it.
    points.rotate_right(1);
    Contour { hole: Contour::doubled_area(&points) < 0, points }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Array2, array};

    fn contours(pixels: Array2<u8>) -> Vec<(bool, Vec<[u32; 2]>)> {
        Contour::of(pixels.view()).into_iter().map(|contour| (contour.hole, contour.points)).collect()
    }

    #[test]
    fn one_pixel_is_a_square() {
        assert_eq!(contours(array![[1]]), [(false, vec![[0, 0], [1, 0], [1, 1], [0, 1]])]);
    }

    #[test]
    fn straight_runs_have_corners_only() {
        let mut pixels = Array2::zeros((6, 7));
        pixels.slice_mut(ndarray::s![1..4, 2..6]).fill(1);
        assert_eq!(contours(pixels), [(false, vec![[2, 1], [6, 1], [6, 4], [2, 4]])]);
        assert_eq!(contours(Array2::ones((5, 9))), [(false, vec![[0, 0], [9, 0], [9, 5], [0, 5]])]);
    }

    #[test]
    fn holes_run_the_other_way() {
        let mut pixels = Array2::ones((3, 4));
        pixels[[1, 1]] = 0;
        assert_eq!(
            contours(pixels),
            [(false, vec![[0, 0], [4, 0], [4, 3], [0, 3]]), (true, vec![[1, 2], [2, 2], [2, 1], [1, 1]]),]
        );
    }

    #[test]
    fn diagonal_neighbours_share_one_boundary() {
        let found = contours(array![[1, 0], [0, 1]]);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].1.iter().filter(|point| **point == [1, 1]).count(), 2);
        assert_eq!(contours(array![[0, 1], [1, 0]]).len(), 1);
        // A ring closed by corners only has a hole.
        let ring = contours(array![[0, 1, 0], [1, 0, 1], [0, 1, 0]]);
        assert_eq!(ring.iter().map(|(hole, _)| *hole).collect::<Vec<_>>(), [false, true]);
    }

    #[test]
    fn nothing_has_no_contours() {
        assert!(contours(Array2::zeros((4, 4))).is_empty());
        assert!(contours(Array2::zeros((0, 0))).is_empty());
    }

    /// The enclosed areas add up to the pixel count, every boundary edge is walked exactly once, and there are as many
    /// outer boundaries as parts.
    #[test]
    fn random_masks_are_enclosed_exactly() {
        let mut state = 1u32;
        for (round, density) in (0..60).zip([1u32, 3, 5, 7].into_iter().cycle()) {
            let (height, width) = (1 + round % 13, 1 + round % 17);
            let pixels = Array2::from_shape_fn((height, width), |_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                u8::from((state >> 24) % 8 < density)
            });
            let found = Contour::of(pixels.view());
            let area: f64 = found.iter().map(Contour::signed_area_px).sum();
            assert_eq!(area, pixels.iter().map(|p| f64::from(*p)).sum::<f64>());
            let outer = found.iter().filter(|contour| !contour.hole).count();
            assert_eq!(outer, super::super::Components::of(pixels.view()).count());
            let length: u32 = found.iter().map(perimeter).sum();
            assert_eq!(length, boundary_edges(&pixels));
        }
    }

    fn perimeter(contour: &Contour) -> u32 {
        let next = contour.points.iter().cycle().skip(1);
        contour.points.iter().zip(next).map(|(a, b)| a[0].abs_diff(b[0]) + a[1].abs_diff(b[1])).sum()
    }

    fn boundary_edges(pixels: &Array2<u8>) -> u32 {
        let at = |y: isize, x: isize| {
            if y < 0 || x < 0 { 0 } else { pixels.get([y as usize, x as usize]).copied().unwrap_or(0) }
        };
        let neighbours = [(0, 1), (1, 0), (0, -1), (-1, 0)];
        let mut edges = 0;
        for ((y, x), pixel) in pixels.indexed_iter() {
            let open = |(v, u): &(isize, isize)| at(y as isize + v, x as isize + u) == 0;
            edges += if *pixel != 0 { neighbours.iter().filter(|n| open(n)).count() as u32 } else { 0 };
        }
        edges
    }
}
