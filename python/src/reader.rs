//! Files, frame by frame.

use crate::failure;
use crate::frame::Frame;
use ::causalclipseg::io::source::{FrameBuffer, FrameSource, Source, expand_tree};
use pyo3::prelude::*;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

#[pyclass(frozen, module = "causalclipseg._runtime")]
pub(crate) struct FrameReader {
    pub(crate) source: Mutex<Source>,
}

#[pymethods]
impl FrameReader {
    /// Opens a file, or its bytes under a name for messages.
    #[new]
    #[pyo3(signature = (path, bytes=None))]
    fn open(py: Python<'_>, path: PathBuf, bytes: Option<Vec<u8>>) -> PyResult<Self> {
        let opened = py.detach(|| match bytes {
            Some(bytes) => Source::from_bytes(&path, bytes),
            None => Source::open(&path),
        });
        Ok(Self { source: Mutex::new(opened.map_err(failure::of_source)?) })
    }

    /// The number of all frames, where it is known before the end.
    #[getter]
    fn frames(&self) -> Option<usize> {
        self.source.lock().unwrap_or_else(PoisonError::into_inner).frame_count()
    }

    /// Whether this is one picture, and not a clip or a volume.
    #[getter]
    fn is_still(&self) -> bool {
        self.source.lock().unwrap_or_else(PoisonError::into_inner).is_still()
    }

    /// The UIDs of study, series and instance, where the file is DICOM and has them.
    fn uids(&self) -> [Option<String>; 3] {
        match &*self.source.lock().unwrap_or_else(PoisonError::into_inner) {
            Source::Dicom(clip) => {
                let reference = clip.reference();
                [reference.study_instance_uid(), reference.series_instance_uid(), reference.instance_uid()]
            }
            _ => [None, None, None],
        }
    }

    /// The next frame; None after the last.
    fn read(&self, py: Python<'_>) -> PyResult<Option<Frame>> {
        py.detach(|| {
            let mut source = self.source.lock().unwrap_or_else(PoisonError::into_inner);
            let mut buffer = FrameBuffer::default();
            let read = source.read_frame(&mut buffer).map_err(failure::of_source)?;
            Ok(read.then_some(Frame(buffer)))
        })
    }
}

/// The images in a folder and the folders within it, in their natural order. Results of earlier runs are left out.
#[pyfunction]
pub(crate) fn list_files(py: Python<'_>, folder: PathBuf) -> PyResult<Vec<PathBuf>> {
    py.detach(|| expand_tree(Path::new(&folder))).map_err(failure::of_source)
}
