//! Which model a command uses: a bundle or an interchange file, the bundle inside the command, or a network with generated
//! weights.

use super::Failure;
use super::generated_model::generate;
use causalclipseg::ModelFile;
use causalclipseg::bundle::{Aligned, Bundle, Check, Precision};
use causalclipseg::network::Edition;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// The model that ships with the command.
static EMBEDDED: &Aligned<[u8]> = &Aligned(*include_bytes!("../../models/tiny.ccs"));

/// A command waits for its model, and has nothing else to do meanwhile.
const CHECK: Check = Check::EverythingOnTwoThreads;
/// The prefix before an edition's name that requests generated weights.
const GENERATED_PREFIX: &str = "random:";
/// The side length of the published network's input.
const GENERATED_SIZE: usize = 224;

#[derive(clap::Args)]
pub(super) struct ModelSource {
    /// Bundle to use, or an exported model.onnx with its tokenizer.json beside it, or random:rn101, random:rn50,
    /// random:tiny, each optionally with :int8, for an untrained network [default: the model inside this command]
    #[arg(short, long, value_name = "BUNDLE")]
    model: Option<ModelName>,
    /// Run a bundle whose weights were never trained: its masks mean nothing
    #[arg(long)]
    allow_untrained: bool,
}

impl ModelSource {
    /// Opens the file, and refuses an untrained model unless the caller insists.
    pub(crate) fn open(&self) -> Result<ModelFile, Failure> {
        let file = self.model.clone().unwrap_or(ModelName::Embedded).open(None)?;
        let model = file.description();
        if !model.trained && !self.allow_untrained {
            let name = &model.name;
            let reason = "its weights were never trained, so its masks mean nothing; pass --allow-untrained to run it";
            return Err(format!("model `{name}` is not used: {reason}").into());
        }
        Ok(file)
    }
}

/// A model as people name it on the command line.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum ModelName {
    Embedded,
    File(PathBuf),
    /// `random:EDITION` or `random:EDITION:int8`: the published network at full size, with weights that are only useful
    /// to measure.
    Generated(Edition, Precision),
}

impl FromStr for ModelName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some(name) = text.strip_prefix(GENERATED_PREFIX) else { return Ok(Self::File(text.into())) };
        let (edition, precision) = match name.split_once(':') {
            None | Some((_, "f32")) => (name.strip_suffix(":f32").unwrap_or(name), Precision::F32),
            Some((edition, "int8")) => (edition, Precision::Int8),
            Some((_, other)) => return Err(format!("unknown precision `{other}`; write f32 or int8")),
        };
        Ok(Self::Generated(edition.parse().map_err(|error| format!("{error}"))?, precision))
    }
}

impl fmt::Display for ModelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Embedded => f.write_str("the embedded model"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Generated(edition, Precision::Int8) => write!(f, "{GENERATED_PREFIX}{edition}:int8"),
            Self::Generated(edition, _) => write!(f, "{GENERATED_PREFIX}{edition}"),
        }
    }
}

impl ModelName {
    /// Opens the model. Only a generated one can have a size of the caller's choice; any other must already have it.
    pub(crate) fn open(&self, size: Option<usize>) -> Result<ModelFile, Failure> {
        let file: ModelFile = match self {
            Self::Embedded => Bundle::from_static_with(&EMBEDDED.0, CHECK)?.into(),
            Self::File(path) => ModelFile::open_with(path, CHECK)?,
            Self::Generated(edition, precision) => return Ok(generated(*edition, *precision, size)?.into()),
        };
        let own = file.description().input_size;
        match size {
            Some(size) if size != own => Err(format!(
                "{self} takes {own} x {own} pixels, not {size} x {size}; pack it for that size, or measure random:EDITION"
            )
            .into()),
            _ => Ok(file),
        }
    }
}

/// The published network with generated weights; with the published size where `size` is `None`.
pub(super) fn generated(edition: Edition, precision: Precision, size: Option<usize>) -> Result<Bundle, Failure> {
    let tokenizer_json = Bundle::from_static(&EMBEDDED.0)?.tokenizer_json()?.to_vec();
    generate(edition, precision, size.unwrap_or(GENERATED_SIZE), tokenizer_json)
}

/// Opens a bundle, an interchange file, or the embedded bundle.
pub(super) fn open(path: Option<&Path>) -> Result<ModelFile, Failure> {
    path.map_or(ModelName::Embedded, |path| ModelName::File(path.into())).open(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_models() {
        assert_eq!("random:rn50".parse(), Ok(ModelName::Generated(Edition::Rn50, Precision::F32)));
        assert_eq!("random:rn50:f32".parse(), Ok(ModelName::Generated(Edition::Rn50, Precision::F32)));
        assert_eq!("random:tiny:int8".parse(), Ok(ModelName::Generated(Edition::Tiny, Precision::Int8)));
        assert_eq!("a/b.ccs".parse(), Ok(ModelName::File("a/b.ccs".into())));
        let error = "random:huge".parse::<ModelName>().unwrap_err();
        assert!(error.contains("`huge`") && error.contains("rn101"), "{error}");
        assert!("random:tiny:f8".parse::<ModelName>().unwrap_err().contains("f32 or int8"));
        for name in ["random:tiny", "random:rn101:int8"] {
            assert_eq!(name.parse::<ModelName>().unwrap().to_string(), name);
        }
    }

    #[test]
    fn sizes_are_the_models_own() {
        let error = ModelName::Embedded.open(Some(64)).err().unwrap().to_string();
        assert!(error.contains("not 64 x 64"), "{error}");
    }
}
