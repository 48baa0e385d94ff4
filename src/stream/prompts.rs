//! The prompts of a stream, and their replacement while it runs.

use super::StreamError;
use crate::engine::MAX_PROMPTS;
use crate::model::{Model, ModelError, Prompt};
use heapless::mpmc;
use std::sync::Arc;

/// Sentences, encoded for each of a stream's models.
pub(super) struct PromptSet {
    /// By model, then by sentence.
    encoded: Vec<Vec<Prompt>>,
    /// The number of changes so far.
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

/// Passes a new set to the worker without a lock. If several arrive before the worker checks, the newest is used.
pub(super) struct Mailbox(mpmc::Queue<Arc<PromptSet>, 4>);

impl Mailbox {
    #[expect(deprecated, reason = "a set that is refused is put again; see `exchange`")]
    pub(crate) fn new() -> Self {
        Self(mpmc::Queue::new())
    }

    /// Only one thread at a time may call this, so that the newest set is put last.
    pub(crate) fn put(&self, mut set: Arc<PromptSet>) {
        while let Err(refused) = self.0.enqueue(set) {
            set = refused;
            // The queue is full of unread sets, of which the oldest is out of date.
            drop(self.0.dequeue());
        }
    }

    /// The newest set that was not taken yet.
    pub(crate) fn take_newest(&self) -> Option<Arc<PromptSet>> {
        std::iter::from_fn(|| self.0.dequeue()).last()
    }
}
