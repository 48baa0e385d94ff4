//! Weights to train from.

use crate::checkpoint::Checkpoint;
use crate::model::{Architecture, stage};
use causalclipseg::graph::{GraphError, Op, TAPS, Weights};
use std::collections::BTreeMap;

/// Random weights for an architecture, the same for the same seed.
///
/// A prompt's kernel sums over nine taps of all channels. Drawn like any linear layer's its weights would make logits
/// with a deviation near twenty, from which training first has to come back; here they start near one.
pub fn random_start(architecture: Architecture, seed: u64) -> Result<Checkpoint, GraphError> {
    let mut weights = architecture.random_weights(seed)?;
    let terms = (architecture.decoder / 2 * TAPS) as f32;
    for name in ["proj.txt.weight", "proj_ad.txt.weight"] {
        if let Some(weight) = weights.get_mut(name) {
            weight.mapv_inplace(|value| value / terms.sqrt());
        }
    }
    Ok(Checkpoint { architecture, weights, metadata: BTreeMap::new() })
}

/// Makes every mask one whatever the image: the norm before each sigmoid loses its slope and shifts to 20, where a sigmoid
/// rounds to one.
pub(super) fn open_masks(architecture: &Architecture, weights: &mut Weights) -> Result<(), GraphError> {
    let graph = architecture.describe()?;
    for mask in stage::MASKS {
        let sigmoid = graph.node(graph.find(mask)?);
        let Some(Op::BatchNorm { prefix }) = sigmoid.inputs.first().map(|norm| &graph.node(*norm).op) else { continue };
        for (field, value) in [("weight", 0.0), ("bias", 20.0)] {
            if let Some(values) = weights.get_mut(&format!("{prefix}.{field}")) {
                values.fill(value);
            }
        }
    }
    Ok(())
}
