//! Compares a model's mask with the expert's.

use super::metric::{Comparison, dice};
use crate::data::Mask;
use causalclipseg::Finding;

/// The found mask, in the form of the data sets' masks.
pub(super) fn found_mask(finding: &Finding) -> Mask {
    let pixels = finding.mask().pixels();
    let lesion = pixels.iter().map(|pixel| *pixel != 0).collect();
    Mask { width: pixels.ncols(), height: pixels.nrows(), lesion }
}

/// Dice of two masks of one image.
pub(super) fn dice_of(found: &Mask, truth: &Mask) -> f64 {
    Comparison::new(found, truth).map_or(0.0, |comparison| dice(&comparison))
}
