//! The images of an OpenIGTLink server as a source of frames.

use super::connect::{FIRST_RETRY, LAST_RETRY, reach};
use super::{Content, FrameAssembler, Limits, MessageReader, Received};
use crate::io::source::{FrameBuffer, FrameSource, SourceError};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

/// How long one read waits; the reader of messages checks in between whether a message has stalled.
const READ_TIMEOUT: Duration = Duration::from_millis(100);

/// Receives the images of a server, and connects again whenever the connection ends. It sends nothing.
pub struct ImageSource {
    address: String,
    limits: Limits,
    connection: Option<Connection>,
    retry: Duration,
    /// The last image that was refused, and why, so that each reason is logged once.
    refused: Option<String>,
}

struct Connection {
    socket: TcpStream,
    reader: MessageReader,
    assembler: FrameAssembler,
}

impl ImageSource {
    /// The images of the server at `address`, `HOST:PORT`. Connects when the first frame is read.
    pub fn new(address: String, limits: Limits) -> Self {
        Self { address, limits, connection: None, retry: FIRST_RETRY, refused: None }
    }

    fn connect(&self) -> std::io::Result<Connection> {
        let socket = reach(&self.address)?;
        socket.set_read_timeout(Some(READ_TIMEOUT))?;
        log::info!("connected to {}", self.address);
        Ok(Connection {
            socket,
            reader: MessageReader::new(self.limits),
            assembler: FrameAssembler::new(self.limits.frame_bytes, None),
        })
    }

    /// The connection; waits until there is one.
    fn connection(&mut self) -> Connection {
        if let Some(connection) = self.connection.take() {
            return connection;
        }
        loop {
            match self.connect() {
                Ok(connection) => return connection,
                Err(error) => {
                    log::warn!(
                        "{} can't be reached ({error}); trying again in {} ms",
                        self.address,
                        self.retry.as_millis()
                    );
                }
            }
            thread::sleep(self.retry);
            self.retry = (self.retry * 2).min(LAST_RETRY);
        }
    }
}

impl Connection {
    /// Reads until an image is in `into`. Returns why the connection cannot be used any longer.
    fn read(&mut self, into: &mut FrameBuffer, refused: &mut Option<String>) -> Result<(), String> {
        loop {
            let message = match self.reader.next(&mut self.socket) {
                Ok(Received::Message(message)) => message,
                Ok(Received::Skipped(_) | Received::Nothing) => continue,
                Ok(Received::Damaged(_, error)) => {
                    log::warn!("a message is damaged: {error}");
                    continue;
                }
                Ok(Received::Closed { .. }) => return Err("it has ended".into()),
                Err(error) => return Err(error.to_string()),
            };
            let Content::Image(image) = message.content else { continue };
            match self.assembler.frame(message.header.device, &image) {
                Ok(frame) => {
                    into.copy_from(&frame);
                    let timestamp = message.header.timestamp;
                    into.timestamp_s = timestamp.is_given().then(|| timestamp.micros() as f64 / 1e6);
                    return Ok(());
                }
                Err(error) => {
                    let reason = error.to_string();
                    if refused.as_ref() != Some(&reason) {
                        log::warn!("an image is not used: {reason}");
                        *refused = Some(reason);
                    }
                }
            }
        }
    }
}

impl FrameSource for ImageSource {
    fn frame_count(&self) -> Option<usize> {
        None
    }

    /// Waits for the next image, for as long as it takes: a server may start later, and may pause. Never fails and never ends.
    fn read_frame(&mut self, into: &mut FrameBuffer) -> Result<bool, SourceError> {
        loop {
            let mut connection = self.connection();
            match connection.read(into, &mut self.refused) {
                Ok(()) => {
                    self.retry = FIRST_RETRY;
                    self.connection = Some(connection);
                    return Ok(true);
                }
                Err(reason) => {
                    log::warn!("the connection to {} is given up: {reason}; connecting again", self.address);
                    thread::sleep(self.retry);
                    self.retry = (self.retry * 2).min(LAST_RETRY);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::PixelFormat;
    use crate::igtl::{
        ByteOrder, DeviceName, Envelope, Geometry, ImageHeader, Outgoing, ScalarType, Timestamp, TypeName,
    };
    use std::io::Write;
    use std::net::TcpListener;

    fn envelope(micros: u64) -> Envelope<'static> {
        let device = DeviceName::new("Image").unwrap();
        Envelope { version: 2, device, timestamp: Timestamp::from_micros(micros), message_id: 1, metadata: &[] }
    }

    fn image(pixel: u8, slices: u16) -> Vec<u8> {
        let header = ImageHeader {
            size: [2, 1, slices],
            part_size: [2, 1, slices],
            scalar: ScalarType::Uint8,
            byte_order: ByteOrder::Little,
            ..ImageHeader::new(1, 2, 1, Geometry::default())
        };
        let mut out = Vec::new();
        envelope(2_500_000).write_with(TypeName::new("IMAGE").unwrap(), &mut out, |out| {
            header.write(out);
            out.resize(out.len() + 2 * usize::from(slices), pixel);
        });
        out
    }

    /// A server that sends a volume, a text and an image, is gone within the next one, and returns with another.
    #[test]
    fn images_arrive_whatever_else_does() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let server = thread::spawn(move || {
            let (mut socket, _) = listener.accept().unwrap();
            socket.write_all(&image(1, 2)).unwrap();
            let mut text = Vec::new();
            envelope(1).write(Outgoing::Text("hello"), &mut text);
            socket.write_all(&text).unwrap();
            let mut damaged = image(3, 1);
            *damaged.last_mut().unwrap() ^= 1;
            socket.write_all(&damaged).unwrap();
            socket.write_all(&image(5, 1)).unwrap();
            socket.write_all(&image(6, 1)[..70]).unwrap();
            drop(socket);
            let (mut socket, _) = listener.accept().unwrap();
            socket
                .write_all(b"GET / HTTP/1.1\r\nHost: this is another protocol, and longer than one header.\r\n\r\n")
                .unwrap();
            drop(socket);
            let (mut socket, _) = listener.accept().unwrap();
            socket.write_all(&image(7, 1)).unwrap();
        });
        let mut source = ImageSource::new(address, Limits::default());
        let mut buffer = FrameBuffer::default();
        let mut next = || {
            assert!(source.read_frame(&mut buffer).unwrap());
            let frame = buffer.frame().unwrap();
            assert_eq!((frame.width(), frame.height(), frame.format()), (2, 1, PixelFormat::Gray8));
            assert_eq!(buffer.timestamp_s, Some(2.5));
            buffer.pixels().to_vec()
        };
        assert_eq!([next(), next()], [[5, 5], [7, 7]]);
        server.join().unwrap();
    }
}
