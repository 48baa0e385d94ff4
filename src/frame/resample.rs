//! One axis of a separable resampling with the triangle filter.
//!
//! Upsampling, it is bilinear interpolation between pixel centres. Downsampling, the triangle widens with the step, so
//! that every source pixel counts: the "bilinear" of Pillow and of torchvision with `antialias=True`, which networks of
//! this family are trained with. Taps outside the picture are dropped and the others scaled up.

/// The taps of every output position; rebuilt only when a length changes, in the same memory.
#[derive(Debug, Default)]
pub(super) struct Axis {
    input: usize,
    output: usize,
    first: Vec<usize>,
    /// The ends of each output's weights: `weights[ends[i - 1]..ends[i]]` belong to output `i`.
    ends: Vec<usize>,
    weights: Vec<f32>,
}

impl Axis {
    /// Sets the axis to `input` and `output` pixels; both above zero.
    pub(crate) fn resize(&mut self, input: usize, output: usize) {
        if (self.input, self.output) == (input, output) {
            return;
        }
        (self.input, self.output) = (input, output);
        self.first.clear();
        self.ends.clear();
        self.weights.clear();
        let step = input as f64 / output as f64;
        let support = step.max(1.0);
        for position in 0..output {
            let centre = (position as f64 + 0.5) * step;
            // A float to integer cast saturates, so the left end stops at zero.
            let first = (centre - support + 0.5) as usize;
            let end = ((centre + support + 0.5) as usize).min(input);
            let weight = |source: usize| (1.0 - ((source as f64 + 0.5 - centre) / support).abs()).max(0.0);
            let total: f64 = (first..end).map(weight).sum();
            self.first.push(first);
            self.weights.extend((first..end).map(|source| (weight(source) / total) as f32));
            self.ends.push(self.weights.len());
        }
    }

    /// The first source position of output `position`, and the weights from there on.
    pub(crate) fn taps(&self, position: usize) -> (usize, &[f32]) {
        let start = if position == 0 { 0 } else { self.ends[position - 1] };
        (self.first[position], &self.weights[start..self.ends[position]])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resample(input: &[f32], output: usize) -> Vec<f32> {
        let mut axis = Axis::default();
        axis.resize(input.len(), output);
        let value = |i| {
            let (first, weights) = axis.taps(i);
            weights.iter().zip(&input[first..]).map(|(w, v)| w * v).sum()
        };
        (0..output).map(value).collect()
    }

    fn assert_close(actual: &[f32], expected: &[f32]) {
        assert_eq!(actual.len(), expected.len());
        for (a, e) in actual.iter().zip(expected) {
            assert!((a - e).abs() < 1e-5, "{actual:?} is not {expected:?}");
        }
    }

    #[test]
    fn cases_worked_by_hand() {
        // Upsampling by two: quarters between the centres, ends repeated.
        assert_close(&resample(&[0.0, 4.0], 4), &[0.0, 1.0, 3.0, 4.0]);
        // Shrinking by two: centres at 1 and 3, half-width 2. Left: |x + 0.5 - 1| / 2 = 1/4, 1/4, 3/4, so weights
        // 3, 3, 1 of 7; right the mirror image.
        assert_close(&resample(&[7.0, 0.0, 0.0, 0.0], 2), &[3.0, 0.0]);
        assert_close(&resample(&[0.0, 7.0, 0.0, 0.0], 2), &[3.0, 1.0]);
        // All into one: centre 1.5, half-width 3: 1 - 1/3, 1, 1 - 1/3 over 7/3.
        assert_close(&resample(&[7.0, 0.0, 0.0], 1), &[2.0]);
        assert_close(&resample(&[0.0, 7.0, 0.0], 1), &[3.0]);
        // Three into two: centres 0.75 and 2.25, half-width 1.5. Left: distances 1/4, 3/4, 7/4 of 1.5, so weights
        // 5/6, 1/2, 0 over 4/3.
        assert_close(&resample(&[8.0, 0.0, 0.0], 2), &[5.0, 0.0]);
        assert_close(&resample(&[0.0, 8.0, 0.0], 2), &[3.0, 3.0]);
        assert_close(&resample(&[3.0], 3), &[3.0; 3]);
    }

    #[test]
    fn equal_lengths_change_nothing() {
        let input = [0.1, -7.3, 1e6, 0.3, 5.5];
        assert_eq!(resample(&input, 5), input);
    }

    #[test]
    fn weights_sum_to_one_within_the_source() {
        let mut axis = Axis::default();
        for (input, output) in [(1, 1), (1, 7), (7, 1), (2, 3), (3, 2), (640, 224), (223, 224), (225, 224), (1009, 32)]
        {
            axis.resize(input, output);
            for position in 0..output {
                let (first, weights) = axis.taps(position);
                assert!(!weights.is_empty() && first + weights.len() <= input, "{input} to {output} at {position}");
                assert!((weights.iter().sum::<f32>() - 1.0).abs() < 1e-5, "{input} to {output} at {position}");
            }
        }
    }
}
