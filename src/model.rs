//! A model ready to run, and the sessions that run it on frames.

use crate::bundle::{Bundle, BundleError, ModelDescription, SelfTest, SelfTestError, Sha256};
use crate::engine::{
    Device, Engine, EngineChoice, EngineError, EngineOptions, GpuPrecision, PromptKernel, RanOn, StepTime, Workspace,
};
use crate::frame::{Appearance, FamiliarInputs, Frame, FrameError, Normalisation, Placement, Preprocessor};
use crate::kernels::Isa;
use crate::mask::{Mask, MaskError, Probability};
use crate::model_file::ModelFile;
#[cfg(feature = "onnx")]
use crate::onnx::{OnnxError, OnnxNetwork};
use crate::prompt::{KnownWords, PromptCache, PromptError, Tokenizer, Tokens};
use ndarray::ArrayView2;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// How a [`Model`] is made ready.
#[derive(Clone, Copy, Debug)]
pub struct ModelOptions {
    /// Also yield the confounder map: where the adversarial head, which sees only what the causal masks leave over, would
    /// find the lesion. Costs a second head for each image.
    pub confounders: bool,
    /// Prompts whose encoding is kept; the least recently used one gives way.
    pub cached_prompts: usize,
    /// Threads that share the work on one frame; results do not depend on it. All sessions of a model share them.
    pub threads: usize,
    /// Which engine runs the network.
    pub engine: EngineChoice,
    /// What image passes run on. Where a GPU can't, or stops working, the CPU stands in: [`Session::fallback`] says so.
    pub device: Device,
    /// In what numbers a GPU keeps weights and maps.
    pub gpu_precision: GpuPrecision,
    /// A folder for compiled shaders, kept from start to start; the user's own. See [`EngineOptions::pipeline_cache`].
    pub pipeline_cache: Option<&'static Path>,
    /// The instruction set of the fast engine's kernels; the best that the CPU has where it is `None`.
    pub isa: Option<Isa>,
    /// The most that [`Model::memory_bytes`] may be; a model that needs more is refused before it runs. `None`: any.
    pub memory_cap_bytes: Option<u64>,
    /// Runs first in each thread that the model keeps, with its number from 1: to bind it to a core, for example.
    pub on_thread_start: Option<fn(usize)>,
}

impl Default for ModelOptions {
    fn default() -> Self {
        let EngineOptions { confounders, threads, engine, device, gpu_precision, pipeline_cache, isa, on_thread_start } =
            EngineOptions::default();
        Self {
            confounders,
            cached_prompts: 64,
            threads,
            engine,
            device,
            gpu_precision,
            pipeline_cache,
            isa,
            memory_cap_bytes: None,
            on_thread_start,
        }
    }
}

impl ModelOptions {
    fn engine_options(&self) -> EngineOptions {
        let ModelOptions {
            confounders,
            threads,
            engine,
            device,
            gpu_precision,
            pipeline_cache,
            isa,
            on_thread_start,
            ..
        } = *self;
        EngineOptions { confounders, threads, engine, device, gpu_precision, pipeline_cache, isa, on_thread_start }
    }
}

/// Why a model can't be opened or run.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    #[error(transparent)]
    Bundle(#[from] BundleError),
    #[cfg(feature = "onnx")]
    #[error(transparent)]
    Onnx(#[from] OnnxError),
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Prompt(#[from] PromptError),
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error(transparent)]
    Mask(#[from] MaskError),
    #[error(transparent)]
    SelfTest(#[from] SelfTestError),
    #[error("the model needs {needed} bytes of memory and may take {allowed}: raise the cap, or take a smaller model")]
    Memory { needed: u64, allowed: u64 },
    #[error("this network runs on plain tract, whose memory has no known bound: open the model without a memory cap")]
    MemoryUnknown,
    #[cfg(feature = "onnx")]
    #[error(
        "an interchange file holds no head of the confounders; leave them out, or pack the checkpoint into a bundle"
    )]
    NoConfounders,
}

/// An opened file with its network planned. One serves any number of threads; each makes its own [`Session`].
pub struct Model {
    description: ModelDescription,
    file: ModelFile,
    self_test: SelfTest,
    engine: Arc<Engine>,
    tokenizer: Tokenizer,
    prompts: Mutex<PromptCache<Prompt>>,
    known_words: Option<KnownWords>,
    familiar: Option<Arc<FamiliarInputs>>,
}

/// A sentence, encoded: what [`Session::segment`] looks for. Cheap to clone.
#[derive(Clone)]
pub struct Prompt {
    text: Arc<str>,
    kernel: Arc<PromptKernel>,
    has_unknown_words: bool,
}

impl Prompt {
    /// The sentence as it was given.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it has words that the model's training never showed it, as far as the bundle tells.
    pub fn has_unknown_words(&self) -> bool {
        self.has_unknown_words
    }
}

impl Model {
    /// Opens a `.ccs` file or, with the feature `onnx`, an interchange file; see [`ModelFile::open`].
    pub fn open(path: &Path, options: ModelOptions) -> Result<Self, ModelError> {
        Self::from_file(ModelFile::open(path)?, options)
    }

    /// Plans the network of an opened bundle, which stays open as long as the model or one of its sessions lives.
    pub fn from_bundle(bundle: Arc<Bundle>, options: ModelOptions) -> Result<Self, ModelError> {
        Self::from_file(bundle.into(), options)
    }

    /// Plans the network of an opened file, which stays open as long as the model or one of its sessions lives.
    pub fn from_file(file: ModelFile, options: ModelOptions) -> Result<Self, ModelError> {
        let begun = Instant::now();
        let engine = plan(&file, options)?;
        let tokenizer = Tokenizer::from_json(&file.tokenizer_json()?)?;
        let provenance = &file.description().provenance;
        let model = Self {
            description: file.description().clone(),
            self_test: file.bundle().map(|bundle| bundle.self_test().clone()).unwrap_or_default(),
            engine: Arc::new(engine),
            tokenizer,
            prompts: Mutex::new(PromptCache::new(options.cached_prompts)),
            known_words: KnownWords::new(provenance.words().clone()),
            familiar: provenance.inputs().cloned().map(Arc::new),
            file,
        };
        if options.memory_cap_bytes.is_some() {
            let needed = model.memory_bytes(1).ok_or(ModelError::MemoryUnknown)?;
            check_memory(needed, options.memory_cap_bytes)?;
        }
        log::info!("{} ready in {:.0} ms", model.description.name, begun.elapsed().as_secs_f64() * 1e3);
        Ok(model)
    }

    /// What the packer says of the model: sizes, threshold, provenance.
    pub fn description(&self) -> &ModelDescription {
        &self.description
    }

    /// Of the whole file: which model a result came from. The first call reads a bundle once.
    pub fn sha256(&self) -> Sha256 {
        self.file.sha256()
    }

    /// Bytes that the model and one session hold once `prompts` prompts were run in it: the bundle (mapped, or copied), the
    /// weights beside it, the tensors of a frame and of a prompt, the network's input and its logits. Not in it: the
    /// tokenizer (some 20 MB), cached prompts (a few KB each), what comes with the size of frames (five bytes a pixel and
    /// prompt, nine with confounders), threads' stacks. `None` where plain tract runs the network, which does not say.
    pub fn memory_bytes(&self, prompts: usize) -> Option<u64> {
        let input = 3 * self.description.input_size * self.description.input_size * size_of::<f32>();
        let bundle = self.file.bundle()?.file_bytes();
        Some((bundle + self.engine.memory_bytes(prompts)? + input) as u64)
    }

    /// Encodes a sentence, or finds it among those encoded before.
    ///
    /// # Errors
    /// An empty sentence, or one of more tokens than the network reads.
    pub fn prompt(&self, text: &str) -> Result<Prompt, ModelError> {
        let tokens = self.tokenizer.encode_prompt(text, self.engine.context())?;
        self.encode(text, tokens)
    }

    /// What the network makes of no words at all, of the start and the end of text alone: to measure what a sentence adds.
    /// Nobody looks for nothing, so [`Self::prompt`] refuses it.
    pub fn empty_prompt(&self) -> Result<Prompt, ModelError> {
        self.encode("", self.tokenizer.encode("", self.engine.context())?)
    }

    fn encode(&self, text: &str, tokens: Tokens) -> Result<Prompt, ModelError> {
        // A panic elsewhere leaves the cache as it was before or after an entry, both of which are whole.
        let mut prompts = self.prompts.lock().unwrap_or_else(PoisonError::into_inner);
        let has_unknown_words = self.known_words.as_ref().is_some_and(|known| !known.unknown_in(text).is_empty());
        if let Some(cached) = prompts.get(tokens.ids()) {
            return Ok(Prompt { text: text.into(), kernel: cached.kernel.clone(), has_unknown_words });
        }
        let kernel = Arc::new(self.engine.encode_prompt(tokens.ids())?);
        let prompt = Prompt { text: text.into(), kernel, has_unknown_words };
        prompts.insert(tokens, prompt.clone());
        Ok(prompt)
    }

    /// The engine that runs the network.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// A place to run frames in; one for each thread. It may outlive the model: it keeps the network that it runs.
    pub fn session(&self) -> Result<Session, ModelError> {
        let ModelDescription { input_size, normalisation, fit, threshold, .. } = self.description;
        let preprocessor = Preprocessor::new(input_size, normalisation, fit)?;
        let pixels = vec![0.0; 3 * input_size * input_size];
        let (engine, workspace) = (self.engine.clone(), Workspace::default());
        let familiar = self.familiar.clone();
        let appearance = Appearance::of(&[], 0, normalisation);
        Ok(Session {
            engine,
            workspace,
            threshold,
            preprocessor,
            pixels,
            input_size,
            normalisation,
            familiar,
            appearance,
        })
    }

    /// Runs the bundle's self-test. Yields the largest deviation of any logit from what the packing machine got, as a
    /// fraction of the largest, or `None` where the bundle carries no vectors.
    pub fn self_test(&self) -> Result<Option<f32>, ModelError> {
        let mut worst = None;
        for vector in &self.self_test.vectors {
            let prompt = self.prompt(&vector.prompt)?;
            let image = vector.image();
            let (logits, _) = self.engine.segment(image.as_slice().unwrap_or_default(), &prompt.kernel)?;
            let deviation = vector.compare(logits.as_slice().unwrap_or_default())?;
            worst = Some(deviation.max(worst.unwrap_or(0.0)));
        }
        Ok(worst)
    }
}

/// Runs frames through a [`Model`]; keeps what would otherwise be allocated anew for each.
pub struct Session {
    engine: Arc<Engine>,
    workspace: Workspace,
    threshold: f32,
    preprocessor: Preprocessor,
    /// The network's input, 3 x size x size.
    pixels: Vec<f32>,
    input_size: usize,
    normalisation: Normalisation,
    /// Where the bundle tells it.
    familiar: Option<Arc<FamiliarInputs>>,
    /// Of the last frame, where there is something to compare it with.
    appearance: Appearance,
}

/// What one prompt found in one frame.
#[derive(Default)]
pub struct Segmentation {
    /// The frame's height x width, 0 to 1.
    pub probability: Probability,
    /// The frame's height x width, 0 or 255, by the model's threshold; [`Probability::mask`] makes one by another.
    pub mask: Mask,
    /// The frame's height x width, 0 to 1, where the model was opened with [`ModelOptions::confounders`].
    pub confounders: Option<Probability>,
}

/// Where the time of one frame went, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub struct StageSeconds {
    pub preprocess: f64,
    /// The network up to what depends on a prompt.
    pub image: f64,
    /// Of all prompts together: what follows. The fast engine streams from the decoder's last low-resolution map on.
    pub head: f64,
    /// Of all prompts together.
    pub postprocess: f64,
}

impl StageSeconds {
    pub fn total(&self) -> f64 {
        self.preprocess + self.image + self.head + self.postprocess
    }
}

impl Session {
    /// Segments a frame: one pass over the image for all prompts. Results stand in the prompts' order.
    pub fn segment(
        &mut self,
        frame: &Frame<'_>,
        prompts: &[Prompt],
    ) -> Result<(Vec<Segmentation>, StageSeconds), ModelError> {
        let mut found = Vec::new();
        let seconds = self.segment_into(frame, prompts, &mut found)?;
        Ok((found, seconds))
    }

    /// [`Session::segment`] in the memory of an earlier frame's results: once a frame of the same size was run with as many
    /// prompts, it allocates nothing. `found` is given one result a prompt; after an error its content means nothing.
    pub fn segment_into(
        &mut self,
        frame: &Frame<'_>,
        prompts: &[Prompt],
        found: &mut Vec<Segmentation>,
    ) -> Result<StageSeconds, ModelError> {
        let mut seconds = StageSeconds::default();
        let placement = timed(&mut seconds.preprocess, || {
            let placement = self.preprocessor.prepare(frame, &mut self.pixels)?;
            if self.familiar.is_some() {
                self.appearance = Appearance::of(&self.pixels, self.input_size, self.normalisation);
            }
            Ok::<_, ModelError>(placement)
        })?;
        let kernels = prompts.iter().map(|prompt| prompt.kernel.as_ref());
        timed(&mut seconds.image, || self.engine.run(&mut self.workspace, &self.pixels, kernels))?;
        seconds.head = self.engine.head_seconds(&self.workspace);
        seconds.image -= seconds.head;
        found.resize_with(prompts.len(), Segmentation::default);
        let begun = Instant::now();
        for (index, found) in found.iter_mut().enumerate() {
            let logits = self.engine.logits(&self.workspace, index)?;
            let confounders = match self.engine.has_confounders() {
                true => Some(self.engine.confounder_logits(&self.workspace, index)?),
                false => None,
            };
            found.update(self.threshold, &placement, logits, confounders)?;
        }
        seconds.postprocess = begun.elapsed().as_secs_f64();
        Ok(seconds)
    }

    /// Whether the frame that was segmented last looks like none of the images that the model was trained on, as far as the
    /// bundle tells: in brightness, contrast, grain, and shares of black and white.
    pub fn is_unfamiliar(&self) -> bool {
        self.familiar.as_ref().is_some_and(|familiar| familiar.is_unfamiliar(self.appearance))
    }

    /// What ran the last frame.
    pub fn ran_on(&self) -> RanOn {
        self.workspace.ran_on()
    }

    /// Why the CPU stands in for a GPU that was asked for; `None` as long as everything is as asked.
    pub fn fallback(&self) -> Option<&str> {
        self.engine.fallback()
    }

    /// Where the last frame's time on a GPU went, if one ran it.
    #[cfg(feature = "gpu")]
    pub fn gpu_times(&self) -> Option<crate::engine::GpuTimes> {
        self.workspace.gpu_times()
    }

    /// Runs a frame once, and says where its time went: each step of the network, in the order in which they run.
    pub fn time_steps(&mut self, frame: &Frame<'_>, prompts: &[Prompt]) -> Result<Vec<StepTime>, ModelError> {
        self.preprocessor.prepare(frame, &mut self.pixels)?;
        let kernels = prompts.iter().map(|prompt| prompt.kernel.as_ref());
        Ok(self.engine.time_steps(&mut self.workspace, &self.pixels, kernels)?)
    }
}

impl Segmentation {
    fn update(
        &mut self,
        threshold: f32,
        placement: &Placement,
        logits: ArrayView2<'_, f32>,
        confounders: Option<ArrayView2<'_, f32>>,
    ) -> Result<(), ModelError> {
        self.probability.update(logits, placement)?;
        self.mask.update(&self.probability, threshold)?;
        match confounders {
            Some(logits) => self.confounders.get_or_insert_default().update(logits, placement)?,
            None => self.confounders = None,
        }
        Ok(())
    }
}

/// The engine of a file's network.
fn plan(file: &ModelFile, options: ModelOptions) -> Result<Engine, ModelError> {
    let bundle = match file {
        ModelFile::Bundle(bundle) => bundle,
        #[cfg(feature = "onnx")]
        ModelFile::Onnx(_) if options.confounders => return Err(ModelError::NoConfounders),
        #[cfg(feature = "onnx")]
        ModelFile::Onnx(file) => match file.network() {
            OnnxNetwork::Known { bundle, .. } => bundle,
            OnnxNetwork::AsItIs { network, .. } => return Ok(Engine::whole(network.clone(), options.device)),
        },
    };
    // What is too large by itself is not planned first.
    check_memory(bundle.file_bytes() as u64, options.memory_cap_bytes)?;
    Ok(Engine::new(bundle.graph(), bundle, options.engine_options())?)
}

fn check_memory(needed: u64, cap: Option<u64>) -> Result<(), ModelError> {
    match cap {
        Some(allowed) if needed > allowed => Err(ModelError::Memory { needed, allowed }),
        _ => Ok(()),
    }
}

fn timed<T>(seconds: &mut f64, work: impl FnOnce() -> T) -> T {
    let begun = Instant::now();
    let result = work();
    *seconds += begun.elapsed().as_secs_f64();
    result
}
