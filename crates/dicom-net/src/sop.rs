//! Service classes and transfer syntaxes of the network.

use dicom_dictionary_std::uids;

/// The storage classes of ultrasound, retired ones included.
pub(crate) const ULTRASOUND: [&str; 5] = [
    uids::ULTRASOUND_IMAGE_STORAGE,
    uids::ULTRASOUND_MULTI_FRAME_IMAGE_STORAGE,
    uids::ENHANCED_US_VOLUME_STORAGE,
    // Retired, and still sent: ultrasound images and clips.
    "1.2.840.10008.5.1.4.1.1.6",
    "1.2.840.10008.5.1.4.1.1.3",
];

pub(crate) const VERIFICATION: &str = uids::VERIFICATION;
pub(crate) const COMMITMENT: &str = uids::STORAGE_COMMITMENT_PUSH_MODEL;
/// The instance that commitment requests go to.
pub(crate) const COMMITMENT_INSTANCE: &str = uids::STORAGE_COMMITMENT_PUSH_MODEL_INSTANCE;

pub(crate) const IMPLICIT: &str = uids::IMPLICIT_VR_LITTLE_ENDIAN;
pub(crate) const EXPLICIT: &str = uids::EXPLICIT_VR_LITTLE_ENDIAN;
/// The only application context of DICOM.
pub(crate) const APPLICATION_CONTEXT: &str = "1.2.840.10008.3.1.1.1";
