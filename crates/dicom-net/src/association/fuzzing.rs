//! The acceptor's path on bytes, for the fuzz target.

use super::{Acceptor, Received};
use crate::address::AeTitle;
use crate::limits::Limits;
use crate::sop;
use crate::wire::{Stream, Wire};
use std::io::{self, Read, Write};
use std::time::Duration;

/// Bytes that a peer sends in pieces before it closes the connection.
struct Peer {
    bytes: io::Cursor<Vec<u8>>,
    piece: usize,
}

impl Read for Peer {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let most = self.piece.min(into.len());
        self.bytes.read(into.get_mut(..most).unwrap_or_default())
    }
}

impl Write for Peer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stream for Peer {
    fn shut_down(&mut self) {}
}

/// Reads bytes as a node reads what a peer sends: negotiation, commands and data sets. The first byte sets the size of the
/// pieces. Returns the bytes of data sets, which a caller compares with the input's length.
#[doc(hidden)]
pub fn fuzz_acceptor(bytes: &[u8]) -> u64 {
    let Some((piece, rest)) = bytes.split_first() else { return 0 };
    let Ok(title) = "NODE".parse::<AeTitle>() else { return 0 };
    let limits =
        Limits { pdu_bytes: 16 << 10, object_bytes: 1 << 20, negotiation: Duration::from_secs(1), ..Limits::default() };
    let peer = Peer { bytes: io::Cursor::new(rest.to_vec()), piece: usize::from(*piece) + 1 };
    let wire = Wire::new(Box::new(peer), Default::default(), &limits);
    let transfer_syntaxes = vec![sop::IMPLICIT.to_string(), sop::EXPLICIT.to_string()];
    let classes = sop::ULTRASOUND.map(String::from).to_vec();
    let acceptor = Acceptor { title, callers: Vec::new(), classes, transfer_syntaxes, limits };
    let Ok(mut association) = acceptor.accept(wire) else { return 0 };
    let mut data = 0;
    while let Ok(Received::Command(context, command)) = association.receive(Duration::from_secs(1)) {
        if command.has_data {
            let Ok(small) = association.receive_small(context, 1 << 20) else { break };
            data += small.len() as u64;
            let _ = crate::commitment::report(&small);
        }
        if association.send(context, &command.answer(0), None).is_err() {
            break;
        }
    }
    data
}
