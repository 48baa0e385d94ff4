//! The 58 bytes before every message.

use super::fields::Fields;
use super::{ProtocolError, Timestamp};
use std::fmt;

/// The size of the header, in bytes, in every version.
pub const HEADER_BYTES: usize = 58;

/// A text field of fixed length, padded with zeros.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Name<const N: usize>([u8; N]);

/// The type of a message, such as `IMAGE`.
pub type TypeName = Name<12>;
/// The device, stream or tool that a message is about, such as `Image_Reference`.
pub type DeviceName = Name<20>;

impl<const N: usize> Name<N> {
    /// A name; `None` where the text is longer than the field or contains a zero.
    pub fn new(text: &str) -> Option<Self> {
        let mut bytes = [0; N];
        bytes.get_mut(..text.len())?.copy_from_slice(text.as_bytes());
        (!text.contains('\0')).then_some(Self(bytes))
    }

    /// Reads a field: bytes after the first zero, and spaces at the end, are padding.
    pub fn from_field(mut bytes: [u8; N]) -> Self {
        let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(N);
        let end = bytes[..end].iter().rposition(|byte| !byte.is_ascii_whitespace()).map_or(0, |last| last + 1);
        bytes[end..].fill(0);
        Self(bytes)
    }

    /// The text without the padding.
    pub fn as_bytes(&self) -> &[u8] {
        let end = self.0.iter().position(|byte| *byte == 0).unwrap_or(N);
        &self.0[..end]
    }

    pub fn is_empty(&self) -> bool {
        self.as_bytes().is_empty()
    }

    pub(super) fn field(&self) -> &[u8; N] {
        &self.0
    }
}

impl<const N: usize> PartialEq<&str> for Name<N> {
    fn eq(&self, text: &&str) -> bool {
        self.as_bytes() == text.as_bytes()
    }
}

/// A name may be invalid text: such bytes are escaped.
impl<const N: usize> fmt::Display for Name<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.as_bytes().escape_ascii())
    }
}

impl<const N: usize> fmt::Debug for Name<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

/// The beginning of every message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The header version: 1, or 2 and above for bodies with an extended header and metadata. Protocol versions 1 and 2
    /// have header version 1, protocol version 3 has 2.
    pub version: u16,
    pub kind: TypeName,
    pub device: DeviceName,
    pub timestamp: Timestamp,
    /// The size of the body, in bytes.
    pub body_bytes: u64,
    pub crc: u64,
}

impl Header {
    /// # Errors
    /// [`ProtocolError::NotAHeader`] for bytes that no OpenIGTLink program writes: the position of the next message is
    /// then unknown.
    pub fn parse(bytes: &[u8; HEADER_BYTES]) -> Result<Self, ProtocolError> {
        let mut fields = Fields::new("header", bytes);
        let version = fields.u16()?;
        if !(1..=3).contains(&version) {
            return Err(ProtocolError::NotAHeader { what: format!("its version is {version}") });
        }
        let kind = TypeName::from_field(fields.name()?);
        if kind.is_empty() || !kind.as_bytes().iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_') {
            return Err(ProtocolError::NotAHeader { what: format!("its type is `{kind}`") });
        }
        let device = DeviceName::from_field(fields.name()?);
        let timestamp = Timestamp(fields.u64()?);
        Ok(Self { version, kind, device, timestamp, body_bytes: fields.u64()?, crc: fields.u64()? })
    }

    pub fn to_bytes(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        let Self { version, kind, device, timestamp, body_bytes, crc } = self;
        bytes[..2].copy_from_slice(&version.to_be_bytes());
        bytes[2..14].copy_from_slice(kind.field());
        bytes[14..34].copy_from_slice(device.field());
        bytes[34..42].copy_from_slice(&timestamp.0.to_be_bytes());
        bytes[42..50].copy_from_slice(&body_bytes.to_be_bytes());
        bytes[50..].copy_from_slice(&crc.to_be_bytes());
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_padded_and_cut() {
        let name = DeviceName::from_field(*b"Probe \t\0rest of it..");
        assert_eq!((name, name.to_string().as_str()), (DeviceName::new("Probe").unwrap(), "Probe"));
        assert_eq!(DeviceName::from_field([b'x'; 20]).as_bytes(), [b'x'; 20]);
        assert!(TypeName::new("123456789012").is_some() && TypeName::new("1234567890123").is_none());
        assert!(TypeName::new("a\0b").is_none());
        assert_eq!(DeviceName::from_field([0xff; 20]).to_string(), "\\xff".repeat(20));
    }

    #[test]
    fn headers_survive() {
        let header = Header {
            version: 2,
            kind: TypeName::new("IMAGE").unwrap(),
            device: DeviceName::new("Image_Reference").unwrap(),
            timestamp: Timestamp(0x1122_3344_5566_7788),
            body_bytes: 0x0102_0304_0506_0708,
            crc: 0xfedc_ba98_7654_3210,
        };
        assert_eq!(Header::parse(&header.to_bytes()).unwrap(), header);
    }

    #[test]
    fn other_bytes_are_refused_with_a_reason() {
        let mut bytes = *b"GET / HTTP/1.1\r\nHost: somewhere\r\nAccept: everything\r\n\r\n...";
        let error = Header::parse(&bytes).unwrap_err().to_string();
        assert!(error.contains("its version is 18245"), "{error}");
        bytes[..2].copy_from_slice(&[0, 1]);
        assert!(Header::parse(&bytes).unwrap_err().to_string().contains("its type is"));
        bytes[2..14].fill(0);
        assert!(Header::parse(&bytes).is_err());
    }
}
