//! Four ways to choose the range of 256 steps.

use super::histogram::Histogram;
use causalclipseg::graph::ScaleZeroPoint;
use serde::{Deserialize, Serialize};

/// The scale of a tensor without a range, such as one that is always zero: any would do, this one covers 0 to 1.
const SAFE_SCALE: f32 = 1.0 / 255.0;

/// The share of values that [`Observer::Percentile`] cuts off at each end.
const CUT_OFF: f64 = 1e-4;

/// The number of ranges that the searches try, each a sixteenth narrower than the one before: down to a fiftieth of the
/// full range.
const CANDIDATES: i32 = 61;
const NARROWING: f32 = 15.0 / 16.0;

/// How a range is chosen from what was observed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Observer {
    /// The range from the smallest to the largest value.
    MinMax,
    /// The range without the outermost ten-thousandth at either end.
    Percentile,
    /// The range with the least mean squared error.
    Mse,
    /// The range with the least Kullback-Leibler divergence of the rounded distribution from the true one (Migacz,
    /// "8-bit inference with TensorRT", 2017).
    Entropy,
}

impl Observer {
    pub const ALL: [Self; 4] = [Self::MinMax, Self::Percentile, Self::Mse, Self::Entropy];

    pub fn name(self) -> &'static str {
        match self {
            Self::MinMax => "min-max",
            Self::Percentile => "percentile",
            Self::Mse => "mse",
            Self::Entropy => "entropy",
        }
    }

    /// The scale and zero point for the observed values; `unsigned` where values are never negative.
    pub fn quantisation(self, histogram: &Histogram, unsigned: bool) -> ScaleZeroPoint {
        let Some((low, high)) = histogram.range() else { return safe_grid() };
        let (low, high) = (if unsigned { 0.0 } else { low.min(0.0) }, high.max(0.0));
        let (low, high) = match self {
            Self::MinMax => (low, high),
            Self::Percentile => percentile(histogram, low, high),
            Self::Mse => least_error(histogram, low, high),
            Self::Entropy => least_divergence(histogram, low, high),
        };
        grid_of(low, high)
    }
}

/// The scale and zero point for a range that includes zero. An empty range gets a scale that can be divided by.
pub fn grid_of(low: f32, high: f32) -> ScaleZeroPoint {
    let (low, high) = (low.min(0.0), high.max(0.0));
    // Halves, so that the width of the widest range is finite.
    let scale = (high / 255.0 - low / 255.0).min(f32::MAX / 512.0);
    if scale.is_nan() || scale < f32::MIN_POSITIVE {
        return safe_grid();
    }
    let zero_point = (-low / scale).round().clamp(0.0, 255.0) as u8;
    ScaleZeroPoint { scale, zero_point }
}

fn safe_grid() -> ScaleZeroPoint {
    ScaleZeroPoint { scale: SAFE_SCALE, zero_point: 0 }
}

fn percentile(histogram: &Histogram, low: f32, high: f32) -> (f32, f32) {
    let counts: Vec<(f32, u64)> = histogram.counts().collect();
    let total: u64 = histogram.zeros() + counts.iter().map(|(_, count)| count).sum::<u64>();
    let allowed = (total as f64 * CUT_OFF) as u64;
    // Where the cut-off share would reach zero from one side, zero is the end.
    let end = |counts: &mut dyn Iterator<Item = &(f32, u64)>| {
        let mut passed = 0;
        for (value, count) in counts {
            passed += count;
            if passed > allowed {
                return *value;
            }
        }
        0.0
    };
    let (cut_low, cut_high) = (end(&mut counts.iter()), end(&mut counts.iter().rev()));
    (low.max(cut_low.min(0.0)), high.min(cut_high.max(0.0)))
}

fn least_error(histogram: &Histogram, low: f32, high: f32) -> (f32, f32) {
    let counts: Vec<(f32, u64)> = histogram.counts().collect();
    narrow(low, high, |low, high| squared_error(&counts, grid_of(low, high)))
}

fn least_divergence(histogram: &Histogram, low: f32, high: f32) -> (f32, f32) {
    let counts: Vec<(f32, u64)> = histogram.counts().collect();
    narrow(low, high, |low, high| divergence(&counts, grid_of(low, high)))
}

/// Ends are searched in turn, since the cost of one of them depends on the scale of both.
fn narrow(low: f32, high: f32, cost: impl Fn(f32, f32) -> f64) -> (f32, f32) {
    let mut best = (low, high);
    for _ in 0..2 {
        best.1 = narrowest(high, |high| cost(best.0, high));
        if low < 0.0 {
            best.0 = narrowest(low, |low| cost(low, best.1));
        }
    }
    best
}

/// The fraction of `whole` with the least cost; of equal ones the largest.
fn narrowest(whole: f32, cost: impl Fn(f32) -> f64) -> f32 {
    let candidates = (0..CANDIDATES).map(|index| whole * NARROWING.powi(index));
    let costs = candidates.map(|candidate| (candidate, cost(candidate)));
    costs.min_by(|a, b| a.1.total_cmp(&b.1)).map_or(whole, |(candidate, _)| candidate)
}

/// Sum over all values counted of the squared rounding error.
fn squared_error(counts: &[(f32, u64)], quantisation: ScaleZeroPoint) -> f64 {
    let cost = |&(value, count): &(f32, u64)| f64::from(value - quantisation.round(value)).powi(2) * count as f64;
    counts.iter().map(cost).sum()
}

/// The divergence of the distribution, clipped to the representable range, from its rounded form.
fn divergence(counts: &[(f32, u64)], quantisation: ScaleZeroPoint) -> f64 {
    let (low, high) = quantisation.range();
    // Each step spreads its mass evenly over the bins that it covers.
    let mut steps = [(0f64, 0f64); 256];
    let mut clipped: Vec<(usize, f64, f64)> = Vec::with_capacity(counts.len());
    for &(value, count) in counts {
        let step = usize::from(quantisation.quantise(value));
        let inside = value >= low - quantisation.scale / 2.0 && value <= high + quantisation.scale / 2.0;
        match (inside, clipped.last_mut()) {
            // Values outside are counted in the outermost bin.
            (false, Some((last, mass, _))) if *last == step => *mass += count as f64,
            _ => clipped.push((step, count as f64, if inside { count as f64 } else { 0.0 })),
        }
    }
    // On the low side this count comes before its bin; only totals matter.
    for (step, _, inside) in &clipped {
        steps[*step].0 += inside;
        steps[*step].1 += 1.0;
    }
    let total: f64 = clipped.iter().map(|(_, mass, _)| mass).sum();
    let total_inside: f64 = clipped.iter().map(|(_, _, inside)| inside).sum();
    if total <= 0.0 || total_inside <= 0.0 {
        return f64::INFINITY;
    }
    let cost = clipped.iter().map(|(step, mass, _)| {
        let (inside, bins) = steps[*step];
        // A step with only clipped values still has a little of the mass, or the divergence would be infinite.
        let rounded = (inside / bins).max(1e-3) / total_inside;
        let true_share = mass / total;
        true_share * (true_share / rounded).ln()
    });
    cost.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(values: impl Iterator<Item = f32>) -> Histogram {
        let mut histogram = Histogram::default();
        histogram.add(&values.collect::<Vec<_>>()).unwrap();
        histogram
    }

    /// A Gaussian with one far outlier: min-max keeps it, the others cut it off and are much finer inside.
    #[test]
    fn outliers_do_not_rule_the_range() {
        let mut state = 1u64;
        let mut uniform = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1 << 24) as f32
        };
        let bell: Vec<f32> = (0..60_000).map(|_| (0..12).map(|_| uniform()).sum::<f32>() - 6.0).collect();
        let seen = histogram(bell.into_iter().chain([200.0]));
        let inside = |observer: Observer| {
            let quantisation = observer.quantisation(&seen, false);
            (-20..20)
                .map(|step| step as f32 / 10.0 + 0.013)
                .map(|v| (v - quantisation.round(v)).abs())
                .fold(0f32, f32::max)
        };
        assert_eq!(Observer::MinMax.quantisation(&seen, false).range().1.round(), 200.0);
        assert!(inside(Observer::MinMax) > 0.2);
        for observer in [Observer::Percentile, Observer::Entropy] {
            assert!(inside(observer) < 0.15, "{observer:?}: {}", inside(observer));
        }
        let errors = Observer::ALL
            .map(|observer| squared_error(&seen.counts().collect::<Vec<_>>(), observer.quantisation(&seen, false)));
        assert!(errors.iter().all(|error| errors[2] <= *error * 1.001), "{errors:?}");
    }

    #[test]
    fn unsigned_grids_start_at_zero() {
        let seen = histogram((0..1000).map(|index| index as f32 / 100.0));
        for observer in Observer::ALL {
            let quantisation = observer.quantisation(&seen, true);
            assert_eq!(quantisation.zero_point, 0);
            assert!(quantisation.range().1 > 5.0 && quantisation.range().1 < 10.01, "{observer:?}: {quantisation:?}");
        }
        let seen = histogram((0..1000).map(|index| index as f32 / 100.0 - 4.0));
        let quantisation = Observer::MinMax.quantisation(&seen, false);
        assert!((i32::from(quantisation.zero_point) - 102).abs() <= 1, "{quantisation:?}");
    }

    /// No values, zeros, a constant, the largest and the smallest numbers: every scale is usable.
    #[test]
    fn no_range_gives_no_useless_scale() {
        let cases = [vec![], vec![0.0; 5], vec![7.0; 5], vec![-1e-45], vec![f32::MAX, f32::MIN], vec![1e-38, 0.0]];
        for values in cases {
            let seen = histogram(values.iter().copied());
            for observer in Observer::ALL {
                for unsigned in [false, true] {
                    let quantisation = observer.quantisation(&seen, unsigned);
                    assert!(
                        quantisation.scale.is_finite() && quantisation.scale > 0.0,
                        "{observer:?} of {values:?}: {quantisation:?}"
                    );
                    assert!(
                        quantisation.range().0.is_finite() && quantisation.range().1.is_finite(),
                        "{observer:?} of {values:?}"
                    );
                }
            }
        }
        assert_eq!(Observer::Mse.quantisation(&histogram([0.0; 5].into_iter()), true), safe_grid());
        let constant = Observer::Mse.quantisation(&histogram([7.0; 5].into_iter()), true);
        assert!((constant.round(7.0) - 7.0).abs() < 0.03);
    }
}
