//! The attributes of a DICOM file that derived files repeat: patient, study, and the instance itself.
//!
//! Names of patients are copied byte for byte, together with their character set. Nothing is decoded and encoded again,
//! so a name in the copy is exactly that of the source, in any of the standard's sets, and with code extensions (PS3.5,
//! 6.1.2).

use super::geometry::Planes;
use super::values::{Elements, reals, text};
use dicom_core::{DataElement, PrimitiveValue, Tag, VR};
use dicom_dictionary_std::{tags, uids};
use dicom_object::InMemDicomObject;

const UTF_8: &str = "ISO_IR 192";

/// The attributes of a source file that a segmentation or a report repeats. Contains the patient's name where the file
/// does.
#[derive(Clone, Debug)]
pub struct SourceReference {
    pub(super) root: Elements,
    pub(super) frames: u64,
    pub(super) lossy: Lossy,
    pub(super) planes: Option<Planes>,
}

/// The lossy compression that the source went through.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Lossy {
    /// The method, by the file's transfer syntax, since the file itself may not state it.
    pub method: Option<&'static str>,
    /// Uncompressed over compressed size of the file's pixels.
    pub ratio: f64,
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
    /// The study's UID, where the source has one.
    #[doc(hidden)]
    pub fn study_instance_uid(&self) -> Option<String> {
        text(&self.root, tags::STUDY_INSTANCE_UID).filter(|uid| !uid.is_empty())
    }

    /// The series' UID, where the source has one.
    #[doc(hidden)]
    pub fn series_instance_uid(&self) -> Option<String> {
        text(&self.root, tags::SERIES_INSTANCE_UID).filter(|uid| !uid.is_empty())
    }

    /// The source's SOP Instance UID, where it has one.
    #[doc(hidden)]
    pub fn instance_uid(&self) -> Option<String> {
        text(&self.root, tags::SOP_INSTANCE_UID).filter(|uid| !uid.is_empty())
    }

    /// An attribute of the source, byte for byte; empty where it has none. The target file needs the Specific Character
    /// Set [`SourceReference::character_set`].
    pub(super) fn copy(&self, tag: Tag, vr: VR) -> DataElement<InMemDicomObject> {
        // No text of these kinds is nearly as long, and its length could not be written.
        let value = self.root.get(tag).filter(|value| value.bytes.len() < 1 << 15);
        let mut bytes = value.map(|value| value.bytes.clone()).unwrap_or_default();
        if bytes.len() % 2 == 1 {
            bytes.push(if vr == VR::UI { 0 } else { b' ' });
        }
        let value = match vr {
            _ if bytes.is_empty() => PrimitiveValue::Empty,
            // The writer converts bytes to decimals under these two, which are plain text.
            VR::DS | VR::IS => PrimitiveValue::from(String::from_utf8_lossy(&bytes).trim_matches([' ', '\0'])),
            _ => PrimitiveValue::U8(bytes.into()),
        };
        DataElement::new(tag, vr, value)
    }

    /// Whether the copied text is the same in UTF-8: true for plain ASCII, which all sets share except for two
    /// characters of JIS X 0201, and for text that is UTF-8 already.
    fn reads_as_utf_8(&self) -> bool {
        let set = text(&self.root, tags::SPECIFIC_CHARACTER_SET).unwrap_or_default();
        let plain = |tag: Tag| {
            self.root.get(tag).is_none_or(|value| value.bytes.iter().all(|byte| byte.is_ascii() && *byte != 0x1b))
        };
        set == UTF_8 || (!set.contains("IR 13") && PATIENT_AND_STUDY.iter().all(|(tag, _)| plain(*tag)))
    }

    /// The Specific Character Set of a file that repeats the source's attributes: the source's own, or UTF-8 where the
    /// text is the same in it. `None` where the source names none and has bytes of an unknown encoding.
    pub(super) fn character_set(&self, impersonal: bool) -> Option<DataElement<InMemDicomObject>> {
        if impersonal || self.reads_as_utf_8() {
            return Some(DataElement::new(tags::SPECIFIC_CHARACTER_SET, VR::CS, UTF_8));
        }
        self.root
            .get(tags::SPECIFIC_CHARACTER_SET)
            .filter(|value| !value.bytes.is_empty())
            .map(|_| self.copy(tags::SPECIFIC_CHARACTER_SET, VR::CS))
    }

    /// Generated text on the first level of such a file: characters that its set may lack become `?`.
    pub(super) fn own_text(&self, text: &str, impersonal: bool) -> String {
        if impersonal || self.reads_as_utf_8() {
            return text.to_string();
        }
        text.chars().map(|c| if c.is_ascii() { c } else { '?' }).collect()
    }

    /// Generated text in an item of such a file: the item gets a character set of its own where the text needs one
    /// (PS3.5, 7.5.3).
    pub(super) fn put_own_text(&self, item: &mut InMemDicomObject, texts: &[(Tag, VR, String)], impersonal: bool) {
        let needs_set = texts.iter().any(|(_, _, text)| !text.is_ascii());
        if needs_set && !impersonal && !self.reads_as_utf_8() {
            item.put(DataElement::new(tags::SPECIFIC_CHARACTER_SET, VR::CS, UTF_8));
        }
        for (tag, vr, text) in texts {
            // As bytes, so that they are not encoded once more.
            let mut bytes = text.as_bytes().to_vec();
            if bytes.len() % 2 == 1 {
                bytes.push(b' ');
            }
            item.put(DataElement::new(*tag, *vr, PrimitiveValue::U8(bytes.into())));
        }
    }

    /// Lossy Image Compression, which stays 01 once it is 01, with ratio and method where it is (PS3.3, C.7.6.1.1.5).
    pub(super) fn lossy_compression(&self) -> Vec<DataElement<InMemDicomObject>> {
        let said = text(&self.root, tags::LOSSY_IMAGE_COMPRESSION).as_deref() == Some("01");
        if !said && self.lossy.method.is_none() {
            return vec![DataElement::new(tags::LOSSY_IMAGE_COMPRESSION, VR::CS, "00")];
        }
        let mut elements = vec![DataElement::new(tags::LOSSY_IMAGE_COMPRESSION, VR::CS, "01")];
        if reals(&self.root, tags::LOSSY_IMAGE_COMPRESSION_RATIO).is_some() {
            elements.push(self.copy(tags::LOSSY_IMAGE_COMPRESSION_RATIO, VR::DS));
        } else if self.lossy.method.is_some() && self.lossy.ratio.is_finite() && self.lossy.ratio > 0.0 {
            let ratio = format!("{:.2}", self.lossy.ratio);
            elements.push(DataElement::new(tags::LOSSY_IMAGE_COMPRESSION_RATIO, VR::DS, ratio));
        }
        // Names of standards, such as ISO_10918_1; other text is not allowed there.
        let named = text(&self.root, tags::LOSSY_IMAGE_COMPRESSION_METHOD);
        if named.is_some_and(|named| named.split('\\').all(|method| method.starts_with("ISO_"))) {
            elements.push(self.copy(tags::LOSSY_IMAGE_COMPRESSION_METHOD, VR::CS));
        } else if let Some(method) = self.lossy.method {
            elements.push(DataElement::new(tags::LOSSY_IMAGE_COMPRESSION_METHOD, VR::CS, method));
        }
        elements
    }
}

/// The lossy method of a transfer syntax.
pub(super) fn lossy_method(transfer_syntax: &str) -> Option<&'static str> {
    match transfer_syntax {
        uids::JPEG_BASELINE8_BIT | uids::JPEG_EXTENDED12_BIT => Some("ISO_10918_1"),
        uids::JPEGLS_NEAR_LOSSLESS => Some("ISO_14495_1"),
        uids::JPEG2000 => Some("ISO_15444_1"),
        _ => None,
    }
}
