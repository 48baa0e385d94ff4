//! The distribution of a tensor's values, collected image by image without knowing its range beforehand.

/// The number of bins over the full range. A range that has just doubled uses half of them, and half of those where
/// values are never negative: still eight for each of 256 steps.
const BINS: usize = 8192;

/// The number of values, about, to which larger tensors are sampled for an image.
const MOST_SAMPLES: usize = 1 << 16;

/// A histogram whose range doubles whenever a value is outside.
#[derive(Clone, Debug)]
pub struct Histogram {
    bins: Vec<u64>,
    /// The limit of the bins, -reach to reach, a power of two; zero until a value other than zero came.
    reach: f32,
    minimum: f32,
    maximum: f32,
    zeros: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { bins: vec![0; BINS], reach: 0.0, minimum: f32::INFINITY, maximum: f32::NEG_INFINITY, zeros: 0 }
    }
}

impl Histogram {
    /// Counts the values of one image. Minimum and maximum are those of all values, counts those of a sample.
    ///
    /// # Errors
    /// The first value that is NaN or infinite.
    pub fn add(&mut self, values: &[f32]) -> Result<(), f32> {
        let (mut minimum, mut maximum) = (self.minimum, self.maximum);
        for &value in values {
            if !value.is_finite() {
                return Err(value);
            }
            minimum = minimum.min(value);
            maximum = maximum.max(value);
        }
        if values.is_empty() {
            return Ok(());
        }
        (self.minimum, self.maximum) = (minimum, maximum);
        self.widen(minimum.abs().max(maximum.abs()));
        for &value in sample(values) {
            match value {
                0.0 => self.zeros += 1,
                value => {
                    let bin = ((value / self.reach + 1.0) * (BINS / 2) as f32) as usize;
                    self.bins[bin.min(BINS - 1)] += 1;
                }
            }
        }
        Ok(())
    }

    fn widen(&mut self, reach: f32) {
        if reach == 0.0 || reach <= self.reach {
            return;
        }
        if self.reach == 0.0 {
            // The power of two at or above it; subnormal numbers count as the smallest normal one.
            self.reach = f32::MIN_POSITIVE;
            while self.reach < reach && self.reach < f32::MAX / 2.0 {
                self.reach *= 2.0;
            }
            return;
        }
        while self.reach < reach && self.reach < f32::MAX / 2.0 {
            self.reach *= 2.0;
            let mut merged = vec![0; BINS];
            for (index, count) in self.bins.iter().enumerate() {
                merged[BINS / 4 + index / 2] += count;
            }
            self.bins = merged;
        }
    }

    /// Smallest and largest value, or `None` before any came.
    pub fn range(&self) -> Option<(f32, f32)> {
        (self.minimum <= self.maximum).then_some((self.minimum, self.maximum))
    }

    /// Values other than zero with their counts, in rising order. A bin counts as its middle.
    pub fn counts(&self) -> impl Iterator<Item = (f32, u64)> + '_ {
        let middle = |bin: usize| ((bin as f32 + 0.5) / (BINS / 2) as f32 - 1.0) * self.reach;
        self.bins.iter().enumerate().filter(|(_, count)| **count > 0).map(move |(bin, count)| (middle(bin), *count))
    }

    /// The number of counted values that are exactly zero, which every scale and zero point represents.
    pub fn zeros(&self) -> u64 {
        self.zeros
    }
}

/// Every n-th value of a large tensor. The step is odd, so that it does not always select the same columns of a map.
pub fn sample(values: &[f32]) -> impl Iterator<Item = &f32> {
    let step = values.len().div_ceil(MOST_SAMPLES) | 1;
    values.iter().step_by(step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_survive_a_wider_range() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.range(), None);
        histogram.add(&[0.0, 0.3, -0.2, 0.3]).unwrap();
        histogram.add(&[5.0, -70.0, 0.0]).unwrap();
        assert_eq!(histogram.range(), Some((-70.0, 5.0)));
        assert_eq!(histogram.zeros(), 2);
        let counts: Vec<(f32, u64)> = histogram.counts().collect();
        let expected = [(-70.0, 1), (-0.2, 1), (0.3, 2), (5.0, 1)];
        assert_eq!(counts.len(), expected.len());
        for ((value, count), (true_value, true_count)) in counts.into_iter().zip(expected) {
            assert!((value - true_value).abs() <= 128.0 / BINS as f32 && count == true_count, "{value}: {count}");
        }
    }

    #[test]
    fn zeros_alone_have_a_range_and_no_bins() {
        let mut histogram = Histogram::default();
        histogram.add(&[0.0; 10]).unwrap();
        assert_eq!((histogram.range(), histogram.counts().count(), histogram.zeros()), (Some((0.0, 0.0)), 0, 10));
    }

    #[test]
    fn non_finite_numbers_are_refused() {
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert!(Histogram::default().add(&[1.0, value]).is_err());
        }
        let mut histogram = Histogram::default();
        histogram.add(&[f32::MAX, -1e-42, f32::MIN_POSITIVE]).unwrap();
        assert_eq!(histogram.counts().map(|(_, count)| count).sum::<u64>(), 3);
    }

    #[test]
    fn large_tensors_are_sampled() {
        let values = vec![1.0; 1 << 20];
        let count = sample(&values).count();
        assert!((MOST_SAMPLES / 2..=MOST_SAMPLES).contains(&count), "{count}");
        assert_eq!(sample(&values[..100]).count(), 100);
    }
}
