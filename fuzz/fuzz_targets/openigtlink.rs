//! Reads any bytes as the data of an OpenIGTLink peer: the first byte sets the size of the pieces, the rest are
//! messages.
#![no_main]

use causalclipseg::igtl::{Content, FrameAssembler, Limits, MessageReader, Received};
use libfuzzer_sys::fuzz_target;
use std::io::{ErrorKind, Read, Result};

/// Yields bytes in pieces, with pauses between them.
struct Connection<'a> {
    rest: &'a [u8],
    piece: usize,
    pause: bool,
}

impl Read for Connection<'_> {
    fn read(&mut self, into: &mut [u8]) -> Result<usize> {
        self.pause = !self.pause;
        if self.pause {
            return Err(ErrorKind::WouldBlock.into());
        }
        let length = self.piece.min(self.rest.len()).min(into.len());
        into[..length].copy_from_slice(&self.rest[..length]);
        self.rest = &self.rest[length..];
        Ok(length)
    }
}

fuzz_target!(|bytes: &[u8]| {
    let Some((piece, rest)) = bytes.split_first() else { return };
    // Without the checksum, so that the code after it is reached.
    let limits = Limits { frame_bytes: 1 << 20, check_crc: false, ..Limits::default() };
    let mut connection = Connection { rest, piece: usize::from(*piece) + 1, pause: true };
    let mut reader = MessageReader::new(limits);
    let mut assembler = FrameAssembler::new(limits.frame_bytes, None);
    loop {
        match reader.next(&mut connection) {
            Ok(Received::Message(message)) => {
                if let Content::Image(image) = message.content {
                    let _ = assembler.frame(message.header.device, &image);
                }
            }
            Ok(Received::Closed { .. }) | Err(_) => break,
            Ok(Received::Skipped(_) | Received::Damaged(..) | Received::Nothing) => {}
        }
        assert!(reader.kept_bytes() <= 4 << 20, "memory beyond the limits");
    }
});
