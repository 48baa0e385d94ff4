//! The native part of the Python package `causalclipseg`: the runtime's model, session, frames and files as Python objects.
//!
//! Everything here is private to the package, whose Python modules check arguments, hold defaults and document the interface.
//! The interpreter's lock is released wherever pixels are read or computed. Nothing is judged here: masks, scores and flags
//! are those of `causalclipseg::Session`.

mod failure;
mod finding;
mod frame;
mod model;
mod reader;
mod segmentation;

use pyo3::prelude::*;

#[pymodule]
#[pyo3(name = "_runtime")]
fn runtime(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_class::<finding::Finding>()?;
    module.add_class::<frame::Frame>()?;
    module.add_class::<model::Model>()?;
    module.add_class::<model::Session>()?;
    module.add_class::<reader::FrameReader>()?;
    module.add_class::<segmentation::Segmentation>()?;
    module.add_function(wrap_pyfunction!(reader::list_files, module)?)?;
    Ok(())
}
