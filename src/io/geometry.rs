//! The position of pixels in millimetres: copied from a source to its label map.

/// The sampling of a picture, of a volume, or of a stack of pictures, in patient coordinates as in DICOM and ITK: to
/// the left, to the back, to the head.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Geometry {
    /// The distance from a pixel to the next along columns, rows and frames; 1 where it is unknown.
    pub spacing_mm: [f64; 3],
    /// The directions of columns, rows and frames, each of length 1.
    pub directions: [[f64; 3]; 3],
    /// The centre of the first pixel.
    pub origin_mm: [f64; 3],
}

impl Default for Geometry {
    /// One millimetre a pixel, along the axes, from zero.
    fn default() -> Self {
        let directions = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];
        Self { spacing_mm: [1.0; 3], directions, origin_mm: [0.0; 3] }
    }
}

impl Geometry {
    /// A geometry from the steps along each axis, in millimetres: their lengths are the spacing. A step that is missing
    /// or zero keeps the default.
    pub(super) fn from_steps(steps: [Option<[f64; 3]>; 3], origin_mm: [f64; 3]) -> Self {
        let mut geometry = Self { origin_mm, ..Self::default() };
        for (axis, step) in steps.into_iter().enumerate() {
            let Some(step) = step else { continue };
            let length = step.iter().map(|part| part * part).sum::<f64>().sqrt();
            if length.is_finite() && length > 0.0 {
                geometry.spacing_mm[axis] = length;
                geometry.directions[axis] = step.map(|part| part / length);
            }
        }
        geometry
    }

    /// The size of a pixel. PLUS and ITK write 1 x 1 where it is unknown, so that does not count as a size.
    pub(super) fn mm_per_pixel(&self) -> Option<[f32; 2]> {
        let [x, y, _] = self.spacing_mm;
        let size = [x as f32, y as f32];
        (size != [1.0; 2] && size.iter().all(|mm| mm.is_finite() && *mm > 0.0)).then_some(size)
    }
}
