//! Which model a command uses: a bundle from a file, the one inside the command, or a network with generated weights.

use super::Failure;
use causalclipseg::bundle::{Bundle, BundleBuilder, ModelDescription, Precision};
use causalclipseg::frame::{Fit, Normalisation};
use causalclipseg::lower::rewrite;
use causalclipseg::network::{Architecture, Edition};
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// The model that ships with the command.
static EMBEDDED: &[u8] = include_bytes!("../../models/tiny.ccs");

/// What stands before an edition's name where its weights are to be generated.
const GENERATED_PREFIX: &str = "random:";
/// The published network's input.
const GENERATED_SIZE: usize = 224;

#[derive(clap::Args)]
pub(super) struct ModelSource {
    /// Bundle to use, or random:rn101, random:rn50, random:tiny for an untrained network [default: the model inside this
    /// command]
    #[arg(short, long, value_name = "BUNDLE")]
    model: Option<ModelName>,
    /// Run a bundle whose weights were never trained: its masks mean nothing
    #[arg(long)]
    allow_untrained: bool,
}

impl ModelSource {
    /// Opens the bundle, and refuses an untrained one unless the caller insists.
    pub fn open(&self) -> Result<Bundle, Failure> {
        let bundle = self.model.clone().unwrap_or(ModelName::Embedded).open(None)?;
        let model = &bundle.manifest().model;
        if !model.trained && !self.allow_untrained {
            let name = &model.name;
            let reason = "its weights were never trained, so its masks mean nothing; pass --allow-untrained to run it";
            return Err(format!("model `{name}` is not used: {reason}").into());
        }
        Ok(bundle)
    }
}

/// A model as people name it on the command line.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum ModelName {
    Embedded,
    File(PathBuf),
    /// `random:EDITION`: the published network at full size, with weights of no use but to measure.
    Generated(Edition),
}

impl FromStr for ModelName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix(GENERATED_PREFIX) {
            Some(edition) => Ok(Self::Generated(edition.parse().map_err(|error| format!("{error}"))?)),
            None => Ok(Self::File(text.into())),
        }
    }
}

impl fmt::Display for ModelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Embedded => f.write_str("the embedded model"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Generated(edition) => write!(f, "{GENERATED_PREFIX}{edition}"),
        }
    }
}

impl ModelName {
    /// Opens the model. Only a generated one comes in a size of the caller's choice; any other must have it already.
    pub fn open(&self, size: Option<usize>) -> Result<Bundle, Failure> {
        let bundle = match self {
            Self::Embedded => Bundle::from_static(EMBEDDED)?,
            Self::File(path) => Bundle::open(path)?,
            Self::Generated(edition) => return generate(*edition, size.unwrap_or(GENERATED_SIZE)),
        };
        let own = bundle.manifest().model.input_size;
        match size {
            Some(size) if size != own => Err(format!(
                "{self} takes {own} x {own} pixels, not {size} x {size}; pack it for that size, or measure random:EDITION"
            )
            .into()),
            _ => Ok(bundle),
        }
    }
}

/// Opens a bundle, or the embedded one.
pub(super) fn open(path: Option<&Path>) -> Result<Bundle, Failure> {
    path.map_or(ModelName::Embedded, |path| ModelName::File(path.into())).open(None)
}

/// A network of the published shapes, rewritten as a packed one is. Its weights come from the formula behind the reference
/// vectors, so every machine makes the same bundle.
fn generate(edition: Edition, size: usize) -> Result<Bundle, Failure> {
    let architecture = Architecture::of(edition, size);
    architecture.validate()?;
    let (graph, weights) = rewrite(architecture.describe()?, architecture.golden_weights()?)?;
    let description = ModelDescription {
        name: format!("{edition}-untrained"),
        edition: edition.to_string(),
        input_size: size,
        normalisation: Normalisation::CLIP,
        fit: Fit::Stretch,
        threshold: 0.5,
        trained: false,
        gmac: graph.frame_gmac(1)?,
        provenance: BTreeMap::from([("source".to_string(), "generated weights, to measure with".to_string())]),
        calibration: None,
    };
    let tokenizer = Bundle::from_static(EMBEDDED)?.tokenizer_json().to_vec();
    let builder = BundleBuilder::new(description, graph, &weights, Precision::F32)?.tokenizer_json(tokenizer);
    drop(weights);
    Ok(Bundle::from_bytes(builder.to_bytes()?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_models() {
        assert_eq!("random:rn50".parse(), Ok(ModelName::Generated(Edition::Rn50)));
        assert_eq!("a/b.ccs".parse(), Ok(ModelName::File("a/b.ccs".into())));
        let error = "random:huge".parse::<ModelName>().unwrap_err();
        assert!(error.contains("`huge`") && error.contains("rn101"), "{error}");
        assert_eq!(ModelName::Generated(Edition::Tiny).to_string(), "random:tiny");
    }

    #[test]
    fn generated_models_are_untrained_and_the_same_everywhere() {
        let bundle = ModelName::Generated(Edition::Tiny).open(Some(64)).unwrap();
        let model = &bundle.manifest().model;
        assert_eq!((model.trained, model.input_size, model.edition.as_str()), (false, 64, "tiny"));
        assert!(model.name.contains("untrained") && model.gmac > 0.0);
        let again = ModelName::Generated(Edition::Tiny).open(Some(64)).unwrap();
        assert_eq!(bundle.sha256(), again.sha256());
        assert!(ModelName::Generated(Edition::Tiny).open(Some(65)).is_err());
        let error = ModelName::Embedded.open(Some(64)).unwrap_err().to_string();
        assert!(error.contains("not 64 x 64"), "{error}");
    }
}
