//! Text-prompted lesion segmentation for ultrasound: the runtime.
//!
//! Data flows one way: a [`bundle`] is opened, its [`graph`] is rewritten and lowered ([`lower`]), an [`engine`] runs it on
//! a [`frame`] and a [`prompt`], and a [`mask`] comes out. [`Model`] and [`Session`] put these together.
//!
//! Research software; not a medical device.

pub mod bundle;
#[cfg(feature = "capi")]
pub mod capi;
pub mod engine;
pub mod frame;
pub mod io;
pub mod machine;
pub mod mask;
mod model;
mod model_file;
#[cfg(feature = "onnx")]
pub mod onnx;
pub mod prompt;
pub mod stream;

#[cfg(feature = "network")]
pub use causalclipseg_graph::network;
pub use causalclipseg_graph::{graph, lower};
pub use causalclipseg_kernels as kernels;
pub use model::{Model, ModelError, ModelOptions, Prompt, Segmentation, Session, StageSeconds};
pub use model_file::ModelFile;
