//! Weights as small integers with a scale for each output.

use causalclipseg::graph::{Graph, Op, Weights};
use ndarray::{ArrayD, Axis};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The narrowest clipped range that is tried for each output, as a share of its largest weight; ranges are evenly
/// spaced from this to all of it.
const NARROWEST_SHARE: f32 = 0.7;
const CANDIDATES: usize = 13;

/// The largest sum of the magnitudes of two neighbouring weights whose products with any two bytes sum to 16 signed bits.
const LARGEST_PAIR: i16 = 128;

/// The integers that a weight can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WeightBits {
    /// -63 to 63: the sum of two products with an 8-bit activation fits 16 bits, at which the integer product of AVX2
    /// (`vpmaddubsw`) saturates.
    Seven,
    /// -127 to 127, and the magnitudes of two neighbours (input channels 2i and 2i + 1 under one tap) sum to at most 128: as fast
    /// as seven bits, and more exact, since two large weights are seldom neighbours.
    EightInPairs,
    /// -127 to 127.
    Eight,
}

impl WeightBits {
    pub fn largest(self) -> i8 {
        match self {
            Self::Seven => 63,
            Self::EightInPairs | Self::Eight => 127,
        }
    }

    pub fn count(self) -> u32 {
        match self {
            Self::Seven => 7,
            Self::EightInPairs | Self::Eight => 8,
        }
    }
}

/// A tensor whose value at an index is the stored integer times the scale of the index on the first axis.
#[derive(Clone, Debug, PartialEq)]
pub struct QuantisedTensor {
    pub stored: ArrayD<i8>,
    /// The scales, one for each index of the first axis, finite and above zero.
    pub scales: Vec<f32>,
}

impl QuantisedTensor {
    /// Rounds every output's weights with the scale of least squared error. An output of zeros gets the scale 1. The second axis
    /// is that of input channels.
    pub fn of(values: &ArrayD<f32>, bits: WeightBits) -> Self {
        let mut stored = ArrayD::zeros(values.raw_dim());
        let mut scales = Vec::new();
        let taps = values.shape().iter().skip(2).product();
        for (values, mut stored) in values.outer_iter().zip(stored.outer_iter_mut()) {
            let output = Output { values: values.iter().copied().collect(), taps, bits };
            let scale = output.best_scale();
            stored.iter_mut().zip(output.round(scale)).for_each(|(stored, rounded)| *stored = rounded);
            scales.push(scale);
        }
        Self { stored, scales }
    }

    /// The dequantised numbers.
    pub fn dequantise(&self) -> ArrayD<f32> {
        let mut values = self.stored.mapv(f32::from);
        for (mut values, scale) in values.outer_iter_mut().zip(&self.scales) {
            values.mapv_inplace(|value| value * scale);
        }
        values
    }

    /// The sum of each output's integers.
    pub fn sums(&self) -> Vec<i32> {
        self.stored.outer_iter().map(|stored| stored.iter().map(|value| i32::from(*value)).sum()).collect()
    }

    /// Rows `first .. first + count` of the first axis.
    pub fn rows(&self, first: usize, count: usize) -> Self {
        let end = (first + count).min(self.scales.len());
        let first = first.min(end);
        let stored = self.stored.slice_axis(Axis(0), (first..end).into()).to_owned();
        Self { stored, scales: self.scales[first..end].to_vec() }
    }
}

/// The weights of one output, by input channel and then by tap.
struct Output {
    values: Vec<f32>,
    taps: usize,
    bits: WeightBits,
}

impl Output {
    /// The integers nearest to the weights over `scale`, within the range.
    fn round(&self, scale: f32) -> Vec<i8> {
        let bound = f32::from(self.bits.largest());
        let mut rounded: Vec<i8> =
            self.values.iter().map(|value| (value / scale).round_ties_even().clamp(-bound, bound) as i8).collect();
        if self.bits == WeightBits::EightInPairs {
            for (first, second) in self.pairs() {
                self.limit_pair(&mut rounded, [first, second], scale);
            }
        }
        rounded
    }

    /// The indices of neighbours.
    fn pairs(&self) -> impl Iterator<Item = (usize, usize)> {
        let taps = self.taps.max(1);
        let channels = self.values.len() / taps;
        (0..channels / 2)
            .flat_map(move |pair| (0..taps).map(move |tap| (2 * pair * taps + tap, (2 * pair + 1) * taps + tap)))
    }

    /// Moves two integers towards zero, step by step the one whose error grows least, until they fit.
    fn limit_pair(&self, rounded: &mut [i8], pair: [usize; 2], scale: f32) {
        let magnitude = |index: usize, rounded: &[i8]| i16::from(rounded[index]).abs();
        while magnitude(pair[0], rounded) + magnitude(pair[1], rounded) > LARGEST_PAIR {
            // How far the integer lies beyond its weight, away from zero.
            let [first, second] =
                pair.map(|index| f32::from(magnitude(index, rounded)) - (self.values[index] / scale).abs());
            let index = if first >= second { pair[0] } else { pair[1] };
            rounded[index] -= rounded[index].signum();
        }
    }

    /// The scale with which the largest weight, and the largest pair, just fit.
    fn largest_scale(&self) -> f32 {
        let largest = self.values.iter().fold(0f32, |largest, value| largest.max(value.abs()));
        let mut scale = largest / f32::from(self.bits.largest());
        if self.bits == WeightBits::EightInPairs {
            let sum = |(first, second): (usize, usize)| self.values[first].abs() + self.values[second].abs();
            scale = self.pairs().map(sum).fold(scale, |scale, sum| scale.max(sum / f32::from(LARGEST_PAIR)));
        }
        // The limit below which the largest integer stays finite.
        scale.min(f32::MAX / 128.0)
    }

    fn best_scale(&self) -> f32 {
        let whole = self.largest_scale();
        if !(whole.is_finite() && whole >= f32::MIN_POSITIVE) {
            return 1.0;
        }
        let error = |scale: f32| -> f64 {
            let difference = |(value, stored): (&f32, i8)| f64::from(value - f32::from(stored) * scale).powi(2);
            self.values.iter().zip(self.round(scale)).map(difference).sum()
        };
        let share = |index: usize| 1.0 - (1.0 - NARROWEST_SHARE) * index as f32 / (CANDIDATES - 1) as f32;
        let candidates = (0..CANDIDATES).map(|index| (share(index) * whole).max(f32::MIN_POSITIVE));
        candidates.map(|scale| (scale, error(scale))).min_by(|a, b| a.1.total_cmp(&b.1)).map_or(whole, |best| best.0)
    }
}

/// Integers by the names of their weights.
pub type Integers = BTreeMap<String, Arc<QuantisedTensor>>;

/// The integers of convolutions' and linear layers' weights, and of tables of words.
pub fn quantise_weights(graph: &Graph, weights: &Weights, bits: WeightBits) -> Integers {
    let mut quantised = BTreeMap::new();
    for node in &graph.nodes {
        // A table of words is read by rows and never multiplied: it has all bits.
        let (name, bits) = match &node.op {
            Op::Conv { weight, .. } | Op::Linear { weight, .. } => (weight, bits),
            Op::Embed { table, .. } => (table, WeightBits::Eight),
            _ => continue,
        };
        if quantised.contains_key(name) {
            continue;
        }
        if let Some(values) = weights.get(name) {
            quantised.insert(name.clone(), Arc::new(QuantisedTensor::of(values, bits)));
        }
    }
    quantised
}

/// The weights that a quantised graph computes with.
pub fn dequantise_weights(weights: &Weights, quantised: &Integers) -> Weights {
    let value = |(name, value): (&String, &ArrayD<f32>)| {
        (name.clone(), quantised.get(name).map_or_else(|| value.clone(), |tensor| tensor.dequantise()))
    };
    weights.iter().map(value).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weights(bits: WeightBits) -> (ArrayD<f32>, QuantisedTensor) {
        let values = ArrayD::from_shape_fn(vec![6, 5, 3, 3], |index| {
            let hash = (index[0] * 45 + index[1] * 9 + index[2] * 3 + index[3] + 1).wrapping_mul(2_654_435_761) % 2000;
            (hash as f32 / 1000.0 - 1.0) * 10f32.powi(index[0] as i32 - 3)
        });
        let quantised = QuantisedTensor::of(&values, bits);
        (values, quantised)
    }

    #[test]
    fn every_output_has_its_own_scale() {
        for (bits, least_db) in [(WeightBits::Eight, 38.0), (WeightBits::EightInPairs, 35.0), (WeightBits::Seven, 32.0)]
        {
            let (values, quantised) = weights(bits);
            let found = quantised.dequantise();
            for (values, found) in values.outer_iter().zip(found.outer_iter()) {
                let noise: f32 = (&values - &found).iter().map(|v| v * v).sum();
                let signal: f32 = values.iter().map(|v| v * v).sum();
                assert!(10.0 * (signal / noise).log10() > least_db, "{} dB", 10.0 * (signal / noise).log10());
            }
            let bound = bits.largest();
            if bits == WeightBits::EightInPairs {
                for output in quantised.stored.outer_iter() {
                    for pair in output.axis_chunks_iter(Axis(0), 2).filter(|pair| pair.len_of(Axis(0)) == 2) {
                        let [first, second] = [0, 1].map(|index| pair.index_axis(Axis(0), index));
                        let largest =
                            first.iter().zip(second).map(|(a, b)| a.unsigned_abs() as u16 + b.unsigned_abs() as u16);
                        assert!(largest.max() <= Some(128));
                    }
                }
            }
            assert!(quantised.stored.iter().all(|value| (-bound..=bound).contains(value)));
            let sums: Vec<i32> = (0..6)
                .map(|out| quantised.stored.index_axis(Axis(0), out).iter().map(|value| i32::from(*value)).sum())
                .collect();
            assert_eq!(quantised.sums(), sums);
            assert_eq!(quantised.rows(2, 3).scales, &quantised.scales[2..5]);
            assert_eq!(quantised.rows(2, 3).dequantise().index_axis(Axis(0), 0), found.index_axis(Axis(0), 2));
        }
    }

    /// All neighbours are large: as few bits are lost as the limit demands. Where none are, nothing is.
    #[test]
    fn only_large_neighbours_lose_bits() {
        let rounded = |values: [f32; 4]| {
            let values = ArrayD::from_shape_vec(vec![1, 4], values.to_vec()).unwrap();
            QuantisedTensor::of(&values, WeightBits::EightInPairs)
        };
        let large = rounded([1.0, -1.0, 1.0, 1.0]);
        assert_eq!(large.stored.as_slice().unwrap(), [64, -64, 64, 64]);
        let alternating = rounded([1.0, 0.0, 0.0, -1.0]);
        assert_eq!(alternating.stored.as_slice().unwrap(), [127, 0, 0, -127]);
        // 127 : 1.27 would be 127 + 1.3; the smaller weight keeps its share.
        let uneven = rounded([1.0, 0.5, -1.0, -0.5]);
        let stored = uneven.stored.as_slice().unwrap();
        assert_eq!((stored[0], stored[1]), (-stored[2], -stored[3]));
        assert!((84..=86).contains(&stored[0]) && (42..=43).contains(&stored[1]), "{stored:?}");
    }

    #[test]
    fn zeros_and_extremes_have_usable_scales() {
        for value in [0.0, 1e-44, f32::MAX, 1e-38] {
            let quantised = QuantisedTensor::of(&ArrayD::from_elem(vec![2, 3], value), WeightBits::Eight);
            assert!(quantised.scales.iter().all(|scale| scale.is_finite() && *scale > 0.0), "{value}");
            assert!(
                quantised.dequantise().iter().all(|found| (found - value).abs() <= value * 0.01 + 1e-37),
                "{value}"
            );
        }
    }
}
