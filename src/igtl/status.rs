//! The STATUS message.

use super::fields::Fields;
use super::{Name, ProtocolError};

/// The protocol's status codes that are sent here.
pub mod status_code {
    pub const OK: u16 = 1;
    pub const UNKNOWN_ERROR: u16 = 2;
    pub const BUSY: u16 = 6;
    pub const OVERFLOW: u16 = 8;
    pub const CHECKSUM: u16 = 9;
    pub const CONFIGURATION: u16 = 10;
    pub const UNKNOWN_INSTRUCTION: u16 = 12;
    pub const EXITING: u16 = 19;
}

/// A STATUS's content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    pub code: u16,
    /// The sender's own code.
    pub subcode: i64,
    /// A short name of the state, such as `OK`.
    pub name: Name<20>,
    /// The message for people.
    pub message: String,
}

impl Status {
    pub fn new(code: u16, message: impl Into<String>) -> Self {
        let name = match code {
            status_code::OK => "OK",
            status_code::UNKNOWN_ERROR => "Error",
            status_code::BUSY => "Busy",
            status_code::OVERFLOW => "Overflow",
            status_code::CHECKSUM => "Checksum",
            status_code::CONFIGURATION => "Configuration",
            status_code::UNKNOWN_INSTRUCTION => "Not supported",
            status_code::EXITING => "Exiting",
            _ => "",
        };
        Self { code, subcode: 0, name: Name::new(name).unwrap_or(Name::from_field([0; 20])), message: message.into() }
    }

    /// # Errors
    /// The content is shorter than the fixed fields.
    pub(super) fn parse(content: &[u8]) -> Result<Self, ProtocolError> {
        let mut fields = Fields::new("STATUS", content);
        let (code, subcode) = (fields.u16()?, fields.u64()?.cast_signed());
        let name = Name::from_field(fields.name()?);
        let message = fields.rest();
        let end = message.iter().position(|byte| *byte == 0).unwrap_or(message.len());
        Ok(Self { code, subcode, name, message: String::from_utf8_lossy(&message[..end]).into_owned() })
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.extend(self.code.to_be_bytes());
        out.extend(self.subcode.to_be_bytes());
        out.extend(self.name.field());
        // The reference library expects the text to end with a zero.
        out.extend(self.message.bytes().filter(|byte| *byte != 0).chain([0]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_survive() {
        for status in [Status::new(status_code::OK, "ready"), Status { subcode: -7, ..Status::new(99, "") }] {
            let mut content = Vec::new();
            status.write(&mut content);
            assert_eq!(Status::parse(&content).unwrap(), status);
            for cut in 0..30 {
                assert!(Status::parse(&content[..cut]).is_err());
            }
            // The text is optional.
            assert_eq!(Status::parse(&content[..30]).unwrap().message, "");
        }
    }
}
