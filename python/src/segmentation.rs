//! DICOM SEG files of masks.

use crate::failure;
use crate::finding::Finding;
use crate::model::Model;
use crate::reader::FrameReader;
use ::causalclipseg::io::dicom;
use ::causalclipseg::io::source::Source;
use pyo3::prelude::*;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

/// The masks of one DICOM file, one segment a prompt, until they are written.
#[pyclass(frozen, module = "causalclipseg._runtime")]
pub(crate) struct Segmentation(Mutex<Option<dicom::Segmentation>>);

#[pymethods]
impl Segmentation {
    /// None where the reader's file is not DICOM.
    #[staticmethod]
    fn of(py: Python<'_>, reader: &FrameReader, model: &Model, prompts: Vec<String>) -> Option<Self> {
        let source = reader.source.lock().unwrap_or_else(PoisonError::into_inner);
        let Source::Dicom(clip) = &*source else { return None };
        // As the command names the algorithm.
        let version = model.sha256(py).chars().take(12).collect();
        let algorithm = dicom::Algorithm { name: model.name(), version };
        let segmentation = dicom::Segmentation::new(clip.reference().clone(), algorithm, prompts);
        Some(Self(Mutex::new(Some(segmentation))))
    }

    /// Adds what each prompt found in a frame, counted from 0.
    fn push(&self, frame: usize, mm_per_pixel: Option<[f32; 2]>, findings: Vec<PyRef<'_, Finding>>) -> PyResult<()> {
        let mut segmentation = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let segmentation = segmentation.as_mut().ok_or_else(written)?;
        segmentation.set_mm_per_pixel(mm_per_pixel);
        for (prompt, finding) in findings.iter().enumerate() {
            let pushed = segmentation.push(prompt, frame, finding.0.mask());
            pushed.map_err(|error| failure::file(error.to_string()))?;
        }
        Ok(())
    }

    /// Writes the file beside its place and renames it.
    fn write(&self, py: Python<'_>, path: PathBuf) -> PyResult<()> {
        let segmentation = self.0.lock().unwrap_or_else(PoisonError::into_inner).take().ok_or_else(written)?;
        let written = py.detach(|| segmentation.write(&path, None));
        written.map(|_| ()).map_err(|error| failure::file(error.to_string()))
    }
}

fn written() -> PyErr {
    failure::other("this segmentation was written already: make another".into())
}
