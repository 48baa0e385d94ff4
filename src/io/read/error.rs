//! Why a picture was not read.

use super::MAX_DECODED_BYTES;
use crate::frame::MAX_SIDE;
use image::ImageError;
use std::io;
use std::path::{Path, PathBuf};

/// Why a picture was not read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages say it")]
pub enum ReadError {
    #[error("{}: no such file; check the path", .0.display())]
    Missing(PathBuf),
    #[error("{}: not a file; give the path of a picture", .0.display())]
    NotAFile(PathBuf),
    #[error("{}: cannot be read ({source}); check its permissions", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{}: the file is empty; copy it again from its source", .0.display())]
    Empty(PathBuf),
    #[error(
        "{}: not an image that can be read, whatever its name says; \
         give PNG, JPEG, BMP, TIFF, DICOM, MetaImage, NRRD or NIfTI", .0.display()
    )]
    Format(PathBuf),
    #[error("{}: {kind}, which is not read; {instead}", path.display())]
    KnownFormat { path: PathBuf, kind: &'static str, instead: &'static str },
    #[error("{}: {width} x {height} pixels, more than {MAX_SIDE} a side; crop or shrink it first", path.display())]
    TooLarge { path: PathBuf, width: u32, height: u32 },
    #[error(
        "{}: decoding it takes more than {} MiB of memory; crop or shrink it first",
        .0.display(), MAX_DECODED_BYTES >> 20
    )]
    Memory(PathBuf),
    #[error("{}: the picture is damaged or cut short ({reason}); copy it again from its source", path.display())]
    Damaged { path: PathBuf, reason: String },
    #[error("{}: a kind of this format that is not supported ({reason}); save it as a plain 8- or 16-bit PNG", path.display())]
    Unsupported { path: PathBuf, reason: String },
}

impl ReadError {
    /// Converts an error of the `image` crate.
    pub(super) fn of_image(path: &Path, error: ImageError) -> Self {
        let path = path.to_path_buf();
        let reason = one_line(&error);
        match error {
            ImageError::Limits(_) => Self::Memory(path),
            ImageError::Unsupported(_) => Self::Unsupported { path, reason },
            ImageError::IoError(source) if source.kind() != io::ErrorKind::UnexpectedEof => Self::Io { path, source },
            _ => Self::Damaged { path, reason },
        }
    }

    /// Converts an error of the TIFF decoder.
    pub(super) fn of_tiff(path: &Path, error: tiff::TiffError) -> Self {
        let path = path.to_path_buf();
        let reason = one_line(&error);
        match error {
            tiff::TiffError::LimitsExceeded => Self::Memory(path),
            tiff::TiffError::UnsupportedError(_) => Self::Unsupported { path, reason },
            tiff::TiffError::IoError(source) if source.kind() != io::ErrorKind::UnexpectedEof => {
                Self::Io { path, source }
            }
            _ => Self::Damaged { path, reason },
        }
    }
}

/// The decoder's message on one line.
fn one_line(error: &dyn std::error::Error) -> String {
    error.to_string().split_whitespace().collect::<Vec<_>>().join(" ")
}
