//! Measurements for a report: areas, position, diameters.

use super::{Contour, Mask, MaskError, Probability};
use serde::{Deserialize, Serialize};

/// A straight line across a lesion.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Diameter {
    /// The length in pixels.
    pub length_px: f64,
    /// The length in millimetres; `None` where the pixels' size is unknown.
    pub length_mm: Option<f64>,
    /// Its ends `[x, y]`, in pixels.
    pub ends: [[f64; 2]; 2],
}

/// Measurements of one mask. For an empty mask all are zero or `None`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Measurements {
    /// The number of pixels of the mask.
    pub area_px: usize,
    /// The share of the region of interest that the mask covers, 0 to 1; of the complete frame where there is no
    /// region.
    pub area_fraction: f64,
    /// The area in square millimetres; `None` where the pixels' size is unknown.
    pub area_mm2: Option<f64>,
    /// The bounding box, `[x, y, width, height]` in pixels.
    pub bbox: Option<[usize; 4]>,
    /// The mean probability of the pixels inside the mask, 0 to 1; `None` also where no probabilities were given.
    pub mean_probability: Option<f64>,
    /// Mean of the pixels' centres, `[x, y]` in pixels.
    pub centroid: Option<[f64; 2]>,
    /// The longest line between two points on the border of the largest part, as calipers measure it.
    pub longest_diameter: Option<Diameter>,
    /// The longest chord of that part's convex hull at a right angle to the longest diameter.
    pub perpendicular_diameter: Option<Diameter>,
}

impl Measurements {
    /// Measures a mask. `contours` are the mask's own; the probabilities are those it was thresholded from;
    /// `mm_per_pixel` is `[x, y]`. Where pixels are not square, diameters are the longest in millimetres.
    ///
    /// # Errors
    /// The probabilities have another size than the mask ([`MaskError::Size`]).
    pub fn of(
        mask: &Mask,
        contours: &[Contour],
        probability: Option<&Probability>,
        mm_per_pixel: Option<[f32; 2]>,
    ) -> Result<Self, MaskError> {
        let pixels = mask.pixels();
        if let Some(values) = probability.map(Probability::values)
            && values.dim() != pixels.dim()
        {
            let (actual, frame) = ([values.ncols(), values.nrows()], [pixels.ncols(), pixels.nrows()]);
            return Err(MaskError::Size { what: "probability map", actual, frame });
        }
        Ok(Self::of_same_size(mask, contours, probability, mm_per_pixel))
    }

    /// [`Self::of`] for maps that are known to have the mask's size.
    pub(crate) fn of_same_size(
        mask: &Mask,
        contours: &[Contour],
        probability: Option<&Probability>,
        mm_per_pixel: Option<[f32; 2]>,
    ) -> Self {
        let pixels = mask.pixels();
        let mut area_px = 0usize;
        let (mut left, mut upper, mut right, mut lower) = (usize::MAX, usize::MAX, 0, 0);
        let (mut sum_x, mut sum_y, mut sum_p) = (0u64, 0u64, 0.0);
        for ((y, x), _) in pixels.indexed_iter().filter(|(_, pixel)| **pixel != 0) {
            area_px += 1;
            (left, right) = (left.min(x), right.max(x + 1));
            (upper, lower) = (upper.min(y), lower.max(y + 1));
            (sum_x, sum_y) = (sum_x + x as u64, sum_y + y as u64);
            sum_p += probability.map_or(0.0, |p| f64::from(p.values()[[y, x]]));
        }
        let mm = mm_per_pixel.map(|mm| mm.map(f64::from));
        let area_mm2 = mm.map(|[x, y]| area_px as f64 * x * y);
        if area_px == 0 {
            return Self { area_mm2, ..Self::default() };
        }
        let count = area_px as f64;
        let (longest_diameter, perpendicular_diameter) = diameters(contours, mm).unzip();
        Self {
            area_px,
            area_fraction: count / mask.region().area().max(1) as f64,
            area_mm2,
            bbox: Some([left, upper, right - left, lower - upper]),
            mean_probability: probability.map(|_| sum_p / count),
            centroid: Some([sum_x as f64 / count + 0.5, sum_y as f64 / count + 0.5]),
            longest_diameter,
            perpendicular_diameter,
        }
    }
}

type Point = [f64; 2];

fn diameters(contours: &[Contour], mm: Option<[f64; 2]>) -> Option<(Diameter, Diameter)> {
    let largest =
        contours.iter().filter(|c| !c.hole).max_by(|a, b| a.signed_area_px().total_cmp(&b.signed_area_px()))?;
    let [unit_x, unit_y] = mm.unwrap_or([1.0; 2]);
    let to_units = |point: &[u32; 2]| [f64::from(point[0]) * unit_x, f64::from(point[1]) * unit_y];
    let hull = convex_hull(largest.points.iter().map(to_units).collect());
    let in_pixels = |ends: [Point; 2]| {
        let ends_px = ends.map(|[x, y]| [x / unit_x, y / unit_y]);
        Diameter {
            length_px: distance(ends_px[0], ends_px[1]),
            length_mm: mm.map(|_| distance(ends[0], ends[1])),
            ends: ends_px,
        }
    };
    let longest = farthest_pair(&hull)?;
    Some((in_pixels(longest), in_pixels(widest_chord(&hull, longest))))
}

fn distance(a: Point, b: Point) -> f64 {
    (b[0] - a[0]).hypot(b[1] - a[1])
}

fn cross(origin: Point, a: Point, b: Point) -> f64 {
    (a[0] - origin[0]) * (b[1] - origin[1]) - (a[1] - origin[1]) * (b[0] - origin[0])
}

/// Andrew's monotone chain: the hull's corners in order.
fn convex_hull(mut points: Vec<Point>) -> Vec<Point> {
    points.sort_by(|a, b| a[0].total_cmp(&b[0]).then(a[1].total_cmp(&b[1])));
    points.dedup();
    let chain = |points: &mut dyn Iterator<Item = Point>| {
        let mut chain: Vec<Point> = Vec::new();
        for point in points {
            while chain.len() > 1 && cross(chain[chain.len() - 2], chain[chain.len() - 1], point) <= 0.0 {
                chain.pop();
            }
            chain.push(point);
        }
        chain.pop();
        chain
    };
    let mut hull = chain(&mut points.iter().copied());
    hull.extend(chain(&mut points.iter().rev().copied()));
    hull
}

/// Compares all pairs: a hull of pixels has few corners, some hundred in the largest frames.
fn farthest_pair(hull: &[Point]) -> Option<[Point; 2]> {
    let pairs = hull.iter().enumerate().flat_map(|(i, a)| hull[i + 1..].iter().map(move |b| [*a, *b]));
    pairs.max_by(|a, b| distance(a[0], a[1]).total_cmp(&distance(b[0], b[1])))
}

/// The chord's length is a concave, piecewise linear function of where it crosses the axis, so it is longest through
/// one of the hull's corners.
fn widest_chord(hull: &[Point], axis: [Point; 2]) -> [Point; 2] {
    let length = distance(axis[0], axis[1]);
    let along = [(axis[1][0] - axis[0][0]) / length, (axis[1][1] - axis[0][1]) / length];
    // Coordinates along the axis and across it.
    let turned: Vec<Point> =
        hull.iter().map(|p| [p[0] * along[0] + p[1] * along[1], p[1] * along[0] - p[0] * along[1]]).collect();
    let chord = |position: f64| {
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for (a, b) in turned.iter().zip(turned.iter().cycle().skip(1)) {
            let (a, b) = if a[0] <= b[0] { (a, b) } else { (b, a) };
            if a[0] <= position && position <= b[0] {
                let fraction = if b[0] > a[0] { (position - a[0]) / (b[0] - a[0]) } else { 0.0 };
                let crossing = a[1] + (b[1] - a[1]) * fraction;
                // An edge along the chord counts with both its ends.
                let far = if b[0] > a[0] { crossing } else { b[1] };
                (low, high) = (low.min(crossing).min(far), high.max(crossing).max(far));
            }
        }
        (low, high)
    };
    let widest = turned
        .iter()
        .map(|corner| (corner[0], chord(corner[0])))
        .max_by(|(_, a), (_, b)| (a.1 - a.0).total_cmp(&(b.1 - b.0)));
    let (position, (low, high)) = widest.unwrap_or((0.0, (0.0, 0.0)));
    [low, high].map(|across| [position * along[0] - across * along[1], position * along[1] + across * along[0]])
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Array2, s};

    fn rectangle(frame: [usize; 2], x: usize, y: usize, width: usize, height: usize) -> Mask {
        let mut pixels = Array2::zeros((frame[1], frame[0]));
        pixels.slice_mut(s![y..y + height, x..x + width]).fill(1);
        Mask::from_pixels(pixels)
    }

    fn measure(mask: &Mask, mm: Option<[f32; 2]>) -> Measurements {
        Measurements::of(mask, &mask.contours(), None, mm).unwrap()
    }

    fn close(actual: f64, expected: f64) -> bool {
        (actual - expected).abs() < 1e-6
    }

    #[test]
    fn a_rectangle_by_hand() {
        let found = measure(&rectangle([20, 10], 4, 2, 8, 6), Some([0.5, 0.25]));
        assert_eq!(found.area_px, 48);
        assert_eq!(found.area_fraction, 0.24);
        assert_eq!(found.area_mm2, Some(6.0));
        assert_eq!(found.bbox, Some([4, 2, 8, 6]));
        assert_eq!(found.centroid, Some([8.0, 5.0]));
        assert_eq!(found.mean_probability, None);
        // 4 mm x 1.5 mm: the diagonal.
        let longest = found.longest_diameter.unwrap();
        assert!(close(longest.length_mm.unwrap(), 4.0f64.hypot(1.5)));
        assert!(close(longest.length_px, 10.0));
    }

    #[test]
    fn a_square_and_a_pixel() {
        for side in [1, 10] {
            let found = measure(&rectangle([12, 12], 1, 1, side, side), None);
            let diagonal = side as f64 * 2f64.sqrt();
            let (longest, perpendicular) = (found.longest_diameter.unwrap(), found.perpendicular_diameter.unwrap());
            assert!(close(longest.length_px, diagonal) && close(perpendicular.length_px, diagonal));
            assert_eq!((longest.length_mm, found.area_mm2), (None, None));
        }
    }

    #[test]
    fn an_ellipse_has_its_axes() {
        let (a, b, turn) = (60.0f64, 25.0f64, 0.6f64);
        let pixels = Array2::from_shape_fn((160, 160), |(y, x)| {
            let (dx, dy) = (x as f64 + 0.5 - 80.0, y as f64 + 0.5 - 80.0);
            let (u, v) = (dx * turn.cos() + dy * turn.sin(), dy * turn.cos() - dx * turn.sin());
            u8::from((u / a).powi(2) + (v / b).powi(2) <= 1.0)
        });
        let found = measure(&Mask::from_pixels(pixels), Some([0.1, 0.1]));
        let (longest, across) = (found.longest_diameter.unwrap(), found.perpendicular_diameter.unwrap());
        assert!((longest.length_px - 2.0 * a).abs() < 2.0, "{longest:?}");
        assert!((across.length_px - 2.0 * b).abs() < 2.5, "{across:?}");
        assert!(close(longest.length_mm.unwrap(), longest.length_px * 0.1f32 as f64));
        let direction = |d: &Diameter| [d.ends[1][0] - d.ends[0][0], d.ends[1][1] - d.ends[0][1]];
        let (l, p) = (direction(&longest), direction(&across));
        assert!((l[0] * p[0] + l[1] * p[1]).abs() < 1e-6 * longest.length_px * across.length_px);
        assert!(close(p[0].hypot(p[1]), across.length_px));
    }

    #[test]
    fn diameters_are_of_the_largest_part() {
        let mut pixels = Array2::zeros((10, 100));
        pixels.slice_mut(s![0..6, 0..6]).fill(1);
        pixels[[9, 99]] = 1;
        let found = measure(&Mask::from_pixels(pixels), None);
        assert_eq!(found.area_px, 37);
        assert!(close(found.longest_diameter.unwrap().length_px, 72f64.sqrt()));
    }

    #[test]
    fn an_empty_mask_has_nothing() {
        let found = measure(&Mask::from_pixels(Array2::zeros((5, 5))), Some([1.0; 2]));
        assert_eq!(found, Measurements { area_mm2: Some(0.0), ..Measurements::default() });
    }

    #[test]
    fn probabilities_of_another_frame_are_refused() {
        let mask = rectangle([4, 4], 0, 0, 2, 2);
        let error = Measurements::of(&mask, &[], Some(&Probability::default()), None).unwrap_err();
        assert!(matches!(error, MaskError::Size { what: "probability map", .. }));
    }
}
