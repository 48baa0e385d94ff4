//! Data elements in Implicit VR Little Endian: command sets (PS3.7, 6.3) and the small data sets of storage commitment.
//!
//! Every length is compared with what is there before it is used; nothing is allocated by a stated length.

use dicom_core::Tag;

const ITEM: Tag = Tag(0xfffe, 0xe000);
const ITEM_END: Tag = Tag(0xfffe, 0xe00d);
const SEQUENCE_END: Tag = Tag(0xfffe, 0xe0dd);
const UNDEFINED: u32 = u32::MAX;
/// The most levels of nested sequences.
const MAX_DEPTH: usize = 8;

/// An element that is cut short, too deep, or where it cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// A position in a data set.
struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    fn head(&mut self) -> Result<(Tag, u32), Malformed> {
        let (head, rest) = self.rest.split_first_chunk::<8>().ok_or(Malformed)?;
        self.rest = rest;
        let [g0, g1, e0, e1, l0, l1, l2, l3] = *head;
        let tag = Tag(u16::from_le_bytes([g0, g1]), u16::from_le_bytes([e0, e1]));
        Ok((tag, u32::from_le_bytes([l0, l1, l2, l3])))
    }

    fn take(&mut self, length: u32) -> Result<&'a [u8], Malformed> {
        let length = usize::try_from(length).map_err(|_| Malformed)?;
        let (value, rest) = self.rest.split_at_checked(length).ok_or(Malformed)?;
        self.rest = rest;
        Ok(value)
    }

    /// The value of an element or item: its bytes, or all up to the delimiter that ends it.
    fn value(&mut self, length: u32, end: Tag, depth: usize) -> Result<&'a [u8], Malformed> {
        if length != UNDEFINED {
            return self.take(length);
        }
        if depth > MAX_DEPTH {
            return Err(Malformed);
        }
        let all = self.rest;
        loop {
            let before = self.rest.len();
            let (tag, length) = self.head()?;
            if tag == end {
                return all.get(..all.len() - before).ok_or(Malformed);
            }
            // Items lie in a sequence, elements in an item.
            let inner = if end == SEQUENCE_END { ITEM_END } else { SEQUENCE_END };
            if (tag == ITEM) != (end == SEQUENCE_END) {
                return Err(Malformed);
            }
            self.value(length, inner, depth + 1)?;
        }
    }
}

/// The elements of a data set or an item.
pub(crate) fn elements(bytes: &[u8]) -> Result<Vec<(Tag, &[u8])>, Malformed> {
    let mut cursor = Cursor { rest: bytes };
    let mut elements = Vec::new();
    while !cursor.rest.is_empty() {
        let (tag, length) = cursor.head()?;
        if tag.0 == ITEM.0 {
            return Err(Malformed);
        }
        elements.push((tag, cursor.value(length, SEQUENCE_END, 0)?));
    }
    Ok(elements)
}

/// The items of a sequence's value.
pub(crate) fn items(value: &[u8]) -> Result<Vec<&[u8]>, Malformed> {
    let mut cursor = Cursor { rest: value };
    let mut items = Vec::new();
    while !cursor.rest.is_empty() {
        let (tag, length) = cursor.head()?;
        if tag != ITEM {
            return Err(Malformed);
        }
        items.push(cursor.value(length, ITEM_END, 0)?);
    }
    Ok(items)
}

/// The text of an element, without padding.
pub(crate) fn text<'a>(elements: &[(Tag, &'a [u8])], tag: Tag) -> Option<&'a str> {
    let (_, value) = elements.iter().find(|(known, _)| *known == tag)?;
    Some(std::str::from_utf8(value).ok()?.trim_matches([' ', '\0']))
}

/// The first number of an element.
pub(crate) fn number(elements: &[(Tag, &[u8])], tag: Tag) -> Option<u16> {
    let (_, value) = elements.iter().find(|(known, _)| *known == tag)?;
    value.first_chunk().map(|bytes| u16::from_le_bytes(*bytes))
}

/// Appends an element. Values are short; one that is too long for its length is cut.
pub(crate) fn put(into: &mut Vec<u8>, tag: Tag, value: &[u8]) {
    let length = u32::try_from(value.len()).unwrap_or(u32::MAX - 1);
    into.extend(tag.0.to_le_bytes());
    into.extend(tag.1.to_le_bytes());
    into.extend(length.to_le_bytes());
    into.extend(value.iter().take(length as usize));
}

/// Appends a UID, padded to an even length.
pub(crate) fn put_uid(into: &mut Vec<u8>, tag: Tag, uid: &str) {
    let mut value = uid.as_bytes().to_vec();
    if value.len() % 2 == 1 {
        value.push(0);
    }
    put(into, tag, &value);
}

/// Appends a sequence of items, each the elements that were put into it.
pub(crate) fn put_sequence(into: &mut Vec<u8>, tag: Tag, items: impl Iterator<Item = Vec<u8>>) {
    let mut value = Vec::new();
    for item in items {
        put(&mut value, ITEM, &item);
    }
    put(into, tag, &value);
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Tag = Tag(8, 0x1199);
    const B: Tag = Tag(8, 0x1155);

    #[test]
    fn sequences_of_both_lengths_are_read() {
        let mut item = Vec::new();
        put_uid(&mut item, B, "1.2.3");
        let mut defined = Vec::new();
        put_sequence(&mut defined, A, [item.clone(), item.clone()].into_iter());
        let mut undefined = Vec::new();
        let head = |into: &mut Vec<u8>, tag: Tag, length: u32| {
            put(into, tag, &[]);
            let at = into.len() - 4;
            into[at..].copy_from_slice(&length.to_le_bytes());
        };
        head(&mut undefined, A, UNDEFINED);
        for _ in 0..2 {
            head(&mut undefined, ITEM, UNDEFINED);
            undefined.extend(&item);
            head(&mut undefined, ITEM_END, 0);
        }
        head(&mut undefined, SEQUENCE_END, 0);
        for bytes in [defined, undefined] {
            let all = elements(&bytes).unwrap();
            let found = items(all[0].1).unwrap();
            assert_eq!((all.len(), found.len()), (1, 2));
            assert_eq!(text(&elements(found[1]).unwrap(), B), Some("1.2.3"));
            // Cut anywhere, it is refused and never read past its end.
            for length in 1..bytes.len() {
                assert_eq!(elements(&bytes[..length]), Err(Malformed), "{length}");
            }
        }
    }

    #[test]
    fn nesting_is_bounded() {
        let mut bytes = Vec::new();
        for _ in 0..10_000 {
            for tag in [A, ITEM] {
                bytes.extend(tag.0.to_le_bytes());
                bytes.extend(tag.1.to_le_bytes());
                bytes.extend(UNDEFINED.to_le_bytes());
            }
        }
        assert_eq!(elements(&bytes), Err(Malformed));
    }
}
