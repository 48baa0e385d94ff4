//! Dice's coefficient.

use super::Comparison;

/// `2 |A and B| / (|A| + |B|)`, 0 to 1, of found pixels A and true pixels B. Both empty is 1, one empty 0.
///
/// L. R. Dice, "Measures of the amount of ecologic association between species", Ecology 26 (1945).
pub fn dice(comparison: &Comparison) -> f64 {
    let overlap = comparison.overlap();
    match overlap.found + overlap.truth {
        0 => 1.0,
        sum => 2.0 * overlap.both as f64 / sum as f64,
    }
}
