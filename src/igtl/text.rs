//! Texts, their character encodings, and the STRING message.

use super::ProtocolError;
use super::fields::Fields;

/// Numbers of character sets, as IANA assigns them.
pub(crate) const US_ASCII: u16 = 3;
const ISO_8859_1: u16 = 4;
pub(crate) const UTF_8: u16 = 106;
const UTF_16_BE: u16 = 1013;
const UTF_16_LE: u16 = 1014;

/// # Errors
/// [`ProtocolError::Malformed`] for a character set other than ASCII, ISO 8859-1, UTF-8, UTF-16BE and UTF-16LE, and for
/// bytes that are invalid in it.
pub(super) fn decode_text(part: &'static str, encoding: u16, bytes: &[u8]) -> Result<String, ProtocolError> {
    let malformed = |what: String| ProtocolError::malformed(part, what);
    let wide = |unit: fn([u8; 2]) -> u16| {
        let (units, rest) = bytes.as_chunks::<2>();
        let text: Result<String, _> = char::decode_utf16(units.iter().map(|pair| unit(*pair))).collect();
        text.ok().filter(|_| rest.is_empty()).ok_or_else(|| malformed("it is not valid UTF-16".into()))
    };
    match encoding {
        // Programs that declare ASCII by default send UTF-8 when they have to.
        US_ASCII | UTF_8 => String::from_utf8(bytes.to_vec()).map_err(|_| malformed("it is not valid UTF-8".into())),
        ISO_8859_1 => Ok(bytes.iter().map(|byte| char::from(*byte)).collect()),
        UTF_16_BE => wide(u16::from_be_bytes),
        UTF_16_LE => wide(u16::from_le_bytes),
        other => Err(malformed(format!("its character set {other} is not supported; send UTF-8 (106)"))),
    }
}

/// The smallest character set that can represent a text.
pub(super) fn encoding_of(text: &str) -> u16 {
    if text.is_ascii() { US_ASCII } else { UTF_8 }
}

/// Reads a STRING's content.
///
/// # Errors
/// The content is shorter than it says; see also [`decode_text`].
pub(super) fn decode_string(content: &[u8]) -> Result<String, ProtocolError> {
    let mut fields = Fields::new("STRING", content);
    let (encoding, bytes) = (fields.u16()?, fields.u16()?);
    decode_text("STRING", encoding, fields.take(usize::from(bytes))?)
}

/// Writes a STRING's content. A text of more than 65,535 bytes is cut, between two characters.
pub(super) fn encode_string(text: &str, out: &mut Vec<u8>) {
    let text = &text[..text.floor_char_boundary(usize::from(u16::MAX))];
    out.extend(encoding_of(text).to_be_bytes());
    out.extend((text.len() as u16).to_be_bytes());
    out.extend(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_survive() {
        for text in ["", "a mass in the breast", "Läsion, 3 µm", &"ä".repeat(40_000)] {
            let mut content = Vec::new();
            encode_string(text, &mut content);
            let back = decode_string(&content).unwrap();
            assert!(text.starts_with(&back) && back.len() == text.len().min(65_534), "{}", back.len());
        }
    }

    #[test]
    fn character_sets() {
        let decode = |encoding: u16, bytes: &[u8]| decode_text("STRING", encoding, bytes);
        assert_eq!(decode(4, &[0xe4, b'b']).unwrap(), "äb");
        assert_eq!(decode(1013, &[0, 0xe4, 0xd8, 0x3d, 0xde, 0]).unwrap(), "ä\u{1f600}");
        assert_eq!(decode(1014, &[0xe4, 0]).unwrap(), "ä");
        assert!(decode(1013, &[0]).is_err() && decode(1013, &[0xd8, 0x3d]).is_err());
        assert!(decode(106, &[0xff]).is_err());
        assert!(decode(2252, b"x").unwrap_err().to_string().contains("2252"));
    }

    #[test]
    fn lengths_are_checked() {
        assert_eq!(decode_string(&[0, 3, 0, 1, b'x', b'y']).unwrap(), "x");
        for cut in 0..5 {
            assert!(decode_string(&[0, 3, 0, 1, b'x'][..cut]).is_err());
        }
    }
}
