//! The position of a frame's region in the network's input, and the way back.

use super::{Fit, Frame, FrameError, Orientation, Region};
use ndarray::{Array2, ArrayView2, ArrayViewMut2, s};

/// The number of columns whose source positions are computed together and used for every row: enough to pay for
/// themselves, few enough to stay in cache and off the heap.
const TILE: usize = 64;
/// The most columns of the map that a tile reads and that are blended from two rows in advance: a region half as wide
/// as the input reads this many.
const LINE: usize = 2 * TILE;

/// The position of a frame's region in the network's square input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    input_size: usize,
    frame: [usize; 2],
    region: Region,
    fitted: Region,
    orientation: Orientation,
}

/// Two neighbouring sources and the weight of the second.
#[derive(Clone, Copy, Default)]
struct Between {
    low: usize,
    high: usize,
    fraction: f32,
}

impl Placement {
    pub(super) fn new(frame: &Frame<'_>, input_size: usize, fit: &Fit) -> Self {
        let region = frame.region();
        let fitted = match fit {
            Fit::Stretch => Region::whole(input_size, input_size),
            Fit::Letterbox { .. } => letterbox(region, input_size),
        };
        Self { input_size, frame: [frame.width(), frame.height()], region, fitted, orientation: frame.orientation() }
    }

    /// The side S of the network's input, in pixels.
    pub fn input_size(&self) -> usize {
        self.input_size
    }

    /// Width and height of the complete frame, in its own pixels.
    pub fn frame_size(&self) -> [usize; 2] {
        self.frame
    }

    /// The part of the frame that was placed, in the frame's pixels.
    pub fn region(&self) -> Region {
        self.region
    }

    /// The position of that part in the input, in the input's pixels, before the input is turned upright; the rest of
    /// the input is padding.
    pub fn fitted(&self) -> Region {
        self.fitted
    }

    /// Resamples a map of the network's input (S x S, rows first) to the region's own size, height x width.
    ///
    /// Bilinear between pixel centres. Padding is cut off and never blended in: at the border the outermost values of
    /// the fitted part are repeated. Where the input was turned upright, the map is turned back.
    /// `out` is reshaped; it allocates only where that shape is new.
    ///
    /// # Errors
    /// [`FrameError::Map`] where the map is not S x S.
    pub fn restore(&self, map: ArrayView2<'_, f32>, out: &mut Array2<f32>) -> Result<(), FrameError> {
        let shape = (self.region.height, self.region.width);
        if out.dim() != shape {
            *out = Array2::zeros(shape);
        }
        self.restore_into(map, out.view_mut())
    }

    /// [`Placement::restore`] into a view that has the region's shape.
    pub(crate) fn restore_into(&self, map: ArrayView2<'_, f32>, out: ArrayViewMut2<'_, f32>) -> Result<(), FrameError> {
        if map.dim() != (self.input_size, self.input_size) {
            return Err(FrameError::Map { shape: [map.nrows(), map.ncols()], size: self.input_size });
        }
        self.interpolate(self.orientation.inverse().apply(map), out);
        Ok(())
    }

    /// Fills `out` from an upright map: two of its rows are blended into one, which is resampled along the width.
    fn interpolate(&self, map: ArrayView2<'_, f32>, mut out: ArrayViewMut2<'_, f32>) {
        let Region { width, height, .. } = self.region;
        let mut columns = [Between::default(); TILE];
        let mut line = [0.0; LINE];
        for tile in (0..width).step_by(TILE) {
            let columns = &mut columns[..TILE.min(width - tile)];
            for (x, column) in (tile..).zip(columns.iter_mut()) {
                *column = between(x, width, self.fitted.x, self.fitted.width);
            }
            let (first, last) = (columns[0].low, columns[columns.len() - 1].high);
            for column in columns.iter_mut() {
                (column.low, column.high) = (column.low - first, column.high - first);
            }
            let map = map.slice(s![.., first..=last]);
            let mut out = out.slice_mut(s![.., tile..tile + columns.len()]);
            for (y, mut row) in out.rows_mut().into_iter().enumerate() {
                let rows = between(y, height, self.fitted.y, self.fitted.height);
                let (upper, lower) = (map.row(rows.low), map.row(rows.high));
                // Where the input is much wider than the region, most columns are not read.
                let Some(line) = line.get_mut(..map.ncols()) else {
                    let down = |x: usize| mix(upper[x], lower[x], rows.fraction);
                    for (value, column) in row.iter_mut().zip(columns.iter()) {
                        *value = mix(down(column.low), down(column.high), column.fraction);
                    }
                    continue;
                };
                // Maps of several heads are interleaved.
                match (upper.as_slice(), lower.as_slice()) {
                    (Some(upper), Some(lower)) => mix_rows(line, upper, lower, rows.fraction),
                    _ => mix_rows(line, upper, lower, rows.fraction),
                }
                let across = |column: &Between| mix(line[column.low], line[column.high], column.fraction);
                // Plain slices are twice as fast as the array's own iterator.
                match row.as_slice_mut() {
                    Some(row) => row.iter_mut().zip(columns.iter()).for_each(|(value, at)| *value = across(at)),
                    None => row.iter_mut().zip(columns.iter()).for_each(|(value, at)| *value = across(at)),
                }
            }
        }
    }
}

fn mix_rows<'a>(
    line: &mut [f32],
    upper: impl IntoIterator<Item = &'a f32>,
    lower: impl IntoIterator<Item = &'a f32>,
    fraction: f32,
) {
    for ((mixed, upper), lower) in line.iter_mut().zip(upper).zip(lower) {
        *mixed = mix(*upper, *lower, fraction);
    }
}

/// The largest centred rectangle of the region's aspect ratio; sides round to the nearest pixel.
fn letterbox(region: Region, input_size: usize) -> Region {
    let longer = region.width.max(region.height);
    let side = |length: usize| ((2 * length * input_size + longer) / (2 * longer)).clamp(1, input_size);
    let (width, height) = (side(region.width), side(region.height));
    Region { x: (input_size - width) / 2, y: (input_size - height) / 2, width, height }
}

fn between(position: usize, output: usize, start: usize, input: usize) -> Between {
    let source = (position as f32 + 0.5) * (input as f32 / output as f32) - 0.5;
    let source = source.clamp(0.0, (input - 1) as f32);
    let low = source as usize;
    Between { low: start + low, high: start + (low + 1).min(input - 1), fraction: source - low as f32 }
}

fn mix(from: f32, to: f32, fraction: f32) -> f32 {
    from + (to - from) * fraction
}

#[cfg(test)]
mod tests {
    use super::super::PixelFormat;
    use super::*;
    use ndarray::Array3;

    const LETTERBOX: Fit = Fit::Letterbox { padding: [0.0; 3] };

    fn placement(width: usize, height: usize, region: Option<Region>, size: usize, fit: Fit) -> Placement {
        let data = vec![0; width * height];
        let mut frame = Frame::packed(&data, PixelFormat::Gray8, width, height).unwrap();
        if let Some(region) = region {
            frame = frame.with_region(region).unwrap();
        }
        Placement::new(&frame, size, &fit)
    }

    /// Every output pixel separately, in f64.
    fn naive(placement: &Placement, map: &Array2<f32>) -> Array2<f32> {
        let (region, fitted) = (placement.region, placement.fitted);
        let source = |i: usize, from: usize, to: usize| {
            ((i as f64 + 0.5) * to as f64 / from as f64 - 0.5).max(0.0).min(to as f64 - 1.0)
        };
        let at = |y: usize, x: usize| {
            f64::from(map[[fitted.y + y.min(fitted.height - 1), fitted.x + x.min(fitted.width - 1)]])
        };
        Array2::from_shape_fn((region.height, region.width), |(y, x)| {
            let (sy, sx) = (source(y, region.height, fitted.height), source(x, region.width, fitted.width));
            let (fy, fx) = (sy.fract(), sx.fract());
            let (y, x) = (sy as usize, sx as usize);
            let top = at(y, x) * (1.0 - fx) + at(y, x + 1) * fx;
            let bottom = at(y + 1, x) * (1.0 - fx) + at(y + 1, x + 1) * fx;
            (top * (1.0 - fy) + bottom * fy) as f32
        })
    }

    #[test]
    fn restores_as_the_plain_formula() {
        let inner = Region { x: 3, y: 5, width: 70, height: 31 };
        // The larger one is shrunk, so that a tile has more source columns than the line holds.
        for (size, fit) in [(32, Fit::Stretch), (32, LETTERBOX), (512, Fit::Stretch), (512, LETTERBOX)] {
            let map = Array2::from_shape_fn((size, size), |(y, x)| ((y * 37 + x * 101) % 64) as f32 / 7.0 - 3.0);
            for (width, height, region) in [
                (1, 1, None),
                (1, 50, None),
                (50, 1, None),
                (32, 32, None),
                (63, 65, None),
                (130, 17, None),
                (7, 9, None),
                (129, 64, Some(inner)),
            ] {
                let placement = placement(width, height, region, size, fit);
                let mut out = Array2::zeros((0, 0));
                placement.restore(map.view(), &mut out).unwrap();
                let expected = naive(&placement, &map);
                assert_eq!(out.dim(), expected.dim());
                let largest = (&out - &expected).iter().fold(0.0f32, |largest, d| largest.max(d.abs()));
                assert!(largest < 1e-3, "{size} to {width} x {height}, {fit:?}: off by {largest}");
            }
        }
    }

    #[test]
    fn a_transposed_map_is_read_as_it_is_seen() {
        let map = Array2::from_shape_fn((8, 8), |(y, x)| (y * 8 + x) as f32);
        let mut out = Array2::zeros((0, 0));
        placement(8, 8, None, 8, Fit::Stretch).restore(map.t(), &mut out).unwrap();
        assert_eq!(out, map.t());
    }

    /// A map of one head among two is read without a copy.
    #[test]
    fn how_a_map_lies_changes_no_bit() {
        for (size, width, height) in [(32, 70, 31), (512, 50, 40)] {
            let heads = Array3::from_shape_fn((size, size, 2), |(y, x, head)| (y * 31 + x * 7 + head) as f32 / 9.0);
            let map = heads.slice(s![.., .., 1]);
            let (mut in_place, mut copied) = (Array2::zeros((0, 0)), Array2::zeros((0, 0)));
            let placement = placement(width, height, None, size, Fit::Stretch);
            placement.restore(map, &mut in_place).unwrap();
            placement.restore(map.to_owned().view(), &mut copied).unwrap();
            assert_eq!(in_place, copied);
        }
    }

    #[test]
    fn own_size_is_the_identity() {
        let map = Array2::from_shape_fn((8, 8), |(y, x)| (y * 8 + x) as f32);
        let mut out = Array2::zeros((0, 0));
        placement(8, 8, None, 8, LETTERBOX).restore(map.view(), &mut out).unwrap();
        assert_eq!(out, map);
    }

    #[test]
    fn padding_never_leaks() {
        for (width, height) in [(100, 40), (40, 100), (300, 1), (3, 200)] {
            let placement = placement(width, height, None, 32, LETTERBOX);
            let mut map = Array2::from_elem((32, 32), 1e9);
            let Region { x, y, width, height } = placement.fitted();
            map.slice_mut(ndarray::s![y..y + height, x..x + width]).fill(0.25);
            let mut out = Array2::zeros((0, 0));
            placement.restore(map.view(), &mut out).unwrap();
            assert!(out.iter().all(|v| *v == 0.25), "{width} x {height}");
        }
    }

    #[test]
    fn letterbox_keeps_the_aspect_ratio_and_centres() {
        let fitted = |width, height| placement(width, height, None, 224, LETTERBOX).fitted();
        assert_eq!(fitted(448, 224), Region { x: 0, y: 56, width: 224, height: 112 });
        assert_eq!(fitted(100, 200), Region { x: 56, y: 0, width: 112, height: 224 });
        assert_eq!(fitted(9000, 1), Region { x: 0, y: 111, width: 224, height: 1 });
        assert_eq!(fitted(1, 1), Region::whole(224, 224));
    }

    #[test]
    fn another_map_is_refused() {
        let error = placement(8, 8, None, 8, LETTERBOX)
            .restore(Array2::zeros((8, 9)).view(), &mut Array2::zeros((0, 0)))
            .unwrap_err();
        assert_eq!(error, FrameError::Map { shape: [8, 9], size: 8 });
    }

    #[test]
    fn a_warm_buffer_is_kept() {
        let placement = placement(90, 70, None, 32, Fit::Stretch);
        let map = Array2::zeros((32, 32));
        let mut out = Array2::zeros((0, 0));
        placement.restore(map.view(), &mut out).unwrap();
        let before = out.as_ptr();
        placement.restore(map.view(), &mut out).unwrap();
        assert_eq!(before, out.as_ptr());
    }
}
