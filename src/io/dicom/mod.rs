//! DICOM: ultrasound pictures and clips in, segmentations and measurement reports out.
//!
//! Only the attributes that are used are read, each after its length was checked; the pixels are read frame by frame.
//! Names of patients are only written into DICOM segmentations and reports.

mod attributes;
mod clip;
mod dataset;
mod derived;
mod description;
mod encapsulated;
mod geometry;
mod grey;
mod jpeg;
mod jpeg2000;
mod jpeg_ls;
mod origin;
mod palette;
mod pixels;
mod regions;
mod rle;
mod segmentation;
mod sr;
#[cfg(test)]
mod tests;
mod values;

pub(crate) use attributes::begins_with_elements;
pub use clip::DicomClip;
#[doc(hidden)]
pub use clip::transfer_syntaxes;
pub use dataset::MAX_VALUE_BYTES;
pub use derived::{Algorithm, Deidentification, NoReference};
pub use description::Description;
pub use origin::SourceReference;
pub use regions::ScanRegion;
pub use segmentation::{Segmentation, SegmentationError, WrittenSegmentation};
pub use sr::{MeasurementReport, ReportError};

use std::io;

/// Why a DICOM file is not read. The caller knows its name; no error contains a value of the file that could identify
/// the patient.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages say it")]
pub enum DicomError {
    #[error("cannot be read ({0}); check its permissions")]
    Io(#[from] io::Error),
    #[error("not a DICOM file; export it again")]
    NotDicom,
    #[error("the DICOM file is damaged near byte {position}: {reason}; copy or export it again")]
    Damaged { position: u64, reason: &'static str },
    #[error("a DICOM file that is not supported: {0}; export it uncompressed or as JPEG baseline")]
    Unsupported(String),
    #[error("the DICOM file lacks {0}; export it again")]
    Missing(&'static str),
    #[error("{0} in the DICOM file is not a usable value; export it again")]
    Value(&'static str),
    #[error("the DICOM file holds no pixels; give an ultrasound image or clip")]
    NoPixels,
    #[error("{width} x {height} pixels, more than {} a side; crop or shrink it first", crate::frame::MAX_SIDE)]
    TooLarge { width: usize, height: usize },
    #[error("one frame takes more than {} MiB of memory; crop or shrink it first", super::MAX_DECODED_BYTES >> 20)]
    Memory,
    #[error("the file is cut short: {announced} bytes are announced and {actual} are there; copy it again")]
    CutShort { announced: u64, actual: u64 },
    #[error(
        "the DICOM file contradicts itself: {described} bytes of pixels are described ({photometric}) and {actual} are there; \
         export it again"
    )]
    Contradiction { described: u64, actual: u64, photometric: String },
    #[error("frame {} of {frames} is damaged ({reason}); copy it again", .frame + 1)]
    Frame { frame: u64, frames: u64, reason: String },
}
