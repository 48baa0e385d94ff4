//! Connected parts of a mask. Pixels that touch at a corner are connected, as in [`super::Contour`].

use ndarray::{Array2, ArrayView2};

/// A label for every pixel of a mask: 0 is background, parts count from 1 in reading order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Components {
    labels: Array2<u32>,
    /// The areas of labels 1, 2, ...
    areas_px: Vec<usize>,
}

impl Components {
    pub(super) fn of(pixels: ArrayView2<'_, u8>) -> Self {
        let (height, width) = pixels.dim();
        let mut components = Self { labels: Array2::zeros((height, width)), areas_px: Vec::new() };
        let mut open = Vec::new();
        for start in 0..height * width {
            let (y, x) = (start / width, start % width);
            if pixels[[y, x]] == 0 || components.labels[[y, x]] != 0 {
                continue;
            }
            let label = components.areas_px.len() as u32 + 1;
            components.labels[[y, x]] = label;
            open.push((y, x));
            let mut area = 0;
            while let Some((y, x)) = open.pop() {
                area += 1;
                for v in y.saturating_sub(1)..(y + 2).min(height) {
                    for u in x.saturating_sub(1)..(x + 2).min(width) {
                        if pixels[[v, u]] != 0 && components.labels[[v, u]] == 0 {
                            components.labels[[v, u]] = label;
                            open.push((v, u));
                        }
                    }
                }
            }
            components.areas_px.push(area);
        }
        components
    }

    /// The number of parts.
    pub fn count(&self) -> usize {
        self.areas_px.len()
    }

    /// The labels, height x width of the mask.
    pub fn labels(&self) -> ArrayView2<'_, u32> {
        self.labels.view()
    }

    /// The area of a part, in pixels; 0 for a label that no part has.
    pub fn area_px(&self, label: u32) -> usize {
        (label as usize).checked_sub(1).and_then(|index| self.areas_px.get(index)).copied().unwrap_or(0)
    }

    /// The label of the largest part, the first among equals; `None` in an empty mask.
    pub fn largest(&self) -> Option<u32> {
        (1..=self.count() as u32).rev().max_by_key(|label| self.area_px(*label))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn corners_connect_and_gaps_do_not() {
        let components = Components::of(array![[1, 0, 0, 1], [0, 1, 0, 1], [1, 0, 0, 1]].view());
        assert_eq!(components.labels(), array![[1, 0, 0, 2], [0, 1, 0, 2], [1, 0, 0, 2]]);
        assert_eq!((components.count(), components.area_px(1), components.area_px(2)), (2, 3, 3));
        assert_eq!(components.largest(), Some(1));
        assert_eq!((components.area_px(0), components.area_px(3)), (0, 0));
    }

    #[test]
    fn nothing_and_everything() {
        assert_eq!(Components::of(Array2::zeros((3, 3)).view()).largest(), None);
        assert_eq!(Components::of(Array2::zeros((0, 0)).view()).count(), 0);
        assert_eq!(Components::of(Array2::ones((300, 200)).view()).area_px(1), 60_000);
    }
}
