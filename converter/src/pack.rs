//! Packs a checkpoint into the one file that the runtime opens.

use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::model::{Architecture, Form};
use crate::quantize::{QuantisedCheckpoint, layer_weight, strip_fused};
use crate::tokenizer::clip_tokenizer_json;
use causalclipseg::bundle::{
    Bundle, BundleBuilder, BundleError, Dtype, ModelDescription, Precision, Problem, Provenance, SelfTest,
    SelfTestVector, SigningKey, StoredTensor, self_test_image,
};
use causalclipseg::engine::{Engine, EngineChoice, EngineError, EngineOptions};
use causalclipseg::frame::{Fit, Normalisation};
use causalclipseg::graph::{Graph, GraphError, Weights};
use causalclipseg::lower::{self, LowerError};
use causalclipseg::prompt::{PromptError, Tokenizer};
use ndarray::ArrayD;
use std::collections::HashSet;
use std::sync::Arc;

/// The sentences of the self-test: a short one, and one with most of the words that prompts use.
const SELF_TEST_PROMPTS: [&str; 2] =
    ["lesion", "The upper left region contains a small, irregular, hypoechoic malignant mass."];
/// The stride of the kept logits: every 97th logit of the self-test is stored.
const SELF_TEST_STEP: usize = 97;
/// The tolerance of f32: sums in another order differ by far less, a wrong kernel by far more.
const SELF_TEST_TOLERANCE: f32 = 1e-3;
/// The tolerance of int8: integer sums are the same on every machine; but where an f32 sum differs in its last bit, a
/// value may round to the next step, and later ones follow.
const INT8_SELF_TEST_TOLERANCE: f32 = 5e-2;

/// The packer's settings beside the weights.
#[derive(Clone, Debug)]
pub struct PackOptions {
    pub name: String,
    pub precision: Precision,
    pub fit: Fit,
    /// The probability above which a pixel is lesion, in (0, 1).
    pub threshold: f32,
    /// The user's tokenizer.json; CLIP's where there is none.
    pub tokenizer_json: Option<Vec<u8>>,
}

#[derive(Debug, thiserror::Error)]
pub enum PackError {
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    #[error(transparent)]
    Graph(#[from] GraphError),
    #[error(transparent)]
    Lower(#[from] LowerError),
    #[error("the self-test cannot be recorded: {0}")]
    Engine(#[from] EngineError),
    #[error("the self-test's prompts cannot be encoded: {0}")]
    Prompt(#[from] PromptError),
    #[error(transparent)]
    Bundle(#[from] BundleError),
    #[error("int8 needs a quantised checkpoint; make one with `causalclipseg-convert quantize`, or pack f32 or f16")]
    NotQuantised,
    #[error(
        "bundles hold the rewritten form and this checkpoint was quantised in the published one; quantise it again"
    )]
    PublishedForm,
}

impl From<Problem> for PackError {
    fn from(problem: Problem) -> Self {
        Self::Bundle(problem.into())
    }
}

/// Rewrites the network, records its self-test on this machine and assembles the bundle.
pub fn pack(
    checkpoint: Checkpoint,
    options: PackOptions,
    signing_key: Option<SigningKey>,
) -> Result<BundleBuilder, PackError> {
    let graph = checkpoint.architecture.describe()?;
    pack_network(graph, checkpoint, options, signing_key)
}

/// As [`pack`], for a checkpoint whose published network was changed: `graph` replaces the description of its
/// architecture.
pub fn pack_network(
    graph: Graph,
    checkpoint: Checkpoint,
    options: PackOptions,
    signing_key: Option<SigningKey>,
) -> Result<BundleBuilder, PackError> {
    if options.precision == Precision::Int8 {
        return Err(PackError::NotQuantised);
    }
    let Checkpoint { architecture, weights, provenance } = checkpoint;
    let (graph, mut weights) = lower::rewrite(graph, weights)?;
    if options.precision == Precision::F16 {
        // The self-test must use the numbers of the file.
        weights.values_mut().filter(|value| value.ndim() > 1).for_each(round_to_f16);
    }
    assemble(Contents { architecture, graph, weights, provenance, calibration: None }, options, signing_key)
}

/// Assembles the bundle of a quantised checkpoint: its weights as integers in the kernels' order, without a scale for
/// values that the runtime never stores.
pub fn pack_quantised(
    checkpoint: QuantisedCheckpoint,
    options: PackOptions,
    signing_key: Option<SigningKey>,
) -> Result<BundleBuilder, PackError> {
    if checkpoint.form != Form::Rewritten {
        return Err(PackError::PublishedForm);
    }
    let graph = strip_fused(&checkpoint.graph);
    let mut weights = checkpoint.computed_weights();
    // Tables and constant maps are added, not multiplied: f16 is more precise than what they are added to.
    let for_kernels: HashSet<&str> = graph.nodes.iter().filter_map(|node| layer_weight(&node.op)).collect();
    let is_table = |name: &str, value: &ArrayD<f32>| {
        value.ndim() > 1 && !for_kernels.contains(name) && !checkpoint.quantised.contains_key(name) && fits_f16(value)
    };
    let mut tensors = Vec::new();
    for (name, value) in weights.iter_mut().filter(|(name, value)| is_table(name, value)) {
        round_to_f16(value);
        tensors.push(StoredTensor::encode(name, value, Dtype::F16)?);
    }
    for (name, tensor) in &checkpoint.quantised {
        let integers: Vec<i8> = tensor.stored.iter().copied().collect();
        let for_kernels = for_kernels.contains(name.as_str());
        tensors.extend(StoredTensor::int8(name, tensor.stored.shape(), &integers, &tensor.scales, for_kernels)?);
    }
    let contents = Contents {
        architecture: checkpoint.architecture,
        graph,
        weights,
        provenance: checkpoint.provenance,
        calibration: Some(checkpoint.calibration),
    };
    let options = PackOptions { precision: Precision::Int8, ..options };
    let (size, context) = (contents.architecture.input_size, contents.architecture.text.context);
    let builder = assemble(contents, options, signing_key)?;
    let builder = tensors.into_iter().fold(builder, BundleBuilder::tensor);
    // Recorded with the engine of devices: the reference rounds the same values, but not the same sums.
    let bundle = Arc::new(Bundle::from_bytes(builder.to_bytes()?)?);
    let engine = Engine::new(bundle.graph(), &bundle, EngineOptions::default())?;
    let test = Conditions { size, context, tolerance: INT8_SELF_TEST_TOLERANCE };
    let self_test = record_self_test(&engine, &bundle.tokenizer_json()?, test)?;
    Ok(builder.self_test(self_test))
}

/// The content of a bundle beside the options.
struct Contents {
    architecture: Architecture,
    graph: Graph,
    /// The weights in f32, as computed with.
    weights: Weights,
    provenance: Provenance,
    calibration: Option<serde_json::Value>,
}

fn assemble(
    contents: Contents,
    options: PackOptions,
    signing_key: Option<SigningKey>,
) -> Result<BundleBuilder, PackError> {
    let Contents { architecture, graph, weights, provenance, calibration } = contents;
    let tokenizer_json = options.tokenizer_json.unwrap_or_else(clip_tokenizer_json);
    let self_test = match options.precision {
        // Recorded when the integers are there.
        Precision::Int8 => SelfTest::default(),
        _ => {
            let reference = EngineOptions::default().with_choice(EngineChoice::Reference);
            let engine = Engine::new(&graph, &weights, reference)?;
            let (size, context) = (architecture.input_size, architecture.text.context);
            let test = Conditions { size, context, tolerance: SELF_TEST_TOLERANCE };
            record_self_test(&engine, &tokenizer_json, test)?
        }
    };
    let description = ModelDescription {
        name: options.name,
        edition: architecture.edition.to_string(),
        input_size: architecture.input_size,
        normalisation: Normalisation::CLIP,
        fit: options.fit,
        threshold: options.threshold,
        trained: provenance.trained().unwrap_or(false),
        gmac: graph.frame_gmac(1)?,
        provenance,
        calibration,
    };
    let mut builder = BundleBuilder::new(description, graph, &weights, options.precision)?
        .tokenizer_json(tokenizer_json)
        .self_test(self_test);
    if let Some(key) = signing_key {
        builder = builder.sign_with(key);
    }
    Ok(builder)
}

fn fits_f16(value: &ArrayD<f32>) -> bool {
    value.iter().all(|v| half::f16::from_f32(*v).is_finite())
}

fn round_to_f16(value: &mut ArrayD<f32>) {
    value.mapv_inplace(|v| half::f16::from_f32(v).to_f32());
}

/// Settings of a self-test.
#[derive(Clone, Copy)]
struct Conditions {
    size: usize,
    context: usize,
    tolerance: f32,
}

fn record_self_test(engine: &Engine, tokenizer_json: &[u8], test: Conditions) -> Result<SelfTest, PackError> {
    let Conditions { size, context, tolerance } = test;
    let tokenizer = Tokenizer::from_json(tokenizer_json)?;
    let mut vectors = Vec::new();
    for (seed, prompt) in (1..).zip(SELF_TEST_PROMPTS) {
        let tokens = tokenizer.encode_prompt(prompt, context)?;
        let image = self_test_image(seed, size);
        let kernel = engine.encode_prompt(tokens.ids())?;
        let (logits, _) = engine.segment(image.as_slice().unwrap_or_default(), &kernel)?;
        let logits: Vec<f32> = logits.into_iter().collect();
        vectors.push(SelfTestVector::record(seed, size, prompt, SELF_TEST_STEP, &logits, tolerance));
    }
    Ok(SelfTest { vectors })
}
