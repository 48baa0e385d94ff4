//! Inputs on which a described network and the file's own graph must agree.

use crate::bundle::self_test_image;
use crate::engine::{Engine, EngineError, PromptKernel, WholeNetwork, Workspace};
use crate::graph::{Graph, Op};
use ndarray::Array2;

/// The seed of the image's formula.
const SEED: u64 = 41;
/// The length of the short sentence in tokens, start and end of text included.
const SHORT: usize = 5;

/// One image, and two sentences: one as long as the network reads, so that every position counts, and a short one.
pub(super) struct Probe {
    pixels: Vec<f32>,
    prompts: [Vec<u32>; 2],
}

/// The distance between two engines' logits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Distance {
    /// The largest difference, as a share of the largest logit.
    pub largest: f32,
    /// The root of the squared differences' sum, as a share of that of the logits.
    pub relative_error: f32,
}

impl Probe {
    /// Creates the probe for a graph's vocabulary. It is the same everywhere: ids step through the vocabulary by a
    /// prime.
    pub(crate) fn new(graph: &Graph, size: usize, context: usize) -> Self {
        let vocabularies = graph.nodes.iter().filter_map(|node| match node.op {
            Op::Embed { vocabulary, .. } => Some(vocabulary),
            _ => None,
        });
        let vocabulary = vocabularies.min().unwrap_or(2).max(3) as u64;
        let sentence = |length: usize, step: u64| {
            let words = (1..length as u64 - 1).map(|place| (place * step % (vocabulary - 2)) as u32);
            let ends = [vocabulary as u32 - 2, vocabulary as u32 - 1];
            ends[..1].iter().copied().chain(words).chain(ends[1..].iter().copied()).collect()
        };
        let pixels = self_test_image(SEED, size).into_iter().collect();
        Self { pixels, prompts: [sentence(context, 7919), sentence(SHORT.min(context), 104_729)] }
    }

    /// The file's own logits.
    pub(crate) fn run_file(&self, network: &WholeNetwork) -> Result<Vec<Array2<f32>>, EngineError> {
        self.prompts.iter().map(|tokens| network.run(&self.pixels, tokens)).collect()
    }

    pub(crate) fn run_engine(&self, engine: &Engine) -> Result<Vec<Array2<f32>>, EngineError> {
        let kernels = self.prompts.iter().map(|tokens| engine.encode_prompt(tokens));
        let kernels: Vec<PromptKernel> = kernels.collect::<Result<_, _>>()?;
        let mut workspace = Workspace::default();
        engine.run(&mut workspace, &self.pixels, kernels.iter())?;
        (0..kernels.len()).map(|index| Ok(engine.logits(&workspace, index)?.to_owned())).collect()
    }
}

impl Distance {
    /// The larger of the prompts' distances; infinite where a logit is not finite.
    pub(crate) fn between(found: &[Array2<f32>], expected: &[Array2<f32>]) -> Self {
        let mut worst = Self { largest: 0.0, relative_error: 0.0 };
        for (found, expected) in found.iter().zip(expected) {
            let largest = expected.iter().fold(f32::MIN_POSITIVE, |most, value| most.max(value.abs()));
            let pairs = || found.iter().zip(expected).map(|(a, b)| (a - b).abs());
            let power = expected.iter().map(|value| value * value).sum::<f32>().max(f32::MIN_POSITIVE);
            let of_prompt = Self {
                largest: pairs().fold(0.0, |most: f32, difference| most.max(difference)) / largest,
                relative_error: (pairs().map(|difference| difference * difference).sum::<f32>() / power).sqrt(),
            };
            // `max` ignores NaN.
            let is_finite = found.dim() == expected.dim() && of_prompt.relative_error.is_finite();
            worst.largest = worst.largest.max(if is_finite { of_prompt.largest } else { f32::INFINITY });
            worst.relative_error =
                worst.relative_error.max(if is_finite { of_prompt.relative_error } else { f32::INFINITY });
        }
        worst
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn distances_are_shares_of_what_is_expected() {
        let expected = [array![[3.0, -4.0]], array![[1.0, 1.0]]];
        let found = [array![[3.0, -4.4]], array![[1.0, 1.0]]];
        let distance = Distance::between(&found, &expected);
        assert!((distance.largest - 0.1).abs() < 1e-6 && (distance.relative_error - 0.08).abs() < 1e-6, "{distance:?}");
        for bad in [f32::NAN, f32::INFINITY] {
            let distance = Distance::between(&[array![[bad, 0.0]]], &expected[..1]);
            assert_eq!((distance.largest, distance.relative_error), (f32::INFINITY, f32::INFINITY));
        }
    }
}
