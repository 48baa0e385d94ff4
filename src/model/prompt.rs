//! An encoded sentence.

use crate::engine::{Engine, PromptKernel};
use std::fmt;
use std::sync::{Arc, Weak};

/// A sentence, encoded by one model: what a [`Session`](crate::Session) of that model looks for. Cheap to clone.
/// Created by [`Model::prompt`](super::Model::prompt); a session of another model refuses it.
///
/// ```
/// use causalclipseg::{Model, ModelError, ModelOptions, PromptError};
///
/// let model = Model::open("models/tiny.ccs".as_ref(), ModelOptions::default())?;
/// let prompt = model.prompt("a dark nodule")?;
/// assert_eq!(prompt.text(), "a dark nodule");
/// assert!(matches!(model.prompt(" "), Err(ModelError::Prompt(PromptError::Empty))));
/// # Ok::<(), ModelError>(())
/// ```
#[derive(Clone)]
pub struct Prompt {
    text: Arc<str>,
    kernel: Arc<PromptKernel>,
    /// The engine that encoded it, and that alone can run it. It does not keep the engine alive.
    engine: Weak<Engine>,
    has_unknown_words: bool,
}

impl Prompt {
    pub(super) fn new(text: &str, kernel: Arc<PromptKernel>, engine: &Arc<Engine>, has_unknown_words: bool) -> Self {
        Self { text: text.into(), kernel, engine: Arc::downgrade(engine), has_unknown_words }
    }

    /// The sentence as it was given.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it has words that were not in the model's training, as far as the bundle states them.
    pub fn has_unknown_words(&self) -> bool {
        self.has_unknown_words
    }

    /// Whether this engine encoded it. A `Weak` keeps the engine's address taken, so no other engine can have it.
    pub(crate) fn is_of(&self, engine: &Arc<Engine>) -> bool {
        std::ptr::eq(self.engine.as_ptr(), Arc::as_ptr(engine))
    }

    pub(crate) fn kernel(&self) -> &Arc<PromptKernel> {
        &self.kernel
    }
}

impl fmt::Debug for Prompt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prompt").field("text", &self.text).finish_non_exhaustive()
    }
}
