//! `interpolate`: interpolates between two checkpoints.

use super::Failure;
use causalclipseg_convert::checkpoint::{Checkpoint, Storage};
use causalclipseg_convert::interpolate::{enlarged_as, interpolate};
use clap::Args;
use std::path::PathBuf;

/// Interpolate the weights of a checkpoint and of another that was trained from it
///
/// The result keeps most of what each of them learned. If the second has more blocks or channels, the first is enlarged as it was
/// by `train --init`.
#[derive(Debug, Args)]
pub struct Interpolate {
    /// The first checkpoint
    #[arg(value_name = "FROM")]
    from: PathBuf,
    /// The second checkpoint, whose metadata are kept
    #[arg(value_name = "TO")]
    to: PathBuf,
    /// The weight of the second checkpoint, 0 to 1
    #[arg(long, value_name = "F")]
    share: f32,
    /// Where to write the checkpoint (safetensors)
    #[arg(short, long, value_name = "CKPT")]
    output: PathBuf,
    /// Number format of stored matrices and kernels; f16 halves the file
    #[arg(long, value_enum, default_value = "f32")]
    storage: Storage,
}

impl Interpolate {
    pub fn run(self) -> Result<(), Failure> {
        let (from, to) = (Checkpoint::load(&self.from)?, Checkpoint::load(&self.to)?);
        let checkpoint = interpolate(&enlarged_as(from, &to)?, to, self.share)?;
        checkpoint.save(&self.output, self.storage)?;
        super::say(super::summary(&checkpoint, &self.output))
    }
}
