//! How far a result can be trusted, estimated from the network's output and the frame.

use super::{Mask, MaskError, Probability};
use ndarray::ArrayView2;
use serde::{Deserialize, Serialize};

/// Thresholds whose areas are compared: a mask that hardly changes between them has a sharp border.
pub const STABILITY_THRESHOLDS: [f32; 3] = [0.3, 0.5, 0.7];

/// The probability above which a pixel of the confounder map counts as a response.
const RESPONSE: f32 = 0.5;

/// The score below which a result is not reliable. Chosen on BUS-BRA's validation images with the shipped model, where
/// it marks one result in ten and most of those with a Dice below 0.5 (docs/formats.md).
pub const LOW_SCORE: f64 = 0.7;

/// A reason to doubt a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Flag {
    /// The frame has no contrast: nothing can be seen on it.
    BlankFrame,
    /// The frame equals the one before, pixel for pixel: the source is frozen.
    FrozenFrame,
    /// Neighbouring pixels are hardly correlated: not an ultrasound image.
    NoiseFrame,
    /// The frame does not resemble the images that the model was trained on.
    UnfamiliarFrame,
    /// The source itself says that the frame was lost.
    InvalidFrame,
    /// No pixel is above the threshold.
    NothingFound,
    /// The score is below [`LOW_SCORE`].
    LowScore,
    /// The prompt has words that were not in the model's training.
    UnknownWords,
}

/// The quality of one result. Probabilities and shares are 0 to 1.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Quality {
    /// A summary: the mean probability inside the mask times [`Self::stability`]; 0 where nothing was found. It orders
    /// results by how well they agree with a reader; it is not a probability.
    pub score: f64,
    /// The mean probability inside the mask.
    pub mean_probability: Option<f64>,
    /// The smallest probability inside the mask.
    pub min_probability: Option<f64>,
    /// The largest probability in the frame's region, inside the mask or not.
    pub max_probability: f64,
    /// The number of pixels above each of [`STABILITY_THRESHOLDS`].
    pub area_px_at: [usize; 3],
    /// The area at the highest of the thresholds over that at the lowest, which contains it: the intersection of both
    /// masks over their union. 0 where the mask is empty.
    pub stability: f64,
    /// The share of the mask that the confounder map also covers; `None` without a map, or without a mask.
    pub confounder_share: Option<f64>,
    /// The Dice that results with this score had on images that the model was not trained on; `None` where the model
    /// has no such data, and where nothing was found.
    #[serde(default)]
    pub expected_dice: Option<f64>,
    /// Whether the target is in the image at all, by [`Self::max_probability`] and the model's threshold for it; `None`
    /// where the model has no threshold for it.
    #[serde(default)]
    pub present: Option<bool>,
    /// Reasons to doubt the result; empty where there are none.
    pub flags: Vec<Flag>,
}

impl Quality {
    /// Measures a mask, the probabilities that it came from, and the confounder map where there is one, in the memory
    /// of an earlier result, which is lost. Flags are not set here, but by the session, which also knows the frame, the
    /// prompt and the model.
    ///
    /// # Errors
    /// Their sizes differ ([`MaskError::Size`]).
    pub(crate) fn measure(
        &mut self,
        mask: &Mask,
        probability: &Probability,
        confounders: Option<&Probability>,
    ) -> Result<(), MaskError> {
        let (pixels, values) = (mask.pixels(), probability.values());
        let check = |what, other: ArrayView2<'_, f32>| {
            let (actual, frame) = ([other.ncols(), other.nrows()], [pixels.ncols(), pixels.nrows()]);
            if actual == frame { Ok(()) } else { Err(MaskError::Size { what, actual, frame }) }
        };
        check("probability map", values)?;
        if let Some(confounders) = confounders {
            check("confounder map", confounders.values())?;
        }
        let mut seen = Tally::default();
        for (pixels, values) in pixels.rows().into_iter().zip(values.rows()) {
            match (pixels.as_slice(), values.as_slice()) {
                (Some(pixels), Some(values)) => seen.add(pixels, values),
                _ => seen.add(&pixels.to_vec(), &values.to_vec()),
            }
        }
        let claimed = confounders.map(|confounders| {
            pixels.iter().zip(confounders.values()).filter(|(pixel, p)| **pixel != 0 && **p > RESPONSE).count()
        });
        self.set(&seen, claimed);
        Ok(())
    }

    /// The quality of counted pixels, flags left out. `claimed`: how many pixels of the mask the confounder map covers.
    pub(crate) fn set(&mut self, seen: &Tally, claimed: Option<usize>) {
        let Tally { area_px_at, inside, least, most: max_probability, .. } = *seen;
        let [widest, _, narrowest] = area_px_at;
        let stability = if widest > 0 { narrowest as f64 / widest as f64 } else { 0.0 };
        let mean_probability = seen.mean();
        let mut flags = std::mem::take(&mut self.flags);
        flags.clear();
        *self = Self {
            score: mean_probability.unwrap_or(0.0) * stability,
            mean_probability,
            min_probability: (inside > 0).then_some(f64::from(least)),
            max_probability: f64::from(max_probability),
            area_px_at,
            stability,
            confounder_share: claimed.filter(|_| inside > 0).map(|claimed| claimed as f64 / inside as f64),
            expected_dice: None,
            present: None,
            flags,
        };
    }
}

/// Sums over a map.
#[derive(Clone, Debug)]
pub(crate) struct Tally {
    /// The number of pixels above each of [`STABILITY_THRESHOLDS`], and in the mask.
    pub area_px_at: [usize; 3],
    pub inside: usize,
    /// The sum of the probabilities inside the mask, and the smallest of them.
    pub sum: f64,
    pub least: f32,
    /// The largest of all probabilities.
    pub most: f32,
}

impl Default for Tally {
    fn default() -> Self {
        Self { area_px_at: [0; 3], inside: 0, sum: 0.0, least: f32::INFINITY, most: 0.0 }
    }
}

impl Tally {
    /// The mean probability inside the mask; `None` where it is empty.
    pub(crate) fn mean(&self) -> Option<f64> {
        (self.inside > 0).then(|| self.sum / self.inside as f64)
    }

    /// Adds one row. Lanes are independent of each other, which makes this fast: a live stream does it with every
    /// frame.
    fn add(&mut self, pixels: &[u8], values: &[f32]) {
        const LANES: usize = 16;
        let (mut areas, mut inside) = ([[0u32; LANES]; 3], [0u32; LANES]);
        let (mut sums, mut least, mut most) = ([0.0f32; LANES], [self.least; LANES], [self.most; LANES]);
        for (pixels, values) in pixels.chunks(LANES).zip(values.chunks(LANES)) {
            for (lane, (pixel, p)) in pixels.iter().zip(values).enumerate() {
                for (area, threshold) in areas.iter_mut().zip(STABILITY_THRESHOLDS) {
                    area[lane] += u32::from(*p > threshold);
                }
                let is_inside = *pixel != 0;
                inside[lane] += u32::from(is_inside);
                sums[lane] += if is_inside { *p } else { 0.0 };
                let candidate = if is_inside { *p } else { f32::INFINITY };
                least[lane] = if candidate < least[lane] { candidate } else { least[lane] };
                most[lane] = if *p > most[lane] { *p } else { most[lane] };
            }
        }
        for (area, lanes) in self.area_px_at.iter_mut().zip(areas) {
            *area += lanes.iter().sum::<u32>() as usize;
        }
        self.inside += inside.iter().sum::<u32>() as usize;
        self.sum += sums.iter().map(|sum| f64::from(*sum)).sum::<f64>();
        self.least = least.into_iter().fold(self.least, f32::min);
        self.most = most.into_iter().fold(self.most, f32::max);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Fit, Frame, Normalisation, PixelFormat, Preprocessor};
    use ndarray::Array2;

    /// The probabilities of given logits, 4 x 4.
    fn probability(logits: [f32; 16]) -> Probability {
        let data = [0; 16];
        let frame = Frame::packed(&data, PixelFormat::Gray8, 4, 4).unwrap();
        let mut preprocessor = Preprocessor::new(4, Normalisation::CLIP, Fit::Stretch).unwrap();
        let placement = preprocessor.prepare(&frame, &mut [0.0; 48]).unwrap();
        let logits = Array2::from_shape_vec((4, 4), logits.to_vec()).unwrap();
        Probability::from_logits(logits.view(), &placement).unwrap()
    }

    fn of(mask: &Mask, probability: &Probability, confounders: Option<&Probability>) -> Result<Quality, MaskError> {
        let mut quality = Quality::default();
        quality.measure(mask, probability, confounders)?;
        Ok(quality)
    }

    #[test]
    fn a_sharp_mask_is_worth_more_than_a_vague_one() {
        let row = |a: f32| [a, a, -9.0, -9.0];
        let sharp = probability([row(9.0), row(9.0), row(9.0), row(9.0)].concat().try_into().unwrap());
        // sigmoid(0.5) = 0.62: inside at 0.5, outside at 0.7.
        let vague = probability([row(9.0), row(0.5), row(0.5), row(-0.5)].concat().try_into().unwrap());
        let of = |p: &Probability| of(&p.mask(0.5).unwrap(), p, None).unwrap();
        let (sharp, vague) = (of(&sharp), of(&vague));
        assert_eq!((sharp.area_px_at, sharp.stability), ([8; 3], 1.0));
        assert!(sharp.score > 0.999, "{sharp:?}");
        assert_eq!((vague.area_px_at, vague.stability), ([8, 6, 2], 0.25));
        let mean = (2.0 * 0.999_876_6 + 4.0 * 0.622_459_3) / 6.0;
        assert!((vague.mean_probability.unwrap() - mean).abs() < 1e-5 && (vague.score - mean / 4.0).abs() < 1e-5);
        assert!((vague.min_probability.unwrap() - 0.622_459_3).abs() < 1e-5);
    }

    #[test]
    fn nothing_has_no_mean() {
        let p = probability([-3.0; 16]);
        let found = of(&p.mask(0.5).unwrap(), &p, Some(&p)).unwrap();
        assert_eq!((found.score, found.mean_probability, found.confounder_share), (0.0, None, None));
        assert!(found.max_probability > 0.0);
    }

    #[test]
    fn confounders_claim_a_share() {
        let p = probability([3.0; 16]);
        let mut half = [-3.0; 16];
        half[..8].fill(3.0);
        let found = of(&p.mask(0.5).unwrap(), &p, Some(&probability(half))).unwrap();
        assert_eq!(found.confounder_share, Some(0.5));
        let other = Probability::default();
        assert!(matches!(
            of(&p.mask(0.5).unwrap(), &p, Some(&other)),
            Err(MaskError::Size { what: "confounder map", .. })
        ));
    }
}
