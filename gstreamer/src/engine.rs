//! An opened model with its encoded prompts.

use crate::element::Settings;
use causalclipseg::bundle::{Aligned, Bundle, BundleError};
use causalclipseg::frame::{Frame, FrameError, PixelFormat};
use causalclipseg::{Model, ModelError, ModelFile, ModelFileError, ModelOptions, Prompt, Session, SessionError};
use std::path::PathBuf;
use std::sync::Arc;

/// Names the model where the property `model` does not.
pub(crate) const MODEL_VARIABLE: &str = "CAUSALCLIPSEG_MODEL";

/// The shipped model, as in the command.
static EMBEDDED: &Aligned<[u8]> = &Aligned(*include_bytes!("../../models/tiny.ccs"));

/// Why settings are refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SettingsError {
    #[error("the model {} is not opened: {error}", path.display())]
    File { path: PathBuf, error: ModelFileError },
    #[error("the model inside this plugin is not opened: {0}")]
    Embedded(BundleError),
    #[error("the model does not run: {0}")]
    Model(ModelError),
    #[error(
        "the weights of the model {name} were never trained, so its masks mean nothing: take another model, or set \
         allow-untrained=true"
    )]
    Untrained { name: String },
    #[error("no prompt is given: set the property prompt to a sentence that describes the lesion")]
    NoPrompt,
    #[error("the prompt `{text}` is refused: {error}")]
    Prompt { text: String, error: ModelError },
    #[error(transparent)]
    Session(#[from] SessionError),
    #[error(transparent)]
    PixelSize(#[from] FrameError),
    #[error("the region `{0}` is refused: give X,Y,WIDTH,HEIGHT in whole pixels")]
    Region(String),
}

/// What a model is opened with; another value needs another model.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ModelChoice {
    pub path: Option<PathBuf>,
    pub threads: u32,
    pub allow_untrained: bool,
}

/// A model with the prompts of the next frame.
pub(crate) struct Opened {
    pub choice: ModelChoice,
    pub model: Arc<Model>,
    pub prompts: Arc<[Prompt]>,
}

impl Opened {
    /// Opens the model of the settings and checks all of them.
    pub(crate) fn new(settings: &Settings) -> Result<Self, SettingsError> {
        let choice = settings.model_choice();
        let file = match choice.path.clone().or_else(path_of_environment) {
            Some(path) => ModelFile::open(&path).map_err(|error| SettingsError::File { path, error })?,
            None => Bundle::from_static(&EMBEDDED.0).map_err(SettingsError::Embedded)?.into(),
        };
        if !file.description().trained && !choice.allow_untrained {
            return Err(SettingsError::Untrained { name: file.description().name.clone() });
        }
        let options = ModelOptions::default().with_threads(choice.threads as usize);
        let model = Arc::new(Model::from_file(file, options).map_err(SettingsError::Model)?);
        let prompts = encode(&model, &settings.prompts)?;
        check(&model, settings)?;
        Ok(Self { choice, model, prompts })
    }
}

fn path_of_environment() -> Option<PathBuf> {
    std::env::var_os(MODEL_VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from)
}

/// Encodes prompts, or finds them among those that the model encoded before.
pub(crate) fn encode(model: &Model, texts: &[String]) -> Result<Arc<[Prompt]>, SettingsError> {
    if texts.is_empty() {
        return Err(SettingsError::NoPrompt);
    }
    let encode =
        |text: &String| model.prompt(text).map_err(|error| SettingsError::Prompt { text: text.clone(), error });
    texts.iter().map(encode).collect()
}

/// Refuses settings that no session or frame takes.
pub(crate) fn check(model: &Model, settings: &Settings) -> Result<(), SettingsError> {
    Session::new(model, settings.session_options())?;
    settings.region()?;
    if let Some(mm) = settings.mm_per_pixel() {
        Frame::packed(&[0], PixelFormat::Gray8, 1, 1)?.with_mm_per_pixel(mm)?;
    }
    Ok(())
}
