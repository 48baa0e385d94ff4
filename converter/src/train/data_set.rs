//! A data set as a source of examples.

use super::source::{Example, Question, Source, SourceError};
use crate::data::{DataError, Dataset, Recipe, Sample};
use causalclipseg::frame::Fit;
use causalclipseg::prompt::{PromptError, Tokenizer};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A split in memory at every size that a run needs.
pub type Sizes = BTreeMap<usize, Dataset>;

/// Decodes the samples once for each size in pixels, fitted to the input by `fit`, and keeps `detail` times as many pixels
/// along each side.
pub fn prepare_sizes(
    samples: &[Sample],
    sizes: &[usize],
    fit: &Fit,
    detail: usize,
    on_prepared: impl Fn() + Sync,
) -> Result<Sizes, DataError> {
    let mut prepared = Sizes::new();
    for size in sizes {
        if !prepared.contains_key(size) {
            prepared.insert(*size, Dataset::prepare_detailed(samples.to_vec(), *size, fit, detail, &on_prepared)?);
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
    /// The number of examples in a pass over the data.
    count: usize,
    /// The number of passes in an epoch.
    passes: usize,
    /// The lengths of runs of consecutive samples, and how many samples of each an epoch shows. Empty if it shows all.
    parts: Vec<(usize, usize)>,
    /// The number of confounder kinds, and the kind of each sample.
    confounders: (usize, Vec<Option<usize>>),
}

impl DataSetSource {
    /// Prompts of more than `context` tokens are truncated.
    pub fn new(sizes: Arc<Sizes>, recipe: Recipe, seed: u64, tokenizer: Arc<Tokenizer>, context: usize) -> Self {
        let count = sizes.values().next().map_or(0, Dataset::len);
        let confounders = sizes.values().next().map_or_else(Default::default, confounders);
        Self { sizes, recipe, seed, tokenizer, context, count, passes: 1, parts: Vec::new(), confounders }
    }

    /// This source with the first `count` examples only.
    pub fn limited(mut self, count: usize) -> Self {
        self.count = self.count.min(count);
        self
    }

    /// This source with only a share, 0..1, of each run of samples in an epoch: `counts` are the runs' lengths in order.
    /// Successive epochs show different samples.
    pub fn shared(mut self, counts: &[usize], shares: &[f64]) -> Self {
        let shown = |(count, share): (&usize, &f64)| {
            (*count, ((*count as f64 * share.clamp(0.0, 1.0)).round() as usize).clamp(1.min(*count), *count))
        };
        self.parts = counts.iter().zip(shares).map(shown).collect();
        self.count = self.parts.iter().map(|(_, shown)| shown).sum();
        self
    }

    /// This source with epochs of this many passes, at least one, each drawn anew.
    pub fn repeated(mut self, passes: usize) -> Self {
        self.passes = passes.max(1);
        self
    }

    /// The number of the pass, counted over all epochs, and the position in it.
    fn place(&self, epoch: usize, index: usize) -> (usize, usize) {
        let count = self.count.max(1);
        (epoch * self.passes + index / count, index % count)
    }

    /// The sample at position `index` of a pass.
    fn sample_of(&self, epoch: usize, index: usize) -> usize {
        let (mut first, mut rest) = (0, index);
        for (count, shown) in &self.parts {
            if rest < *shown {
                // A step coprime to the count, near its golden section, spreads an epoch's samples.
                let step = (0..).map(|k| (*count * 5 / 8).max(1) + k).find(|step| gcd(*step, *count) == 1).unwrap_or(1);
                return first + ((epoch * shown + rest) % count * step) % count;
            }
            rest -= shown;
            first += count;
        }
        index
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
        self.count * self.passes
    }

    fn confounders(&self) -> usize {
        self.confounders.0
    }

    fn confounder(&self, epoch: usize, index: usize) -> Option<usize> {
        let (epoch, index) = self.place(epoch, index);
        *self.confounders.1.get(self.sample_of(epoch, index))?
    }

    fn draw(&self, epoch: usize, index: usize, size: usize) -> Result<Example, SourceError> {
        let dataset = self.sizes.get(&size).ok_or_else(|| format!("it was not prepared at {size} pixels"))?;
        let (epoch, index) = self.place(epoch, index);
        let sample = self.sample_of(epoch, index);
        let drawn =
            self.recipe.draw(dataset, sample, epoch, self.seed).ok_or_else(|| format!("it has no example {index}"))?;
        let mut example = Example::default();
        for asked in drawn {
            let (input, fitted) = asked.picture.into_input(size, dataset.fit());
            example.questions.push(Question { tokens: self.tokens(&asked.prompt)?, mask: input.mask });
            example.image = input.pixels;
            example.fitted = Some(fitted);
        }
        Ok(example)
    }
}

/// Each sample's confounder: the planted mark, else the device; numbered in the order of their names.
fn confounders(dataset: &Dataset) -> (usize, Vec<Option<usize>>) {
    let name = |sample: &Sample| sample.confounder.clone().or_else(|| sample.device.clone());
    let names: BTreeSet<String> = dataset.iter().filter_map(|(sample, _)| name(sample)).collect();
    let number = |sample: &Sample| names.iter().position(|known| Some(known) == name(sample).as_ref());
    (names.len(), dataset.iter().map(|(sample, _)| number(sample)).collect())
}

fn gcd(one: usize, other: usize) -> usize {
    if other == 0 { one } else { gcd(other, one % other) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenizer::clip_tokenizer_json;

    #[test]
    fn epochs_take_turns_with_the_samples_of_a_share() {
        let tokenizer = Arc::new(Tokenizer::from_json(&clip_tokenizer_json()).unwrap());
        let source = DataSetSource::new(Arc::new(Sizes::new()), Recipe::PLAIN, 0, tokenizer, 77);
        let source = source.shared(&[7, 20, 1], &[1.0, 0.25, 0.1]);
        assert_eq!(source.count(), 7 + 5 + 1);
        let mut seen: BTreeMap<usize, usize> = BTreeMap::new();
        for epoch in 0..4 {
            for index in 0..source.count() {
                *seen.entry(source.sample_of(epoch, index)).or_default() += 1;
            }
        }
        assert_eq!(seen.len(), 28);
        assert!((0..7).all(|sample| seen[&sample] == 4) && (7..27).all(|sample| seen[&sample] == 1) && seen[&27] == 4);
    }
}
