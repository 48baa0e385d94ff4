//! Interchange files: the network in standard ONNX (operator set 17), split into its encoders and head, and complete.
//!
//! | file | inputs | outputs |
//! |---|---|---|
//! | `text.onnx` | `tokens` `[prompts, context]`, int64 | `state` `[prompts, embed]` |
//! | `image.onnx` | `image` `[1, 3, S, S]`, normalised | `features` `[1, decoder, S/16, S/16]`, on request `confounders` |
//! | `head.onnx` | `features`, `state` | `logits` `[prompts, 1, S, S]` |
//! | `confounder_head.onnx`, on request | `confounders`, `state` | `logits` |
//! | `model.onnx` | `image`, `tokens` | `logits` |
//! | `tokenizer.json` | a sentence | its `tokens` |
//!
//! Tokens are padded with zeros after the end of text. A file's metadata state the edition, the form, the input's size
//! and the mean and standard deviation for normalisation. `model.onnx` also has a description of its network
//! ([`NetworkDescription`]), with which the runtime opens it as it opens a bundle.

mod blend;
mod maps;
mod parts;
mod prompt_conv;
mod proto;
mod qdq;
mod sequences;
mod writer;

pub use writer::{GraphWriteError, Written, write_model};

use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::model::{Architecture, Form};
use crate::quantize::{QuantisedCheckpoint, QuantisedTensor, strip_before_relu};
use crate::tokenizer::clip_tokenizer_json;
use causalclipseg::bundle::{ModelDescription, Provenance};
use causalclipseg::frame::{Fit, Normalisation};
use causalclipseg::graph::{Graph, GraphError, Weights};
use causalclipseg::lower::{LowerError, rewrite};
use causalclipseg::onnx::{DESCRIPTION_VERSION, NETWORK_KEY, NetworkDescription, TOKENIZER_FILE};
use parts::Part;
use prost::Message;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// The largest size of a file: protocol buffers allow no more, and readers use 32-bit signed lengths.
const LARGEST_FILE_BYTES: usize = i32::MAX as usize;

/// The number format of a file's computation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum NumberFormat {
    F32,
    Int8,
}

/// Settings of an export.
#[derive(Clone, Copy, Debug)]
pub struct ExportOptions {
    pub form: Form,
    pub precision: NumberFormat,
    /// Height and width of the input in pixels, a multiple of 32; the checkpoint's own where it is `None`.
    pub input_size: Option<usize>,
    /// Whether to export the adversarial head and the features that it reads, too.
    pub confounders: bool,
    /// How frames fill the input, for the runtime.
    pub fit: Fit,
}

/// Why an export fails. Nothing half-written is left behind.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    #[error("int8 is not available for this checkpoint, which has no scales: quantise it first")]
    NotQuantized,
    #[error("this checkpoint was quantised in the {found} form; quantise it with --form {wanted}, or export that form")]
    Form { found: &'static str, wanted: &'static str },
    #[error(
        "a quantised checkpoint has one input size, here {size}; quantise the f32 checkpoint at the size that you want"
    )]
    QuantisedSize { size: usize },
    #[error("the published form is quantised without the adversarial head; leave out --confounders")]
    NoConfounders,
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    #[error("cannot export the network: {0}")]
    Graph(#[from] GraphError),
    #[error("cannot rewrite the network: {0}")]
    Lower(#[from] LowerError),
    #[error("cannot export the network: {0}")]
    Node(#[from] GraphWriteError),
    #[error("the network cannot be described ({0}); please report it")]
    Describe(String),
    #[error("{file} would have {bytes} bytes, more than an ONNX file can have; choose a narrower network")]
    TooLarge { file: &'static str, bytes: usize },
    #[error("cannot write {path}: {source}")]
    Write { path: PathBuf, source: std::io::Error },
}

/// Writes the files of an export into `directory`, which is created if it is missing, and returns their paths.
///
/// `on_file` receives each file's name before the work on it begins. All files are complete before the first of them
/// takes its name.
pub fn export(
    checkpoint: &Checkpoint,
    options: &ExportOptions,
    directory: &Path,
    mut on_file: impl FnMut(&str),
) -> Result<Vec<PathBuf>, ExportError> {
    if options.precision == NumberFormat::Int8 {
        return Err(ExportError::NotQuantized);
    }
    let checkpoint = at_size(checkpoint, options.input_size)?;
    let (graph, weights) = network(&checkpoint, options)?;
    let contents = Contents {
        graph: &graph,
        weights: &weights,
        quantised: &BTreeMap::new(),
        properties: properties(&checkpoint.architecture, &checkpoint.provenance, options.form),
        model: describe_model(&checkpoint.architecture, &checkpoint.provenance, &graph, options.fit)?,
    };
    write_parts(&contents, options.confounders, directory, &mut on_file)
}

/// As [`export`], for a quantised checkpoint: int8 with `QuantizeLinear` and `DequantizeLinear`.
pub fn export_quantised(
    checkpoint: &QuantisedCheckpoint,
    options: &ExportOptions,
    directory: &Path,
    mut on_file: impl FnMut(&str),
) -> Result<Vec<PathBuf>, ExportError> {
    let size = checkpoint.architecture.input_size;
    if options.form != checkpoint.form {
        return Err(ExportError::Form { found: checkpoint.form.name(), wanted: options.form.name() });
    }
    if options.input_size.is_some_and(|wanted| wanted != size) {
        return Err(ExportError::QuantisedSize { size });
    }
    if options.confounders && checkpoint.form == Form::Published {
        return Err(ExportError::NoConfounders);
    }
    let graph = strip_before_relu(&checkpoint.graph).with_heads(options.confounders)?;
    let contents = Contents {
        graph: &graph,
        weights: &checkpoint.computed_weights(),
        quantised: &checkpoint.quantised,
        properties: properties(&checkpoint.architecture, &checkpoint.provenance, options.form),
        model: ModelDescription {
            calibration: Some(checkpoint.calibration.clone()),
            ..describe_model(&checkpoint.architecture, &checkpoint.provenance, &graph, options.fit)?
        },
    };
    write_parts(&contents, options.confounders, directory, &mut on_file)
}

/// The data that the files of an export are written from.
struct Contents<'c> {
    graph: &'c Graph,
    weights: &'c Weights,
    quantised: &'c BTreeMap<String, QuantisedTensor>,
    properties: BTreeMap<String, String>,
    /// The description of the complete network, for the runtime.
    model: ModelDescription,
}

fn write_parts(
    contents: &Contents,
    confounders: bool,
    directory: &Path,
    on_file: &mut dyn FnMut(&str),
) -> Result<Vec<PathBuf>, ExportError> {
    let parts = parts::cut(contents.graph, confounders)?;
    fs::create_dir_all(directory).map_err(|source| ExportError::Write { path: directory.into(), source })?;
    let mut written = Vec::new();
    for part in &parts {
        on_file(part.file_name);
        written.push((write_part(part, contents, directory)?, directory.join(part.file_name)));
    }
    on_file(TOKENIZER_FILE);
    let path = directory.join(TOKENIZER_FILE);
    written.push((write_bytes(&clip_tokenizer_json(), &path)?, path));
    let mut paths = Vec::new();
    for (file, path) in written {
        file.persist(&path).map_err(|error| ExportError::Write { path: path.clone(), source: error.error })?;
        log::info!("wrote {}", path.display());
        paths.push(path);
    }
    Ok(paths)
}

fn at_size(checkpoint: &Checkpoint, input_size: Option<usize>) -> Result<Cow<'_, Checkpoint>, CheckpointError> {
    match input_size {
        Some(size) if size != checkpoint.architecture.input_size => Ok(Cow::Owned(checkpoint.clone().resized(size)?)),
        _ => Ok(Cow::Borrowed(checkpoint)),
    }
}

/// The graph in the requested form, and the weights that it reads.
fn network<'c>(checkpoint: &'c Checkpoint, options: &ExportOptions) -> Result<(Graph, Cow<'c, Weights>), ExportError> {
    let published = checkpoint.architecture.describe()?.with_heads(options.confounders)?;
    match options.form {
        Form::Published => Ok((published, Cow::Borrowed(&checkpoint.weights))),
        Form::Rewritten => {
            // Only the weights that these parts read: the rewrites need a copy to change.
            let read = published.parameters().into_iter();
            let weights = read.filter_map(|p| checkpoint.weights.get_key_value(&p.name));
            let weights = weights.map(|(name, value)| (name.clone(), value.clone())).collect();
            let (graph, weights) = rewrite(published, weights)?;
            Ok((graph, Cow::Owned(weights)))
        }
    }
}

fn properties(architecture: &Architecture, provenance: &Provenance, form: Form) -> BTreeMap<String, String> {
    let numbers = |values: [f32; 3]| values.map(|value| value.to_string()).join(",");
    let mut properties = BTreeMap::from([
        ("edition".to_string(), architecture.edition.to_string()),
        ("form".to_string(), form.name().to_string()),
        ("input_size".to_string(), architecture.input_size.to_string()),
        ("mean".to_string(), numbers(Normalisation::CLIP.mean)),
        ("std".to_string(), numbers(Normalisation::CLIP.std)),
    ]);
    for key in ["commit", "trained"] {
        if let Some(value) = provenance.get(key) {
            properties.insert(key.to_string(), value.to_string());
        }
    }
    properties
}

fn describe_model(
    architecture: &Architecture,
    provenance: &Provenance,
    graph: &Graph,
    fit: Fit,
) -> Result<ModelDescription, ExportError> {
    Ok(ModelDescription {
        name: architecture.edition.to_string(),
        edition: architecture.edition.to_string(),
        input_size: architecture.input_size,
        normalisation: Normalisation::CLIP,
        fit,
        threshold: provenance.threshold_or_default(),
        trained: provenance.trained().unwrap_or(false),
        gmac: graph.frame_gmac(1)?,
        provenance: provenance.clone(),
        calibration: None,
    })
}

fn write_part(part: &Part, contents: &Contents, directory: &Path) -> Result<NamedTempFile, ExportError> {
    let Contents { weights, quantised, properties, .. } = contents;
    let Written { mut model, parts } = write_model(&part.graph, weights, quantised, &part.tensor_names, properties)?;
    if part.file_name == parts::WHOLE {
        let (model_description, graph) = (contents.model.clone(), part.graph.clone());
        let description =
            NetworkDescription { version: DESCRIPTION_VERSION, model: model_description, graph, weights: parts };
        let json = serde_json::to_string(&description).map_err(|error| ExportError::Describe(error.to_string()))?;
        model.metadata_props.push(proto::property(NETWORK_KEY, &json));
    }
    let bytes = model.encoded_len();
    if bytes > LARGEST_FILE_BYTES {
        return Err(ExportError::TooLarge { file: part.file_name, bytes });
    }
    let encoded = model.encode_to_vec();
    drop(model);
    write_bytes(&encoded, &directory.join(part.file_name))
}

/// Writes a temporary file, to be renamed when all files are complete.
fn write_bytes(bytes: &[u8], path: &Path) -> Result<NamedTempFile, ExportError> {
    let write = |source| ExportError::Write { path: path.into(), source };
    let directory = path.parent().unwrap_or(Path::new("."));
    let mut file = temporary_in(directory).map_err(write)?;
    file.write_all(bytes).map_err(write)?;
    file.flush().map_err(write)?;
    Ok(file)
}

/// A temporary file is private to its owner by default; an exported one gets the permissions of the umask.
fn temporary_in(directory: &Path) -> std::io::Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
    builder.tempfile_in(directory)
}
