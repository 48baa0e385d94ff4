//! Interchange files: a network in ONNX, as `causalclipseg-convert export` and other programs write it.
//!
//! tract reads the file. Where our exporter described its network beside the graph ([`NetworkDescription`]), the
//! described network becomes a bundle in memory, and runs like one: rewritten, lowered, on the fast engine. The
//! description is a claim: it is first compared with the results of plain tract on the file's own graph, on one image
//! and two sentences. Where there is none, or it is wrong, plain tract runs the file unchanged, slowly, with a line in
//! the log that says why.
//!
//! # What is checked
//! A file is untrusted. Its tensors must have the elements that their shapes promise, no number is read from another
//! file, control flow is refused, and a panic inside tract is returned as an error. What remains: a file written by
//! another program may make tract need more memory than the machine has.

mod description;
mod error;
mod lift;
mod probe;
mod proto;
mod rounding;
mod weights;

pub use description::{DESCRIPTION_VERSION, NETWORK_KEY, NetworkDescription, WeightPart};
pub use error::{OnnxError, OnnxProblem, TOKENIZER_FILE};

use crate::bundle::{Bundle, MAX_ELEMENTS, MAX_TOKENIZER_BYTES, ModelDescription, Provenance, Sha256};
use crate::engine::{EngineError, WholeNetwork, contained};
use crate::frame::{Fit, Normalisation};
use lift::{Lifted, lift};
use proto::Interface;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;
use tract_core::internal::{TractResult, TypedModel, ensure};
use tract_onnx::pb::ModelProto;
use tract_onnx::prelude::InferenceModelExt;

/// The largest size of a file; protocol buffers allow no more.
pub const MAX_FILE_BYTES: u64 = i32::MAX as u64;
/// The most nodes of a graph, and the most tensors.
pub const MAX_NODES: usize = 1 << 16;

/// An opened interchange file.
pub struct OnnxFile {
    network: OnnxNetwork,
    sha256: Sha256,
    file_bytes: usize,
}

/// How a file's network runs.
pub enum OnnxNetwork {
    /// A network of this program's kind, as a bundle in memory.
    Known {
        bundle: Arc<Bundle>,
        /// The largest difference of any logit from plain tract's result for the file, as a share of the largest. For
        /// an int8 file: with nothing rounded on either side.
        deviation: f32,
    },
    /// The file's own graph, on plain tract.
    AsItIs {
        network: Arc<WholeNetwork>,
        description: Box<ModelDescription>,
        tokenizer_json: Vec<u8>,
        /// Why it is not known.
        reason: String,
    },
}

impl OnnxFile {
    /// Reads a file, and `tokenizer.json` beside it. Plans the network with tract at least once, which takes seconds for a
    /// large one.
    ///
    /// # Errors
    /// The file is not ONNX, is damaged, or has another interface; see [`OnnxProblem`].
    pub fn open(path: &Path) -> Result<Self, OnnxError> {
        Self::read(path).map_err(|problem| OnnxError { path: path.into(), problem: Box::new(problem) })
    }

    fn read(path: &Path) -> Result<Self, OnnxProblem> {
        let begun = Instant::now();
        let bytes = proto::read_bytes(path)?;
        let (sha256, file_bytes) = (Sha256::of(&bytes), bytes.len());
        let mut model = proto::parse(&bytes)?;
        drop(bytes);
        let interface = match &mut model.graph {
            Some(graph) => proto::fix_interface(graph)?,
            None => return Err(OnnxProblem::Format("it holds no graph".into())),
        };
        let tokenizer_json = read_tokenizer(path)?;
        let properties: BTreeMap<String, String> =
            model.metadata_props.drain(..).map(|property| (property.key, property.value)).collect();
        let network = match lift(&mut model, interface, &properties, &tokenizer_json) {
            Ok(Lifted { bundle, deviation }) => OnnxNetwork::Known { bundle, deviation },
            Err(reason) => {
                let description = Box::new(describe(path, interface, &properties)?);
                let network = Arc::new(whole_network(&model)?);
                let reason = error::printable(&reason);
                log::warn!("{} runs on plain tract, slowly: {reason}", path.display());
                OnnxNetwork::AsItIs { network, description, tokenizer_json, reason }
            }
        };
        log::info!("{} read in {:.0} ms", path.display(), begun.elapsed().as_secs_f64() * 1e3);
        Ok(Self { network, sha256, file_bytes })
    }

    pub fn network(&self) -> &OnnxNetwork {
        &self.network
    }

    pub fn description(&self) -> &ModelDescription {
        match &self.network {
            OnnxNetwork::Known { bundle, .. } => &bundle.manifest().model,
            OnnxNetwork::AsItIs { description, .. } => description,
        }
    }

    /// The SHA-256 sum of the ONNX file.
    pub fn sha256(&self) -> Sha256 {
        self.sha256
    }

    /// The size of the ONNX file, in bytes.
    pub fn file_bytes(&self) -> usize {
        self.file_bytes
    }
}

fn read_tokenizer(path: &Path) -> Result<Vec<u8>, OnnxProblem> {
    let path = path.with_file_name(TOKENIZER_FILE);
    let metadata = std::fs::metadata(&path).map_err(OnnxProblem::NoTokenizer)?;
    if metadata.len() > MAX_TOKENIZER_BYTES {
        return Err(OnnxProblem::LargeTokenizer(metadata.len()));
    }
    std::fs::read(&path).map_err(OnnxProblem::NoTokenizer)
}

/// The file's graph for one prompt, planned by tract. The message is checked and its interface fixed.
fn whole_network(model: &ModelProto) -> Result<WholeNetwork, EngineError> {
    let begun = Instant::now();
    let typed = contained("read the file", || {
        let parsed = tract_onnx::onnx().parse(model, None)?;
        let typed = parsed.model.into_typed()?;
        check_sizes(&typed)?;
        Ok(typed)
    })?;
    let network = WholeNetwork::new(typed)?;
    log::debug!("planned by tract in {:.0} ms", begun.elapsed().as_secs_f64() * 1e3);
    Ok(network)
}

/// Refuses values of absurd sizes before anything is run.
fn check_sizes(model: &TypedModel) -> TractResult<()> {
    for node in model.nodes() {
        for shape in node.outputs.iter().filter_map(|output| output.fact.shape.as_concrete()) {
            let elements = shape.iter().try_fold(1usize, |product, size| product.checked_mul(*size));
            let is_bounded = elements.is_some_and(|elements| elements <= MAX_ELEMENTS);
            ensure!(is_bounded, "node `{}` yields {shape:?}, more than {MAX_ELEMENTS} numbers", node.name);
        }
    }
    Ok(())
}

/// The description of a model without a usable network description: from its metadata, or from usual values.
fn describe(
    path: &Path,
    interface: Interface,
    properties: &BTreeMap<String, String>,
) -> Result<ModelDescription, OnnxProblem> {
    if let Some(described) = properties.get(NETWORK_KEY).and_then(|json| NetworkDescription::read(json).ok())
        && described.model.check().is_ok()
        && described.model.input_size == interface.size
    {
        return Ok(described.model);
    }
    let numbers = |key: &str, usual: [f32; 3]| -> Result<[f32; 3], OnnxProblem> {
        let Some(text) = properties.get(key) else { return Ok(usual) };
        let parsed = text.split(',').map(|number| number.trim().parse().ok()).collect::<Option<Vec<f32>>>();
        let refuse =
            || OnnxProblem::Model(format!("that its `{key}` is `{}`", text.chars().take(64).collect::<String>()));
        parsed.and_then(|all| all.try_into().ok()).ok_or_else(refuse)
    };
    let usual = Normalisation::CLIP;
    let normalisation = Normalisation { mean: numbers("mean", usual.mean)?, std: numbers("std", usual.std)? };
    let mut provenance = Provenance::default();
    for key in ["commit", "form", "trained", "threshold"] {
        if let Some(text) = properties.get(key) {
            provenance.set(key, text).map_err(|error| OnnxProblem::Model(format!("that its {error}")))?;
        }
    }
    let description = ModelDescription {
        name: path.file_stem().map_or_else(|| "model".into(), |stem| stem.to_string_lossy().into_owned()),
        edition: properties.get("edition").map_or("unknown", String::as_str).to_string(),
        input_size: interface.size,
        normalisation,
        fit: Fit::Stretch,
        threshold: provenance.threshold_or_default(),
        // Whoever exports a model from elsewhere and segments with it has trained it.
        trained: provenance.trained().unwrap_or(true),
        gmac: 0.0,
        provenance,
        calibration: None,
    };
    description.check().map_err(OnnxProblem::Model)?;
    Ok(description)
}
