//! How a model is planned.

use crate::engine::{Device, EngineOptions};

/// How a [`Model`](super::Model) is planned: `ModelOptions::default().with_threads(2)`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ModelOptions {
    /// The options of the engine. All sessions of a model share its threads.
    pub engine: EngineOptions,
    /// The number of prompts whose encoding is kept; the least recently used one is dropped. 64 by default.
    pub cached_prompts: usize,
    /// The limit of [`Model::memory_bytes`](super::Model::memory_bytes); a model that needs more is refused before it
    /// runs. `None`: no limit.
    pub memory_cap_bytes: Option<u64>,
}

impl Default for ModelOptions {
    fn default() -> Self {
        Self { engine: EngineOptions::default(), cached_prompts: 64, memory_cap_bytes: None }
    }
}

impl From<EngineOptions> for ModelOptions {
    fn from(engine: EngineOptions) -> Self {
        Self { engine, ..Self::default() }
    }
}

impl ModelOptions {
    /// See [`Self::engine`].
    pub fn with_engine(self, engine: EngineOptions) -> Self {
        Self { engine, ..self }
    }

    /// See [`Self::cached_prompts`].
    pub fn with_cached_prompts(self, cached_prompts: usize) -> Self {
        Self { cached_prompts, ..self }
    }

    /// See [`Self::memory_cap_bytes`].
    pub fn with_memory_cap_bytes(self, memory_cap_bytes: Option<u64>) -> Self {
        Self { memory_cap_bytes, ..self }
    }

    /// See [`EngineOptions::threads`].
    pub fn with_threads(self, threads: usize) -> Self {
        Self { engine: self.engine.with_threads(threads), ..self }
    }

    /// See [`EngineOptions::confounders`].
    pub fn with_confounders(self, confounders: bool) -> Self {
        Self { engine: self.engine.with_confounders(confounders), ..self }
    }

    /// See [`EngineOptions::device`].
    pub fn with_device(self, device: Device) -> Self {
        Self { engine: self.engine.with_device(device), ..self }
    }
}
