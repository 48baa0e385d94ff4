//! Limits on how much memory and time a peer can use.

use super::header::TypeName;
use std::time::Duration;

/// Bytes for an image's header and metadata beside its pixels.
const BESIDE_PIXELS: u64 = 64 << 10;

/// Bounds on what is read from a connection; sizes are compared before anything is allocated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The largest size of the pixels of one IMAGE, or of the body of one POLYDATA, in bytes.
    pub frame_bytes: u64,
    /// The largest body of any other message that is read, in bytes.
    pub text_bytes: u64,
    /// The largest body of a message that is skipped, in bytes; more ends the connection.
    pub skipped_bytes: u64,
    /// The most metadata entries of one message.
    pub metadata_entries: u16,
    /// The longest pause within a message that has begun.
    pub stall: Duration,
    /// The longest time until a message that has begun is complete.
    pub message: Duration,
    /// Whether bodies have to match their checksum. Switch it off for senders that leave it out.
    pub check_crc: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            frame_bytes: 64 << 20,
            text_bytes: 1 << 20,
            skipped_bytes: 64 << 20,
            metadata_entries: 1024,
            stall: Duration::from_secs(5),
            message: Duration::from_secs(60),
            check_crc: true,
        }
    }
}

/// How a body is handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Treatment {
    Read { limit: u64 },
    Skip { limit: u64 },
}

impl Limits {
    pub(super) fn treatment(&self, kind: &TypeName) -> Treatment {
        match kind.as_bytes() {
            b"IMAGE" | b"POLYDATA" => Treatment::Read { limit: self.frame_bytes.saturating_add(BESIDE_PIXELS) },
            b"STRING" | b"STATUS" | b"CAPABILITY" => Treatment::Read { limit: self.text_bytes },
            name if [b"GET_", b"STT_", b"STP_", b"RTS_"].iter().any(|prefix| name.starts_with(*prefix)) => {
                Treatment::Read { limit: self.text_bytes }
            }
            _ => Treatment::Skip { limit: self.skipped_bytes },
        }
    }
}
