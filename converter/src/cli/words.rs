//! `words`: which words a checkpoint's training prompts had.

use super::Failure;
use causalclipseg_convert::checkpoint::record_words;
use causalclipseg_convert::data::{LoadOptions, Split, load_samples, prompt_words};
use causalclipseg_convert::train::TrainingConfig;
use clap::Args;
use std::collections::BTreeSet;
use std::path::PathBuf;

/// Record which words a checkpoint's training prompts had
///
/// `train` does so by itself, and `import`, `quantize` and `pack` pass them on; this is for checkpoints of elsewhere and of
/// before. Results of a bundle that has them are flagged `unknown_words` where the prompt has others.
#[derive(Debug, Args)]
pub struct Words {
    /// Checkpoint of this program, quantised or not; its tensors stay as they are
    #[arg(value_name = "CKPT")]
    checkpoint: PathBuf,
    /// A data set that it was trained on: the prompts of the training split count. May be given several times
    #[arg(long, required = true, value_name = "DIR")]
    data: Vec<PathBuf>,
    /// The configuration it was trained with, for what the recipe asks beside the data sets' own prompts [default: the
    /// recipe's defaults, which ask all there is]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where to write the checkpoint [default: over the old one]
    #[arg(short, long, value_name = "CKPT")]
    output: Option<PathBuf>,
}

impl Words {
    pub fn run(self) -> Result<(), Failure> {
        let config = self.config.as_deref().map(TrainingConfig::load).transpose()?.unwrap_or_default();
        let mut samples = Vec::new();
        for folder in &self.data {
            samples.extend(load_samples(folder, Split::Train, &LoadOptions::default())?);
        }
        let found: BTreeSet<String> = prompt_words(&samples, &config.recipe);
        let output = self.output.as_ref().unwrap_or(&self.checkpoint);
        let words = record_words(&self.checkpoint, output, found)?;
        super::say(format!("{}: {} words", output.display(), words.len()))
    }
}
