//! A peer of a node, controlled by a test.

use causalclipseg::igtl::{
    Content, DeviceName, Envelope, Geometry, Header, Image, ImageHeader, Limits, MessageReader, Outgoing, PolyData,
    Received, Status, Timestamp,
};
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Longer than any step takes on a loaded machine.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// A message of a node.
#[derive(Clone, Debug)]
pub enum Answer {
    Image(ImageHeader, Vec<u8>),
    Text(String),
    Status(Status),
    PolyData(PolyData),
    Done(bool),
    Other,
}

#[derive(Clone, Debug)]
pub struct Incoming {
    pub header: Header,
    pub message_id: u32,
    pub metadata: Vec<(String, String)>,
    pub answer: Answer,
}

pub struct Client {
    pub socket: TcpStream,
    reader: MessageReader,
    /// Version of the headers to write.
    pub version: u16,
    pub message_id: u32,
}

impl Client {
    pub fn connect(address: SocketAddr) -> Self {
        Self::new(TcpStream::connect(address).unwrap())
    }

    pub fn new(socket: TcpStream) -> Self {
        socket.set_nodelay(true).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        Self { socket, reader: MessageReader::new(Limits::default()), version: 1, message_id: 0 }
    }

    pub fn send(&mut self, device: &str, timestamp: Timestamp, content: Outgoing<'_>) {
        let mut message = Vec::new();
        let device = DeviceName::new(device).unwrap();
        let (version, message_id) = (self.version, self.message_id);
        Envelope { version, device, timestamp, message_id, metadata: &[] }.write(content, &mut message);
        self.socket.write_all(&message).unwrap();
    }

    /// A grey image of the device `Image`.
    pub fn send_image(&mut self, pixels: &[u8], size: [u16; 2], geometry: Geometry, timestamp: Timestamp) {
        let header = ImageHeader::new(1, size[0], size[1], geometry);
        self.send("Image", timestamp, Outgoing::Image(Image { header, pixels }));
    }

    /// The next message; `None` where the node has closed the connection.
    pub fn next(&mut self) -> Option<Incoming> {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            match self.reader.next(&mut self.socket) {
                Ok(Received::Message(message)) => {
                    let answer = match message.content {
                        Content::Image(image) => Answer::Image(image.header, image.pixels.to_vec()),
                        Content::Text(text) => Answer::Text(text),
                        Content::Status(status) => Answer::Status(status),
                        Content::PolyData(data) => Answer::PolyData(data),
                        Content::Answer { done } => Answer::Done(done),
                        Content::Request(..) | Content::Capability(_) => Answer::Other,
                    };
                    let (header, message_id, metadata) = (message.header, message.message_id, message.metadata);
                    return Some(Incoming { header, message_id, metadata, answer });
                }
                Ok(Received::Nothing) => {}
                Ok(Received::Closed { .. }) => return None,
                // A connection that was reset is closed as well.
                Err(_) => return None,
                Ok(other) => panic!("the node sent what can't be read: {other:?}"),
            }
        }
        panic!("the node is silent");
    }

    /// The next message of a device, whatever comes before it.
    pub fn wait_for(&mut self, device: &str) -> Incoming {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            let received = self.next().expect("the node has closed the connection");
            if received.header.device == device {
                return received;
            }
        }
        panic!("the node sends nothing of `{device}`");
    }

    /// Returns a mask if one arrives within this time.
    pub fn mask_within(&mut self, patience: Duration) -> Option<Vec<u8>> {
        let begun = Instant::now();
        while begun.elapsed() < patience {
            if let Ok(Received::Message(message)) = self.reader.next(&mut self.socket)
                && message.header.device == "LesionMask"
                && let Content::Image(image) = message.content
            {
                return Some(image.pixels.to_vec());
            }
        }
        None
    }

    pub fn mask(&mut self) -> Vec<u8> {
        match self.wait_for("LesionMask").answer {
            Answer::Image(_, pixels) => pixels,
            other => panic!("{other:?}"),
        }
    }

    /// Waits for the next status of this code that contains `part`.
    pub fn status(&mut self, code: u16, part: &str) -> Status {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            match self.next() {
                Some(Incoming { answer: Answer::Status(status), .. })
                    if status.code == code && status.message.contains(part) =>
                {
                    return status;
                }
                Some(_) => {}
                None => panic!("the connection ended without a status of code {code} with `{part}`"),
            }
        }
        panic!("no status of code {code} with `{part}`");
    }

    /// Waits until the node has closed the connection.
    pub fn wait_for_end(&mut self) {
        while self.next().is_some() {}
    }
}
