//! `pack`: packs a checkpoint into a bundle.

use super::Failure;
use super::fit::FitFlags;
use causalclipseg::bundle::{Precision, Provenance, SigningKey};
use causalclipseg_convert::checkpoint::Checkpoint;
use causalclipseg_convert::pack::{PackOptions, pack, pack_quantised};
use causalclipseg_convert::quantize::QuantisedCheckpoint;
use std::path::{Path, PathBuf};

/// Pack a checkpoint into a bundle, the single file that the runtime opens
#[derive(Debug, clap::Args)]
pub struct Pack {
    /// Checkpoint to pack
    #[arg(long, value_name = "CKPT")]
    checkpoint: PathBuf,
    /// Number format of stored matrices and kernels; f16 halves the file and is still computed in f32, int8 needs a checkpoint
    /// that `quantize` made
    #[arg(long, value_enum, default_value = "f32")]
    precision: PackedPrecision,
    /// Edge of the network's input in pixels, a multiple of 32 [default: the checkpoint's]
    #[arg(long, value_name = "S")]
    size: Option<usize>,
    /// The model's name in results and legends [default: the bundle's file name]
    #[arg(long)]
    name: Option<String>,
    /// Probability above which a pixel is lesion [default: the checkpoint's, or 0.5]
    #[arg(long)]
    threshold: Option<f32>,
    #[command(flatten)]
    fit: FitFlags,
    /// tokenizer.json to pack [default: CLIP's]
    #[arg(long, value_name = "FILE")]
    tokenizer: Option<PathBuf>,
    /// Fix every mask at one: this removes the maskers and the confounders' head, and their time for every frame; the bundle then
    /// has no confounder map. For f32 and f16; for int8, pass it to `quantize` instead
    #[arg(long)]
    open_masks: bool,
    /// Sign with this Ed25519 private key: a file of 32 bytes
    #[arg(long, value_name = "FILE")]
    sign: Option<PathBuf>,
    /// Bundle to write
    #[arg(short, long, value_name = "BUNDLE")]
    output: PathBuf,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum PackedPrecision {
    F32,
    F16,
    Int8,
}

impl Pack {
    pub fn run(self) -> Result<(), Failure> {
        let progress = super::spinner("packing");
        let signing_key = self.sign.as_deref().map(read_signing_key).transpose()?;
        let builder = match self.precision {
            PackedPrecision::Int8 if self.open_masks => {
                return Err("a quantised checkpoint was calibrated with its masks; quantise the f32 checkpoint with \
                            --open-masks, then pack without it"
                    .into());
            }
            PackedPrecision::Int8 => {
                let checkpoint = QuantisedCheckpoint::load(&self.checkpoint)?;
                let size = checkpoint.architecture.input_size;
                if self.size.is_some_and(|wanted| wanted != size) {
                    return Err(format!(
                        "a quantised checkpoint has one input size, here {size}; quantise the f32 checkpoint with --size"
                    )
                    .into());
                }
                let options = self.options(&checkpoint.provenance)?;
                pack_quantised(checkpoint, options, signing_key)?
            }
            PackedPrecision::F32 | PackedPrecision::F16 => {
                let mut checkpoint = Checkpoint::load(&self.checkpoint)?;
                if let Some(size) = self.size {
                    checkpoint = checkpoint.resized(size)?;
                }
                if self.open_masks {
                    checkpoint = checkpoint.with_open_masks()?;
                }
                let options = self.options(&checkpoint.provenance)?;
                pack(checkpoint, options, signing_key)?
            }
        };
        builder.write(&self.output)?;
        progress.finish_and_clear();
        let bytes = std::fs::metadata(&self.output).map_or(0, |file| file.len());
        super::say(format!("{} written, {:.1} MB", self.output.display(), bytes as f64 / 1e6))
    }

    fn options(&self, provenance: &Provenance) -> Result<PackOptions, Failure> {
        let threshold = self.threshold.unwrap_or(provenance.threshold_or_default());
        let stem = self.output.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        Ok(PackOptions {
            name: self.name.clone().or(stem).unwrap_or_else(|| "model".into()),
            precision: match self.precision {
                PackedPrecision::F32 => Precision::F32,
                PackedPrecision::F16 => Precision::F16,
                PackedPrecision::Int8 => Precision::Int8,
            },
            fit: self.fit.choose(provenance),
            threshold,
            tokenizer_json: self.tokenizer.as_deref().map(read).transpose()?,
        })
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    Ok(std::fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?)
}

pub(super) fn read_signing_key(path: &Path) -> Result<SigningKey, Failure> {
    let bytes = read(path)?;
    let secret: [u8; 32] = bytes.try_into().map_err(|bytes: Vec<u8>| {
        format!("{} holds {} bytes, not the 32 of a private key", path.display(), bytes.len())
    })?;
    Ok(SigningKey::from_bytes(&secret))
}
