//! The file that a model is opened from: a bundle, or (feature `onnx`) an interchange file.

use crate::bundle::{Bundle, BundleError, Check, ModelDescription, Sha256};
#[cfg(feature = "onnx")]
use crate::onnx::{OnnxError, OnnxFile, OnnxNetwork};
use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;

/// An opened file whose network is not planned yet. Cheap to clone.
#[derive(Clone)]
#[non_exhaustive]
pub enum ModelFile {
    /// A `.ccs` file.
    Bundle(Arc<Bundle>),
    /// An interchange file.
    #[cfg(feature = "onnx")]
    Onnx(Arc<OnnxFile>),
}

/// Why a file is not opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages say it")]
pub enum ModelFileError {
    #[error(transparent)]
    Bundle(#[from] BundleError),
    #[cfg(feature = "onnx")]
    #[error(transparent)]
    Onnx(#[from] OnnxError),
    #[error("{}: this build reads no ONNX files: build with the feature `onnx`, or pack the checkpoint into a bundle", path.display())]
    #[cfg(not(feature = "onnx"))]
    NoImporter { path: std::path::PathBuf },
}

impl From<Bundle> for ModelFile {
    fn from(bundle: Bundle) -> Self {
        ModelFile::Bundle(Arc::new(bundle))
    }
}

impl From<Arc<Bundle>> for ModelFile {
    fn from(bundle: Arc<Bundle>) -> Self {
        ModelFile::Bundle(bundle)
    }
}

impl ModelFile {
    /// Opens a `.ccs` file or, where the name ends in `.onnx`, an interchange file with its `tokenizer.json` beside it.
    ///
    /// # Errors
    /// The file cannot be read, is damaged, or contains no network with this program's inputs and outputs.
    pub fn open(path: &Path) -> Result<Self, ModelFileError> {
        Self::open_with(path, Check::Everything)
    }

    /// As [`Self::open`]; `check` says how much of a bundle is read. An interchange file has no sums.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_with(path: &Path, check: Check) -> Result<Self, ModelFileError> {
        if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("onnx")) {
            #[cfg(feature = "onnx")]
            return Ok(ModelFile::Onnx(Arc::new(OnnxFile::open(path)?)));
            #[cfg(not(feature = "onnx"))]
            return Err(ModelFileError::NoImporter { path: path.into() });
        }
        Ok(Bundle::open_with(path, check)?.into())
    }

    /// The packer's or the exporter's description of the model: sizes, threshold, provenance.
    pub fn description(&self) -> &ModelDescription {
        match self {
            ModelFile::Bundle(bundle) => &bundle.manifest().model,
            #[cfg(feature = "onnx")]
            ModelFile::Onnx(file) => file.description(),
        }
    }

    /// The bundle that runs: the file itself or, for an interchange file whose network is known, one in memory. `None`
    /// where plain tract runs the file unchanged.
    pub fn bundle(&self) -> Option<&Arc<Bundle>> {
        match self {
            ModelFile::Bundle(bundle) => Some(bundle),
            #[cfg(feature = "onnx")]
            ModelFile::Onnx(file) => match file.network() {
                OnnxNetwork::Known { bundle, .. } => Some(bundle),
                OnnxNetwork::AsItIs { .. } => None,
            },
        }
    }

    /// The tokenizer's definition, unpacked.
    ///
    /// # Errors
    /// The tokenizer of a bundle cannot be unpacked.
    pub fn tokenizer_json(&self) -> Result<Cow<'_, [u8]>, BundleError> {
        match self {
            ModelFile::Bundle(bundle) => bundle.tokenizer_json(),
            #[cfg(feature = "onnx")]
            ModelFile::Onnx(file) => match file.network() {
                OnnxNetwork::Known { bundle, .. } => bundle.tokenizer_json(),
                OnnxNetwork::AsItIs { tokenizer_json, .. } => Ok(Cow::Borrowed(tokenizer_json)),
            },
        }
    }

    /// The SHA-256 sum of the complete file, to identify it in reports.
    pub fn sha256(&self) -> Sha256 {
        match self {
            ModelFile::Bundle(bundle) => bundle.sha256(),
            #[cfg(feature = "onnx")]
            ModelFile::Onnx(file) => file.sha256(),
        }
    }

    /// The size of the file, in bytes.
    pub fn file_bytes(&self) -> usize {
        match self {
            ModelFile::Bundle(bundle) => bundle.file_bytes(),
            #[cfg(feature = "onnx")]
            ModelFile::Onnx(file) => file.file_bytes(),
        }
    }
}
