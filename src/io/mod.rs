//! Files: pictures, clips and pipes in; masks, probabilities, overlays, JSON, DICOM SEG and SR, and MetaImage out.
//!
//! Nothing is half-written: every file is complete beside its name before it takes the name.

#[cfg(feature = "dicom")]
pub mod dicom;
pub mod metaimage;
mod names;
mod read;
mod replace;
pub mod source;
mod write;

pub use names::{NameError, OutputNames};
pub use read::{Image, MAX_DECODED_BYTES, ReadError};
pub use replace::{WriteError, replace_file};
pub use write::{Depth, write_frame, write_json, write_mask, write_overlay, write_probability};
