//! Writes attributes.

use dicom_core::value::DataSetSequence;
use dicom_core::{DataElement, PrimitiveValue, Tag, VR};
use dicom_dictionary_std::tags;
use dicom_object::InMemDicomObject;

/// A concept of a coding scheme (PS3.3, 8.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code {
    pub value: &'static str,
    pub scheme: &'static str,
    pub meaning: &'static str,
}

impl Code {
    pub const fn dcm(value: &'static str, meaning: &'static str) -> Self {
        Self { value, scheme: "DCM", meaning }
    }

    pub const fn sct(value: &'static str, meaning: &'static str) -> Self {
        Self { value, scheme: "SCT", meaning }
    }

    pub const fn ucum(value: &'static str, meaning: &'static str) -> Self {
        Self { value, scheme: "UCUM", meaning }
    }

    /// The single item of a sequence that names a concept.
    pub fn item(self) -> InMemDicomObject {
        InMemDicomObject::from_element_iter([
            text(tags::CODE_VALUE, VR::SH, self.value),
            text(tags::CODING_SCHEME_DESIGNATOR, VR::SH, self.scheme),
            text(tags::CODE_MEANING, VR::LO, self.meaning),
        ])
    }

    /// A sequence that names this concept alone.
    pub fn sequence(self, tag: Tag) -> DataElement<InMemDicomObject> {
        sequence(tag, vec![self.item()])
    }
}

pub fn sequence(tag: Tag, items: Vec<InMemDicomObject>) -> DataElement<InMemDicomObject> {
    DataElement::new(tag, VR::SQ, DataSetSequence::from(items))
}

pub fn text(tag: Tag, vr: VR, value: impl Into<PrimitiveValue>) -> DataElement<InMemDicomObject> {
    DataElement::new(tag, vr, value.into())
}

pub fn number(tag: Tag, value: u16) -> DataElement<InMemDicomObject> {
    DataElement::new(tag, VR::US, PrimitiveValue::from(value))
}

/// One line without the backslash, which separates values, of at most `most` characters.
pub fn plain(text: &str, most: usize) -> String {
    let words: Vec<&str> =
        text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|w| !w.is_empty()).collect();
    let line: String = words.join(" ").chars().map(|c| if c == '\\' { '/' } else { c }).collect();
    if line.chars().count() <= most { line } else { line.chars().take(most - 1).chain(['\u{2026}']).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_plain_lines() {
        assert_eq!(plain(" a\\b\n c\0", 64), "a/b c");
        assert_eq!(plain("abcdef", 4), "abc\u{2026}");
        assert_eq!(plain("äöüß", 4), "äöüß");
    }
}
