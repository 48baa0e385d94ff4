//! Attributes as they are stored, and as numbers and text; `None` where one is absent, empty, or not of that kind.

use dicom_core::{Tag, VR};
use std::collections::BTreeMap;

/// The bytes of one attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Value {
    pub vr: VR,
    /// Whether numbers have their high byte first.
    pub big_endian: bool,
    /// The bytes, with the padding.
    pub bytes: Vec<u8>,
}

/// Attributes by tag: those of a file, or of one item of a sequence.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Elements {
    values: BTreeMap<Tag, Value>,
    sequences: BTreeMap<Tag, Vec<Elements>>,
}

impl Elements {
    pub fn put(&mut self, tag: Tag, value: Value) {
        self.values.insert(tag, value);
    }

    pub fn put_items(&mut self, tag: Tag, items: Vec<Elements>) {
        self.sequences.entry(tag).or_default().extend(items);
    }

    pub fn get(&self, tag: Tag) -> Option<&Value> {
        self.values.get(&tag)
    }

    /// The items of a sequence; empty where it is absent.
    pub fn items(&self, tag: Tag) -> &[Elements] {
        self.sequences.get(&tag).map_or(&[], Vec::as_slice)
    }

    /// The first item of a sequence in the first item of another.
    pub fn nested(&self, outer: Tag, inner: Tag) -> Option<&Elements> {
        self.items(outer).first()?.items(inner).first()
    }
}

impl Value {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    fn numbers<const N: usize, T>(&self, little: fn([u8; N]) -> T, big: fn([u8; N]) -> T) -> Vec<T> {
        let of = if self.big_endian { big } else { little };
        self.bytes.as_chunks().0.iter().map(|bytes| of(*bytes)).collect()
    }

    fn reals(&self) -> Option<Vec<f64>> {
        let integers = || self.integers().map(|values| values.into_iter().map(|value| value as f64).collect());
        match self.vr {
            VR::FD => Some(self.numbers(f64::from_le_bytes, f64::from_be_bytes)),
            VR::FL => {
                let values = self.numbers(f32::from_le_bytes, f32::from_be_bytes);
                Some(values.into_iter().map(f64::from).collect())
            }
            VR::DS | VR::IS => decimals(&self.text()),
            _ => integers(),
        }
    }

    fn integers(&self) -> Option<Vec<i64>> {
        fn of<T: Into<i64>>(values: Vec<T>) -> Option<Vec<i64>> {
            Some(values.into_iter().map(Into::into).collect())
        }
        match self.vr {
            VR::US | VR::OW | VR::AT => of(self.numbers(u16::from_le_bytes, u16::from_be_bytes)),
            VR::SS => of(self.numbers(i16::from_le_bytes, i16::from_be_bytes)),
            VR::UL | VR::OL => of(self.numbers(u32::from_le_bytes, u32::from_be_bytes)),
            VR::SL => of(self.numbers(i32::from_le_bytes, i32::from_be_bytes)),
            VR::SV => Some(self.numbers(i64::from_le_bytes, i64::from_be_bytes)),
            VR::UV | VR::OV => {
                let values = self.numbers(u64::from_le_bytes, u64::from_be_bytes);
                values.into_iter().map(|value| i64::try_from(value).ok()).collect()
            }
            // Some writers put "1.0" where an integer belongs.
            VR::IS | VR::DS => decimals(&self.text())?
                .into_iter()
                .map(|value| (value.fract() == 0.0 && value.abs() < 1e15).then_some(value as i64))
                .collect(),
            _ => None,
        }
    }
}

/// Numbers in text, separated by backslashes.
fn decimals(text: &str) -> Option<Vec<f64>> {
    text.split('\\').map(|part| part.trim_matches([' ', '\0']).parse().ok()).collect()
}

pub(super) fn integer(object: &Elements, tag: Tag) -> Option<i64> {
    object.get(tag)?.integers()?.first().copied()
}

pub(super) fn integers(object: &Elements, tag: Tag) -> Option<Vec<i64>> {
    object.get(tag)?.integers()
}

/// The first of several numbers.
pub(super) fn real(object: &Elements, tag: Tag) -> Option<f64> {
    object.get(tag)?.reals()?.first().copied().filter(|value| value.is_finite())
}

pub(super) fn reals(object: &Elements, tag: Tag) -> Option<Vec<f64>> {
    object.get(tag)?.reals()
}

/// Text without the padding. Only for text defined by the standard: names of patients have character sets, and are
/// copied as bytes.
pub(super) fn text(object: &Elements, tag: Tag) -> Option<String> {
    let text = object.get(tag)?.text();
    Some(text.trim_matches([' ', '\0']).to_string()).filter(|text| !text.is_empty())
}

/// 16-bit words, from pairs of bytes (low byte first) where they are stored as such.
pub(super) fn words(object: &Elements, tag: Tag) -> Option<Vec<u16>> {
    let value = object.get(tag)?;
    let big = value.big_endian && value.vr != VR::OB;
    let of = if big { u16::from_be_bytes } else { u16::from_le_bytes };
    Some(value.bytes.as_chunks().0.iter().map(|pair| of(*pair)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use dicom_dictionary_std::tags;

    #[test]
    fn numbers_are_read_as_they_are_written() {
        let number = |vr, big_endian, bytes: &[u8]| {
            let mut object = Elements::default();
            object.put(tags::ROWS, Value { vr, big_endian, bytes: bytes.to_vec() });
            (integers(&object, tags::ROWS), reals(&object, tags::ROWS))
        };
        assert_eq!(number(VR::US, false, &[1, 2]), (Some(vec![0x201]), Some(vec![513.0])));
        assert_eq!(number(VR::US, true, &[1, 2, 0, 1]), (Some(vec![0x102, 1]), Some(vec![258.0, 1.0])));
        assert_eq!(number(VR::SS, false, &[0xff, 0xff]).0, Some(vec![-1]));
        assert_eq!(number(VR::SL, true, &[0xff, 0xff, 0xff, 0xfe]).0, Some(vec![-2]));
        assert_eq!(number(VR::IS, false, b" 7\\8 ").0, Some(vec![7, 8]));
        assert_eq!(number(VR::IS, false, b"1.0 ").0, Some(vec![1]));
        assert_eq!(number(VR::DS, false, b"0.5\\-2e1\0"), (None, Some(vec![0.5, -20.0])));
        assert_eq!(number(VR::DS, false, b"one"), (None, None));
        assert_eq!(number(VR::FD, true, &1.5f64.to_be_bytes()), (None, Some(vec![1.5])));
        assert_eq!(number(VR::LO, false, b"1"), (None, None));
        assert_eq!(number(VR::US, false, &[1]).0, Some(vec![]));
    }
}
