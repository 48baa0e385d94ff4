//! Packs a checkpoint into the one file that the runtime opens.

use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::tokenizer::clip_tokenizer_json;
use causalclipseg::bundle::{
    BundleBuilder, BundleError, ModelDescription, Precision, SelfTest, SelfTestVector, SigningKey, self_test_image,
};
use causalclipseg::engine::{Engine, EngineError, EngineOptions};
use causalclipseg::frame::{Fit, Normalisation};
use causalclipseg::graph::{Graph, GraphError, Weights};
use causalclipseg::lower::{self, LowerError};
use causalclipseg::prompt::{PromptError, Tokenizer};

/// The sentences of the self-test: a short one, and one with most of the words that prompts use.
const SELF_TEST_PROMPTS: [&str; 2] =
    ["lesion", "The upper left region contains a small, irregular, hypoechoic malignant mass."];
/// Every so manieth logit of the self-test is kept.
const SELF_TEST_STEP: usize = 97;
/// f32 sums in another order differ by far less, a wrong kernel by far more.
const SELF_TEST_TOLERANCE: f32 = 1e-3;

/// What the packer is told beside the weights.
#[derive(Clone, Debug)]
pub struct PackOptions {
    pub name: String,
    pub precision: Precision,
    pub fit: Fit,
    /// The probability above which a pixel is lesion, in (0, 1).
    pub threshold: f32,
    /// A tokenizer.json of the user's own; CLIP's where there is none.
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
    #[error("int8 needs a quantised checkpoint, which this version cannot make yet; pack f32 or f16")]
    NotQuantised,
}

/// Rewrites the network, records its self-test on this machine and assembles the bundle.
pub fn pack(
    checkpoint: Checkpoint,
    options: PackOptions,
    signing_key: Option<SigningKey>,
) -> Result<BundleBuilder, PackError> {
    if options.precision == Precision::Int8 {
        return Err(PackError::NotQuantised);
    }
    let Checkpoint { architecture, weights, metadata } = checkpoint;
    let (graph, mut weights) = lower::rewrite(architecture.describe()?, weights)?;
    if options.precision == Precision::F16 {
        // The self-test must see the numbers that the file will hold.
        weights.values_mut().filter(|value| value.ndim() > 1).for_each(round_to_f16);
    }
    let tokenizer_json = options.tokenizer_json.unwrap_or_else(clip_tokenizer_json);
    let self_test =
        record_self_test(&graph, &weights, &tokenizer_json, architecture.input_size, architecture.text.context)?;
    let description = ModelDescription {
        name: options.name,
        edition: architecture.edition.to_string(),
        input_size: architecture.input_size,
        normalisation: Normalisation::CLIP,
        fit: options.fit,
        threshold: options.threshold,
        trained: metadata.get("trained").is_some_and(|trained| trained == "true"),
        gmac: graph.frame_gmac(1)?,
        provenance: metadata,
        calibration: None,
    };
    let mut builder = BundleBuilder::new(description, graph, &weights, options.precision)?
        .tokenizer_json(tokenizer_json)
        .self_test(self_test);
    if let Some(key) = signing_key {
        builder = builder.sign_with(key);
    }
    Ok(builder)
}

fn round_to_f16(value: &mut ndarray::ArrayD<f32>) {
    value.mapv_inplace(|v| half::f16::from_f32(v).to_f32());
}

fn record_self_test(
    graph: &Graph,
    weights: &Weights,
    tokenizer_json: &[u8],
    size: usize,
    context: usize,
) -> Result<SelfTest, PackError> {
    let engine = Engine::new(graph, weights, EngineOptions::default())?;
    let tokenizer = Tokenizer::from_json(tokenizer_json)?;
    let mut vectors = Vec::new();
    for (seed, prompt) in (1..).zip(SELF_TEST_PROMPTS) {
        let tokens = tokenizer.encode_prompt(prompt, context)?;
        let image = self_test_image(seed, size);
        let features = engine.encode_image(image.as_slice().unwrap_or_default())?;
        let logits = engine.logits(&features, &engine.encode_prompt(tokens.ids())?)?;
        let logits: Vec<f32> = logits.into_iter().collect();
        vectors.push(SelfTestVector::record(seed, size, prompt, SELF_TEST_STEP, &logits, SELF_TEST_TOLERANCE));
    }
    Ok(SelfTest { vectors })
}
