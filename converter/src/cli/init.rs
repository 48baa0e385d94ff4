//! `init`: makes a checkpoint to train from, or one with the reference vectors' weights.

use super::Failure;
use causalclipseg::bundle::{Note, Provenance};
use causalclipseg_convert::checkpoint::{Checkpoint, Storage};
use causalclipseg_convert::model::{Architecture, Edition, scale_new_heads};
use clap::{Args, ValueEnum};
use std::path::PathBuf;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum InitialWeights {
    /// The formula behind the reference vectors, to compare outputs with.
    Golden,
    /// Drawn from the seed, to train from.
    Random,
}

/// Make an untrained checkpoint
#[derive(Debug, Args)]
pub struct Init {
    /// rn101, rn50, small or tiny
    #[arg(long)]
    edition: Edition,
    /// Height and width of the input in pixels, a multiple of 32
    #[arg(long, value_name = "S", default_value_t = 224)]
    size: usize,
    #[arg(long, default_value = "random")]
    weights: InitialWeights,
    /// Seed of the random weights
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Where to write the checkpoint (safetensors)
    #[arg(short, long, value_name = "CKPT")]
    output: PathBuf,
}

impl Init {
    pub fn run(self) -> Result<(), Failure> {
        let architecture = Architecture::of(self.edition, self.size);
        architecture.validate()?;
        let mut provenance = Provenance::default();
        provenance.set_trained(false);
        let progress = super::spinner("making weights");
        let weights = match self.weights {
            InitialWeights::Golden => {
                provenance.note(Note::Source, "golden");
                architecture.golden_weights()?
            }
            InitialWeights::Random => {
                provenance.set_seed(self.seed);
                let mut weights = architecture.random_weights(self.seed)?;
                scale_new_heads(&architecture, &mut weights);
                weights
            }
        };
        let checkpoint = Checkpoint { architecture, weights, provenance };
        checkpoint.save(&self.output, Storage::F32)?;
        progress.finish_and_clear();
        super::say(super::summary(&checkpoint, &self.output))
    }
}
