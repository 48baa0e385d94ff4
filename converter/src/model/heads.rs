//! The scale of new heads.

use super::Architecture;
use causalclipseg::graph::{TAPS, Weights};

/// Scales the randomly drawn weights that generate a prompt's kernel for training: logits get a deviation near one.
///
/// The kernel sums over nine taps of all channels. Drawn like any linear layer's its weights would give logits with a
/// deviation near twenty, which training first has to reduce, and where the adversary has no gradient.
pub fn scale_new_heads(architecture: &Architecture, weights: &mut Weights) {
    let terms = (architecture.decoder / 2 * TAPS) as f32;
    for name in ["proj.txt.weight", "proj_ad.txt.weight"] {
        if let Some(weight) = weights.get_mut(name) {
            weight.mapv_inplace(|value| value / terms.sqrt());
        }
    }
}
