//! `export`: a checkpoint as ONNX files.

use crate::checkpoint::Checkpoint;
use crate::export::{ExportError, ExportOptions, Form, Precision, export};
use indicatif::ProgressBar;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::Duration;

/// Write a checkpoint as standard ONNX: text.onnx, image.onnx, head.onnx and the whole in model.onnx.
#[derive(Debug, clap::Args)]
pub struct ExportArgs {
    /// The checkpoint (.safetensors) to export
    #[arg(long, value_name = "CKPT")]
    pub checkpoint: PathBuf,
    /// The network as published, or after the exact rewrites that make it four times cheaper
    #[arg(long, value_enum, default_value = "published")]
    pub form: Form,
    /// The numbers that the files compute with
    #[arg(long, value_enum, default_value = "f32")]
    pub precision: Precision,
    /// Height and width of the input, a multiple of 32; the checkpoint's own by default
    #[arg(long, value_name = "S")]
    pub size: Option<usize>,
    /// Export the confounders and their head, too: confounder_head.onnx
    #[arg(long)]
    pub confounders: bool,
    /// The folder to write into; it is made if it is missing
    #[arg(short, long, value_name = "DIR")]
    pub output: PathBuf,
}

/// Exports and prints the paths of the files.
pub fn run(args: &ExportArgs) -> Result<(), ExportError> {
    let spinner = if std::io::stderr().is_terminal() { ProgressBar::new_spinner() } else { ProgressBar::hidden() };
    spinner.enable_steady_tick(Duration::from_millis(120));
    spinner.set_message(format!("reading {}", args.checkpoint.display()));
    let checkpoint = Checkpoint::load(&args.checkpoint)?;
    let options = ExportOptions {
        form: args.form,
        precision: args.precision,
        input_size: args.size,
        confounders: args.confounders,
    };
    let paths = export(&checkpoint, &options, &args.output, |file| spinner.set_message(format!("writing {file}")))?;
    spinner.finish_and_clear();
    for path in paths {
        println!("{}", path.display());
    }
    Ok(())
}
