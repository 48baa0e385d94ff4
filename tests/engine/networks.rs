//! Networks with the formula's weights, and pixels for them.

use causalclipseg::graph::{Graph, Op, Weights};
use causalclipseg::lower::rewrite;
use causalclipseg::network::{Architecture, Edition, golden_image};

pub struct Network {
    pub graph: Graph,
    pub weights: Weights,
}

fn rewritten(architecture: &Architecture) -> Network {
    let (graph, weights) = rewrite(architecture.describe().unwrap(), architecture.golden_weights().unwrap()).unwrap();
    Network { graph, weights }
}

pub fn mini(input_size: usize) -> Network {
    rewritten(&Architecture { input_size, ..Architecture::mini() })
}

pub fn tiny(input_size: usize) -> Network {
    rewritten(&Architecture::of(Edition::Tiny, input_size))
}

pub fn published_mini() -> Network {
    let architecture = Architecture::mini();
    Network { graph: architecture.describe().unwrap(), weights: architecture.golden_weights().unwrap() }
}

pub fn image(size: usize) -> Vec<f32> {
    golden_image(size).iter().copied().collect()
}

/// The largest id of the vocabulary.
pub fn end_of_text(graph: &Graph) -> u32 {
    let vocabularies = graph.nodes.iter().filter_map(|node| match node.op {
        Op::Embed { vocabulary, .. } => Some(vocabulary),
        _ => None,
    });
    vocabularies.min().unwrap() as u32 - 1
}
