//! A model ready to run: an opened file, its planned network, and the sentences that it encoded.

mod file;
mod options;
mod prompt;

pub use file::{ModelFile, ModelFileError};
pub use options::ModelOptions;
pub use prompt::Prompt;

use crate::bundle::{Bundle, BundleError, ModelDescription, Reliability, SelfTest, SelfTestError, Sha256};
use crate::engine::{Engine, EngineError, PromptKernel};
use crate::frame::FamiliarInputs;
use crate::graph::stage;
use crate::machine::clock::Instant;
#[cfg(feature = "onnx")]
use crate::onnx::OnnxNetwork;
use crate::prompt::{KnownWords, PromptCache, PromptError, Tokenizer, Tokens};
use std::path::Path;
use std::sync::Arc;

/// Why a model cannot be planned, or does not encode a sentence.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages say it")]
pub enum ModelError {
    #[error(transparent)]
    File(#[from] ModelFileError),
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Prompt(#[from] PromptError),
    #[error(transparent)]
    SelfTest(#[from] SelfTestError),
    #[error("the model needs {needed} bytes of memory and may take {allowed}: raise the cap, or use a smaller model")]
    Memory { needed: u64, allowed: u64 },
    #[error("this network runs on plain tract, whose memory has no known bound: open the model without a memory cap")]
    MemoryUnknown,
    #[error(
        "the model has no confounder map: it is an interchange file, or was packed with --open-masks; leave confounders out, or \
         pack the checkpoint into a bundle with its masks"
    )]
    NoConfounders,
}

impl From<BundleError> for ModelError {
    fn from(error: BundleError) -> Self {
        Self::File(error.into())
    }
}

/// An opened file with its network planned. One serves any number of threads; each makes its own
/// [`Session`](crate::Session).
///
/// ```
/// use causalclipseg::{Model, ModelOptions};
///
/// let model = Model::open("models/tiny.ccs".as_ref(), ModelOptions::default().with_threads(2))?;
/// println!("{} takes {} x {1} pixels", model.description().name, model.description().input_size);
/// let prompt = model.prompt("a dark nodule")?;
/// # Ok::<(), causalclipseg::ModelError>(())
/// ```
pub struct Model {
    description: ModelDescription,
    file: ModelFile,
    self_test: SelfTest,
    engine: Arc<Engine>,
    tokenizer: Tokenizer,
    prompts: PromptCache<Arc<PromptKernel>>,
    known_words: Option<KnownWords>,
    familiar: Option<Arc<FamiliarInputs>>,
    reliability: Option<Arc<Reliability>>,
}

impl Model {
    /// Opens a `.ccs` file or, with the feature `onnx`, an interchange file; see [`ModelFile::open`].
    ///
    /// # Errors
    /// The file cannot be opened, no engine runs the network, or it needs more memory than the cap.
    pub fn open(path: &Path, options: ModelOptions) -> Result<Self, ModelError> {
        Self::from_file(ModelFile::open(path)?, options)
    }

    /// Plans the network of an opened bundle, which stays open as long as the model or one of its sessions lives.
    /// Errors as [`Model::open`].
    pub fn from_bundle(bundle: Arc<Bundle>, options: ModelOptions) -> Result<Self, ModelError> {
        Self::from_file(bundle.into(), options)
    }

    /// Plans the network of an opened file, which stays open as long as the model or one of its sessions lives.
    /// Errors as [`Model::open`].
    pub fn from_file(file: ModelFile, options: ModelOptions) -> Result<Self, ModelError> {
        let begun = Instant::now();
        let engine = plan(&file, &options)?;
        let tokenizer = match file.bundle().and_then(Tokenizer::from_table) {
            Some(tokenizer) => tokenizer,
            None => Tokenizer::from_json(&file.tokenizer_json()?)?,
        };
        let provenance = &file.description().provenance;
        let model = Self {
            description: file.description().clone(),
            self_test: file.bundle().map(|bundle| bundle.self_test().clone()).unwrap_or_default(),
            engine: Arc::new(engine),
            tokenizer,
            prompts: PromptCache::new(options.cached_prompts),
            known_words: KnownWords::new(provenance.words().clone()),
            familiar: provenance.inputs().cloned().map(Arc::new),
            reliability: provenance.reliability().cloned().map(Arc::new),
            file,
        };
        if options.memory_cap_bytes.is_some() {
            let needed = model.memory_bytes(1).ok_or(ModelError::MemoryUnknown)?;
            check_memory(needed, options.memory_cap_bytes)?;
        }
        log::info!("{} ready in {:.0} ms", model.description.name, begun.elapsed().as_secs_f64() * 1e3);
        Ok(model)
    }

    /// The packer's description of the model: sizes, threshold, provenance.
    pub fn description(&self) -> &ModelDescription {
        &self.description
    }

    /// The SHA-256 sum of the complete file: which model a result came from. The first call reads a bundle once.
    pub fn sha256(&self) -> Sha256 {
        self.file.sha256()
    }

    /// Bytes that the model and one session hold once `prompts` prompts were run in it: the bundle (mapped, or copied),
    /// the weights beside it, the tensors of a frame and of a prompt, the network's input and its logits. Not included:
    /// the tokenizer where the file has no table of tokens (some 13 MB), cached prompts (a few KB each), what depends on the size of frames (five bytes a
    /// pixel and prompt, nine with confounders), threads' stacks. `None` where plain tract runs the network, whose
    /// memory is unknown.
    pub fn memory_bytes(&self, prompts: usize) -> Option<u64> {
        let input = 3 * self.description.input_size * self.description.input_size * size_of::<f32>();
        let bundle = self.file.bundle()?.file_bytes();
        Some((bundle + self.engine.memory_bytes(prompts)? + input) as u64)
    }

    /// Encodes a sentence, or finds it among those encoded before.
    ///
    /// # Errors
    /// The sentence is empty, or has more tokens than the network reads.
    pub fn prompt(&self, text: &str) -> Result<Prompt, ModelError> {
        let tokens = self.tokenizer.encode_prompt(text, self.engine.context())?;
        self.encode(text, tokens)
    }

    /// The prompt without any words, of the start and the end of text alone: to measure what a sentence adds.
    /// [`Self::prompt`] refuses an empty sentence, since it describes no target.
    pub fn empty_prompt(&self) -> Result<Prompt, ModelError> {
        self.encode("", self.tokenizer.encode("", self.engine.context())?)
    }

    fn encode(&self, text: &str, tokens: Tokens) -> Result<Prompt, ModelError> {
        let has_unknown_words = self.known_words.as_ref().is_some_and(|known| !known.unknown_in(text).is_empty());
        let encode = |tokens: &Tokens| self.engine.encode_prompt(tokens.ids()).map(Arc::new);
        let kernel = self.prompts.get_or_insert_with(tokens, encode)?;
        Ok(Prompt::new(text, kernel, &self.engine, has_unknown_words))
    }

    /// Why the model fell back to the CPU although a GPU was requested; `None` as long as it did not.
    pub fn fallback(&self) -> Option<&str> {
        self.engine.fallback()
    }

    /// The engine that runs the network.
    #[doc(hidden)]
    pub fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// The statistics of the model's training images, where the file has them.
    pub(crate) fn familiar(&self) -> Option<&Arc<FamiliarInputs>> {
        self.familiar.as_ref()
    }

    /// How reliable its results were on other images, where the file says so.
    pub(crate) fn reliability(&self) -> Option<&Arc<Reliability>> {
        self.reliability.as_ref()
    }

    /// Runs the bundle's self-test. Yields the largest deviation of any logit from the packing machine's, as a fraction
    /// of the largest, or `None` where the bundle has no vectors.
    ///
    /// # Errors
    /// The deviation is larger than the bundle allows.
    pub fn self_test(&self) -> Result<Option<f32>, ModelError> {
        let mut worst = None;
        for vector in &self.self_test.vectors {
            let prompt = self.prompt(&vector.prompt)?;
            let image = vector.image();
            let (logits, _) = self.engine.segment(image.as_slice().unwrap_or_default(), prompt.kernel())?;
            let deviation = vector.compare(logits.as_slice().unwrap_or_default())?;
            worst = Some(deviation.max(worst.unwrap_or(0.0)));
        }
        Ok(worst)
    }
}

/// The engine of a file's network.
fn plan(file: &ModelFile, options: &ModelOptions) -> Result<Engine, ModelError> {
    #[cfg_attr(
        not(feature = "onnx"),
        expect(clippy::infallible_destructuring_match, reason = "with ONNX there are more kinds of files")
    )]
    let bundle = match file {
        ModelFile::Bundle(bundle) => bundle,
        #[cfg(feature = "onnx")]
        ModelFile::Onnx(_) if options.engine.confounders => return Err(ModelError::NoConfounders),
        #[cfg(feature = "onnx")]
        ModelFile::Onnx(file) => match file.network() {
            OnnxNetwork::Known { bundle, .. } => bundle,
            OnnxNetwork::AsItIs { network, .. } => return Ok(Engine::whole(network.clone(), options.engine.device)),
        },
    };
    if options.engine.confounders && bundle.graph().find(stage::PRED_AD).is_err() {
        return Err(ModelError::NoConfounders);
    }
    // A model that is too large by itself is refused before planning.
    check_memory(bundle.file_bytes() as u64, options.memory_cap_bytes)?;
    Ok(Engine::new(bundle.graph(), bundle, options.engine.clone())?)
}

fn check_memory(needed: u64, cap: Option<u64>) -> Result<(), ModelError> {
    match cap {
        Some(allowed) if needed > allowed => Err(ModelError::Memory { needed, allowed }),
        _ => Ok(()),
    }
}
