//! The normalised surface Dice.

use super::SurfaceDistances;

/// The share, 0 to 1, of both rims' pixels that are within `tolerance_px` pixels of the other rim. Both masks empty is 1,
/// one empty 0.
///
/// S. Nikolov et al., "Clinically applicable segmentation of head and neck anatomy for radiotherapy", JMIR 23 (2021), on
/// rim pixels instead of surface elements, as in L. Maier-Hein et al., "Metrics reloaded", Nature Methods 21
/// (2024).
pub fn nsd(distances: &SurfaceDistances, tolerance_px: f64) -> f64 {
    let all = || distances.found_to_truth.iter().chain(&distances.truth_to_found);
    match all().count() {
        0 => 1.0,
        count => all().filter(|distance| **distance <= tolerance_px).count() as f64 / count as f64,
    }
}
