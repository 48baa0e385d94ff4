//! Networks with the formula's weights, and pixels for them.

use causalclipseg::graph::{Graph, Op, Weights};
use causalclipseg::lower::rewrite;
use causalclipseg::network::{Architecture, Edition, Masks, golden_image};

/// A graph and its weights.
pub struct Network {
    /// The graph.
    pub graph: Graph,
    /// The weights, by the names in the graph.
    pub weights: Weights,
}

fn rewritten(architecture: &Architecture) -> Network {
    let (graph, weights) = rewrite(architecture.describe().unwrap(), architecture.golden_weights().unwrap()).unwrap();
    Network { graph, weights }
}

/// The smallest edition, rewritten.
pub fn mini(input_size: usize) -> Network {
    rewritten(&Architecture { input_size, ..Architecture::mini() })
}

/// The smallest edition without maskers, rewritten: three maps are joined as they are.
pub fn open_mini(input_size: usize) -> Network {
    rewritten(&Architecture { input_size, masks: Masks::Open, ..Architecture::mini() })
}

/// The shipped edition, rewritten.
pub fn tiny(input_size: usize) -> Network {
    rewritten(&Architecture::of(Edition::Tiny, input_size))
}

/// The smallest edition as its authors describe it.
pub fn published_mini() -> Network {
    let architecture = Architecture::mini();
    Network { graph: architecture.describe().unwrap(), weights: architecture.golden_weights().unwrap() }
}

/// The formula's image, 3 x size x size.
pub fn image(size: usize) -> Vec<f32> {
    golden_image(size).iter().copied().collect()
}

/// The id of the end of text, the largest of the vocabulary.
pub fn end_of_text(graph: &Graph) -> u32 {
    let vocabularies = graph.nodes.iter().filter_map(|node| match node.op {
        Op::Embed { vocabulary, .. } => Some(vocabulary),
        _ => None,
    });
    vocabularies.min().unwrap() as u32 - 1
}
