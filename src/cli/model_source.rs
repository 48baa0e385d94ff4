//! Which model a command uses: a bundle from a file, or the one inside the command.

use super::Failure;
use causalclipseg::bundle::Bundle;
use std::path::{Path, PathBuf};

/// The model that ships with the command.
static EMBEDDED: &[u8] = include_bytes!("../../models/tiny.ccs");

#[derive(clap::Args)]
pub(super) struct ModelSource {
    /// Bundle to use [default: the model inside this command]
    #[arg(short, long, value_name = "BUNDLE")]
    model: Option<PathBuf>,
    /// Run a bundle whose weights were never trained: its masks mean nothing
    #[arg(long)]
    allow_untrained: bool,
}

impl ModelSource {
    /// Opens the bundle, and refuses an untrained one unless the caller insists.
    pub fn open(&self) -> Result<Bundle, Failure> {
        let bundle = open(self.model.as_deref())?;
        let model = &bundle.manifest().model;
        if !model.trained && !self.allow_untrained {
            let name = &model.name;
            let reason = "its weights were never trained, so its masks mean nothing; pass --allow-untrained to run it";
            return Err(format!("model `{name}` is not used: {reason}").into());
        }
        Ok(bundle)
    }
}

/// Opens a bundle, or the embedded one.
pub(super) fn open(path: Option<&Path>) -> Result<Bundle, Failure> {
    Ok(match path {
        Some(path) => Bundle::open(path)?,
        None => Bundle::from_static(EMBEDDED)?,
    })
}
