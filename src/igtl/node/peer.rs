//! One connection: the facts about its other end, and the thread that writes to it.

use super::LOOK_AROUND;
use super::hub::Hub;
use super::outbox::{Next, Outbox, Slot};
use crate::igtl::{Status, status_code};
use std::io::{self, ErrorKind, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU16, Ordering};
use std::time::Instant;

/// Bits of [`Peer::wanted`].
const MASKS: u8 = 1;
const CONTOURS: u8 = 2;
const REPORTS: u8 = 4;

pub(super) struct Peer {
    id: u64,
    address: String,
    socket: TcpStream,
    outbox: Outbox,
    /// The version of the headers that it sends.
    version: AtomicU16,
    sends_frames: AtomicBool,
    wanted: AtomicU8,
}

impl Peer {
    /// # Errors
    /// The socket does not support timeouts.
    pub(crate) fn new(id: u64, socket: TcpStream) -> io::Result<Self> {
        let address = socket.peer_addr().map_or_else(|_| "a peer".into(), |address| address.to_string());
        // On some systems a socket accepted from a non-blocking listener is non-blocking too.
        socket.set_nonblocking(false)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(LOOK_AROUND))?;
        socket.set_write_timeout(Some(LOOK_AROUND))?;
        Ok(Self {
            id,
            address,
            socket,
            outbox: Outbox::default(),
            version: AtomicU16::new(1),
            sends_frames: AtomicBool::new(false),
            wanted: AtomicU8::new(MASKS | CONTOURS | REPORTS),
        })
    }

    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// The address, for people.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    pub(crate) fn socket(&self) -> &TcpStream {
        &self.socket
    }

    pub(crate) fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    /// The header version to write: 1, or 2 once the peer has used that or a later one.
    pub(crate) fn version(&self) -> u16 {
        self.version.load(Ordering::Relaxed)
    }

    pub(crate) fn note_version(&self, version: u16) {
        self.version.store(version.clamp(1, 2), Ordering::Relaxed);
    }

    /// Whether it has sent an image: then it receives the results of its own images, and otherwise of all.
    pub(crate) fn sends_frames(&self) -> bool {
        self.sends_frames.load(Ordering::Relaxed)
    }

    pub(crate) fn note_frame(&self) {
        self.sends_frames.store(true, Ordering::Relaxed);
    }

    pub(crate) fn wants(&self, slot: Slot) -> bool {
        let bit = match slot {
            Slot::Mask(_) => MASKS,
            Slot::Contours(_) => CONTOURS,
            Slot::Report(_) => REPORTS,
            Slot::Status | Slot::Reply => return true,
        };
        self.wanted.load(Ordering::Relaxed) & bit != 0
    }

    /// Starts or stops results of a message type; `false` for a type that is not a result's.
    pub(crate) fn set_wanted(&self, kind: &[u8], wanted: bool) -> bool {
        let bit = match kind {
            b"IMAGE" => MASKS,
            b"POLYDATA" => CONTOURS,
            b"STRING" => REPORTS,
            _ => return false,
        };
        if wanted {
            self.wanted.fetch_or(bit, Ordering::Relaxed);
        } else {
            self.wanted.fetch_and(!bit, Ordering::Relaxed);
        }
        true
    }

    /// Sends the outbox's messages, and heartbeats, until the outbox is closed or the connection fails.
    pub(crate) fn write(&self, hub: &Hub) {
        let mut heartbeat_due = Instant::now();
        loop {
            let now = Instant::now();
            if now >= heartbeat_due {
                heartbeat_due = now + hub.options.heartbeat;
                self.outbox.push(Slot::Status, hub.status_message(self.version(), &heartbeat(hub)));
            }
            match self.outbox.next(LOOK_AROUND.min(heartbeat_due.saturating_duration_since(now))) {
                Next::Send(message) => {
                    if let Err(error) = self.send(&message, hub) {
                        log::info!("{}: sending failed ({error})", self.address);
                        break;
                    }
                }
                Next::Nothing => {}
                Next::Closed => break,
            }
        }
        self.outbox.close(std::time::Duration::ZERO);
        // The reader then sees the end too. Shutting down fails if the connection is closed already.
        let _ = self.socket.shutdown(Shutdown::Both);
    }

    fn send(&self, mut message: &[u8], hub: &Hub) -> io::Result<()> {
        let mut progress = Instant::now();
        while !message.is_empty() {
            match (&self.socket).write(message) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => {
                    message = &message[written..];
                    progress = Instant::now();
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    if progress.elapsed() > hub.options.limits.stall || self.outbox.is_over() {
                        return Err(ErrorKind::TimedOut.into());
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

fn heartbeat(hub: &Hub) -> Status {
    match hub.stopped() {
        Some(reason) => Status::new(status_code::UNKNOWN_ERROR, format!("segmenting has stopped: {reason}")),
        None => Status::new(status_code::OK, format!("looking for: {}", hub.prompts().join(" | "))),
    }
}
