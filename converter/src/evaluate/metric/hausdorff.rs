//! The 95th percentile of the Hausdorff distance.

use super::SurfaceDistances;
use crate::evaluate::percentile::percentile;

/// In pixels: the larger of the two 95th percentiles of the distances from one rim to the other, interpolated between ranks. If
/// both masks are empty, 0; if one is, the image's diagonal, the longest possible distance: infinity has no mean, and leaving
/// such images out would reward them.
///
/// D. Huttenlocher et al., "Comparing images using the Hausdorff distance", IEEE PAMI 15 (1993); as the larger of two
/// percentiles in L. Maier-Hein et al., "Metrics reloaded", Nature Methods 21 (2024).
pub fn hd95(distances: &SurfaceDistances) -> f64 {
    let sides = [&distances.found_to_truth, &distances.truth_to_found];
    match sides.map(|side| percentile(side, 0.95)) {
        [None, None] => 0.0,
        [Some(one), Some(other)] => one.max(other),
        _ => distances.diagonal,
    }
}
