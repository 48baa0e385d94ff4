//! What a stream looks for, and how that changes while it runs.

use super::StreamError;
use crate::engine::MAX_PROMPTS;
use crate::model::{Model, ModelError, Prompt};
use heapless::mpmc;
use std::sync::Arc;

/// Sentences, encoded for each of a stream's models.
pub(super) struct PromptSet {
    /// By model, then by sentence.
    encoded: Vec<Vec<Prompt>>,
    /// Counts from 0; each change is one more.
    generation: u64,
}

impl PromptSet {
    pub(crate) fn encode(models: &[Arc<Model>], texts: &[&str]) -> Result<Self, StreamError> {
        if texts.is_empty() {
            return Err(StreamError::NoPrompt);
        }
        if texts.len() > MAX_PROMPTS {
            let value = texts.len().to_string();
            return Err(StreamError::Option { name: "the number of prompts", value, range: "1 to 256" });
        }
        let encode =
            |model: &Arc<Model>| texts.iter().map(|text| model.prompt(text)).collect::<Result<Vec<_>, ModelError>>();
        Ok(Self { encoded: models.iter().map(encode).collect::<Result<_, _>>()?, generation: 0 })
    }

    pub(crate) fn of_model(&self, model: usize) -> &[Prompt] {
        self.encoded.get(model).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    pub(crate) fn set_generation(&mut self, generation: u64) {
        self.generation = generation;
    }
}

/// Hands a new set to the worker without a lock. Of several that come before the worker looks, the newest counts.
pub(super) struct Mailbox(mpmc::Queue<Arc<PromptSet>, 4>);

impl Mailbox {
    #[expect(deprecated, reason = "a set that is refused is put again; see `exchange`")]
    pub(crate) fn new() -> Self {
        Self(mpmc::Queue::new())
    }

    /// Only one thread at a time may put, so that the newest set is put last.
    pub(crate) fn put(&self, mut set: Arc<PromptSet>) {
        while let Err(refused) = self.0.enqueue(set) {
            set = refused;
            // Full of sets that nobody looked at yet: the oldest of them is out of date anyway.
            drop(self.0.dequeue());
        }
    }

    /// The newest set, if there is one that was not taken yet.
    pub(crate) fn take_newest(&self) -> Option<Arc<PromptSet>> {
        std::iter::from_fn(|| self.0.dequeue()).last()
    }
}
