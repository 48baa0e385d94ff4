//! The order in which kernels visit the output pixels.

use crate::conv::{Target, Window};

/// The position of an output pixel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    row: usize,
    column: usize,
}

impl Place {
    /// The number of elements from the first output's first tap to this one's.
    pub(crate) fn input(self, window: &Window) -> usize {
        self.row * window.row_stride + self.column * window.column_stride
    }

    /// The number of elements from the first pixel to this one.
    pub(crate) fn within(self, layout: &Target) -> usize {
        self.row * layout.row_stride + self.column * layout.column_stride
    }
}

/// Visits pixels row by row, some at a time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pixels {
    next: Place,
    columns: usize,
    left: usize,
}

impl Pixels {
    pub(crate) fn new(window: &Window) -> Self {
        Self { next: Place { row: 0, column: 0 }, columns: window.columns, left: window.rows * window.columns }
    }

    /// The number of pixels not yet visited.
    pub(crate) fn left(&self) -> usize {
        self.left
    }

    /// The next pixels and the number of new ones: near the end the last one is repeated.
    pub(crate) fn take<const PIXELS: usize>(&mut self) -> ([Place; PIXELS], usize) {
        let taken = self.left.min(PIXELS);
        let mut places = [self.next; PIXELS];
        for index in 0..PIXELS {
            places[index] = if index < taken || index == 0 { self.next } else { places[index - 1] };
            if index < taken {
                self.next.column += 1;
                if self.next.column == self.columns {
                    self.next = Place { row: self.next.row + 1, column: 0 };
                }
            }
        }
        self.left -= taken;
        (places, taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixels_run_over_row_ends_and_the_last_is_repeated() {
        let window = Window { rows: 2, columns: 3, row_stride: 100, column_stride: 10, taps: &[0], depth: 4 };
        let mut pixels = Pixels::new(&window);
        let (places, taken) = pixels.take::<4>();
        assert_eq!((places.map(|place| place.input(&window)), taken), ([0, 10, 20, 100], 4));
        let (places, taken) = pixels.take::<4>();
        assert_eq!((places.map(|place| place.input(&window)), taken), ([110, 120, 120, 120], 2));
        assert_eq!(pixels.left(), 0);
    }
}
