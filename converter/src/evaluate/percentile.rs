//! Percentiles.

/// The value below which the share `rank` (0 to 1) of `ascending` is, interpolated linearly between neighbours
/// (R. Hyndman and Y. Fan's seventh definition, the usual one). `None` for an empty slice.
pub fn percentile(ascending: &[f64], rank: f64) -> Option<f64> {
    let last = ascending.len().checked_sub(1)?;
    let position = rank.clamp(0.0, 1.0) * last as f64;
    let (low, fraction) = (position.floor() as usize, position.fract());
    let (low, high) = (ascending[low], ascending[(low + 1).min(last)]);
    Some(low + (high - low) * fraction)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn between_ranks_it_interpolates() {
        assert_eq!(percentile(&[], 0.5), None);
        assert_eq!(percentile(&[7.0], 0.95), Some(7.0));
        assert_eq!(percentile(&[1.0, 2.0, 4.0], 0.75), Some(3.0));
        assert_eq!(percentile(&[1.0, 2.0, 4.0], 1.0), Some(4.0));
        assert_eq!(percentile(&[1.0, 2.0, 4.0], 9.0), Some(4.0));
    }
}
