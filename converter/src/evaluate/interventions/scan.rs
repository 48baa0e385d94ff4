//! The image that interventions change.

use crate::data::{DataError, Image, LesionBox, Mask, Sample, load_image, load_masks};
use image::DynamicImage;

/// A grey image, 0..255 row by row, and its lesion mask.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Scan {
    pub pixels: Vec<u8>,
    pub truth: Mask,
}

impl Scan {
    /// A colour image is converted to its luminance.
    pub fn load(sample: &Sample) -> Result<Self, DataError> {
        let gray = match load_image(&sample.image)? {
            Image::Gray(image) => image,
            Image::Rgb(image) => DynamicImage::ImageRgb8(image).into_luma8(),
        };
        let (width, height) = gray.dimensions();
        let truth = load_masks(sample, (width as usize, height as usize))?;
        Ok(Self { pixels: gray.into_raw(), truth })
    }

    pub fn width(&self) -> usize {
        self.truth.width
    }

    pub fn height(&self) -> usize {
        self.truth.height
    }

    /// The smallest rectangle around the lesion; `None` without a lesion.
    pub fn lesion_box(&self) -> Option<LesionBox> {
        let width = self.width().max(1);
        let mut found: Option<LesionBox> = None;
        for index in (0..self.truth.lesion.len()).filter(|index| self.truth.lesion[*index]) {
            let (x, y) = (index % width, index / width);
            let within = found.get_or_insert(LesionBox { left: x, top: y, right: x + 1, bottom: y + 1 });
            within.left = within.left.min(x);
            within.right = within.right.max(x + 1);
            within.bottom = y + 1;
        }
        found
    }
}

impl LesionBox {
    /// The centre and half the sides: x, y, half the width, half the height.
    pub fn center(&self) -> [f32; 4] {
        let half = |from: usize, to: usize| (to - from) as f32 / 2.0;
        let middle = |from: usize, to: usize| (from + to) as f32 / 2.0 - 0.5;
        [
            middle(self.left, self.right),
            middle(self.top, self.bottom),
            half(self.left, self.right),
            half(self.top, self.bottom),
        ]
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Grey tissue of 100 to 119 with a lesion of 60 in a rectangle.
    pub fn scan(width: usize, height: usize, lesion: [usize; 4]) -> Scan {
        let [left, top, right, bottom] = lesion;
        let inside =
            |index: usize| (left..right).contains(&(index % width)) && (top..bottom).contains(&(index / width));
        let pixel = |index: usize| if inside(index) { 60 } else { 100 + (index * 7919 % 20) as u8 };
        let count = width * height;
        Scan {
            pixels: (0..count).map(pixel).collect(),
            truth: Mask { width, height, lesion: (0..count).map(inside).collect() },
        }
    }

    #[test]
    fn the_box_holds_the_lesion() {
        let found = scan(50, 40, [5, 7, 20, 30]).lesion_box().unwrap();
        assert_eq!(found, LesionBox { left: 5, top: 7, right: 20, bottom: 30 });
        assert_eq!(found.center(), [12.0, 18.0, 7.5, 11.5]);
        assert_eq!(scan(50, 40, [0; 4]).lesion_box(), None);
    }
}
