//! The scale of new heads.

use super::Architecture;
use causalclipseg::graph::{TAPS, Weights};

/// Brings the weights that make a prompt's kernel, as they were drawn, to a scale to train from: logits with a deviation
/// near one.
///
/// The kernel sums over nine taps of all channels. Drawn like any linear layer's its weights would make logits with a
/// deviation near twenty, from which training first has to come back, and where the adversary has no gradient.
pub fn scale_new_heads(architecture: &Architecture, weights: &mut Weights) {
    let terms = (architecture.decoder / 2 * TAPS) as f32;
    for name in ["proj.txt.weight", "proj_ad.txt.weight"] {
        if let Some(weight) = weights.get_mut(name) {
            weight.mapv_inplace(|value| value / terms.sqrt());
        }
    }
}
