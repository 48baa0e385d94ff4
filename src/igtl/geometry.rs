//! The position of an image in space.
//!
//! An IMAGE has three columns, each the direction of one index scaled by the pixel size along it, and the position of
//! the image's *centre*; so a pixel's position depends on the image's size as well.

/// The position, orientation and pixel size of an image, in millimetres of its coordinate system.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Geometry {
    /// For the indices i (to the right), j (down) and k (from slice to slice): the step from one pixel to the next.
    pub columns: [[f32; 3]; 3],
    /// The position of the image's centre.
    pub centre: [f32; 3],
}

impl Default for Geometry {
    /// Pixels of one millimetre along the axes, the image's centre at the origin.
    fn default() -> Self {
        Self { columns: [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]], centre: [0.0; 3] }
    }
}

impl Geometry {
    /// Builds it from pixel sizes in millimetres and directions of length 1.
    pub fn new(spacing_mm: [f32; 3], directions: [[f32; 3]; 3], centre: [f32; 3]) -> Self {
        let scaled = |(direction, mm): ([f32; 3], f32)| direction.map(|part| part * mm);
        let [i, j, k] = directions;
        let [mm_i, mm_j, mm_k] = spacing_mm;
        Self { columns: [scaled((i, mm_i)), scaled((j, mm_j)), scaled((k, mm_k))], centre }
    }

    /// The size of one pixel along i, j and k, in millimetres; 0 or not finite where the sender gave no size.
    pub fn spacing_mm(&self) -> [f32; 3] {
        self.columns.map(|column| column.iter().map(|part| part * part).sum::<f32>().sqrt())
    }

    /// The directions of i, j and k, each of length 1; `None` where a pixel has no size.
    pub fn directions(&self) -> Option<[[f32; 3]; 3]> {
        let spacing = self.spacing_mm();
        let usable = spacing.iter().all(|mm| mm.is_finite() && *mm > 0.0);
        let unit = |at: usize| self.columns[at].map(|part| part / spacing[at]);
        usable.then(|| [unit(0), unit(1), unit(2)])
    }

    /// The position of an index, in millimetres. Integer indices are the centres of pixels; `size` is the image's.
    pub fn position_mm(&self, index: [f64; 3], size: [u16; 3]) -> [f64; 3] {
        let mut position = self.centre.map(f64::from);
        for ((column, at), size) in self.columns.iter().zip(index).zip(size) {
            let from_centre = at - (f64::from(size) - 1.0) / 2.0;
            for (coordinate, part) in position.iter_mut().zip(column) {
                *coordinate += f64::from(*part) * from_centre;
            }
        }
        position
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spacing_and_directions_come_back() {
        let (sine, cosine) = 0.5f32.sin_cos();
        let directions = [[cosine, sine, 0.0], [-sine, cosine, 0.0], [0.0, 0.0, 1.0]];
        let geometry = Geometry::new([0.2, 0.3, 1.0], directions, [1.0, 2.0, 3.0]);
        for (found, expected) in geometry.spacing_mm().iter().zip([0.2, 0.3, 1.0]) {
            assert!((found - expected).abs() < 1e-6);
        }
        for (found, expected) in geometry.directions().unwrap().as_flattened().iter().zip(directions.as_flattened()) {
            assert!((found - expected).abs() < 1e-6);
        }
        let flat = Geometry { columns: [[0.0; 3]; 3], centre: [0.0; 3] };
        assert_eq!((flat.spacing_mm(), flat.directions()), ([0.0; 3], None));
    }

    #[test]
    fn the_centre_lies_between_the_middle_pixels() {
        let geometry = Geometry { centre: [10.0, 20.0, 30.0], ..Geometry::default() };
        assert_eq!(geometry.position_mm([0.0; 3], [4, 3, 1]), [8.5, 19.0, 30.0]);
        assert_eq!(geometry.position_mm([1.5, 1.0, 0.0], [4, 3, 1]), [10.0, 20.0, 30.0]);
    }
}
