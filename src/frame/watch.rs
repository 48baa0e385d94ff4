//! Checks frames themselves, whatever is found on them: no contrast, noise, frozen.

use super::{Frame, PixelFormat, Region};

/// The standard deviation of brightness, of 255, below which a frame shows nothing: a lost signal, a frozen black
/// screen. Ultrasound images have 20 to 60.
const BLANK_DEVIATION: f64 = 4.0;

/// The correlation of neighbouring pixels below which a frame is noise: ultrasound's speckle spreads over several
/// pixels and gives 0.8 to 0.99, white noise 0.
const NOISE_CORRELATION: f64 = 0.6;

/// Defects of a frame's region of interest, whatever is found on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct FrameCondition {
    /// No contrast: nothing can be seen.
    pub blank: bool,
    /// Neighbouring pixels are hardly correlated.
    pub noise: bool,
    /// The frame equals the one before, pixel for pixel.
    pub frozen: bool,
}

/// Checks frames one after the other; it keeps a digest of the last one.
#[derive(Clone, Debug, Default)]
pub(crate) struct FrameWatch {
    last: Option<u64>,
}

impl FrameWatch {
    /// Checks the next frame.
    pub(crate) fn look(&mut self, frame: &Frame<'_>) -> FrameCondition {
        let seen = Content::of(frame);
        let frozen = self.last.replace(seen.digest) == Some(seen.digest);
        let blank = seen.deviation < BLANK_DEVIATION;
        FrameCondition { blank, noise: !blank && seen.correlation < NOISE_CORRELATION, frozen }
    }
}

/// The content of a frame's region in numbers.
struct Content {
    /// The standard deviation of brightness, 0 to 255.
    deviation: f64,
    /// The correlation of brightness between neighbours in a row, -1 to 1; 1 where there is no contrast.
    correlation: f64,
    /// Equal for equal pixels; for others equal only by chance.
    digest: u64,
}

/// The contrast is computed from one in so many rows of a frame, the digest from all.
const ROW_STEP: usize = 4;

impl Content {
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

/// Sums over grey values and over pairs of neighbours in a row.
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

/// Fowler, Noll and Vo's hash, variant 1a, 64 bit, over eight bytes at a time: fast, and not meant to be secure.
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
        // In a product only low bits affect high ones; the rotation moves them back.
        self.0 = (self.0 ^ value).wrapping_mul(0x0100_0000_01b3).rotate_left(29);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: FrameCondition = FrameCondition { blank: false, noise: false, frozen: false };
    const BLANK: FrameCondition = FrameCondition { blank: true, ..GOOD };

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
        let mut look = |data: &[u8]| watch.look(&Frame::packed(data, PixelFormat::Gray8, 64, 64).unwrap());
        assert_eq!(look(&[7; 4096]), BLANK);
        assert_eq!(look(&[7; 4096]), FrameCondition { frozen: true, ..BLANK });
        assert_eq!(look(&noise), FrameCondition { noise: true, ..GOOD });
        assert_eq!(look(&smooth), GOOD);
        assert_eq!(look(&smooth), FrameCondition { frozen: true, ..GOOD });
        let mut moved = smooth.clone();
        moved[4095] ^= 1;
        assert_eq!(look(&moved), GOOD);
    }

    #[test]
    fn only_the_region_is_looked_at() {
        let mut data: Vec<u8> = (0..64).map(|at| if at % 8 < 4 { 0 } else { 200 }).collect();
        let look = |data: &[u8], watch: &mut FrameWatch| {
            let frame = Frame::packed(data, PixelFormat::Gray8, 8, 8).unwrap();
            watch.look(&frame.with_region(Region { x: 0, y: 0, width: 4, height: 8 }).unwrap())
        };
        let mut watch = FrameWatch::default();
        assert_eq!(look(&data, &mut watch), BLANK);
        // A clock beside the scan keeps running.
        data[7] = 0;
        assert_eq!(look(&data, &mut watch), FrameCondition { frozen: true, ..BLANK });
    }
}
