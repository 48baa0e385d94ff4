//! `interpolate`: a checkpoint between two.

use super::Failure;
use causalclipseg_convert::checkpoint::{Checkpoint, Storage};
use causalclipseg_convert::interpolate::interpolate;
use clap::Args;
use std::path::PathBuf;

/// Make a checkpoint between one and another that was trained from it
///
/// Keeps most of what the first one knew and most of what the second one learned.
#[derive(Debug, Args)]
pub struct Interpolate {
    /// The checkpoint before
    #[arg(value_name = "FROM")]
    from: PathBuf,
    /// The checkpoint after, whose metadata are kept
    #[arg(value_name = "TO")]
    to: PathBuf,
    /// The share of the second, 0 to 1
    #[arg(long, value_name = "F")]
    share: f32,
    /// Where to write the checkpoint (safetensors)
    #[arg(short, long, value_name = "CKPT")]
    output: PathBuf,
    /// How matrices and kernels are stored; f16 halves the file
    #[arg(long, value_enum, default_value = "f32")]
    storage: Storage,
}

impl Interpolate {
    pub fn run(self) -> Result<(), Failure> {
        let (from, to) = (Checkpoint::load(&self.from)?, Checkpoint::load(&self.to)?);
        let checkpoint = interpolate(&from, to, self.share)?;
        checkpoint.save(&self.output, self.storage)?;
        super::say(super::summary(&checkpoint, &self.output))
    }
}
