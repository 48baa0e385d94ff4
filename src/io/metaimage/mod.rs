//! MetaImage (`.mha`, `.mhd`): one picture, or a sequence as PLUS records it from a tracked probe, with a transform, a
//! status and a time for every frame. The format is that of ITK's MetaIO; the sequence's keys are PLUS's.

mod header;
mod sequence;
mod writer;

pub use header::MAX_HEADER_BYTES;
pub use sequence::MetaImageSequence;
pub use writer::MaskSequence;

use std::io;

/// What keeps a MetaImage from being read. Whoever opened it knows its name.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MetaImageError {
    #[error("cannot be read ({0}); check its permissions")]
    Io(#[from] io::Error),
    #[error("the MetaImage header is damaged: {0}; record or convert it again")]
    Header(String),
    #[error("a MetaImage that is not supported: {0}; convert it to MET_UCHAR in one file")]
    Unsupported(String),
    #[error("{width} x {height} pixels, more than {} a side; crop or shrink it first", crate::frame::MAX_SIDE)]
    TooLarge { width: u64, height: u64 },
    #[error("one frame takes more than {} MiB of memory; crop or shrink it first", super::MAX_DECODED_BYTES >> 20)]
    Memory,
    #[error("the file is cut short: the header announces {announced} bytes and {actual} are there; copy it again")]
    CutShort { announced: u64, actual: u64 },
    #[error("frame {} of {frames} is damaged or cut short ({reason}); copy it again", .frame + 1)]
    Frame { frame: u64, frames: u64, reason: String },
}
