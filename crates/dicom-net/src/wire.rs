//! Protocol data units over a connection. Each read has a deadline, and each length a limit.

use crate::error::NetError;
use crate::limits::Limits;
use dicom_ul::pdu::{MAXIMUM_PDU_SIZE, Pdu, read_pdu, write_pdu};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How long one read waits before deadline and end are looked at.
pub(crate) const TICK: Duration = Duration::from_millis(100);

/// The least time for the rest of a unit that has begun, however short the wait for it was.
const MIN_PDU_TIME: Duration = Duration::from_secs(1);

/// The most bytes of a negotiation: 128 contexts with some 30 transfer syntaxes each.
const MAX_NEGOTIATION_BYTES: u32 = 512 << 10;
/// The most bytes of a release, an abort or a rejection, which have four.
const MAX_SMALL_BYTES: u32 = 64;

const ASSOCIATE_RQ: u8 = 1;
const ASSOCIATE_AC: u8 = 2;
const P_DATA: u8 = 4;
const KNOWN: std::ops::RangeInclusive<u8> = 1..=7;

/// A connection, encrypted or not. Reads return within [`TICK`], with `WouldBlock` or `TimedOut` where nothing came.
pub(crate) trait Stream: Read + Write + Send {
    fn shut_down(&mut self);
}

impl Stream for TcpStream {
    fn shut_down(&mut self) {
        let _ = self.shutdown(Shutdown::Both);
    }
}

/// Sets a connection's timeouts.
pub(crate) fn prepare(tcp: &TcpStream, limits: &Limits) -> io::Result<()> {
    tcp.set_nonblocking(false)?;
    tcp.set_read_timeout(Some(TICK))?;
    tcp.set_write_timeout(Some(limits.silence))?;
    // Messages are small and answered one by one.
    tcp.set_nodelay(true)
}

pub(crate) fn is_pause(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

/// Reads and writes protocol data units.
pub(crate) struct Wire {
    stream: Box<dyn Stream>,
    stop: Arc<AtomicBool>,
    pdu_bytes: u32,
    pdu_time: Duration,
    out: Vec<u8>,
}

impl Wire {
    pub(crate) fn new(stream: Box<dyn Stream>, stop: Arc<AtomicBool>, limits: &Limits) -> Self {
        Self { stream, stop, pdu_bytes: limits.pdu_bytes, pdu_time: limits.silence, out: Vec::new() }
    }

    /// The next unit, whose first byte comes within `patience`.
    pub(crate) fn read(&mut self, patience: Duration) -> Result<Pdu, NetError> {
        let mut bytes = vec![0; 6];
        let (first, rest) = bytes.split_at_mut(1);
        self.fill(first, Instant::now() + patience, true)?;
        let deadline = Instant::now() + self.pdu_time.min(patience.max(MIN_PDU_TIME));
        self.fill(rest, deadline, false)?;
        let kind = bytes[0];
        let length = u32::from_be_bytes([bytes[2], bytes[3], bytes[4], bytes[5]]);
        if !KNOWN.contains(&kind) {
            return Err(NetError::Malformed("its first byte is not a protocol data unit's"));
        }
        let (what, limit) = match kind {
            ASSOCIATE_RQ | ASSOCIATE_AC => ("the negotiation", MAX_NEGOTIATION_BYTES),
            P_DATA => ("a protocol data unit", self.pdu_bytes),
            _ => ("a release or an abort", MAX_SMALL_BYTES),
        };
        if length > limit {
            return Err(NetError::TooLarge { what, limit: limit.into() });
        }
        bytes.resize(6 + length as usize, 0);
        self.fill(&mut bytes[6..], deadline, false)?;
        match read_pdu(&bytes[..], MAXIMUM_PDU_SIZE, false) {
            Ok(Some(pdu)) => Ok(pdu),
            Ok(None) => Err(NetError::Malformed("a protocol data unit contradicts its length")),
            Err(error) => Err(NetError::Pdu(error.to_string())),
        }
    }

    fn fill(&mut self, mut into: &mut [u8], deadline: Instant, may_close: bool) -> Result<(), NetError> {
        while !into.is_empty() {
            if self.stop.load(Ordering::Acquire) {
                return Err(NetError::Stopped);
            }
            match self.stream.read(into) {
                Ok(0) if may_close => return Err(NetError::Closed),
                Ok(0) => return Err(NetError::Malformed("the connection ends within a protocol data unit")),
                Ok(read) => {
                    into = into.get_mut(read..).unwrap_or_default();
                    continue;
                }
                Err(error) if is_pause(&error) => {}
                Err(error)
                    if may_close && matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof) =>
                {
                    return Err(NetError::Closed);
                }
                Err(error) => return Err(error.into()),
            }
            if Instant::now() >= deadline {
                return Err(NetError::Timeout);
            }
        }
        Ok(())
    }

    pub(crate) fn write(&mut self, pdu: &Pdu) -> Result<(), NetError> {
        self.out.clear();
        write_pdu(&mut self.out, pdu).map_err(|error| NetError::Pdu(error.to_string()))?;
        self.stream.write_all(&self.out).and_then(|()| self.stream.flush()).map_err(|error| match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => NetError::Timeout,
            _ => error.into(),
        })
    }

    pub(crate) fn shut_down(&mut self) {
        self.stream.shut_down();
    }
}
