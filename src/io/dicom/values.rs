//! Attributes as numbers and text; `None` where one is absent, empty, or not of that kind.

use dicom_core::{PrimitiveValue, Tag};
use dicom_object::InMemDicomObject;

fn value(object: &InMemDicomObject, tag: Tag) -> Option<&PrimitiveValue> {
    object.get(tag)?.value().primitive().filter(|value| value.multiplicity() > 0)
}

pub(super) fn integer(object: &InMemDicomObject, tag: Tag) -> Option<i64> {
    value(object, tag)?.to_int().ok()
}

pub(super) fn integers(object: &InMemDicomObject, tag: Tag) -> Option<Vec<i64>> {
    value(object, tag)?.to_multi_int().ok()
}

/// The first of several.
pub(super) fn real(object: &InMemDicomObject, tag: Tag) -> Option<f64> {
    value(object, tag)?.to_float64().ok().filter(|value| value.is_finite())
}

pub(super) fn reals(object: &InMemDicomObject, tag: Tag) -> Option<Vec<f64>> {
    value(object, tag)?.to_multi_float64().ok()
}

/// Without the padding.
pub(super) fn text(object: &InMemDicomObject, tag: Tag) -> Option<String> {
    let text = value(object, tag)?.to_str();
    Some(text.trim_matches([' ', '\0']).to_string()).filter(|text| !text.is_empty())
}

/// 16-bit words, from pairs of bytes (low byte first) where they are stored as such.
pub(super) fn words(object: &InMemDicomObject, tag: Tag) -> Option<Vec<u16>> {
    match value(object, tag)? {
        PrimitiveValue::U8(bytes) => Some(bytes.as_chunks().0.iter().map(|pair| u16::from_le_bytes(*pair)).collect()),
        value => value.to_multi_int().ok(),
    }
}
