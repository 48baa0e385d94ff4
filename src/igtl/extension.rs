//! The parts that header version 2 adds to a body: an extended header before the content, metadata after it.
//!
//! ```text
//! body, version 1:   content
//! body, version 2:   extended header (12 bytes or more) | content | metadata index | metadata texts
//! ```

use super::fields::Fields;
use super::text::{decode_text, encoding_of};
use super::{Limits, ProtocolError};

/// The size of the extended header that is written.
const EXTENDED_BYTES: u16 = 12;
/// The size of one entry of the metadata index: length of key, character set and length of value.
const INDEX_BYTES: usize = 8;

/// A parsed body of version 2.
pub(super) struct Extended<'a> {
    pub message_id: u32,
    pub content: &'a [u8],
    pub metadata: Vec<(String, String)>,
}

impl<'a> Extended<'a> {
    /// # Errors
    /// Sizes contradict each other or the body's, there is more metadata than the limits allow, or keys are not text.
    pub(crate) fn parse(body: &'a [u8], limits: &Limits) -> Result<Self, ProtocolError> {
        let mut fields = Fields::new("extended header", body);
        let (own, index, texts) = (fields.u16()?, fields.u16()?, fields.u32()?);
        let message_id = fields.u32()?;
        if own < EXTENDED_BYTES {
            return Err(ProtocolError::malformed("extended header", format!("its size is {own} bytes, below 12")));
        }
        let (own, index, texts) = (usize::from(own), usize::from(index), texts as usize);
        let around = own.saturating_add(index).saturating_add(texts);
        let Some(content_bytes) = body.len().checked_sub(around) else {
            let (needed, actual) = (around as u64, body.len());
            return Err(ProtocolError::CutShort { part: "body with its metadata", needed, actual });
        };
        let content = &body[own..own + content_bytes];
        let (index, texts) = body[own + content_bytes..].split_at(index);
        Ok(Self { message_id, content, metadata: parse_metadata(index, texts, limits)? })
    }
}

fn parse_metadata(index: &[u8], texts: &[u8], limits: &Limits) -> Result<Vec<(String, String)>, ProtocolError> {
    if index.is_empty() {
        return Ok(Vec::new());
    }
    let mut index = Fields::new("metadata index", index);
    let count = index.u16()?;
    if count > limits.metadata_entries {
        let what = format!("it has {count} entries, more than the limit of {}", limits.metadata_entries);
        return Err(ProtocolError::malformed("metadata index", what));
    }
    let needed = usize::from(count) * INDEX_BYTES;
    if index.left() < needed {
        return Err(ProtocolError::CutShort { part: "metadata index", needed: needed as u64, actual: index.left() });
    }
    let mut texts = Fields::new("metadata", texts);
    let entries = (0..count).map(|_| {
        let (key_bytes, encoding, value_bytes) = (index.u16()?, index.u16()?, index.u32()?);
        let key = decode_text("metadata key", super::text::UTF_8, texts.take(usize::from(key_bytes))?)?;
        Ok((key, decode_text("metadata value", encoding, texts.take(value_bytes as usize)?)?))
    });
    entries.collect()
}

/// Writes the extended header, the output of `content`, and metadata. Entries beyond what the index can count, and keys
/// longer than 65,535 bytes, are left out.
pub(super) fn write_extended(
    message_id: u32,
    metadata: &[(&str, &str)],
    out: &mut Vec<u8>,
    content: impl FnOnce(&mut Vec<u8>),
) {
    let most = (usize::from(u16::MAX) - 2) / INDEX_BYTES;
    let fits = |(key, value): &&(&str, &str)| key.len() <= usize::from(u16::MAX) && value.len() <= 1 << 20;
    let entries: Vec<_> = metadata.iter().filter(fits).take(most).collect();
    let index_bytes = if entries.is_empty() { 0 } else { 2 + entries.len() * INDEX_BYTES };
    let text_bytes: usize = entries.iter().map(|(key, value)| key.len() + value.len()).sum();
    out.extend(EXTENDED_BYTES.to_be_bytes());
    out.extend((index_bytes as u16).to_be_bytes());
    out.extend((text_bytes as u32).to_be_bytes());
    out.extend(message_id.to_be_bytes());
    content(out);
    if entries.is_empty() {
        return;
    }
    out.extend((entries.len() as u16).to_be_bytes());
    for (key, value) in &entries {
        out.extend((key.len() as u16).to_be_bytes());
        out.extend(encoding_of(value).to_be_bytes());
        out.extend((value.len() as u32).to_be_bytes());
    }
    for (key, value) in &entries {
        out.extend(key.as_bytes());
        out.extend(value.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(metadata: &[(&str, &str)]) -> Vec<u8> {
        let mut body = Vec::new();
        write_extended(7, metadata, &mut body, |out| out.extend(b"content"));
        body
    }

    #[test]
    fn bodies_survive() {
        let limits = Limits::default();
        for metadata in [&[][..], &[("prompt", "a mass")], &[("prompt", "Läsion"), ("", ""), ("n", "1")]] {
            let body = body(metadata);
            let Extended { message_id, content, metadata: read } = Extended::parse(&body, &limits).unwrap();
            assert_eq!((message_id, content), (7, &b"content"[..]));
            let read: Vec<_> = read.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
            assert_eq!(read, metadata);
        }
    }

    #[test]
    fn a_longer_extended_header_is_skipped() {
        let mut body = body(&[]);
        body.splice(12..12, [1, 2, 3, 4]);
        body[1] = 16;
        assert_eq!(Extended::parse(&body, &Limits::default()).unwrap().content, b"content");
        body[1] = 11;
        assert!(Extended::parse(&body, &Limits::default()).is_err());
    }

    #[test]
    fn sizes_are_checked() {
        let limits = Limits { metadata_entries: 1, ..Limits::default() };
        let good = body(&[("key", "value")]);
        for cut in 0..good.len() {
            let read = Extended::parse(&good[..cut], &limits);
            // A cut moves what the sizes count from the end; the rest may still be valid text.
            if let Ok(extended) = read {
                assert!(extended.content.len() < 7);
            }
        }
        assert!(Extended::parse(&body(&[("a", "b"), ("c", "d")]), &limits).is_err());
        // Texts that are not there get no entry.
        let mut many = body(&[("a", "b")]);
        let index = many.len() - 2 - INDEX_BYTES - 2;
        many[index..index + 2].copy_from_slice(&[0xff, 0xff]);
        assert!(Extended::parse(&many, &Limits { metadata_entries: u16::MAX, ..limits }).is_err());
    }
}
