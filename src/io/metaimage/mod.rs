//! MetaImage (`.mha`, `.mhd`): one picture, or a sequence as PLUS records it from a tracked probe, with a transform, a
//! status and a time for every frame. The format is that of ITK's MetaIO; the sequence's keys are PLUS's.

mod header;
mod reader;
mod writer;

pub use header::MAX_HEADER_BYTES;
pub(super) use header::{is_elsewhere, starts_like_one};
pub use reader::{from_bytes, open};
pub use writer::{MaskSequence, MaskSource};

use super::raster::RasterError;
use std::io;

/// Why a MetaImage is not read. The caller knows its name.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages say it")]
pub enum MetaImageError {
    #[error("cannot be read ({0}); check its permissions")]
    Io(#[from] io::Error),
    #[error("the MetaImage header is damaged: {0}; record or convert it again")]
    Header(String),
    #[error("a MetaImage that is not supported: {0}; convert it to MET_UCHAR in one file")]
    Unsupported(String),
    #[error(transparent)]
    Pixels(#[from] RasterError),
}
