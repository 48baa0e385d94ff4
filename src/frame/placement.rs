//! The position of a frame's region in the network's input, and the way back.

use super::{Fit, Frame, FrameError, Orientation, Region};
use crate::kernels::elementwise::{mix_logits, mix_rows};
use crate::kernels::{Crew, Kernels, MAX_THREADS};
use heapless::Vec as FixedVec;
use ndarray::{Array2, ArrayView2, ArrayViewMut2, Axis, s};

/// The number of columns whose source positions are computed together and used for every row: enough to pay for
/// themselves, few enough to stay in cache and off the heap.
const TILE: usize = 256;
/// The fewest rows for which a thread is woken.
const LEAST_ROWS: usize = 32;

/// The position of a frame's region in the network's square input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    input_size: usize,
    frame: [usize; 2],
    region: Region,
    fitted: Region,
    orientation: Orientation,
    kernels: Kernels,
}

/// Blends two rows of a map, with the weight of the second, into one of the frame.
type Blend = fn(Kernels, &[f32], &[f32], f32, &mut [f32]);

/// Consecutive rows of the output.
struct Band<'a> {
    first_row: usize,
    rows: ArrayViewMut2<'a, f32>,
}

/// Two neighbouring sources and the weight of the second.
#[derive(Clone, Copy, Default)]
struct Between {
    low: usize,
    high: usize,
    fraction: f32,
}

impl Placement {
    pub(super) fn new(frame: &Frame<'_>, input_size: usize, fit: &Fit, kernels: Kernels) -> Self {
        let region = frame.region();
        let fitted = fitted_region(fit, region, input_size);
        let frame_size = [frame.width(), frame.height()];
        Self { input_size, frame: frame_size, region, fitted, orientation: frame.orientation(), kernels }
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
        self.fill(map, out.view_mut(), mix_rows, None)
    }

    /// [`Placement::restore`] of logits, with their sigmoid, into a view that has the region's shape. The rows are shared among the
    /// crew's threads, if there is one; each pixel is the same for any number of them.
    pub(crate) fn restore_logits(
        &self,
        logits: ArrayView2<'_, f32>,
        out: ArrayViewMut2<'_, f32>,
        crew: Option<&mut Crew>,
    ) -> Result<(), FrameError> {
        self.fill(logits, out, mix_logits, crew)
    }

    /// The positions and weights of [`Placement::restore`], for a device that resamples by itself: three words for each
    /// row of the region, then for each column. They are the offsets of two neighbours, and the bits of the second one's
    /// weight. A value's index in the map is the sum of a row's and a column's offset, modulo 2^32: where the map is
    /// mirrored, offsets run backwards.
    #[cfg(feature = "gpu")]
    pub(crate) fn write_sources(&self, words: &mut Vec<u32>) {
        let [first, down, across] = self.orientation.inverse().steps(self.input_size);
        let Region { width, height, .. } = self.region;
        words.clear();
        words.reserve(3 * (width + height));
        let mut axis = |length: usize, start: usize, input: usize, first: i64, step: i64| {
            let offset = |index: usize| (first + index as i64 * step) as u32;
            for position in 0..length {
                let Between { low, high, fraction } = between(position, length, start, input);
                words.extend([offset(low), offset(high), fraction.to_bits()]);
            }
        };
        axis(height, self.fitted.y, self.fitted.height, first, down);
        axis(width, self.fitted.x, self.fitted.width, 0, across);
    }

    fn fill(
        &self,
        map: ArrayView2<'_, f32>,
        out: ArrayViewMut2<'_, f32>,
        blend: Blend,
        crew: Option<&mut Crew>,
    ) -> Result<(), FrameError> {
        if map.dim() != (self.input_size, self.input_size) {
            return Err(FrameError::Map { shape: [map.nrows(), map.ncols()], size: self.input_size });
        }
        let map = self.orientation.inverse().apply(map);
        let height = out.nrows();
        let count = crew.as_ref().map_or(1, |crew| crew.threads()).min(height / LEAST_ROWS);
        let Some(crew) = crew.filter(|_| count > 1) else {
            self.interpolate(map, Band { first_row: 0, rows: out }, blend);
            return Ok(());
        };
        let mut bands = FixedVec::<Band<'_>, MAX_THREADS>::new();
        let (mut rest, mut first_row) = (out, 0);
        for index in 0..count {
            let next = height * (index + 1) / count;
            let (rows, more) = rest.split_at(Axis(0), next - first_row);
            // A crew has at most `MAX_THREADS`.
            let _ = bands.push(Band { first_row, rows });
            (rest, first_row) = (more, next);
        }
        crew.run(&mut bands, |band| {
            let Band { first_row, rows } = band;
            self.interpolate(map, Band { first_row: *first_row, rows: rows.view_mut() }, blend);
        });
        Ok(())
    }

    /// Fills rows of the output from an upright map: the map's rows are resampled along the width, each once, and two neighbours are
    /// blended into each row of the output.
    fn interpolate(&self, map: ArrayView2<'_, f32>, band: Band<'_>, blend: Blend) {
        let Band { first_row, rows: mut out } = band;
        let Region { width, height, .. } = self.region;
        let mut columns = [Between::default(); TILE];
        // The resampled rows of the map that the last row of `out` needed, and their numbers.
        let mut lines = [[0.0; TILE]; 2];
        for tile in (0..width).step_by(TILE) {
            let columns = &mut columns[..TILE.min(width - tile)];
            for (x, column) in (tile..).zip(columns.iter_mut()) {
                *column = between(x, width, self.fitted.x, self.fitted.width);
            }
            let mut held = [usize::MAX; 2];
            let mut out = out.slice_mut(s![.., tile..tile + columns.len()]);
            for (y, mut row) in (first_row..).zip(out.rows_mut()) {
                let rows = between(y, height, self.fitted.y, self.fitted.height);
                // What was the lower row is the next upper one.
                if held[1] == rows.low {
                    held.swap(0, 1);
                    lines.swap(0, 1);
                }
                for ((line, held), wanted) in lines.iter_mut().zip(&mut held).zip([rows.low, rows.high]) {
                    if *held != wanted {
                        let source = map.row(wanted);
                        // Maps of several heads are interleaved; plain slices are twice as fast.
                        match source.as_slice() {
                            Some(source) => stretch(source.len(), |x| source[x], columns, line),
                            None => stretch(source.len(), |x| source[x], columns, line),
                        }
                        *held = wanted;
                    }
                }
                let [upper, lower] = &lines;
                let (upper, lower) = (&upper[..columns.len()], &lower[..columns.len()]);
                match row.as_slice_mut() {
                    Some(row) => blend(self.kernels, upper, lower, rows.fraction, row),
                    // A view with gaps between its columns, which no caller has.
                    None => {
                        let mut packed = [0.0; TILE];
                        blend(self.kernels, upper, lower, rows.fraction, &mut packed);
                        row.iter_mut().zip(packed).for_each(|(value, packed)| *value = packed);
                    }
                }
            }
        }
    }
}

/// One row of a map at the columns' positions.
fn stretch(length: usize, source: impl Fn(usize) -> f32, columns: &[Between], line: &mut [f32]) {
    for (value, column) in line.iter_mut().zip(columns) {
        debug_assert!(column.high < length);
        *value = mix(source(column.low), source(column.high), column.fraction);
    }
}

/// The part of a square input of `input_size` pixels a side that `region` fills; both sides of the region are above zero.
pub fn fitted_region(fit: &Fit, region: Region, input_size: usize) -> Region {
    match fit {
        Fit::Stretch => Region::whole(input_size, input_size),
        Fit::Letterbox { .. } => letterbox(region, input_size),
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
        Placement::new(&frame, size, &fit, Kernels::generic())
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
        // The larger one is shrunk, so that most of its rows and columns are not read.
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

    /// On every instruction set that this CPU has, with and without the sigmoid, at widths around vectors and tiles.
    #[test]
    fn instruction_sets_change_no_bit() {
        let map = Array2::from_shape_fn((32, 32), |(y, x)| ((y * 37 + x * 101) % 64) as f32 / 7.0 - 3.0);
        for (width, height) in [(1, 1), (7, 9), (8, 3), (33, 20), (255, 2), (256, 31), (257, 70), (600, 5)] {
            let plain = placement(width, height, None, 32, Fit::Stretch);
            let restored = |placement: Placement| {
                let mut out = [Array2::zeros((0, 0)), Array2::zeros((height, width))];
                placement.restore(map.view(), &mut out[0]).unwrap();
                placement.restore_logits(map.view(), out[1].view_mut(), None).unwrap();
                out
            };
            let expected = restored(plain);
            let sigmoids = expected[0].mapv(crate::kernels::elementwise::sigmoid);
            assert_eq!(expected[1], sigmoids);
            for kernels in Kernels::available() {
                assert_eq!(
                    restored(Placement { kernels, ..plain }),
                    expected,
                    "{width} x {height} on {}",
                    kernels.isa()
                );
            }
        }
    }

    #[test]
    fn threads_change_no_bit() {
        let map = Array2::from_shape_fn((32, 32), |(y, x)| ((y * 37 + x * 101) % 64) as f32 / 7.0 - 3.0);
        for (width, height) in [(1, 1), (5, 31), (300, 63), (1, 64), (70, 65), (129, 331)] {
            let placement = placement(width, height, None, 32, Fit::Stretch);
            let restored = |crew: Option<&mut Crew>| {
                let mut out = Array2::from_elem((height, width), -1.0);
                placement.restore_logits(map.view(), out.view_mut(), crew).unwrap();
                out
            };
            let expected = restored(None);
            for threads in [1, 2, 3, 7] {
                let mut crew = Crew::new(threads, |_| {}).unwrap();
                assert_eq!(restored(Some(&mut crew)), expected, "{width} x {height} on {threads}");
            }
        }
    }

    #[cfg(feature = "gpu")]
    #[test]
    fn sources_are_those_of_restoring() {
        use super::super::Orientation;
        let map = Array2::from_shape_fn((32, 32), |(y, x)| ((y * 37 + x * 101) % 64) as f32 / 7.0 - 3.0);
        let values = map.as_slice().unwrap();
        let inner = Region { x: 3, y: 5, width: 70, height: 31 };
        for (width, height, region) in [(1, 1, None), (1, 50, None), (7, 9, None), (129, 64, Some(inner))] {
            for (fit, orientation) in
                [Fit::Stretch, LETTERBOX].into_iter().flat_map(|fit| Orientation::ALL.map(|o| (fit, o)))
            {
                let placement = Placement { orientation, ..placement(width, height, region, 32, fit) };
                let mut restored = Array2::zeros((0, 0));
                placement.restore(map.view(), &mut restored).unwrap();
                let mut words = Vec::new();
                placement.write_sources(&mut words);
                let (rows, columns) = words.split_at(3 * restored.nrows());
                let value = |(y, x): (usize, usize)| {
                    let (row, column) = (&rows[3 * y..][..3], &columns[3 * x..][..3]);
                    let at = |row: u32, column: u32| values[row.wrapping_add(column) as usize];
                    let line = |row| mix(at(row, column[0]), at(row, column[1]), f32::from_bits(column[2]));
                    mix(line(row[0]), line(row[1]), f32::from_bits(row[2]))
                };
                assert_eq!(Array2::from_shape_fn(restored.dim(), value), restored, "{orientation:?}, {fit:?}");
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
