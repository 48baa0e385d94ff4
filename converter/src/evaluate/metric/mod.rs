//! Measures of agreement of two masks of one image. Each measure has its own file, with its definition and its source.

mod dice;
mod distance_transform;
mod hausdorff;
mod iou;
mod surface;
mod surface_dice;

pub use dice::dice;
pub use distance_transform::squared_distances;
pub use hausdorff::hd95;
pub use iou::iou;
pub use surface::SurfaceDistances;
pub use surface_dice::nsd;

use crate::data::Mask;

/// The found and the true mask of an image.
#[derive(Clone, Copy, Debug)]
pub struct Comparison<'a> {
    found: &'a Mask,
    truth: &'a Mask,
}

/// Numbers of pixels of each mask and of their intersection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Overlap {
    both: usize,
    found: usize,
    truth: usize,
}

impl<'a> Comparison<'a> {
    /// `None` if the masks differ in size, or do not have width x height pixels.
    pub fn new(found: &'a Mask, truth: &'a Mask) -> Option<Self> {
        let is_whole = |mask: &Mask| mask.width.checked_mul(mask.height) == Some(mask.lesion.len());
        (found.size() == truth.size() && is_whole(found) && is_whole(truth)).then_some(Self { found, truth })
    }

    fn overlap(&self) -> Overlap {
        let both = self.found.lesion.iter().zip(&self.truth.lesion).filter(|(found, truth)| **found && **truth).count();
        Overlap { both, found: self.found.area(), truth: self.truth.area() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A mask from rows of `#` (lesion) and any other character.
    pub fn mask(rows: &[&str]) -> Mask {
        let lesion: Vec<bool> = rows.iter().flat_map(|row| row.bytes().map(|byte| byte == b'#')).collect();
        Mask { width: lesion.len() / rows.len(), height: rows.len(), lesion }
    }

    /// A rectangle of lesion in an image of 40 x 30 pixels.
    fn block(x: usize, y: usize, width: usize, height: usize) -> Mask {
        let inside = |index: usize| (x..x + width).contains(&(index % 40)) && (y..y + height).contains(&(index / 40));
        Mask { width: 40, height: 30, lesion: (0..1200).map(inside).collect() }
    }

    fn all(found: &Mask, truth: &Mask) -> [f64; 4] {
        let comparison = Comparison::new(found, truth).unwrap();
        let distances = SurfaceDistances::of(&comparison);
        [dice(&comparison), iou(&comparison), nsd(&distances, 2.0), hd95(&distances)]
    }

    #[test]
    fn masks_made_by_hand() {
        let truth = block(5, 5, 10, 10);
        assert_eq!(all(&truth, &truth), [1.0, 1.0, 1.0, 0.0]);
        // Shifted by two: 80 of 100 pixels shared, no rim pixel further than two from the other rim.
        assert_eq!(all(&block(7, 5, 10, 10), &truth), [0.8, 80.0 / 120.0, 1.0, 2.0]);
        // Shifted by four: of a rim's 36 pixels those on the outer side (8 without its corners), two at that end of the
        // upper and of the lower row, and the middle four of the inner side are more than two away from the other rim.
        assert_eq!(all(&block(9, 5, 10, 10), &truth), [0.6, 60.0 / 140.0, 20.0 / 36.0, 4.0]);
        // No common pixel; the outer side is 20 away.
        assert_eq!(all(&block(25, 5, 10, 10), &truth), [0.0, 0.0, 0.0, 20.0]);
    }

    #[test]
    fn the_further_rim_decides() {
        // Thrice as wide: every true rim pixel is within four of the found rim, but a tenth of that is 20 away.
        let (wide, truth) = (block(5, 5, 30, 10), block(5, 5, 10, 10));
        assert_eq!((all(&wide, &truth)[3], all(&truth, &wide)[3]), (20.0, 20.0));
    }

    #[test]
    fn both_empty_agree_and_one_empty_does_not() {
        let (empty, lesion) = (block(0, 0, 0, 0), block(5, 5, 3, 3));
        assert_eq!(all(&empty, &empty), [1.0, 1.0, 1.0, 0.0]);
        // 40 x 30 pixels have a diagonal of 50.
        assert_eq!(all(&empty, &lesion), [0.0, 0.0, 0.0, 50.0]);
        assert_eq!(all(&lesion, &empty), [0.0, 0.0, 0.0, 50.0]);
    }

    #[test]
    fn sizes_must_be_equal() {
        let (wide, tall) = (mask(&["#.", ".."]), mask(&["#", ".", ".", "."]));
        assert!(Comparison::new(&wide, &tall).is_none());
        let cut = Mask { lesion: vec![true; 3], ..wide.clone() };
        assert!(Comparison::new(&cut, &wide).is_none());
    }
}
