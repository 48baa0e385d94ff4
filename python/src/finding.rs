//! What one prompt found in one frame, as arrays and JSON.

use crate::failure;
use ::causalclipseg as runtime;
use numpy::ndarray::ArrayView2;
use numpy::{Element, PyArray2, ToPyArray};
use pyo3::prelude::*;
use serde::Serialize;

/// A contour: whether it borders a hole, and its corners, N x 2.
type Contour = (bool, Py<PyArray2<u32>>);

#[pyclass(frozen, module = "causalclipseg._runtime")]
pub(crate) struct Finding(pub(crate) runtime::Finding);

#[pymethods]
impl Finding {
    /// Height x width, True where lesion.
    fn mask<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray2<bool>> {
        self.0.mask().pixels().mapv(|pixel| pixel != 0).to_pyarray(py)
    }

    /// Height x width, 0 to 1.
    fn probability<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray2<f32>> {
        copy(py, self.0.probability().values())
    }

    /// Height x width, 0 to 1, where the model was opened with confounders.
    fn confounders<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyArray2<f32>>> {
        Some(copy(py, self.0.confounders()?.values()))
    }

    /// The runtime's own fields, as JSON.
    fn quality(&self) -> PyResult<String> {
        json(&self.0.quality())
    }

    /// The runtime's own fields, as JSON.
    fn measurements(&self, py: Python<'_>) -> PyResult<String> {
        json(py.detach(|| self.0.measurements()))
    }

    fn contours(&self, py: Python<'_>) -> PyResult<Vec<Contour>> {
        let contours = py.detach(|| self.0.contours());
        contours
            .iter()
            .map(|contour| {
                let corners = ArrayView2::from_shape((contour.points.len(), 2), contour.points.as_flattened())
                    .map_err(|error| failure::other(error.to_string()))?;
                Ok((contour.hole, copy(py, corners).unbind()))
            })
            .collect()
    }
}

fn copy<'py, T: Element>(py: Python<'py>, view: ArrayView2<'_, T>) -> Bound<'py, PyArray2<T>> {
    view.to_pyarray(py)
}

fn json(value: &impl Serialize) -> PyResult<String> {
    serde_json::to_string(value).map_err(|error| failure::other(error.to_string()))
}
