//! A model, and the sessions that run frames on it.

use crate::failure;
use crate::finding::Finding;
use crate::frame::Frame;
use ::causalclipseg as runtime;
use pyo3::prelude::*;
use runtime::bundle::{Aligned, Bundle};
use runtime::engine::EngineOptions;
use runtime::kernels::Isa;
use runtime::{FrameReport, ModelFile, ModelOptions, SessionOptions};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

/// The model that ships with the package, mapped together with this library.
static EMBEDDED: &Aligned<[u8]> = &Aligned(*include_bytes!("../../models/tiny.ccs"));

#[pyclass(frozen, module = "causalclipseg._runtime")]
pub(crate) struct Model(Arc<runtime::Model>);

impl Model {
    pub(crate) fn name(&self) -> String {
        self.0.description().name.clone()
    }
}

#[pymethods]
impl Model {
    #[new]
    #[pyo3(signature = (path, *, threads, confounders, cached_prompts, allow_untrained, isa))]
    fn open(
        py: Python<'_>,
        path: Option<PathBuf>,
        threads: usize,
        confounders: bool,
        cached_prompts: usize,
        allow_untrained: bool,
        isa: Option<String>,
    ) -> PyResult<Self> {
        let isa =
            isa.as_deref().map(str::parse::<Isa>).transpose().map_err(|error| failure::option(error.to_string()))?;
        let engine = EngineOptions::default().with_threads(threads).with_confounders(confounders).with_isa(isa);
        let options = ModelOptions::default().with_engine(engine).with_cached_prompts(cached_prompts);
        py.detach(|| {
            let file = match path {
                Some(path) => ModelFile::open(&path).map_err(|error| failure::of_model(error.into()))?,
                None => Bundle::from_static(&EMBEDDED.0).map_err(|error| failure::of_model(error.into()))?.into(),
            };
            if !file.description().trained && !allow_untrained {
                return Err(failure::untrained(&file.description().name));
            }
            Ok(Self(Arc::new(runtime::Model::from_file(file, options).map_err(failure::of_model)?)))
        })
    }

    #[getter(name)]
    fn model_name(&self) -> String {
        self.name()
    }

    #[getter]
    fn input_size(&self) -> usize {
        self.0.description().input_size
    }

    #[getter]
    fn threshold(&self) -> f32 {
        self.0.description().threshold
    }

    pub(crate) fn sha256(&self, py: Python<'_>) -> String {
        py.detach(|| self.0.sha256().to_string())
    }

    /// Encodes a sentence and keeps it; whether it has words that the model's training did not have.
    fn encode(&self, py: Python<'_>, prompt: String) -> PyResult<bool> {
        py.detach(|| self.0.prompt(&prompt).map(|prompt| prompt.has_unknown_words())).map_err(failure::of_model)
    }

    #[pyo3(signature = (threshold, smoothing))]
    fn session(&self, threshold: Option<f32>, smoothing: f32) -> PyResult<Session> {
        let options = SessionOptions::default().with_threshold(threshold).with_smoothing(smoothing);
        let session = runtime::Session::new(&self.0, options).map_err(failure::of_session)?;
        Ok(Session { model: self.0.clone(), session: Mutex::new(session) })
    }
}

#[pyclass(frozen, module = "causalclipseg._runtime")]
pub(crate) struct Session {
    model: Arc<runtime::Model>,
    /// The package gives a session to one thread at a time.
    session: Mutex<runtime::Session>,
}

#[pymethods]
impl Session {
    /// The findings, one a prompt, the threshold, and the seconds taken. `restart` begins another sequence of frames.
    fn run(
        &self,
        py: Python<'_>,
        frame: &Frame,
        prompts: Vec<String>,
        restart: bool,
    ) -> PyResult<(Vec<Finding>, f32, f64)> {
        py.detach(|| {
            let prompts = prompts
                .iter()
                .map(|text| self.model.prompt(text))
                .collect::<Result<Vec<_>, _>>()
                .map_err(failure::of_model)?;
            let mut session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
            if restart {
                session.restart();
            }
            let frame = frame.0.frame().map_err(|error| failure::of_frame(&error))?;
            let mut report = FrameReport::default();
            session.run_into(&frame, &prompts, &mut report).map_err(failure::of_session)?;
            let seconds = report.seconds.total();
            Ok((report.findings.into_iter().map(Finding).collect(), report.threshold, seconds))
        })
    }
}
