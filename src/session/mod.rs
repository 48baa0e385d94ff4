//! Runs a model on frames, one session for each thread, and judges the results.
//!
//! All interfaces (Rust, C, commands) use this module, so that threshold, mask, quality and flags are the same for all of them.

mod finding;
mod frame_map;
mod judge;
mod options;
mod report;

pub use finding::Finding;
pub use options::SessionOptions;
pub use report::{FrameReport, StageSeconds};

use crate::bundle::{ModelDescription, Reliability};
use crate::engine::{Canceller, Engine, EngineError, PromptKernel, StepTime, WantedMasks, Workspace};
use crate::frame::{Appearance, FamiliarInputs, Frame, FrameError, FrameWatch, Normalisation, Preprocessor};
use crate::machine::clock::Instant;
use crate::mask::{MaskError, Probability, STABILITY_THRESHOLDS};
use crate::model::{Model, Prompt};
use judge::{FrameFacts, judge};
use std::sync::Arc;
use std::time::Duration;

/// An error of creating or running a session.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages say it")]
pub enum SessionError {
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Mask(#[from] MaskError),
    #[error("the prompt `{text}` was encoded by another model: encode it with the session's")]
    ForeignPrompt { text: Arc<str> },
    #[error("a smoothing of {0} is out of range: give 0 or more, and less than 1")]
    Smoothing(f32),
}

/// Runs frames through a [`Model`] and reuses memory between them. A session serves one thread at a time.
///
/// ```
/// use causalclipseg::frame::{Frame, PixelFormat};
/// use causalclipseg::{Model, ModelOptions, Session, SessionOptions};
///
/// let model = Model::open("models/tiny.ccs".as_ref(), ModelOptions::default())?;
/// let prompts = [model.prompt("a dark nodule")?];
/// let mut session = Session::new(&model, SessionOptions::default().with_threshold(Some(0.4)))?;
/// let pixels = vec![90; 320 * 240];
/// let frame = Frame::packed(&pixels, PixelFormat::Gray8, 320, 240)?;
/// let report = session.run(&frame, &prompts)?;
/// assert_eq!(report.findings.len(), 1);
/// println!("{} pixels in {:.1} ms", report.findings[0].measurements().area_px, report.seconds.total() * 1e3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Session {
    engine: Arc<Engine>,
    workspace: Workspace,
    preprocessor: Preprocessor,
    /// The network's input, 3 x size x size.
    pixels: Vec<f32>,
    input_size: usize,
    normalisation: Normalisation,
    threshold: f32,
    smoothing: f32,
    quality: bool,
    time_limit: Option<Duration>,
    /// If the bundle states it.
    familiar: Option<Arc<FamiliarInputs>>,
    reliability: Option<Arc<Reliability>>,
    watch: FrameWatch,
    /// One for each prompt, if frames are smoothed.
    memories: Vec<Memory>,
    report: FrameReport,
}

/// The smoothed map of the frames before, under one prompt.
struct Memory {
    prompt: Arc<PromptKernel>,
    map: Probability,
}

impl Session {
    /// Creates a session. It may outlive the model, since it keeps the network.
    ///
    /// # Errors
    /// An option outside of its range.
    pub fn new(model: &Model, options: SessionOptions) -> Result<Self, SessionError> {
        options.check()?;
        let ModelDescription { input_size, normalisation, fit, threshold, .. } = *model.description();
        let SessionOptions { threshold: own, smoothing, quality, time_limit } = options;
        Ok(Self {
            engine: model.engine().clone(),
            workspace: Workspace::default(),
            preprocessor: Preprocessor::new(input_size, normalisation, fit)?,
            pixels: vec![0.0; 3 * input_size * input_size],
            input_size,
            normalisation,
            threshold: own.unwrap_or(threshold),
            smoothing,
            quality,
            time_limit,
            familiar: model.familiar().cloned(),
            reliability: model.reliability().cloned(),
            watch: FrameWatch::default(),
            memories: Vec::new(),
            report: FrameReport::default(),
        })
    }

    /// Segments a frame: one pass over the image for all prompts. The report's memory is reused for the next frame: once a frame
    /// of the same size was run with as many prompts, running another allocates nothing.
    ///
    /// Frames are treated as one sequence: a frame is flagged as frozen if it equals the one before it, pixel for pixel, and
    /// [smoothing](SessionOptions::smoothing) goes from one to the next. Where another sequence begins, call
    /// [`Self::restart`].
    ///
    /// # Errors
    /// [`SessionError::ForeignPrompt`] where another model encoded one of the prompts, and a network that fails.
    pub fn run(&mut self, frame: &Frame<'_>, prompts: &[Prompt]) -> Result<&FrameReport, SessionError> {
        let mut report = std::mem::take(&mut self.report);
        let outcome = self.run_into(frame, prompts, &mut report);
        self.report = report;
        outcome?;
        Ok(&self.report)
    }

    /// As [`Self::run`], into the caller's report, whose memory is reused. After an error its content is meaningless.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn run_into(
        &mut self,
        frame: &Frame<'_>,
        prompts: &[Prompt],
        report: &mut FrameReport,
    ) -> Result<(), SessionError> {
        self.check_prompts(prompts)?;
        let before = self.watch.clone();
        self.workspace.limit_mut().begin(self.time_limit);
        let outcome = self.make(frame, prompts, report);
        self.workspace.limit_mut().end();
        if outcome.is_err() {
            // A frame without a result may be submitted again without being flagged as frozen.
            self.watch = before;
        }
        outcome
    }

    /// A handle that ends the run of a frame from another thread.
    pub fn canceller(&self) -> Canceller {
        self.workspace.limit().canceller().clone()
    }

    fn make(&mut self, frame: &Frame<'_>, prompts: &[Prompt], report: &mut FrameReport) -> Result<(), SessionError> {
        let begun = Instant::now();
        let placement = self.preprocessor.prepare(frame, &mut self.pixels)?;
        let facts = if self.quality { Some(self.look_at(frame)) } else { None };
        let prepared = begun.elapsed().as_secs_f64();

        let begun = Instant::now();
        let kernels = prompts.iter().map(|prompt| prompt.kernel().as_ref());
        let wanted = WantedMasks { placement, threshold: self.threshold, levels: STABILITY_THRESHOLDS };
        let wanted = Some(&wanted).filter(|_| self.masks_come_from_logits());
        self.engine.run_for_masks(&mut self.workspace, &self.pixels, kernels, wanted)?;
        let network = begun.elapsed().as_secs_f64();
        let head = self.engine.head_seconds(&self.workspace);

        let begun = Instant::now();
        report.findings.resize_with(prompts.len(), Finding::default);
        if self.smoothing > 0.0 {
            self.remember(prompts);
        }
        for (index, (finding, prompt)) in report.findings.iter_mut().zip(prompts).enumerate() {
            self.workspace.limit().check()?;
            let logits = self.engine.logits(&self.workspace, index)?;
            if let Some(drawn) = self.engine.drawn_mask(&self.workspace, index) {
                finding.take_drawn(&drawn, logits, &placement, frame.mm_per_pixel())?;
            } else {
                let confounders = match self.engine.has_confounders() {
                    true => Some(self.engine.confounder_logits(&self.workspace, index)?),
                    false => None,
                };
                finding.take_logits(
                    self.engine.free_crew().as_deref_mut(),
                    logits,
                    confounders,
                    &placement,
                    frame.mm_per_pixel(),
                )?;
                if let Some(memory) = self.memories.get_mut(index) {
                    finding.smooth(&mut memory.map, self.smoothing);
                }
                finding.draw_mask(self.threshold)?;
            }
            match facts {
                Some(facts) => judge(finding, facts, prompt.has_unknown_words(), self.reliability.as_deref())?,
                None => finding.without_quality(),
            }
        }
        report.threshold = self.threshold;
        report.seconds = StageSeconds {
            preprocess: prepared,
            image: network - head,
            head,
            postprocess: begun.elapsed().as_secs_f64(),
        };
        report.ran_on = self.workspace.ran_on();
        report.gpu_times = self.workspace.gpu_times();
        Ok(())
    }

    /// Whether a mask follows from one frame's logits alone, so that a GPU can draw it: smoothing needs the maps of the
    /// frames before, and the quality the overlap with the confounders' map.
    fn masks_come_from_logits(&self) -> bool {
        self.smoothing == 0.0 && !self.engine.has_confounders()
    }

    /// Begins another sequence: smoothing restarts, and the next frame is not compared with the last one.
    pub fn restart(&mut self) {
        self.watch = FrameWatch::default();
        self.memories.clear();
    }

    /// Continues a sequence of another session: the next frame is compared with that session's last one, and smoothing restarts,
    /// since another network made its maps.
    pub(crate) fn continue_from(&mut self, before: &Self) {
        self.watch = before.watch.clone();
        self.memories.clear();
    }

    /// Runs a frame once and reports the time of each step of the network, in the order in which they run.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn time_steps(&mut self, frame: &Frame<'_>, prompts: &[Prompt]) -> Result<Vec<StepTime>, SessionError> {
        self.check_prompts(prompts)?;
        self.preprocessor.prepare(frame, &mut self.pixels)?;
        let kernels = prompts.iter().map(|prompt| prompt.kernel().as_ref());
        Ok(self.engine.time_steps(&mut self.workspace, &self.pixels, kernels)?)
    }

    fn check_prompts(&self, prompts: &[Prompt]) -> Result<(), SessionError> {
        match prompts.iter().find(|prompt| !prompt.is_of(&self.engine)) {
            Some(foreign) => Err(SessionError::ForeignPrompt { text: foreign.text().into() }),
            None => Ok(()),
        }
    }

    /// The properties of a frame whose pixels were preprocessed.
    fn look_at(&mut self, frame: &Frame<'_>) -> FrameFacts {
        let is_unfamiliar = self.familiar.as_ref().is_some_and(|familiar| {
            familiar.is_unfamiliar(Appearance::of(&self.pixels, self.input_size, self.normalisation))
        });
        FrameFacts { condition: self.watch.look(frame), is_valid: frame.is_valid(), is_unfamiliar }
    }

    /// Keeps one smoothed map for each prompt, and drops those of other prompts.
    fn remember(&mut self, prompts: &[Prompt]) {
        self.memories.truncate(prompts.len());
        for (index, prompt) in prompts.iter().enumerate() {
            match self.memories.get(index) {
                Some(memory) if Arc::ptr_eq(&memory.prompt, prompt.kernel()) => {}
                known => {
                    let fresh = Memory { prompt: prompt.kernel().clone(), map: Probability::default() };
                    match known {
                        Some(_) => self.memories[index] = fresh,
                        None => self.memories.push(fresh),
                    }
                }
            }
        }
    }
}
