//! The orientation of a picture's stored rows and columns.
//!
//! A file may say beside its pixels that they are mirrored or turned: EXIF and TIFF by one of eight numbers, PLUS by
//! the directions of its axes. The network's input is turned upright, and its maps are turned back: masks, contours and
//! overlays stay in the file's own order, pixel on pixel.

use ndarray::{ArrayView2, Axis};
use serde::{Deserialize, Serialize};

/// The transformation of stored pixels that makes them upright. The numbers are those of EXIF and TIFF.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Orientation {
    /// Nothing: the first row is the upper one, the first column the left one.
    #[default]
    Upright = 1,
    /// Left and right are exchanged.
    MirroredHorizontally = 2,
    /// Turned by 180 degrees.
    Rotated180 = 3,
    /// Top and bottom are exchanged.
    MirroredVertically = 4,
    /// Rows become columns.
    Transposed = 5,
    /// Turned by 90 degrees clockwise.
    Rotated90 = 6,
    /// Rows become columns, both in reverse order.
    TransposedAcross = 7,
    /// Turned by 90 degrees counterclockwise.
    Rotated270 = 8,
}

impl Orientation {
    /// All orientations, in the order of their EXIF numbers.
    pub const ALL: [Self; 8] = [
        Self::Upright,
        Self::MirroredHorizontally,
        Self::Rotated180,
        Self::MirroredVertically,
        Self::Transposed,
        Self::Rotated90,
        Self::TransposedAcross,
        Self::Rotated270,
    ];

    /// Converts the number of EXIF and TIFF, 1 to 8.
    pub fn from_exif(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|orientation| *orientation as u32 == number)
    }

    /// Converts PLUS's `UltrasoundImageOrientation`, such as `MF` or `UNA`: where columns and rows lead to, marked or
    /// unmarked side, far from or near the transducer. Upright means that the transducer is at the top; the side of the
    /// mark is left as it is. `None` for other letters.
    pub fn from_plus(letters: &str) -> Option<Self> {
        let mut letters = letters.trim().chars();
        let axes = (letters.next()?.to_ascii_uppercase(), letters.next()?.to_ascii_uppercase());
        match axes {
            ('M' | 'U', 'F') => Some(Self::Upright),
            ('M' | 'U', 'N') => Some(Self::MirroredVertically),
            ('F', 'M' | 'U') => Some(Self::Transposed),
            ('N', 'M' | 'U') => Some(Self::Rotated90.inverse()),
            _ => None,
        }
    }

    /// The number of EXIF and TIFF, 1 to 8.
    pub fn to_exif(self) -> u8 {
        self as u8
    }

    /// The inverse transformation.
    pub fn inverse(self) -> Self {
        match self {
            Self::Rotated90 => Self::Rotated270,
            Self::Rotated270 => Self::Rotated90,
            other => other,
        }
    }

    /// Whether width and height are exchanged.
    pub fn swaps_sides(self) -> bool {
        self as u8 >= 5
    }

    /// Whether rows run from right to left, and columns from the bottom, once rows and columns have been exchanged.
    fn flips(self) -> [bool; 2] {
        match self {
            Self::Upright | Self::Transposed => [false, false],
            Self::MirroredHorizontally | Self::Rotated90 => [true, false],
            Self::Rotated180 | Self::TransposedAcross => [true, true],
            Self::MirroredVertically | Self::Rotated270 => [false, true],
        }
    }

    /// Views stored pixels (rows first) upright. Nothing is copied.
    pub fn apply<T>(self, mut stored: ArrayView2<'_, T>) -> ArrayView2<'_, T> {
        if self.swaps_sides() {
            stored.swap_axes(0, 1);
        }
        let [across, down] = self.flips();
        if across {
            stored.invert_axis(Axis(1));
        }
        if down {
            stored.invert_axis(Axis(0));
        }
        stored
    }

    /// How [`Self::apply`] walks through a square of `size` x `size` values in memory: the index of its first value, the
    /// step to the next row, and the step to the next column.
    #[cfg(feature = "gpu")]
    pub(crate) fn steps(self, size: usize) -> [i64; 3] {
        // At most `MAX_SIDE` squared.
        let size = size as i64;
        let (mut down, mut across) = if self.swaps_sides() { (1, size) } else { (size, 1) };
        let mut first = 0;
        let [flips_across, flips_down] = self.flips();
        if flips_across {
            first += (size - 1) * across;
            across = -across;
        }
        if flips_down {
            first += (size - 1) * down;
            down = -down;
        }
        [first, down, across]
    }

    /// Turns a square map of `size` x `size` values upright in place.
    pub(crate) fn apply_to_square(self, map: &mut [f32], size: usize) {
        if self.swaps_sides() {
            for y in 0..size {
                for x in 0..y {
                    map.swap(y * size + x, x * size + y);
                }
            }
        }
        let [across, down] = self.flips();
        if across {
            map.chunks_exact_mut(size.max(1)).for_each(<[f32]>::reverse);
        }
        if down {
            for y in 0..size / 2 {
                let (upper, lower) = map.split_at_mut((size - 1 - y) * size);
                upper[y * size..][..size].swap_with_slice(&mut lower[..size]);
            }
        }
    }
}

impl std::fmt::Display for Orientation {
    /// How stored pixels are turned to be upright.
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(match self {
            Self::Upright => "upright",
            Self::MirroredHorizontally => "mirrored left to right",
            Self::Rotated180 => "rotated by 180 degrees",
            Self::MirroredVertically => "upside down",
            Self::Transposed => "rows and columns exchanged",
            Self::Rotated90 => "rotated by 90 degrees clockwise to be upright",
            Self::TransposedAcross => "rows and columns exchanged, from the other end",
            Self::Rotated270 => "rotated by 90 degrees counterclockwise to be upright",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Array2, array};

    /// The result of each of the eight for one picture, as in the EXIF standard.
    #[test]
    fn eight_ways() {
        let stored = array![[1, 2, 3], [4, 5, 6]];
        let upright = [
            array![[1, 2, 3], [4, 5, 6]],
            array![[3, 2, 1], [6, 5, 4]],
            array![[6, 5, 4], [3, 2, 1]],
            array![[4, 5, 6], [1, 2, 3]],
            array![[1, 4], [2, 5], [3, 6]],
            array![[4, 1], [5, 2], [6, 3]],
            array![[6, 3], [5, 2], [4, 1]],
            array![[3, 6], [2, 5], [1, 4]],
        ];
        for (orientation, upright) in Orientation::ALL.into_iter().zip(upright) {
            assert_eq!(orientation.apply(stored.view()), upright, "{orientation:?}");
            assert_eq!(orientation.inverse().apply(upright.view()), stored, "{orientation:?}");
            assert_eq!(Orientation::from_exif(orientation.to_exif().into()), Some(orientation));
            assert_eq!(orientation.swaps_sides(), upright.dim() != stored.dim());
        }
        assert_eq!((Orientation::from_exif(0), Orientation::from_exif(9)), (None, None));
    }

    #[test]
    fn squares_turn_in_place_as_views_do() {
        for size in [0, 1, 2, 5, 8] {
            let map = Array2::from_shape_fn((size, size), |(y, x)| (y * size + x) as f32);
            for orientation in Orientation::ALL {
                let mut turned = map.clone();
                orientation.apply_to_square(turned.as_slice_mut().unwrap(), size);
                assert_eq!(turned, orientation.apply(map.view()), "{orientation:?} of {size}");
            }
        }
    }

    #[cfg(feature = "gpu")]
    #[test]
    fn steps_lead_through_memory_as_views_do() {
        for size in [1, 2, 5] {
            let map = Array2::from_shape_fn((size, size), |(y, x)| (y * size + x) as i64);
            for orientation in Orientation::ALL {
                let [first, down, across] = orientation.steps(size);
                let seen = Array2::from_shape_fn((size, size), |(y, x)| first + y as i64 * down + x as i64 * across);
                assert_eq!(seen, orientation.apply(map.view()), "{orientation:?} of {size}");
            }
        }
    }

    #[test]
    fn plus_says_where_axes_lead() {
        for (letters, orientation) in [
            ("MF", Orientation::Upright),
            ("UFA", Orientation::Upright),
            ("un", Orientation::MirroredVertically),
            (" MND ", Orientation::MirroredVertically),
            ("FM", Orientation::Transposed),
            ("NU", Orientation::Rotated270),
        ] {
            assert_eq!(Orientation::from_plus(letters), Some(orientation), "{letters}");
        }
        for letters in ["", "M", "XX", "MM", "FN"] {
            assert_eq!(Orientation::from_plus(letters), None, "{letters}");
        }
        // Columns that lead to the transducer are rows from the bottom: the last stored row is the first upright one.
        let stored = array![[3, 2, 1]];
        assert_eq!(Orientation::from_plus("NM").unwrap().apply(stored.view()), array![[1], [2], [3]]);
    }
}
