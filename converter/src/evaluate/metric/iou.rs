//! Jaccard's index.

use super::Comparison;

/// Intersection over union, `|A and B| / |A or B|`, 0 to 1, of found pixels A and true pixels B. Both empty is 1, one
/// empty 0. Its mean over images is what papers on text-prompted segmentation call mIoU.
///
/// P. Jaccard, "The distribution of the flora in the alpine zone", New Phytologist 11 (1912).
pub fn iou(comparison: &Comparison) -> f64 {
    let overlap = comparison.overlap();
    match overlap.found + overlap.truth - overlap.both {
        0 => 1.0,
        union => overlap.both as f64 / union as f64,
    }
}
