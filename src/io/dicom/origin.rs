//! What files derived from a DICOM file repeat of it: patient, study, and the instance itself.
//!
//! Names of patients are copied byte for byte, together with the character set that they are written in. Nothing is decoded
//! and encoded again, so a name is as right in the copy as it was in the source, in any of the standard's sets, and with code
//! extensions (PS3.5, 6.1.2).

use super::geometry::Planes;
use super::values::{Elements, reals, text};
use dicom_core::{DataElement, PrimitiveValue, Tag, VR};
use dicom_dictionary_std::{tags, uids};
use dicom_object::InMemDicomObject;

const UTF_8: &str = "ISO_IR 192";

/// What a segmentation or a report says about the file it belongs to. Holds the patient's name where the file does.
#[derive(Clone, Debug)]
pub struct SourceReference {
    pub(super) root: Elements,
    pub(super) frames: u64,
    pub(super) lossy: Lossy,
    pub(super) planes: Option<Planes>,
}

/// What lossy compression did to the source, once and for all.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Lossy {
    /// By the file's transfer syntax, which may have forgotten to say so.
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
    /// An attribute as the source has it, byte for byte; empty where it has none. Belongs into a file whose Specific Character
    /// Set is [`SourceReference::character_set`].
    pub(super) fn copy(&self, tag: Tag, vr: VR) -> DataElement<InMemDicomObject> {
        // No text of these kinds is nearly as long, and its length would not be written whole.
        let value = self.root.get(tag).filter(|value| value.bytes.len() < 1 << 15);
        let mut bytes = value.map(|value| value.bytes.clone()).unwrap_or_default();
        if bytes.len() % 2 == 1 {
            bytes.push(if vr == VR::UI { 0 } else { b' ' });
        }
        let value = match vr {
            _ if bytes.is_empty() => PrimitiveValue::Empty,
            // The writer turns bytes into decimals under these two, which are plain text.
            VR::DS | VR::IS => PrimitiveValue::from(String::from_utf8_lossy(&bytes).trim_matches([' ', '\0'])),
            _ => PrimitiveValue::U8(bytes.into()),
        };
        DataElement::new(tag, vr, value)
    }

    /// Whether what is copied reads the same in UTF-8. So it is of plain ASCII, which all sets share but for the two that JIS X
    /// 0201 has of its own, and of what is UTF-8 already.
    fn reads_as_utf_8(&self) -> bool {
        let set = text(&self.root, tags::SPECIFIC_CHARACTER_SET).unwrap_or_default();
        let plain = |tag: Tag| {
            self.root.get(tag).is_none_or(|value| value.bytes.iter().all(|byte| byte.is_ascii() && *byte != 0x1b))
        };
        set == UTF_8 || (!set.contains("IR 13") && PATIENT_AND_STUDY.iter().all(|(tag, _)| plain(*tag)))
    }

    /// Specific Character Set of a file that repeats the source's attributes: the source's own, or UTF-8 where that reads the
    /// same. `None` where the source names none and has bytes that only its maker knows.
    pub(super) fn character_set(&self, impersonal: bool) -> Option<DataElement<InMemDicomObject>> {
        if impersonal || self.reads_as_utf_8() {
            return Some(DataElement::new(tags::SPECIFIC_CHARACTER_SET, VR::CS, UTF_8));
        }
        self.root
            .get(tags::SPECIFIC_CHARACTER_SET)
            .filter(|value| !value.bytes.is_empty())
            .map(|_| self.copy(tags::SPECIFIC_CHARACTER_SET, VR::CS))
    }

    /// Text of our own on the first level of such a file: what its set may lack becomes `?`.
    pub(super) fn own_text(&self, text: &str, impersonal: bool) -> String {
        if impersonal || self.reads_as_utf_8() {
            return text.to_string();
        }
        text.chars().map(|c| if c.is_ascii() { c } else { '?' }).collect()
    }

    /// Text of our own in an item of such a file: the item gets a character set of its own where the text needs one (PS3.5,
    /// 7.5.3).
    pub(super) fn put_own_text(&self, item: &mut InMemDicomObject, texts: &[(Tag, VR, String)], impersonal: bool) {
        let needs_set = texts.iter().any(|(_, _, text)| !text.is_ascii());
        if needs_set && !impersonal && !self.reads_as_utf_8() {
            item.put(DataElement::new(tags::SPECIFIC_CHARACTER_SET, VR::CS, UTF_8));
        }
        for (tag, vr, text) in texts {
            // As bytes: nothing encodes them once more.
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
        // Names of standards, such as ISO_10918_1; other text has no place there.
        let named = text(&self.root, tags::LOSSY_IMAGE_COMPRESSION_METHOD);
        if named.is_some_and(|named| named.split('\\').all(|method| method.starts_with("ISO_"))) {
            elements.push(self.copy(tags::LOSSY_IMAGE_COMPRESSION_METHOD, VR::CS));
        } else if let Some(method) = self.lossy.method {
            elements.push(DataElement::new(tags::LOSSY_IMAGE_COMPRESSION_METHOD, VR::CS, method));
        }
        elements
    }
}

/// How a transfer syntax loses what it compresses.
pub(super) fn lossy_method(transfer_syntax: &str) -> Option<&'static str> {
    match transfer_syntax {
        uids::JPEG_BASELINE8_BIT | uids::JPEG_EXTENDED12_BIT => Some("ISO_10918_1"),
        uids::JPEGLS_NEAR_LOSSLESS => Some("ISO_14495_1"),
        uids::JPEG2000 => Some("ISO_15444_1"),
        _ => None,
    }
}
