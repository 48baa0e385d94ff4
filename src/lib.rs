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
pub mod graph;
#[cfg(feature = "igtl")]
pub mod igtl;
pub mod io;
pub mod kernels;
pub mod lower;
pub mod machine;
pub mod mask;
mod model;
mod model_file;
#[cfg(feature = "network")]
pub mod network;
#[cfg(feature = "onnx")]
pub mod onnx;
pub mod prompt;
pub mod stream;

pub use model::{Model, ModelError, ModelOptions, Prompt, Segmentation, Session, StageSeconds};
pub use model_file::ModelFile;
