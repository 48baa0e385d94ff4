//! NRRD (`.nrrd`, `.nhdr`): a format that 3D Slicer and PLUS write beside MetaImage. A text header, then an array of
//! samples; PLUS stores its frames' transforms, times and states in it under the same keys.

mod axes;
mod header;
mod reader;
mod writer;

pub use reader::{from_bytes, open};
pub use writer::write_label_map;

use super::raster::RasterError;
use std::io;

/// The beginning of every NRRD file; a digit for the version follows.
pub(super) const MAGIC: &[u8] = b"NRRD000";

/// Why an NRRD file is not read. The caller knows its name.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages say it")]
pub enum NrrdError {
    #[error("cannot be read ({0}); check its permissions")]
    Io(#[from] io::Error),
    #[error("the NRRD header is damaged: {0}; write or convert it again")]
    Header(String),
    #[error("an NRRD file that is not supported: {0}; save it as a volume or a sequence, raw or gzip")]
    Unsupported(String),
    #[error(transparent)]
    Pixels(#[from] RasterError),
}
