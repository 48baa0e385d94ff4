//! Reads messages from a connection in pieces as they arrive; sizes are checked before memory is allocated.

use super::header::HEADER_BYTES;
use super::limits::Treatment;
use super::{Crc64, Header, Limits, Message, ProtocolError, ReadError};
use std::io::{ErrorKind, Read};
use std::time::Instant;

/// The first allocation for a body: memory grows with the bytes that arrive, not with those that are announced.
const FIRST_BODY_BYTES: usize = 64 << 10;
/// The size of the buffer that skipped bodies pass through.
const SKIP_BYTES: usize = 16 << 10;

/// The next event.
#[derive(Debug)]
pub enum Received<'a> {
    Message(Message<'a>),
    /// A message of a type that is not read here; its body was skipped.
    Skipped(Header),
    /// A message that cannot be used; the next one can be read.
    Damaged(Header, ProtocolError),
    /// Nothing for now: the source has no bytes, or its timeout has passed.
    Nothing,
    /// The source has ended, between two messages or within one.
    Closed {
        within_message: bool,
    },
}

/// The reader's position in a message.
enum State {
    Header,
    /// The body is kept.
    Body(Header),
    /// The number of bytes still to be skipped.
    Skip(Header, u64),
}

enum Progress {
    Complete(Header),
    Skipped(Header),
    Nothing,
    Closed { within_message: bool },
}

/// Reads messages; one for each connection. It keeps the memory of the largest body so far.
pub struct MessageReader {
    limits: Limits,
    state: State,
    header: [u8; HEADER_BYTES],
    body: Vec<u8>,
    /// The number of bytes of the header, or of the body, that have arrived.
    filled: usize,
    crc: Crc64,
    /// When the message began, and when its last bytes arrived.
    begun: Instant,
    progress: Instant,
}

impl MessageReader {
    pub fn new(limits: Limits) -> Self {
        let now = Instant::now();
        Self {
            limits,
            state: State::Header,
            header: [0; HEADER_BYTES],
            body: Vec::new(),
            filled: 0,
            crc: Crc64::default(),
            begun: now,
            progress: now,
        }
    }

    /// Reads until a message is complete or the source has nothing more. The source may block, preferably with a
    /// timeout.
    ///
    /// # Errors
    /// The source fails, bytes are not a header, a body is beyond the limits, or a message stalls. All of them are
    /// fatal: the position of the next message is unknown.
    pub fn next(&mut self, source: &mut impl Read) -> Result<Received<'_>, ReadError> {
        Ok(match self.advance(source)? {
            Progress::Nothing => Received::Nothing,
            Progress::Closed { within_message } => Received::Closed { within_message },
            Progress::Skipped(header) => Received::Skipped(header),
            Progress::Complete(header) => {
                let actual = self.crc.value();
                if self.limits.check_crc && actual != header.crc {
                    let error = ProtocolError::Checksum { kind: header.kind, announced: header.crc, actual };
                    return Ok(Received::Damaged(header, error));
                }
                // As many as the header says, which `begin_body` has checked against the limits.
                let body = &self.body[..header.body_bytes as usize];
                match Message::decode(&header, body, &self.limits) {
                    Ok(message) => Received::Message(message),
                    Err(error) => Received::Damaged(header, error),
                }
            }
        })
    }

    /// The memory for bodies that the reader keeps, in bytes.
    pub fn kept_bytes(&self) -> usize {
        self.body.capacity()
    }

    fn advance(&mut self, source: &mut impl Read) -> Result<Progress, ReadError> {
        loop {
            match self.state {
                State::Header if self.filled == HEADER_BYTES => {
                    let header = Header::parse(&self.header)?;
                    self.begin_body(header)?;
                    // It may be complete already: many requests have no body.
                    continue;
                }
                State::Body(header) if self.filled as u64 == header.body_bytes => {
                    self.begin_header();
                    return Ok(Progress::Complete(header));
                }
                State::Skip(header, 0) => {
                    self.begin_header();
                    return Ok(Progress::Skipped(header));
                }
                _ => {}
            }
            let within_message = self.filled > 0 || !matches!(self.state, State::Header);
            match self.read(source) {
                Ok(0) => return Ok(Progress::Closed { within_message }),
                Ok(_) => {
                    self.progress = Instant::now();
                    if !within_message {
                        self.begun = self.progress;
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    if within_message {
                        self.check_patience()?;
                    }
                    return Ok(Progress::Nothing);
                }
                Err(error) => return Err(error.into()),
            }
            if within_message && self.begun.elapsed() > self.limits.message {
                self.check_patience()?;
            }
        }
    }

    /// Reads once into the buffer that is being filled.
    fn read(&mut self, source: &mut impl Read) -> std::io::Result<usize> {
        match &mut self.state {
            State::Header => {
                let read = source.read(&mut self.header[self.filled..])?;
                self.filled += read;
                Ok(read)
            }
            State::Body(header) => {
                let end = header.body_bytes as usize;
                if self.filled == self.body.len() {
                    let larger = self.filled.saturating_mul(2).max(FIRST_BODY_BYTES).min(end);
                    self.body.resize(larger, 0);
                }
                let room = self.body.len().min(end);
                let read = source.read(&mut self.body[self.filled..room])?;
                self.crc.update(&self.body[self.filled..self.filled + read]);
                self.filled += read;
                Ok(read)
            }
            State::Skip(_, left) => {
                let mut passing = [0; SKIP_BYTES];
                let room = usize::try_from(*left).unwrap_or(SKIP_BYTES).min(SKIP_BYTES);
                let read = source.read(&mut passing[..room])?;
                *left -= read as u64;
                Ok(read)
            }
        }
    }

    fn begin_header(&mut self) {
        (self.state, self.filled) = (State::Header, 0);
    }

    fn begin_body(&mut self, header: Header) -> Result<(), ProtocolError> {
        let (limit, state) = match self.limits.treatment(&header.kind) {
            Treatment::Read { limit } => (limit, State::Body(header)),
            Treatment::Skip { limit } => (limit, State::Skip(header, header.body_bytes)),
        };
        // Where addresses are shorter than a body's size, no such body is accepted.
        if header.body_bytes > limit || usize::try_from(header.body_bytes).is_err() {
            return Err(ProtocolError::TooLarge { kind: header.kind, bytes: header.body_bytes, limit });
        }
        (self.state, self.filled, self.crc) = (state, 0, Crc64::default());
        Ok(())
    }

    fn check_patience(&self) -> Result<(), ReadError> {
        let (pause, whole) = (self.progress.elapsed(), self.begun.elapsed());
        if pause <= self.limits.stall && whole <= self.limits.message {
            return Ok(());
        }
        let missing = match self.state {
            State::Header => (HEADER_BYTES - self.filled) as u64,
            State::Body(header) => header.body_bytes - self.filled as u64,
            State::Skip(_, left) => left,
        };
        Err(ReadError::Stalled { waited: whole, missing })
    }
}
