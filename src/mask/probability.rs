//! Probabilities and masks at the frame's own size.

use super::{Components, Contour, MaskError};
use crate::frame::{Placement, Region};
use crate::kernels::Crew;
use causalclipseg_bundle::is_threshold;
use ndarray::{Array2, ArrayView2, s};

/// The one check of a threshold, for options, commands and the C interface: above 0 and below 1. At either limit, all
/// pixels would be lesion, or none.
///
/// # Errors
/// The threshold is outside this range, or NaN ([`MaskError::Threshold`]).
pub fn check_threshold(threshold: f32) -> Result<f32, MaskError> {
    if is_threshold(threshold) { Ok(threshold) } else { Err(MaskError::Threshold(threshold)) }
}

/// The probability of lesion at every pixel of a frame, 0 to 1; 0 outside the frame's region of interest.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Probability {
    values: Array2<f32>,
    region: Region,
}

impl Probability {
    /// Converts a network's logits (S x S) to probabilities at the frame's own size. Errors as [`Probability::update`].
    #[doc(hidden)]
    pub fn from_logits(logits: ArrayView2<'_, f32>, placement: &Placement) -> Result<Self, MaskError> {
        let mut probability = Self::default();
        probability.update(logits, placement)?;
        Ok(probability)
    }

    /// As [`Probability::from_logits`], in the memory of an earlier frame; it allocates only where the frame's size is
    /// new.
    ///
    /// The logits are interpolated before the sigmoid: the network is linear in its logits, and the contour at 0.5 then
    /// is the interpolated zero crossing, independent of how confident the network is on either side.
    ///
    /// # Errors
    /// The logits have another shape than the placement's input, or are not finite. The earlier content is then lost.
    #[doc(hidden)]
    pub fn update(&mut self, logits: ArrayView2<'_, f32>, placement: &Placement) -> Result<(), MaskError> {
        self.update_on(None, logits, placement)
    }

    /// [`Probability::update`] on the threads of a crew.
    pub(crate) fn update_on(
        &mut self,
        crew: Option<&mut Crew>,
        logits: ArrayView2<'_, f32>,
        placement: &Placement,
    ) -> Result<(), MaskError> {
        if !logits.iter().all(|logit| logit.is_finite()) {
            return Err(MaskError::NotFinite);
        }
        let [width, height] = placement.frame_size();
        let region = placement.region();
        if self.values.dim() != (height, width) {
            self.values = Array2::zeros((height, width));
        } else if self.region != region {
            self.values.fill(0.0);
        }
        self.region = region;
        let Region { x, y, width, height } = region;
        let inside = self.values.slice_mut(s![y..y + height, x..x + width]);
        placement.restore_logits(logits, inside, crew)?;
        Ok(())
    }

    /// Exponential smoothing over frames: the map becomes `share` of `memory`, the smoothed map of the frames before,
    /// plus the rest of itself; `memory` becomes the same. A memory with another size or region is discarded.
    #[doc(hidden)]
    pub fn smooth(&mut self, memory: &mut Self, share: f32) {
        if memory.values.dim() != self.values.dim() {
            memory.values = self.values.clone();
        } else if memory.region != self.region {
            memory.values.assign(&self.values);
        } else {
            self.values.zip_mut_with(&memory.values, |value, before| *value += share * (before - *value));
            memory.values.assign(&self.values);
        }
        memory.region = self.region;
    }

    /// The probabilities, height x width of the frame.
    pub fn values(&self) -> ArrayView2<'_, f32> {
        self.values.view()
    }

    /// The part of the frame that the network saw.
    pub fn region(&self) -> Region {
        self.region
    }

    /// The pixels whose probability is above `threshold`. Errors as [`Mask::update`].
    pub fn mask(&self, threshold: f32) -> Result<Mask, MaskError> {
        let mut mask = Mask::default();
        mask.update(self, threshold)?;
        Ok(mask)
    }
}

/// Lesion or not at every pixel of a frame: 255 or 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mask {
    pixels: Array2<u8>,
    region: Region,
}

impl Mask {
    /// A mask from elsewhere, height x width: anything but zero is lesion.
    pub fn from_pixels(pixels: Array2<u8>) -> Self {
        let region = Region::whole(pixels.ncols(), pixels.nrows());
        Self { pixels: pixels.mapv_into(|pixel| if pixel == 0 { 0 } else { 255 }), region }
    }

    /// Marks the pixels whose probability is above `threshold`, in the memory of an earlier mask.
    ///
    /// # Errors
    /// As [`check_threshold`].
    pub fn update(&mut self, probability: &Probability, threshold: f32) -> Result<(), MaskError> {
        check_threshold(threshold)?;
        if self.pixels.dim() != probability.values.dim() {
            self.pixels = Array2::zeros(probability.values.dim());
        }
        self.region = probability.region;
        self.pixels.zip_mut_with(&probability.values, |pixel, p| *pixel = if *p > threshold { 255 } else { 0 });
        Ok(())
    }

    /// Replaces the mask by one in bits, in the memory of an earlier mask: one for each pixel of the placement's region, the
    /// lowest of a word first; each row begins with a new word.
    pub(crate) fn take_bits(&mut self, bits: &[u32], placement: &Placement) {
        let ([width, height], region) = (placement.frame_size(), placement.region());
        if self.pixels.dim() != (height, width) {
            self.pixels = Array2::zeros((height, width));
        } else if self.region != region {
            self.pixels.fill(0);
        }
        self.region = region;
        let Region { x, y, width, height } = region;
        let mut inside = self.pixels.slice_mut(s![y..y + height, x..x + width]);
        for (mut row, words) in inside.rows_mut().into_iter().zip(bits.chunks_exact(width.div_ceil(32))) {
            if let Some(row) = row.as_slice_mut() {
                for (pixels, word) in row.chunks_mut(32).zip(words) {
                    for (index, pixel) in pixels.iter_mut().enumerate() {
                        *pixel = if word >> index & 1 == 1 { 255 } else { 0 };
                    }
                }
            }
        }
    }

    /// The pixels, height x width of the frame, 255 or 0.
    pub fn pixels(&self) -> ArrayView2<'_, u8> {
        self.pixels.view()
    }

    /// The part of the frame that the network saw; outside it the mask is 0.
    pub fn region(&self) -> Region {
        self.region
    }

    /// The connected parts.
    pub fn components(&self) -> Components {
        Components::of(self.pixels.view())
    }

    /// The boundaries, outer and inner.
    pub fn contours(&self) -> Vec<Contour> {
        Contour::of(self.pixels.view())
    }

    /// Clears connected parts of fewer than `least_area_px` pixels: specks that are too small to be a lesion.
    pub fn drop_smaller_than(&mut self, least_area_px: usize) {
        let components = self.components();
        self.keep(&components, |label| components.area_px(label) >= least_area_px);
    }

    /// Clears all but the largest connected part, the first in reading order among equals.
    pub fn keep_largest(&mut self) {
        let components = self.components();
        let largest = components.largest();
        self.keep(&components, |label| Some(label) == largest);
    }

    fn keep(&mut self, components: &Components, wanted: impl Fn(u32) -> bool) {
        self.pixels.zip_mut_with(&components.labels(), |pixel, &label| {
            if label == 0 || !wanted(label) {
                *pixel = 0;
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Fit, Frame, Normalisation, PixelFormat, Preprocessor};
    use crate::kernels::elementwise::sigmoid;
    use ndarray::array;

    fn placement(width: usize, height: usize, region: Option<Region>, size: usize) -> Placement {
        let data = vec![0; width * height];
        let mut frame = Frame::packed(&data, PixelFormat::Gray8, width, height).unwrap();
        if let Some(region) = region {
            frame = frame.with_region(region).unwrap();
        }
        let mut preprocessor = Preprocessor::new(size, Normalisation::CLIP, Fit::Stretch).unwrap();
        preprocessor.prepare(&frame, &mut vec![0.0; 3 * size * size]).unwrap()
    }

    #[test]
    fn sigmoid_is_the_sigmoid() {
        let mut last = 0.0;
        for step in -4_000..=4_000 {
            let logit = step as f32 / 40.0;
            let p = sigmoid(logit);
            assert!((f64::from(p) - 1.0 / (1.0 + (-f64::from(logit)).exp())).abs() < 1e-6, "{logit}: {p}");
            assert!(p >= last && p <= 1.0, "{logit}: {p} after {last}");
            last = p;
        }
        assert_eq!((sigmoid(0.0), sigmoid(f32::MAX)), (0.5, 1.0));
        assert!(sigmoid(f32::MIN) < 1e-30);
    }

    #[test]
    fn logits_are_interpolated_before_the_sigmoid() {
        let logits = array![[-2.0, 6.0], [-2.0, 6.0]];
        let probability = Probability::from_logits(logits.view(), &placement(4, 1, None, 2)).unwrap();
        let expected = [-2.0f32, 0.0, 4.0, 6.0].map(|logit| 1.0 / (1.0 + (-logit).exp()));
        for (p, e) in probability.values().iter().zip(expected) {
            assert!((p - e).abs() < 1e-6);
        }
        // Above, not at: the second pixel is exactly 0.5.
        assert_eq!(probability.mask(0.5).unwrap().pixels(), array![[0, 0, 255, 255]]);
    }

    #[test]
    fn outside_the_region_is_no_lesion_even_after_another_region() {
        let logits = array![[9.0]];
        let region = |x| Some(Region { x, y: 0, width: 1, height: 2 });
        let mut probability = Probability::from_logits(logits.view(), &placement(3, 2, region(0), 1)).unwrap();
        probability.update(logits.view(), &placement(3, 2, region(2), 1)).unwrap();
        assert_eq!(probability.mask(0.1).unwrap().pixels(), array![[0, 0, 255], [0, 0, 255]]);
        assert_eq!(probability.region(), region(2).unwrap());
    }

    #[test]
    fn smoothing_follows_slowly_and_starts_anew() {
        let of = |p: f32, region| Probability { values: array![[p, 0.5]], region };
        let whole = Region::whole(2, 1);
        let mut memory = Probability::default();
        let mut smooth = |p, region| {
            let mut map = of(p, region);
            map.smooth(&mut memory, 0.75);
            map.values[[0, 0]]
        };
        assert_eq!(smooth(0.0, whole), 0.0);
        assert_eq!([smooth(1.0, whole), smooth(1.0, whole)], [0.25, 0.4375]);
        assert_eq!(smooth(1.0, Region::whole(1, 1)), 1.0);
    }

    #[test]
    fn damaged_logits_and_thresholds_are_refused() {
        let placement = placement(2, 2, None, 1);
        for logit in [f32::NAN, f32::INFINITY] {
            let error = Probability::from_logits(array![[logit]].view(), &placement).unwrap_err();
            assert_eq!(error, MaskError::NotFinite);
        }
        assert!(matches!(
            Probability::from_logits(array![[0.0, 0.0]].view(), &placement),
            Err(MaskError::Frame(crate::frame::FrameError::Map { .. }))
        ));
        let probability = Probability::from_logits(array![[0.0]].view(), &placement).unwrap();
        for threshold in [-0.1, 0.0, 1.0, 1.1, f32::NAN] {
            assert!(matches!(probability.mask(threshold), Err(MaskError::Threshold(_))));
        }
    }

    #[test]
    fn bits_become_pixels_of_the_region() {
        let region = |x, width| Some(Region { x, y: 1, width, height: 2 });
        let mut mask = Mask::default();
        mask.take_bits(&[!0, 5, 0, !0], &placement(40, 4, region(2, 35), 1));
        let row = |y: usize| mask.pixels().row(y).iter().map(|pixel| u32::from(*pixel)).collect::<Vec<_>>();
        let expected =
            |lesion: &[usize]| (0..40).map(|x| if lesion.contains(&x) { 255 } else { 0 }).collect::<Vec<_>>();
        assert_eq!(row(1), expected(&[(2..34).collect(), vec![34, 36]].concat()));
        // Bits beyond the region's width are not pixels.
        assert_eq!(row(2), expected(&[34, 35, 36]));
        assert_eq!((row(0), row(3)), (expected(&[]), expected(&[])));
        mask.take_bits(&[1, 2], &placement(40, 4, region(38, 2), 1));
        let set: Vec<_> = mask.pixels().indexed_iter().filter(|(_, pixel)| **pixel > 0).map(|(at, _)| at).collect();
        assert_eq!(set, [(1, 38), (2, 39)]);
    }

    #[test]
    fn small_parts_can_be_dropped() {
        let pixels = array![[1, 1, 0, 0, 1], [1, 0, 0, 0, 0], [0, 0, 0, 1, 1]];
        let mut mask = Mask::from_pixels(pixels.clone());
        mask.drop_smaller_than(2);
        assert_eq!(mask.pixels(), array![[255, 255, 0, 0, 0], [255, 0, 0, 0, 0], [0, 0, 0, 255, 255]]);
        mask.keep_largest();
        assert_eq!(mask.pixels(), array![[255, 255, 0, 0, 0], [255, 0, 0, 0, 0], [0, 0, 0, 0, 0]]);
        let mut empty = Mask::from_pixels(Array2::zeros((2, 2)));
        empty.keep_largest();
        assert_eq!(empty.pixels(), Array2::<u8>::zeros((2, 2)));
    }
}
