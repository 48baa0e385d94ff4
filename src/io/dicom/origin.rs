//! What files derived from a DICOM file repeat of it: patient, study, and the instance itself.

use super::geometry::{Planes, decimals};
use super::values::{reals, text};
use dicom_core::{DataElement, PrimitiveValue, Tag, VR};
use dicom_dictionary_std::tags;
use dicom_object::InMemDicomObject;

const UTF_8: &str = "ISO_IR 192";

/// What a segmentation or a report says about the file it belongs to. Holds the patient's name where the file does.
#[derive(Clone, Debug)]
pub struct SourceReference {
    pub(super) root: InMemDicomObject,
    pub(super) frames: u64,
    pub(super) planes: Option<Planes>,
}

/// Patient and study, which a derived file shares with its source.
pub(super) const PATIENT_AND_STUDY: [(Tag, VR); 9] = [
    (tags::STUDY_DATE, VR::DA),
    (tags::STUDY_TIME, VR::TM),
    (tags::ACCESSION_NUMBER, VR::SH),
    (tags::REFERRING_PHYSICIAN_NAME, VR::PN),
    (tags::PATIENT_NAME, VR::PN),
    (tags::PATIENT_ID, VR::LO),
    (tags::PATIENT_BIRTH_DATE, VR::DA),
    (tags::PATIENT_SEX, VR::CS),
    (tags::STUDY_ID, VR::SH),
];

impl SourceReference {
    /// An attribute as the source has it; empty where it has none. Belongs into a file whose Specific Character Set is
    /// [`SourceReference::character_set`].
    pub(super) fn copy(&self, tag: Tag, vr: VR) -> DataElement<InMemDicomObject> {
        DataElement::new(tag, vr, text(&self.root, tag).unwrap_or_default())
    }

    /// Specific Character Set of a file that repeats the source's attributes.
    pub(super) fn character_set(&self, _impersonal: bool) -> Option<DataElement<InMemDicomObject>> {
        Some(DataElement::new(tags::SPECIFIC_CHARACTER_SET, VR::CS, UTF_8))
    }

    /// Text of our own on the first level of such a file.
    pub(super) fn own_text(&self, text: &str, _impersonal: bool) -> String {
        text.to_string()
    }

    /// Text of our own in an item of such a file.
    pub(super) fn put_own_text(&self, item: &mut InMemDicomObject, texts: &[(Tag, VR, String)], _impersonal: bool) {
        for (tag, vr, text) in texts {
            item.put(DataElement::new(*tag, *vr, text.as_str()));
        }
    }

    /// Lossy Image Compression, which stays 01 once it is 01, with ratio and method where it is (PS3.3, C.7.6.1.1.5).
    pub(super) fn lossy_compression(&self) -> Vec<DataElement<InMemDicomObject>> {
        if text(&self.root, tags::LOSSY_IMAGE_COMPRESSION).as_deref() != Some("01") {
            return vec![DataElement::new(tags::LOSSY_IMAGE_COMPRESSION, VR::CS, "00")];
        }
        let mut elements = vec![DataElement::new(tags::LOSSY_IMAGE_COMPRESSION, VR::CS, "01")];
        if let Some(ratios) = reals(&self.root, tags::LOSSY_IMAGE_COMPRESSION_RATIO) {
            elements.push(DataElement::new(tags::LOSSY_IMAGE_COMPRESSION_RATIO, VR::DS, decimals(&ratios)));
        }
        // Names of standards, such as ISO_10918_1; other text has no place there.
        let methods = text(&self.root, tags::LOSSY_IMAGE_COMPRESSION_METHOD).unwrap_or_default();
        let methods = methods.split('\\').filter(|method| method.starts_with("ISO_") && method.len() <= 16);
        let methods = PrimitiveValue::Strs(methods.map(str::to_string).collect());
        if methods.multiplicity() > 0 {
            elements.push(DataElement::new(tags::LOSSY_IMAGE_COMPRESSION_METHOD, VR::CS, methods));
        }
        elements
    }
}
