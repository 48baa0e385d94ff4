//! Text-prompted lesion segmentation for ultrasound: the runtime.
//!
//! A [`Model`] is opened from one file and encodes sentences as [`Prompt`]s; a [`Session`] runs it on [frames](frame)
//! and yields a [`FrameReport`] with one [`Finding`] a prompt; a [`stream`] does so with live frames on a separate
//! thread. [`mask`] and [`io`] draw, measure, read and write.
//!
//! Data flows one way: the [`bundle`] is opened, its graph is rewritten and lowered, an [`engine`] runs it on a frame
//! and a prompt, and the result is a mask. Items that are hidden in these pages are internals that the converter needs;
//! they change without notice. `tests/public_api.txt` lists the public items.
//!
//! Research software; not a medical device.

// wgpu's types are nested deeper than the compiler's default limit.
#![cfg_attr(feature = "gpu", recursion_limit = "256")]

pub mod bundle;
pub mod engine;
pub mod frame;
#[cfg(feature = "igtl")]
#[doc(hidden)]
pub mod igtl;
#[cfg(feature = "files")]
#[expect(unreachable_pub, reason = "formats are folders of private modules")]
pub mod io;
#[doc(hidden)]
pub mod machine;
pub mod mask;
mod model;
#[cfg(feature = "onnx")]
#[doc(hidden)]
pub mod onnx;
#[doc(hidden)]
pub mod prompt;
mod session;
pub mod stream;
#[cfg(feature = "reference")]
pub mod tract_op;

#[doc(hidden)]
#[cfg(feature = "network")]
pub use causalclipseg_graph::network;
#[doc(hidden)]
pub use causalclipseg_graph::{graph, lower};
#[doc(hidden)]
pub use causalclipseg_kernels as kernels;
pub use model::{Model, ModelError, ModelFile, ModelFileError, ModelOptions, Prompt};
#[cfg(feature = "onnx")]
pub use onnx::OnnxError;
pub use prompt::PromptError;
pub use session::{Finding, FrameReport, Session, SessionError, SessionOptions, StageSeconds};

/// The examples of the README, compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
