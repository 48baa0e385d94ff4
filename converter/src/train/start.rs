//! Initial weights.

use super::widen::{WidenError, widen};
use crate::checkpoint::Checkpoint;
use crate::model::{Architecture, ArchitectureError, scale_new_heads};
use causalclipseg::bundle::Provenance;
use causalclipseg::graph::GraphError;

/// Random weights for an architecture, the same for the same seed, with heads at a scale to train from.
pub fn random_start(architecture: Architecture, seed: u64) -> Result<Checkpoint, GraphError> {
    let mut weights = architecture.random_weights(seed)?;
    scale_new_heads(&architecture, &mut weights);
    Ok(Checkpoint { architecture, weights, provenance: Provenance::default() })
}

/// The network cannot be deepened to the requested stages.
#[derive(Debug, thiserror::Error)]
pub enum DeepenError {
    #[error(
        "stages of {wanted:?} blocks are no deeper than the checkpoint's {present:?}: no stage may lose blocks, and one must gain some"
    )]
    NotDeeper { present: [usize; 4], wanted: [usize; 4] },
    #[error(transparent)]
    Architecture(#[from] ArchitectureError),
    #[error(transparent)]
    Graph(#[from] GraphError),
}

/// Deepens the image encoder without changing its function, for further training: appends bottleneck blocks to each stage until
/// it has as many as `layers` says. Their inner weights are drawn from the seed and their last norm has slope zero, so at first a
/// new block passes on its input, which is non-negative after a ReLU.
pub fn deepen(checkpoint: Checkpoint, layers: [usize; 4], seed: u64) -> Result<Checkpoint, DeepenError> {
    let Checkpoint { mut architecture, weights: present, provenance } = checkpoint;
    let before = architecture.image.layers;
    if layers == before || layers.iter().zip(before).any(|(wanted, present)| *wanted < present) {
        return Err(DeepenError::NotDeeper { present: before, wanted: layers });
    }
    architecture.image.layers = layers;
    architecture.validate()?;
    let mut weights = architecture.random_weights(seed)?;
    for (name, values) in &mut weights {
        if !present.contains_key(name) && name.ends_with(".bn3.weight") {
            values.fill(0.0);
        }
    }
    weights.extend(present);
    Ok(Checkpoint { architecture, weights, provenance })
}

/// A checkpoint cannot be enlarged to the requested sizes.
#[derive(Debug, thiserror::Error)]
pub enum EnlargeError {
    #[error(transparent)]
    Deepen(#[from] DeepenError),
    #[error(transparent)]
    Widen(#[from] WidenError),
}

/// The same function with more blocks, or more channels, as [`deepen`] and [`widen`] make it; unchanged where it has these
/// sizes. Equal seeds yield equal weights.
pub fn enlarge(
    mut checkpoint: Checkpoint,
    layers: [usize; 4],
    [width, decoder]: [usize; 2],
    seed: u64,
) -> Result<Checkpoint, EnlargeError> {
    if layers != checkpoint.architecture.image.layers {
        checkpoint = deepen(checkpoint, layers, seed)?;
    }
    if [width, decoder] != [checkpoint.architecture.image.width, checkpoint.architecture.decoder] {
        checkpoint = widen(checkpoint, width, decoder, seed)?;
    }
    Ok(checkpoint)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{golden_image, stage};
    use causalclipseg::engine::{InputValue, ReferencePlan};
    use ndarray::ArrayD;

    fn pred(checkpoint: &Checkpoint) -> ArrayD<f32> {
        let mut graph = checkpoint.architecture.describe().unwrap();
        graph.outputs = vec![graph.find(stage::PRED).unwrap()];
        let image = golden_image(checkpoint.architecture.input_size);
        let inputs = [InputValue::Array(&image), InputValue::Tokens(&[1, 5, 15])];
        ReferencePlan::new(&graph, &checkpoint.weights).unwrap().run(&inputs).unwrap().remove(0)
    }

    #[test]
    fn a_deepened_network_is_the_same_function_with_more_to_learn() {
        let mini = random_start(Architecture::mini(), 1).unwrap();
        let deeper = deepen(mini.clone(), [1, 2, 3, 2], 7).unwrap();
        assert_eq!(deeper.architecture.image.layers, [1, 2, 3, 2]);
        assert_eq!(pred(&deeper), pred(&mini));
        let added = |name: &str| !mini.weights.contains_key(name);
        let blocks = ["layer2.1.", "layer3.1.", "layer3.2.", "layer4.1."];
        assert!(deeper.weights.keys().all(|name| added(name) == blocks.iter().any(|block| name.contains(block))));
        assert!(deeper.weights.iter().any(|(name, values)| {
            name.ends_with("layer3.2.conv2.weight") && values.iter().any(|value| *value != 0.0)
        }));
    }

    #[test]
    fn a_network_can_only_be_deepened() {
        let mini = random_start(Architecture::mini(), 1).unwrap();
        for layers in [[1, 1, 1, 1], [2, 0, 1, 1]] {
            assert!(matches!(deepen(mini.clone(), layers, 7), Err(DeepenError::NotDeeper { .. })));
        }
        assert!(matches!(deepen(mini, [1, 1, 1, 300], 7), Err(DeepenError::Architecture(_))));
    }
}
