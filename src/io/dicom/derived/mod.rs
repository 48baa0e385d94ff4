//! The common parts of the DICOM objects written here: patient and study of their source, equipment, UIDs, dates,
//! codes.

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

/// The algorithm that produced the results.
#[derive(Clone, Debug)]
pub struct Algorithm {
    /// The model's name.
    pub name: String,
    /// A text that distinguishes it from others of the same name.
    pub version: String,
}

/// A DICOM file that lacks an attribute that a derived object needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the file has no {0}, by which a DICOM object refers to it; export it again")]
pub struct NoReference(pub(super) &'static str);
