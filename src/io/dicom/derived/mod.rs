//! What the DICOM objects written here have in common: patient and study of their source, equipment, UIDs, dates, codes.

mod clock;
mod deidentification;
mod elements;
mod header;
mod source;
mod uid;

pub use deidentification::Deidentification;
pub(super) use elements::{Code, number, plain, sequence, text};
pub(super) use header::{Header, MAX_LABEL, write};
pub(super) use uid::{new_uid, uid_of};

/// What made the results.
#[derive(Clone, Debug)]
pub struct Algorithm {
    /// Of the model.
    pub name: String,
    /// Whatever tells it from another of its name.
    pub version: String,
}

/// A DICOM file that lacks what an object about it must say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the file has no {0}, by which a DICOM object refers to it; export it again")]
pub struct NoReference(pub(super) &'static str);
