//! The Basic Application Confidentiality Profile (PS3.15, E.2) for the objects that are written here.
//!
//! Written objects are built from a list of attributes, not copied from the source, so most of the profile's table
//! holds by construction. The rest: patient and study stay empty (its action Z), series dates and descriptions are left
//! out (X), required dates are a dummy (D), and each UID of the source is replaced by another (U), the same wherever it
//! occurs. A report's content is generated here only, which is the option Clean Structured Content.

use super::uid::uid_of;
use super::{Code, sequence, text};
use dicom_core::VR;
use dicom_dictionary_std::tags;
use dicom_object::InMemDicomObject;
use std::io;

/// The replacement of dates and times that an object must have.
pub(super) const DUMMY_DATE: &str = "20000101";
pub(super) const DUMMY_TIME: &str = "000000";

const BASIC_PROFILE: Code = Code::dcm("113100", "Basic Application Confidentiality Profile");
const CLEAN_STRUCTURED_CONTENT: Code = Code::dcm("113104", "Clean Structured Content Option");

/// The replacement of UIDs in one run: equal UIDs by equal ones, so that references between results stay valid, and by
/// ones that do not reveal the original.
pub struct Deidentification {
    secret: [u8; 32],
}

impl Deidentification {
    /// Starts one run; another one replaces the same UIDs by others.
    ///
    /// # Errors
    /// The system has no random numbers.
    pub fn new() -> io::Result<Self> {
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).map_err(|error| io::Error::other(error.to_string()))?;
        Ok(Self { secret })
    }

    /// The replacement of a source's UID. UIDs that the standard defines identify nobody and stay.
    pub(super) fn uid(&self, uid: &str) -> String {
        if uid.is_empty() || uid.starts_with("1.2.840.10008.") {
            return uid.to_string();
        }
        uid_of(&[&self.secret, uid.as_bytes()])
    }

    /// States in an object that and how it was de-identified.
    pub(super) fn declare(object: &mut InMemDicomObject, structured_content: bool) {
        object.put(text(tags::PATIENT_IDENTITY_REMOVED, VR::CS, "YES"));
        object.put(text(tags::DEIDENTIFICATION_METHOD, VR::LO, "PS3.15 Annex E Basic Profile, UIDs replaced"));
        let mut codes = vec![BASIC_PROFILE.item()];
        if structured_content {
            codes.push(CLEAN_STRUCTURED_CONTENT.item());
        }
        object.put(sequence(tags::DEIDENTIFICATION_METHOD_CODE_SEQUENCE, codes));
        object.put(text(tags::LONGITUDINAL_TEMPORAL_INFORMATION_MODIFIED, VR::CS, "REMOVED"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uids_are_replaced_alike_within_a_run() {
        let [one, other] = [Deidentification::new().unwrap(), Deidentification::new().unwrap()];
        assert_eq!(one.uid("1.2.3"), one.uid("1.2.3"));
        assert_ne!(one.uid("1.2.3"), one.uid("1.2.4"));
        assert_ne!(one.uid("1.2.3"), other.uid("1.2.3"));
        assert_eq!(one.uid("1.2.840.10008.5.1.4.1.1.6.1"), "1.2.840.10008.5.1.4.1.1.6.1");
    }
}
