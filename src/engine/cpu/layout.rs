//! The layout of pixels in memory, and their division among the threads of a step.

use crate::kernels::MAX_THREADS;
use crate::kernels::conv::Target;
use crate::kernels::elementwise::ScaleZeroPoint;
use crate::lower::steps::{Element, Tensor};
use heapless::Vec as FixedVec;
use std::ops::Range;

/// A tensor's sizes and strides, in elements.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct TensorLayout {
    pub height: usize,
    pub width: usize,
    pub channels: usize,
    pub border: usize,
    /// Scale and zero point of bytes; the identity for f32.
    pub quantisation: ScaleZeroPoint,
}

impl TensorLayout {
    pub(crate) fn of(tensor: &Tensor) -> Self {
        let quantisation = match tensor.element {
            Element::F32 => ScaleZeroPoint { scale: 1.0, zero_point: 0.0 },
            Element::U8(quantisation) => {
                ScaleZeroPoint { scale: quantisation.scale, zero_point: f32::from(quantisation.zero_point) }
            }
        };
        let Tensor { height, width, channels, border, .. } = *tensor;
        Self { height, width, channels, border, quantisation }
    }

    /// The layout of a tensor with one pixel for each token.
    pub(crate) fn with_width(self, width: usize) -> Self {
        Self { width, ..self }
    }

    pub(crate) fn row_stride(&self) -> usize {
        (self.width + 2 * self.border) * self.channels
    }

    pub(crate) fn target(&self) -> Target {
        Target { row_stride: self.row_stride(), column_stride: self.channels }
    }

    /// The element where row `row` begins, its left border skipped.
    pub(crate) fn row(&self, row: usize) -> usize {
        (row + self.border) * self.row_stride() + self.border * self.channels
    }

    /// The elements of a row's pixels, borders left out.
    pub(crate) fn pixels(&self, row: usize) -> Range<usize> {
        self.row(row)..self.row(row) + self.width * self.channels
    }

    /// Whether the pixels of all rows follow each other without a gap.
    pub(crate) fn is_flat(&self) -> bool {
        self.border == 0
    }
}

/// One thread's rows of a tensor. Its slice begins at `first_element` of the tensor.
pub(super) struct Rows<'a, T> {
    pub rows: Range<usize>,
    pub elements: &'a mut [T],
    pub first_element: usize,
    pub layout: TensorLayout,
}

impl<T: Copy> Rows<'_, T> {
    /// A row's pixels, borders left out.
    pub(crate) fn pixels(&mut self, row: usize) -> &mut [T] {
        let range = self.layout.pixels(row);
        &mut self.elements[range.start - self.first_element..range.end - self.first_element]
    }

    /// Fills the border around the pixels of these rows.
    pub(crate) fn fill_border(&mut self, value: T) {
        let TensorLayout { border, channels, height, .. } = self.layout;
        if border == 0 {
            return;
        }
        let stride = self.layout.row_stride();
        let side = border * channels;
        for row in self.rows.clone() {
            let start = self.layout.row(row) - side - self.first_element;
            self.elements[start..start + side].fill(value);
            self.elements[start + stride - side..start + stride].fill(value);
        }
        if self.rows.start == 0 {
            self.elements[..border * stride].fill(value);
        }
        if self.rows.end == height {
            let end = self.elements.len();
            self.elements[end - border * stride..].fill(value);
        }
    }
}

/// Divides `count` things into `parts` runs of nearly equal length.
pub(super) fn share(count: usize, parts: usize, index: usize) -> Range<usize> {
    count * index / parts..count * (index + 1) / parts
}

/// Divides a tensor's rows among threads; the first part holds the border above, the last the one below.
pub(super) fn divide<T>(
    elements: &mut [T],
    layout: TensorLayout,
    threads: usize,
) -> FixedVec<Rows<'_, T>, MAX_THREADS> {
    let mut parts = FixedVec::new();
    let count = threads.clamp(1, MAX_THREADS).min(layout.height.max(1));
    let (mut rest, mut first_element) = (elements, 0);
    for index in 0..count {
        let rows = share(layout.height, count, index);
        let below = if index + 1 == count { 2 * layout.border + rows.end } else { layout.border + rows.end };
        let end = below * layout.row_stride();
        let (part, remaining) = rest.split_at_mut(end - first_element);
        rest = remaining;
        // The vector has room for the most parts.
        let _ = parts.push(Rows { rows, elements: part, first_element, layout });
        first_element = end;
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cover_every_row_once_with_its_borders() {
        for (height, border, threads) in [(1, 0, 1), (1, 1, 4), (7, 1, 2), (14, 1, 3), (5, 2, 64), (3, 0, 2)] {
            let quantisation = ScaleZeroPoint { scale: 1.0, zero_point: 0.0 };
            let layout = TensorLayout { height, width: 4, channels: 3, border, quantisation };
            let mut elements = vec![255u8; (height + 2 * border) * layout.row_stride()];
            let mut seen = Vec::new();
            for part in &mut divide(&mut elements, layout, threads) {
                part.fill_border(0);
                for row in part.rows.clone() {
                    seen.push(row);
                    part.pixels(row).fill(1 + row as u8);
                }
            }
            assert_eq!(seen, (0..height).collect::<Vec<_>>());
            assert!(!elements.contains(&255));
            let pixels = elements.iter().filter(|value| **value != 0).count();
            assert_eq!(pixels, height * 4 * 3);
        }
    }
}
