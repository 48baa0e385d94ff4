//! A data set as a source of examples.

use super::source::{Example, Question, Source, SourceError};
use crate::data::{DataError, Dataset, Recipe, Sample};
use causalclipseg::prompt::{PromptError, Tokenizer};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A split in memory at every size that a run needs.
pub type Sizes = BTreeMap<usize, Dataset>;

/// Decodes the samples once for each size in pixels.
pub fn prepare_sizes(samples: &[Sample], sizes: &[usize], on_prepared: impl Fn() + Sync) -> Result<Sizes, DataError> {
    let mut prepared = Sizes::new();
    for size in sizes {
        if !prepared.contains_key(size) {
            prepared.insert(*size, Dataset::prepare(samples.to_vec(), *size, &on_prepared)?);
        }
    }
    Ok(prepared)
}

/// Draws a recipe's examples from a split.
pub struct DataSetSource {
    sizes: Arc<Sizes>,
    recipe: Recipe,
    seed: u64,
    tokenizer: Arc<Tokenizer>,
    context: usize,
    count: usize,
}

impl DataSetSource {
    /// Prompts of more than `context` tokens are cut to that.
    pub fn new(sizes: Arc<Sizes>, recipe: Recipe, seed: u64, tokenizer: Arc<Tokenizer>, context: usize) -> Self {
        let count = sizes.values().next().map_or(0, Dataset::len);
        Self { sizes, recipe, seed, tokenizer, context, count }
    }

    /// The same with the first `count` examples only.
    pub fn limited(mut self, count: usize) -> Self {
        self.count = self.count.min(count);
        self
    }

    fn tokens(&self, prompt: &str) -> Result<Vec<u32>, PromptError> {
        let mut ids = self.tokenizer.encode(prompt, usize::MAX)?.ids().to_vec();
        if ids.len() > self.context {
            ids.truncate(self.context - 1);
            ids.push(self.tokenizer.end_of_text());
        }
        Ok(ids)
    }
}

impl Source for DataSetSource {
    fn count(&self) -> usize {
        self.count
    }

    fn draw(&self, epoch: usize, index: usize, size: usize) -> Result<Example, SourceError> {
        let dataset = self.sizes.get(&size).ok_or_else(|| format!("it was not prepared at {size} pixels"))?;
        let drawn =
            self.recipe.draw(dataset, index, epoch, self.seed).ok_or_else(|| format!("it has no example {index}"))?;
        let mut image = Vec::new();
        let mut questions = Vec::new();
        for asked in drawn {
            questions.push(Question { tokens: self.tokens(&asked.prompt)?, mask: asked.picture.mask });
            image = asked.picture.pixels;
        }
        Ok(Example { image, questions })
    }
}
