//! Converts a frame's bytes to the network's input.
//!
//! Rows are blended first: this runs along memory, byte for byte, whatever the format, and leaves one line of floats to
//! resample along the width. So the only working memory is that line, and grey is resampled once although the network
//! has three channels.

use super::resample::Axis;
use super::{Fit, Frame, FrameError, MAX_SIDE, Normalisation, Orientation, PixelFormat, Placement, Region};
use crate::kernels::Kernels;
use crate::kernels::elementwise::{add_weighted_u8, add_weighted_u16};

/// Resamples and normalises frames into a network's input. Once warm (a frame of the same region size and format has been
/// prepared) it allocates nothing.
#[derive(Debug)]
pub struct Preprocessor {
    input_size: usize,
    normalisation: Normalisation,
    fit: Fit,
    kernels: Kernels,
    columns: Axis,
    rows: Axis,
    /// One output row before it is resampled sideways; interleaved as in the frame.
    line: Vec<f32>,
}

/// The conversion of a raw sample of one channel to the network's number.
#[derive(Clone, Copy)]
struct SampleConversion {
    scale: f32,
    offset: f32,
}

impl Preprocessor {
    /// Creates one for a network whose input is `input_size` pixels a side.
    ///
    /// # Errors
    /// The size is zero or above [`MAX_SIDE`], the mean or padding is not finite, or the std is not above zero.
    pub fn new(input_size: usize, normalisation: Normalisation, fit: Fit) -> Result<Self, FrameError> {
        if input_size == 0 || input_size > MAX_SIDE {
            return Err(FrameError::InputSize { size: input_size });
        }
        let padding = match fit {
            Fit::Stretch => [0.0; 3],
            Fit::Letterbox { padding } => padding,
        };
        let finite = normalisation.mean.iter().chain(&normalisation.std).chain(&padding).all(|v| v.is_finite());
        if !finite || normalisation.std.iter().any(|std| *std <= 0.0) {
            return Err(FrameError::Normalisation);
        }
        // All instruction sets give the same bits here; the engine reports one that is not available.
        let kernels = Kernels::detect().unwrap_or(Kernels::generic());
        let (columns, rows) = Default::default();
        Ok(Self { input_size, normalisation, fit, kernels, columns, rows, line: Vec::new() })
    }

    /// The side S of the network's input, in pixels.
    pub fn input_size(&self) -> usize {
        self.input_size
    }

    /// Writes the frame's region into `out`: 3 x S x S, red plane first, `(value - mean) / std` of values in 0..1. Grey
    /// fills all three planes; 16-bit grey counts 65535 as 1. A frame that is not stored upright is turned upright.
    ///
    /// # Errors
    /// The length of `out` is not 3 x S x S ([`FrameError::Output`]).
    pub fn prepare(&mut self, frame: &Frame<'_>, out: &mut [f32]) -> Result<Placement, FrameError> {
        let size = self.input_size;
        if out.len() != 3 * size * size {
            return Err(FrameError::Output { expected: 3 * size * size, actual: out.len() });
        }
        let placement = Placement::new(frame, size, &self.fit, self.kernels);
        self.pad(placement.fitted(), out);
        self.columns.resize(frame.region().width, placement.fitted().width);
        self.rows.resize(frame.region().height, placement.fitted().height);
        match frame.format() {
            PixelFormat::Gray8 | PixelFormat::Gray16Le => self.resample::<1>(frame, [0; 3], placement.fitted(), out),
            PixelFormat::Rgb8 => self.resample::<3>(frame, [0, 1, 2], placement.fitted(), out),
            PixelFormat::Bgra8 => self.resample::<4>(frame, [2, 1, 0], placement.fitted(), out),
        }
        if frame.orientation() != Orientation::Upright {
            // The input is square, so it is turned in place; and small, whatever the frame's size.
            out.chunks_exact_mut(size * size).for_each(|plane| frame.orientation().apply_to_square(plane, size));
        }
        Ok(placement)
    }

    fn pad(&self, fitted: Region, out: &mut [f32]) {
        let Fit::Letterbox { padding } = self.fit else { return };
        let area = self.input_size * self.input_size;
        if fitted.area() == area {
            return;
        }
        for (channel, plane) in out.chunks_exact_mut(area).enumerate() {
            let SampleConversion { scale, offset } = self.affine(channel, 1.0);
            plane.fill(padding[channel] * scale + offset);
        }
    }

    fn affine(&self, channel: usize, white: f32) -> SampleConversion {
        let Normalisation { mean, std } = self.normalisation;
        SampleConversion { scale: 1.0 / (white * std[channel]), offset: -mean[channel] / std[channel] }
    }

    /// `SAMPLES` are interleaved in a pixel; `order` gives the positions of red, green and blue.
    fn resample<const SAMPLES: usize>(
        &mut self,
        frame: &Frame<'_>,
        order: [usize; 3],
        fitted: Region,
        out: &mut [f32],
    ) {
        let white = if frame.format() == PixelFormat::Gray16Le { 65_535.0 } else { 255.0 };
        let affine = [0, 1, 2].map(|channel| self.affine(channel, white));
        let size = self.input_size;
        let (red, rest) = out.split_at_mut(size * size);
        let (green, blue) = rest.split_at_mut(size * size);
        self.line.resize(frame.region().width * SAMPLES, 0.0);
        for y in 0..fitted.height {
            mix_rows(self.kernels, frame, self.rows.taps(y), &mut self.line);
            let start = (fitted.y + y) * size + fitted.x;
            let span = start..start + fitted.width;
            let planes = red[span.clone()].iter_mut().zip(&mut green[span.clone()]).zip(&mut blue[span]);
            for (x, ((red, green), blue)) in planes.enumerate() {
                let pixel = mix_columns::<SAMPLES>(&self.line, self.columns.taps(x));
                let [r, g, b] = order.map(|sample| pixel[sample]);
                *red = r * affine[0].scale + affine[0].offset;
                *green = g * affine[1].scale + affine[1].offset;
                *blue = b * affine[2].scale + affine[2].offset;
            }
        }
    }
}

fn mix_rows(kernels: Kernels, frame: &Frame<'_>, (first, weights): (usize, &[f32]), line: &mut [f32]) {
    line.fill(0.0);
    for (y, &weight) in (first..).zip(weights) {
        let row = frame.region_row(y);
        match frame.format() {
            PixelFormat::Gray16Le => add_weighted_u16(kernels, weight, row, line),
            PixelFormat::Gray8 | PixelFormat::Rgb8 | PixelFormat::Bgra8 => add_weighted_u8(kernels, weight, row, line),
        }
    }
}

fn mix_columns<const SAMPLES: usize>(line: &[f32], (first, weights): (usize, &[f32])) -> [f32; SAMPLES] {
    let mut sums = [0.0; SAMPLES];
    for (pixel, weight) in line[first * SAMPLES..].chunks_exact(SAMPLES).zip(weights) {
        for (sum, sample) in sums.iter_mut().zip(pixel) {
            *sum += weight * sample;
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORMATS: [PixelFormat; 4] =
        [PixelFormat::Gray8, PixelFormat::Gray16Le, PixelFormat::Rgb8, PixelFormat::Bgra8];
    const LETTERBOX: Fit = Fit::Letterbox { padding: [0.48, 0.46, 0.41] };
    const PLAIN: Normalisation = Normalisation { mean: [0.0; 3], std: [1.0; 3] };

    /// Bytes without a pattern (a linear congruential generator), the same in every run.
    fn noise(length: usize) -> Vec<u8> {
        let mut state = 12_345u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        (0..length).map(|_| next()).collect()
    }

    /// One sample of the region in 0..1.
    fn sample(frame: &Frame<'_>, x: usize, y: usize, channel: usize) -> f64 {
        let row = frame.region_row(y);
        match frame.format() {
            PixelFormat::Gray8 => f64::from(row[x]) / 255.0,
            PixelFormat::Gray16Le => (f64::from(row[2 * x]) + 256.0 * f64::from(row[2 * x + 1])) / 65_535.0,
            PixelFormat::Rgb8 => f64::from(row[3 * x + channel]) / 255.0,
            PixelFormat::Bgra8 => f64::from(row[4 * x + 2 - channel]) / 255.0,
        }
    }

    /// The triangle's height over the centre of every source pixel, normalised; the filter's support is not computed at
    /// all.
    fn naive_weights(position: usize, input: usize, output: usize) -> Vec<f64> {
        let step = input as f64 / output as f64;
        let centre = (position as f64 + 0.5) * step;
        let height = |i: usize| (1.0 - (i as f64 + 0.5 - centre).abs() / step.max(1.0)).max(0.0);
        let weights: Vec<f64> = (0..input).map(height).collect();
        let total: f64 = weights.iter().sum();
        weights.iter().map(|w| w / total).collect()
    }

    fn naive(frame: &Frame<'_>, placement: &Placement, normalisation: Normalisation, fit: Fit) -> Vec<f32> {
        let (size, fitted, region) = (placement.input_size(), placement.fitted(), frame.region());
        let mut out = vec![0.0; 3 * size * size];
        for (index, value) in out.iter_mut().enumerate() {
            let (channel, y, x) = (index / (size * size), index / size % size, index % size);
            let inside =
                (fitted.x..fitted.x + fitted.width).contains(&x) && (fitted.y..fitted.y + fitted.height).contains(&y);
            let linear = if inside {
                let rows = naive_weights(y - fitted.y, region.height, fitted.height);
                let columns = naive_weights(x - fitted.x, region.width, fitted.width);
                let mut sum = 0.0;
                for (v, row) in rows.iter().enumerate().filter(|(_, w)| **w > 0.0) {
                    for (u, column) in columns.iter().enumerate().filter(|(_, w)| **w > 0.0) {
                        sum += row * column * sample(frame, u, v, channel);
                    }
                }
                sum
            } else {
                let Fit::Letterbox { padding } = fit else { panic!("stretching pads nothing") };
                f64::from(padding[channel])
            };
            *value = ((linear - f64::from(normalisation.mean[channel])) / f64::from(normalisation.std[channel])) as f32;
        }
        out
    }

    fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
        a.iter().zip(b).fold(0.0, |largest, (a, b)| largest.max((a - b).abs()))
    }

    #[test]
    fn agrees_with_the_plain_formula_on_awkward_shapes() {
        let size = 16;
        let shapes = [
            (1, 1, 0, None),
            (1, 40, 0, None),
            (40, 1, 3, None),
            (16, 16, 0, None),
            (15, 17, 5, None),
            (33, 31, 1, None),
            (7, 5, 0, None),
            (100, 61, 28, None),
            (64, 48, 2, Some(Region { x: 63, y: 0, width: 1, height: 48 })),
            (64, 48, 2, Some(Region { x: 5, y: 7, width: 37, height: 23 })),
        ];
        for fit in [Fit::Stretch, LETTERBOX] {
            // One preprocessor for all cases, so that its caches meet changing sizes.
            let mut preprocessor = Preprocessor::new(size, Normalisation::CLIP, fit).unwrap();
            for (width, height, gap, region) in shapes {
                for format in FORMATS {
                    let stride = width * format.bytes_per_pixel() + gap;
                    let data = noise(stride * height);
                    let mut frame = Frame::new(&data, format, width, height, stride).unwrap();
                    if let Some(region) = region {
                        frame = frame.with_region(region).unwrap();
                    }
                    let mut out = vec![f32::NAN; 3 * size * size];
                    let placement = preprocessor.prepare(&frame, &mut out).unwrap();
                    let expected = naive(&frame, &placement, Normalisation::CLIP, fit);
                    assert!(out.iter().all(|v| v.is_finite()));
                    let off = largest_difference(&out, &expected);
                    assert!(off < 2e-5, "{width} x {height} + {gap}, {format:?}, {region:?}, {fit:?}: off by {off}");
                }
            }
        }
    }

    #[test]
    fn own_size_is_the_identity() {
        let data = noise(24 * 24);
        let frame = Frame::packed(&data, PixelFormat::Gray8, 24, 24).unwrap();
        let mut out = vec![0.0; 3 * 24 * 24];
        for fit in [Fit::Stretch, LETTERBOX] {
            Preprocessor::new(24, PLAIN, fit).unwrap().prepare(&frame, &mut out).unwrap();
            for (value, byte) in out.iter().zip(data.iter().cycle()) {
                assert_eq!(*value, f32::from(*byte) * (1.0 / 255.0));
            }
        }
    }

    #[test]
    fn constants_stay_constant() {
        for (width, height) in [(3, 3), (500, 333), (31, 700)] {
            let data = vec![200; width * height];
            let frame = Frame::packed(&data, PixelFormat::Gray8, width, height).unwrap();
            let mut out = vec![0.0; 3 * 32 * 32];
            Preprocessor::new(32, PLAIN, Fit::Stretch).unwrap().prepare(&frame, &mut out).unwrap();
            assert!(out.iter().all(|v| (v - 200.0 / 255.0).abs() < 1e-6), "{width} x {height}");
        }
    }

    #[test]
    fn a_step_shrinks_as_pillow_shrinks_it() {
        // Rows of 0 0 255 255 to two columns: weights 3, 3, 1 of 7 give 255 / 7 and 255 * 6 / 7, which Pillow rounds
        // to 36 and 219.
        let data = [0, 0, 255, 255].repeat(2);
        let frame = Frame::packed(&data, PixelFormat::Gray8, 4, 2).unwrap();
        let mut out = [0.0; 12];
        Preprocessor::new(2, PLAIN, Fit::Stretch).unwrap().prepare(&frame, &mut out).unwrap();
        assert_eq!(out.map(|v| (v * 255.0).round()), [36.0, 219.0].repeat(6)[..]);
    }

    #[test]
    fn white_is_one_in_both_depths() {
        let mut out = [0.0; 3];
        for (format, data) in [(PixelFormat::Gray8, &[255][..]), (PixelFormat::Gray16Le, &[255, 255])] {
            let frame = Frame::packed(data, format, 1, 1).unwrap();
            Preprocessor::new(1, PLAIN, Fit::Stretch).unwrap().prepare(&frame, &mut out).unwrap();
            assert_eq!(out, [1.0; 3]);
        }
    }

    /// All eight orientations: the network's input equals that of the upright picture, and its map is restored on the
    /// pixels as they are stored.
    #[test]
    fn a_turned_frame_is_seen_upright_and_answered_as_stored() {
        let upright = ndarray::Array2::from_shape_vec((14, 20), noise(14 * 20)).unwrap();
        let size = 32;
        for fit in [Fit::Stretch, LETTERBOX] {
            let mut preprocessor = Preprocessor::new(size, PLAIN, fit).unwrap();
            let mut expected = vec![0.0; 3 * size * size];
            let frame = Frame::packed(upright.as_slice().unwrap(), PixelFormat::Gray8, 20, 14).unwrap();
            let placement = preprocessor.prepare(&frame, &mut expected).unwrap();
            let map = ndarray::Array2::from_shape_fn((size, size), |(y, x)| (y * 3 + x) as f32);
            let mut restored = ndarray::Array2::zeros((0, 0));
            placement.restore(map.view(), &mut restored).unwrap();
            for orientation in Orientation::ALL {
                let stored = orientation.inverse().apply(upright.view()).as_standard_layout().into_owned();
                let (height, width) = stored.dim();
                let frame = Frame::packed(stored.as_slice().unwrap(), PixelFormat::Gray8, width, height).unwrap();
                let mut seen = vec![0.0; 3 * size * size];
                let placement = preprocessor.prepare(&frame.with_orientation(orientation), &mut seen).unwrap();
                let largest = seen.iter().zip(&expected).fold(0.0f32, |most, (a, b)| most.max((a - b).abs()));
                assert!(largest < 1e-5, "{orientation:?}, {fit:?}: off by {largest}");
                let mut back = ndarray::Array2::zeros((0, 0));
                placement.restore(map.view(), &mut back).unwrap();
                let largest =
                    (&orientation.apply(back.view()) - &restored).iter().fold(0.0f32, |most, d| most.max(d.abs()));
                assert!(back.dim() == (height, width) && largest < 1e-3, "{orientation:?}, {fit:?}: off by {largest}");
            }
        }
    }

    #[test]
    fn a_warm_preprocessor_keeps_its_memory() {
        let data = noise(90 * 70 * 3);
        let frame = Frame::packed(&data, PixelFormat::Rgb8, 90, 70).unwrap();
        let mut preprocessor = Preprocessor::new(32, PLAIN, LETTERBOX).unwrap();
        let mut out = vec![0.0; 3 * 32 * 32];
        preprocessor.prepare(&frame, &mut out).unwrap();
        let first = (preprocessor.line.as_ptr(), preprocessor.rows.taps(0).1.as_ptr());
        let expected = out.clone();
        preprocessor.prepare(&frame, &mut out).unwrap();
        assert_eq!(first, (preprocessor.line.as_ptr(), preprocessor.rows.taps(0).1.as_ptr()));
        assert_eq!(out, expected);
    }

    #[test]
    fn unusable_settings_are_refused() {
        let new = |size, mean, std, padding| {
            let normalisation = Normalisation { mean: [mean; 3], std: [std; 3] };
            Preprocessor::new(size, normalisation, Fit::Letterbox { padding: [padding; 3] }).err()
        };
        assert_eq!(new(32, 0.0, 1.0, 0.0), None);
        assert_eq!(new(0, 0.0, 1.0, 0.0), Some(FrameError::InputSize { size: 0 }));
        assert_eq!(new(MAX_SIDE + 1, 0.0, 1.0, 0.0), Some(FrameError::InputSize { size: MAX_SIDE + 1 }));
        for (mean, std, padding) in [(f32::NAN, 1.0, 0.0), (0.0, 0.0, 0.0), (0.0, -1.0, 0.0), (0.0, 1.0, f32::INFINITY)]
        {
            assert_eq!(new(32, mean, std, padding), Some(FrameError::Normalisation));
        }
        let frame = Frame::packed(&[0], PixelFormat::Gray8, 1, 1).unwrap();
        let error = Preprocessor::new(32, PLAIN, Fit::Stretch).unwrap().prepare(&frame, &mut [0.0; 7]).unwrap_err();
        assert_eq!(error, FrameError::Output { expected: 3072, actual: 7 });
    }
}
