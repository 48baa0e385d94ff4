//! How far a result can be trusted, from what the network and the frame themselves say.

use super::{Mask, MaskError, Probability};
use crate::frame::{Frame, PixelFormat, Region};
use ndarray::ArrayView2;
use serde::{Deserialize, Serialize};

/// Thresholds whose areas are compared: a mask that hardly changes between them has a sharp border.
pub const STABILITY_THRESHOLDS: [f32; 3] = [0.3, 0.5, 0.7];

/// A probability above this counts as response of the confounder map.
const RESPONSE: f32 = 0.5;

/// Below this standard deviation of brightness, of 255, a frame shows nothing: a lost signal, a frozen black screen.
/// Ultrasound images have 20 to 60.
const BLANK_DEVIATION: f64 = 4.0;

/// Below this correlation of neighbouring pixels a frame is noise: ultrasound's speckle spreads over several pixels and
/// gives 0.8 to 0.99, white noise 0.
const NOISE_CORRELATION: f64 = 0.6;

/// Below this score a result is not to be relied on. Chosen on BUS-BRA's validation images with the shipped model, where it
/// marks one result in ten and most of those with a Dice below 0.5 (docs/formats.md).
pub const LOW_SCORE: f64 = 0.7;

/// What makes a result doubtful.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Flag {
    /// The frame has no contrast: nothing can be seen on it.
    BlankFrame,
    /// The frame is the last one, pixel for pixel: the source stands still.
    FrozenFrame,
    /// Neighbouring pixels have little to do with each other: not an ultrasound image.
    NoiseFrame,
    /// The frame looks like none of the images that the model was trained on.
    UnfamiliarFrame,
    /// The source itself says that the frame was lost.
    InvalidFrame,
    /// No pixel is above the threshold.
    NothingFound,
    /// The score is below [`LOW_SCORE`].
    LowScore,
    /// The prompt has words that the model's training never showed it.
    UnknownWords,
}

/// The quality of one result. Probabilities and shares are 0 to 1.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Quality {
    /// One number for all: the mean probability inside the mask times [`Self::stability`]; 0 where nothing was found. It
    /// orders results by how well they agree with a reader; it is no probability.
    pub score: f64,
    /// Inside the mask.
    pub mean_probability: Option<f64>,
    /// Inside the mask.
    pub min_probability: Option<f64>,
    /// Of the frame's region, wherever it is.
    pub max_probability: f64,
    /// Pixels above each of [`STABILITY_THRESHOLDS`].
    pub area_px_at: [usize; 3],
    /// The area at the highest of the thresholds over that at the lowest, which holds it: the intersection of both masks
    /// over their union. 0 where there is none.
    pub stability: f64,
    /// Of the mask, how much the confounder map also claims; `None` without a map, or without a mask.
    pub confounder_share: Option<f64>,
    pub flags: Vec<Flag>,
}

impl Quality {
    /// Of a mask, the probabilities it came from, and the confounder map where there is one.
    ///
    /// # Errors
    /// [`MaskError::Size`] where they differ in size.
    pub fn of(mask: &Mask, probability: &Probability, confounders: Option<&Probability>) -> Result<Self, MaskError> {
        let mut quality = Self::default();
        quality.update(mask, probability, confounders)?;
        Ok(quality)
    }

    /// [`Quality::of`] in the memory of an earlier one. Errors as there; what was there is lost then.
    pub fn update(
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
        let Tally { area_px_at, inside, sum, least, most: max_probability } = seen;
        let claimed = confounders.map(|confounders| {
            pixels.iter().zip(confounders.values()).filter(|(pixel, p)| **pixel != 0 && **p > RESPONSE).count()
        });
        let [widest, _, narrowest] = area_px_at;
        let stability = if widest > 0 { narrowest as f64 / widest as f64 } else { 0.0 };
        let share = |part: f64| (inside > 0).then(|| part / inside as f64);
        let mean_probability = share(sum);
        let mut flags = std::mem::take(&mut self.flags);
        flags.clear();
        *self = Self {
            score: mean_probability.unwrap_or(0.0) * stability,
            mean_probability,
            min_probability: (inside > 0).then_some(f64::from(least)),
            max_probability: f64::from(max_probability),
            area_px_at,
            stability,
            confounder_share: claimed.and_then(|claimed| share(claimed as f64)),
            flags,
        };
        if inside == 0 {
            self.flags.push(Flag::NothingFound);
        } else if self.score < LOW_SCORE {
            self.flags.push(Flag::LowScore);
        }
        Ok(())
    }
}

/// What is counted over a map.
struct Tally {
    area_px_at: [usize; 3],
    inside: usize,
    /// Of the probabilities inside, and the least of them.
    sum: f64,
    least: f32,
    /// Of all probabilities.
    most: f32,
}

impl Default for Tally {
    fn default() -> Self {
        Self { area_px_at: [0; 3], inside: 0, sum: 0.0, least: f32::INFINITY, most: 0.0 }
    }
}

impl Tally {
    /// Adds one row. Lanes are independent of each other, which is what makes this fast: a live stream does it with every
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

/// Looks at the frames themselves, one after the other; it remembers a digest of the last one.
#[derive(Clone, Debug, Default)]
pub struct FrameWatch {
    last: Option<u64>,
}

impl FrameWatch {
    /// What is wrong with the frame's region of interest, whatever is found on it.
    pub fn flags(&mut self, frame: &Frame<'_>) -> impl Iterator<Item = Flag> + Clone + use<> {
        let seen = Appearance::of(frame);
        let frozen = self.last.replace(seen.digest) == Some(seen.digest);
        let content = if seen.deviation < BLANK_DEVIATION {
            Some(Flag::BlankFrame)
        } else {
            (seen.correlation < NOISE_CORRELATION).then_some(Flag::NoiseFrame)
        };
        content.into_iter().chain(frozen.then_some(Flag::FrozenFrame))
    }
}

/// What a region of a frame looks like, in numbers.
struct Appearance {
    /// Of brightness, 0 to 255.
    deviation: f64,
    /// Of brightness between neighbours in a row, -1 to 1; 1 where there is no contrast.
    correlation: f64,
    /// Equal for equal pixels, and by chance only for others.
    digest: u64,
}

/// Of a frame's rows, one in so many is looked at for contrast; for the digest all are.
const ROW_STEP: usize = 4;

impl Appearance {
    fn of(frame: &Frame<'_>) -> Self {
        let Region { x, y, width, height } = frame.region();
        let (mut sums, mut digest) = (Sums::default(), Fnv::default());
        for row in 0..height {
            let bytes = frame.region_row(row);
            digest.add(bytes);
            if !row.is_multiple_of(ROW_STEP) {
                continue;
            }
            match frame.format() {
                PixelFormat::Gray8 => sums.add(bytes.iter().map(|grey| u64::from(*grey))),
                _ => sums.add((x..x + width).map(|x| {
                    let [red, green, blue] = frame.rgb(x, y + row).map(u64::from);
                    // Rec. 601's weights, in 256ths.
                    (77 * red + 150 * green + 29 * blue) >> 8
                })),
            }
        }
        let Sums { count, sum, squares, pairs, products, left, right } = sums;
        let count = count.max(1) as f64;
        let mean = sum as f64 / count;
        let variance = (squares as f64 / count - mean * mean).max(0.0);
        let of_pairs = pairs.max(1) as f64;
        let covariance = products as f64 / of_pairs - left as f64 / of_pairs * (right as f64 / of_pairs);
        let correlation = if pairs > 0 && variance > 0.0 { covariance / variance } else { 1.0 };
        Self { deviation: variance.sqrt(), correlation, digest: digest.0 }
    }
}

/// Over grey values and over pairs of neighbours in a row.
#[derive(Default)]
struct Sums {
    count: u64,
    sum: u64,
    squares: u64,
    pairs: u64,
    products: u64,
    left: u64,
    right: u64,
}

impl Sums {
    fn add(&mut self, row: impl Iterator<Item = u64>) {
        let mut last = None;
        for grey in row {
            self.count += 1;
            self.sum += grey;
            self.squares += grey * grey;
            if let Some(last) = last.replace(grey) {
                self.products += last * grey;
                (self.left, self.right) = (self.left + last, self.right + grey);
                self.pairs += 1;
            }
        }
    }
}

/// Fowler, Noll and Vo's hash, variant 1a, 64 bit, taken eight bytes at a time: fast, and no secret to keep.
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv {
    fn add(&mut self, row: &[u8]) {
        let (words, rest) = row.as_chunks::<8>();
        for word in words {
            self.mix(u64::from_le_bytes(*word));
        }
        rest.iter().for_each(|byte| self.mix(u64::from(*byte)));
    }

    fn mix(&mut self, value: u64) {
        // Only low bits reach high ones in a product; the rotation brings them back.
        self.0 = (self.0 ^ value).wrapping_mul(0x0100_0000_01b3).rotate_left(29);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Fit, Normalisation, Preprocessor};
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

    #[test]
    fn a_sharp_mask_is_worth_more_than_a_vague_one() {
        let row = |a: f32| [a, a, -9.0, -9.0];
        let sharp = probability([row(9.0), row(9.0), row(9.0), row(9.0)].concat().try_into().unwrap());
        // sigmoid(0.5) = 0.62: inside at 0.5, outside at 0.7.
        let vague = probability([row(9.0), row(0.5), row(0.5), row(-0.5)].concat().try_into().unwrap());
        let of = |p: &Probability| Quality::of(&p.mask(0.5).unwrap(), p, None).unwrap();
        let (sharp, vague) = (of(&sharp), of(&vague));
        assert_eq!((sharp.area_px_at, sharp.stability), ([8; 3], 1.0));
        assert!(sharp.score > 0.999 && sharp.flags.is_empty(), "{sharp:?}");
        assert_eq!((vague.area_px_at, vague.stability), ([8, 6, 2], 0.25));
        let mean = (2.0 * 0.999_876_6 + 4.0 * 0.622_459_3) / 6.0;
        assert!((vague.mean_probability.unwrap() - mean).abs() < 1e-5 && (vague.score - mean / 4.0).abs() < 1e-5);
        assert!((vague.min_probability.unwrap() - 0.622_459_3).abs() < 1e-5);
        assert_eq!(vague.flags, [Flag::LowScore]);
    }

    #[test]
    fn nothing_is_flagged() {
        let p = probability([-3.0; 16]);
        let found = Quality::of(&p.mask(0.5).unwrap(), &p, Some(&p)).unwrap();
        assert_eq!((found.score, found.mean_probability, found.confounder_share), (0.0, None, None));
        assert_eq!(found.flags, [Flag::NothingFound]);
        assert!(found.max_probability > 0.0);
    }

    #[test]
    fn confounders_claim_a_share() {
        let p = probability([3.0; 16]);
        let mut half = [-3.0; 16];
        half[..8].fill(3.0);
        let found = Quality::of(&p.mask(0.5).unwrap(), &p, Some(&probability(half))).unwrap();
        assert_eq!(found.confounder_share, Some(0.5));
        let other = Probability::default();
        assert!(matches!(
            Quality::of(&p.mask(0.5).unwrap(), &p, Some(&other)),
            Err(MaskError::Size { what: "confounder map", .. })
        ));
    }

    #[test]
    fn frames_that_show_nothing_or_stand_still() {
        let mut watch = FrameWatch::default();
        let mut state = 1u32;
        let mut noise = |_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        let noise: Vec<u8> = (0..4096).map(&mut noise).collect();
        let smooth: Vec<u8> = (0..4096usize).map(|at| (128.0 + 90.0 * ((at % 64) as f32 / 9.0).sin()) as u8).collect();
        let mut flags =
            |data: &[u8]| watch.flags(&Frame::packed(data, PixelFormat::Gray8, 64, 64).unwrap()).collect::<Vec<_>>();
        assert_eq!(flags(&[7; 4096]), [Flag::BlankFrame]);
        assert_eq!(flags(&[7; 4096]), [Flag::BlankFrame, Flag::FrozenFrame]);
        assert_eq!(flags(&noise), [Flag::NoiseFrame]);
        assert_eq!(flags(&smooth), []);
        assert_eq!(flags(&smooth), [Flag::FrozenFrame]);
        let mut moved = smooth.clone();
        moved[4095] ^= 1;
        assert_eq!(flags(&moved), []);
    }

    #[test]
    fn only_the_region_is_looked_at() {
        let mut data: Vec<u8> = (0..64).map(|at| if at % 8 < 4 { 0 } else { 200 }).collect();
        let flags = |data: &[u8], watch: &mut FrameWatch| {
            let frame = Frame::packed(data, PixelFormat::Gray8, 8, 8).unwrap();
            watch.flags(&frame.with_region(Region { x: 0, y: 0, width: 4, height: 8 }).unwrap()).collect::<Vec<_>>()
        };
        let mut watch = FrameWatch::default();
        assert_eq!(flags(&data, &mut watch), [Flag::BlankFrame]);
        // A clock beside the scan ticks on.
        data[7] = 0;
        assert_eq!(flags(&data, &mut watch), [Flag::BlankFrame, Flag::FrozenFrame]);
    }
}
