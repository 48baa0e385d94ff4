//! The runtime's errors as the package's exceptions.

use ::causalclipseg::engine::EngineError;
use ::causalclipseg::frame::FrameError;
use ::causalclipseg::io::ReadError;
use ::causalclipseg::io::source::SourceError;
use ::causalclipseg::mask::MaskError;
use ::causalclipseg::{ModelError, SessionError};
use pyo3::PyErr;

// The classes are Python's own, so that some of them are a ValueError or an OSError too.
mod exceptions {
    use pyo3::import_exception;

    import_exception!(causalclipseg.errors, CpuError);
    import_exception!(causalclipseg.errors, Error);
    import_exception!(causalclipseg.errors, FileError);
    import_exception!(causalclipseg.errors, ImageError);
    import_exception!(causalclipseg.errors, MissingFileError);
    import_exception!(causalclipseg.errors, ModelError);
    import_exception!(causalclipseg.errors, OptionError);
    import_exception!(causalclipseg.errors, PromptError);
}

use exceptions as py;

/// An error that has no class of its own.
pub(crate) fn other(message: String) -> PyErr {
    py::Error::new_err(message)
}

/// A result that cannot be written.
pub(crate) fn file(message: String) -> PyErr {
    py::FileError::new_err(message)
}

/// An argument out of its range.
pub(crate) fn option(message: String) -> PyErr {
    py::OptionError::new_err(message)
}

/// Weights that were never trained.
pub(crate) fn untrained(name: &str) -> PyErr {
    py::ModelError::new_err(format!(
        "model `{name}` is not used: its weights were never trained, so its masks mean nothing; open it with \
         allow_untrained=True to run it"
    ))
}

pub(crate) fn of_model(error: ModelError) -> PyErr {
    let message = error.to_string();
    match error {
        ModelError::Prompt(_) => py::PromptError::new_err(message),
        ModelError::Engine(error) => of_engine(&error),
        _ => py::ModelError::new_err(message),
    }
}

fn of_engine(error: &EngineError) -> PyErr {
    let message = error.to_string();
    match error {
        EngineError::Isa(_) => py::CpuError::new_err(message),
        EngineError::Prompts { .. } | EngineError::TokenCount { .. } => py::PromptError::new_err(message),
        EngineError::Bundle(_) | EngineError::Graph(_) | EngineError::Unsupported { .. } => {
            py::ModelError::new_err(message)
        }
        _ => py::Error::new_err(message),
    }
}

pub(crate) fn of_session(error: SessionError) -> PyErr {
    let message = error.to_string();
    match error {
        SessionError::Frame(error) => of_frame(&error),
        SessionError::Engine(error) => of_engine(&error),
        SessionError::Mask(MaskError::Threshold(_)) | SessionError::Smoothing(_) => py::OptionError::new_err(message),
        _ => py::Error::new_err(message),
    }
}

pub(crate) fn of_frame(error: &FrameError) -> PyErr {
    let message = error.to_string();
    match error {
        FrameError::Region { .. } | FrameError::PixelSize { .. } => py::OptionError::new_err(message),
        _ => py::ImageError::new_err(message),
    }
}

pub(crate) fn of_source(error: SourceError) -> PyErr {
    let message = error.to_string();
    match error {
        SourceError::Picture(ReadError::Missing(_)) => py::MissingFileError::new_err(message),
        _ => py::FileError::new_err(message),
    }
}
