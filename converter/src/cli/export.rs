//! `export`: writes a checkpoint as ONNX files.

use super::Failure;
use super::fit::FitFlags;
use causalclipseg::bundle::Provenance;
use causalclipseg_convert::checkpoint::Checkpoint;
use causalclipseg_convert::export::{ExportOptions, NumberFormat, export, export_quantised};
use causalclipseg_convert::model::Form;
use causalclipseg_convert::quantize::QuantisedCheckpoint;
use std::path::PathBuf;

/// Write a checkpoint as standard ONNX: text.onnx, image.onnx, head.onnx, and the complete network in model.onnx, which the
/// runtime opens too.
#[derive(Debug, clap::Args)]
pub struct Export {
    /// The checkpoint (.safetensors) to export
    #[arg(long, value_name = "CKPT")]
    pub checkpoint: PathBuf,
    /// The network as published, or after the exact rewrites that make it four times cheaper
    #[arg(long, value_enum, default_value = "published")]
    pub form: Form,
    /// Number format of the files; int8 needs a checkpoint that `quantize` made
    #[arg(long, value_enum, default_value = "f32")]
    pub precision: NumberFormat,
    /// Height and width of the input, a multiple of 32; the checkpoint's own by default
    #[arg(long, value_name = "S")]
    pub size: Option<usize>,
    /// Also export the confounders and their head: confounder_head.onnx
    #[arg(long)]
    pub confounders: bool,
    #[command(flatten)]
    pub fit: FitFlags,
    /// The folder to write into; it is created if missing
    #[arg(short, long, value_name = "DIR")]
    pub output: PathBuf,
}

impl Export {
    /// Exports and prints the paths of the files.
    pub fn run(self) -> Result<(), Failure> {
        let spinner = super::spinner("reading the checkpoint");
        let options = |provenance: &Provenance| ExportOptions {
            form: self.form,
            precision: self.precision,
            input_size: self.size,
            confounders: self.confounders,
            fit: self.fit.choose(provenance),
        };
        let on_file = |file: &str| spinner.set_message(format!("writing {file}"));
        let paths = match self.precision {
            NumberFormat::F32 => {
                let checkpoint = Checkpoint::load(&self.checkpoint)?;
                export(&checkpoint, &options(&checkpoint.provenance), &self.output, on_file)?
            }
            NumberFormat::Int8 => {
                let checkpoint = QuantisedCheckpoint::load(&self.checkpoint)?;
                export_quantised(&checkpoint, &options(&checkpoint.provenance), &self.output, on_file)?
            }
        };
        spinner.finish_and_clear();
        for path in paths {
            super::say(path.display())?;
        }
        Ok(())
    }
}
