//! `import`: makes a checkpoint of weights saved by other programs.

use super::Failure;
use causalclipseg_convert::checkpoint::Storage;
use causalclipseg_convert::import::{ImportOptions, import};
use clap::Args;
use std::path::PathBuf;

/// Make a checkpoint of CLIP's weights or of a published network's
///
/// Reads torch archives (.pt, .pth, TorchScript) and safetensors, and executes nothing in them. Layers that CLIP does
/// not have are drawn from the seed.
#[derive(Debug, Args)]
pub struct Import {
    /// Files with weights; if two hold the same tensor, the later one is used
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Where to write the checkpoint (safetensors)
    #[arg(short, long, value_name = "CKPT")]
    output: PathBuf,
    /// Height and width of the input in pixels, a multiple of 32; positions are resized to it [default: the files']
    #[arg(long, value_name = "S")]
    size: Option<usize>,
    /// Seed of the layers that CLIP does not have
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Channels of the decoder, for CLIP alone [default: the edition's]
    #[arg(long, value_name = "CHANNELS")]
    decoder: Option<usize>,
    /// Number format of stored matrices and kernels; f16 halves the file
    #[arg(long, value_enum, default_value = "f32")]
    storage: Storage,
}

impl Import {
    pub fn run(self) -> Result<(), Failure> {
        let Self { files, output, size, seed, decoder, storage } = self;
        let options = ImportOptions { input_size: size, seed, decoder, ..ImportOptions::default() };
        let progress = super::spinner("reading weights");
        let checkpoint = import(&files, &options)?;
        progress.set_message("writing the checkpoint");
        checkpoint.save(&output, storage)?;
        progress.finish_and_clear();
        super::say(super::summary(&checkpoint, &output))
    }
}
