//! Black and white levels where samples have more than eight bits.
//!
//! Cameras and converters store ten or twelve bits in sixteen, or floats of any range, without stating it. Displayed
//! unchanged, such pictures are black. The rule, for all frames of a file alike:
//!
//! * integers from zero: white is the largest number of as many bits as the largest sample has, eight at least;
//! * floats from zero: white is 1, or 255, where no sample is larger, otherwise as for integers;
//! * numbers below zero: black is the smallest sample, and white the largest.

/// The smallest and the largest sample of a file. NaN does not count.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct SampleRange {
    min: f64,
    max: f64,
    floats: bool,
}

/// The two samples that are black and white.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Levels {
    pub black: f64,
    pub white: f64,
}

impl SampleRange {
    /// The range without any sample yet, for integers or floats.
    pub fn new(floats: bool) -> Self {
        Self { min: f64::INFINITY, max: f64::NEG_INFINITY, floats }
    }

    pub fn of_u16(samples: &[u16]) -> Self {
        let mut range = Self::new(false);
        if let (Some(min), Some(max)) = (samples.iter().min(), samples.iter().max()) {
            range.add(f64::from(*min));
            range.add(f64::from(*max));
        }
        range
    }

    pub fn add(&mut self, sample: f64) {
        if sample.is_finite() {
            self.min = self.min.min(sample);
            self.max = self.max.max(sample);
        }
    }

    pub fn levels(&self) -> Levels {
        let Self { min, max, floats } = *self;
        if min > max {
            return Levels { black: 0.0, white: 255.0 };
        }
        if min < 0.0 {
            // A single value has no grey scale.
            let white = if max > min { max } else { min + 1.0 };
            return Levels { black: min, white };
        }
        if floats && max <= 1.0 {
            return Levels { black: 0.0, white: 1.0 };
        }
        let mut white = 255.0;
        while white < max {
            white = white * 2.0 + 1.0;
        }
        Levels { black: 0.0, white }
    }
}

impl Levels {
    /// The grey of a sample, from 0, black, to 1, white. NaN is black.
    pub fn of(&self, sample: f64) -> f64 {
        let level = (sample - self.black) / (self.white - self.black);
        if level.is_nan() { 0.0 } else { level.clamp(0.0, 1.0) }
    }

    pub fn to_u8(self, sample: f64) -> u8 {
        (self.of(sample) * 255.0).round() as u8
    }

    pub fn to_u16(self, sample: f64) -> u16 {
        (self.of(sample) * 65_535.0).round() as u16
    }

    /// The levels, for people; empty where samples are used unchanged.
    pub fn describe(&self) -> String {
        match (self.black, self.white) {
            (0.0, 65_535.0) => String::new(),
            (0.0, white) => format!(", {white} is white"),
            (black, white) => format!(", {black} is black and {white} is white"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn levels(floats: bool, samples: &[f64]) -> [f64; 2] {
        let mut range = SampleRange::new(floats);
        samples.iter().for_each(|sample| range.add(*sample));
        let Levels { black, white } = range.levels();
        [black, white]
    }

    #[test]
    fn white_is_the_largest_number_of_as_many_bits() {
        for (largest, white) in [
            (0.0, 255.0),
            (3.0, 255.0),
            (255.0, 255.0),
            (256.0, 511.0),
            (3136.0, 4095.0),
            (4095.0, 4095.0),
            (32_768.0, 65_535.0),
            (70_000.0, 131_071.0),
        ] {
            assert_eq!(levels(false, &[largest, 0.0]), [0.0, white], "{largest}");
        }
        assert_eq!(levels(true, &[0.0, 0.75]), [0.0, 1.0]);
        assert_eq!(levels(true, &[0.0, 1.5]), [0.0, 255.0]);
        assert_eq!(levels(true, &[f64::NAN, 300.0, f64::INFINITY]), [0.0, 511.0]);
        assert_eq!(levels(false, &[-100.0, 300.0]), [-100.0, 300.0]);
        assert_eq!(levels(false, &[-5.0]), [-5.0, -4.0]);
        assert_eq!(levels(true, &[]), [0.0, 255.0]);
    }

    #[test]
    fn samples_between_black_and_white() {
        let levels = Levels { black: -100.0, white: 100.0 };
        assert_eq!(
            [-200.0, -100.0, 0.0, 100.0, 1e9, f64::NAN].map(|sample| levels.to_u8(sample)),
            [0, 0, 128, 255, 255, 0]
        );
        let all = SampleRange::of_u16(&[0, 40_000]).levels();
        assert!((0..=u16::MAX).all(|sample| all.to_u16(f64::from(sample)) == sample));
        assert_eq!(all.describe(), "");
        assert_eq!(SampleRange::of_u16(&[0, 3000]).levels().describe(), ", 4095 is white");
    }
}
