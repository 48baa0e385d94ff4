//! The networks that plain tract runs: those that the fast engine does not know, and those that a caller asks for.

pub use super::reference::is_contained;
use super::reference::{ReferenceEngine, WholeNetwork};
use super::{EngineError, EngineOptions, Limit, Logits, PromptKernel, StepTime, WeightSource};
use crate::graph::{Graph, Weights};
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

/// A network on plain tract. Shared freely between threads.
pub(super) enum PlainEngine {
    /// A known graph, in the three parts of [`ReferenceEngine`].
    Parts(Box<ReferenceEngine>),
    /// A network with unknown structure: all of it runs for each prompt.
    Whole(Arc<WholeNetwork>),
}

impl PlainEngine {
    /// Plans a graph in three parts.
    pub(super) fn new(graph: &Graph, source: WeightSource, options: &EngineOptions) -> Result<Self, EngineError> {
        let weights: Cow<Weights> = match source {
            WeightSource::Memory(weights) => Cow::Borrowed(weights),
            WeightSource::Bundle(bundle) => Cow::Owned(bundle.weights()?),
        };
        Ok(Self::Parts(Box::new(ReferenceEngine::new(graph, &weights, options)?)))
    }

    pub(super) fn has_confounders(&self) -> bool {
        match self {
            Self::Parts(engine) => engine.has_confounders(),
            Self::Whole(_) => false,
        }
    }

    pub(super) fn encode_prompt(&self, tokens: &[u32]) -> Result<PromptKernel, EngineError> {
        match self {
            Self::Parts(engine) => engine.encode_prompt(tokens),
            Self::Whole(_) => Ok(PromptKernel { vectors: Vec::new(), tokens: tokens.into() }),
        }
    }

    /// The logits of each prompt, for each head, and the seconds that the heads took.
    pub(super) fn run<'k>(
        &self,
        pixels: &[f32],
        prompts: impl ExactSizeIterator<Item = &'k PromptKernel> + Clone,
        limit: &Limit,
    ) -> Result<(Logits, f64), EngineError> {
        match self {
            Self::Parts(engine) => engine.run(pixels, prompts, limit),
            Self::Whole(network) => {
                let run = |prompt: &PromptKernel| limit.check().and_then(|()| network.run(pixels, &prompt.tokens));
                Ok(([prompts.map(run).collect::<Result<_, _>>()?, Vec::new()], 0.0))
            }
        }
    }

    /// The times of the image part's nodes, or of an unknown network as a whole.
    pub(super) fn time_steps<'k>(
        &self,
        pixels: &[f32],
        prompts: impl ExactSizeIterator<Item = &'k PromptKernel> + Clone,
        limit: &Limit,
    ) -> Result<Vec<StepTime>, EngineError> {
        match self {
            Self::Parts(engine) => engine.time_image_steps(pixels),
            Self::Whole(_) => {
                let begun = Instant::now();
                self.run(pixels, prompts, limit)?;
                Ok(vec![StepTime {
                    name: "network".into(),
                    kind: "tract".into(),
                    gmac: 0.0,
                    bytes: 0,
                    nanoseconds: begun.elapsed().as_nanos() as u64,
                }])
            }
        }
    }
}
