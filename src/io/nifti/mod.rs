//! NIfTI (`.nii`, `.nii.gz`, `.hdr` with `.img`): the format of research data sets of echocardiograms and breast
//! volumes. This small reader exists because existing crates read the complete file into memory: the header is 348 or
//! 540 bytes, and the array is read frame by frame, as in the other formats.

mod header;
mod reader;

pub(super) use header::{HEADER_BYTES, starts_like_one};
pub(super) use reader::start_of;
pub use reader::{from_bytes, open};

use super::raster::RasterError;
use std::io;

/// Why a NIfTI file is not read. The caller knows its name.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages say it")]
pub enum NiftiError {
    #[error("cannot be read ({0}); copy it again, or check its permissions")]
    Io(#[from] io::Error),
    #[error("the NIfTI header is damaged: {0}; write or convert it again")]
    Header(&'static str),
    #[error("a NIfTI file that is not supported: {0}; save one picture, a clip or a volume of it, in grey or RGB")]
    Unsupported(String),
    #[error(transparent)]
    Pixels(#[from] RasterError),
}
