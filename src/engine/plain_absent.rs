//! The same interface in a build without the feature `reference`: no value of this type exists.

use super::{EngineError, EngineOptions, Limit, Logits, PromptKernel, StepTime, WeightSource};
use crate::graph::Graph;

/// Whether a panic on this thread would be returned as an error: never, since no tract is called.
pub fn is_contained() -> bool {
    false
}

/// A network on plain tract, which this build cannot make.
pub(super) enum PlainEngine {}

impl PlainEngine {
    /// Fails with [`EngineError::NoReference`].
    pub(super) fn new(_: &Graph, _: WeightSource, _: &EngineOptions) -> Result<Self, EngineError> {
        Err(EngineError::NoReference)
    }

    pub(super) fn has_confounders(&self) -> bool {
        match *self {}
    }

    pub(super) fn encode_prompt(&self, _: &[u32]) -> Result<PromptKernel, EngineError> {
        match *self {}
    }

    pub(super) fn run<'k>(
        &self,
        _: &[f32],
        _: impl ExactSizeIterator<Item = &'k PromptKernel> + Clone,
        _: &Limit,
    ) -> Result<(Logits, f64), EngineError> {
        match *self {}
    }

    pub(super) fn time_steps<'k>(
        &self,
        _: &[f32],
        _: impl ExactSizeIterator<Item = &'k PromptKernel> + Clone,
        _: &Limit,
    ) -> Result<Vec<StepTime>, EngineError> {
        match *self {}
    }
}
