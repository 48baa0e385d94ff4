//! Complete messages: parsing and writing.

use super::extension::{Extended, write_extended};
use super::header::HEADER_BYTES;
use super::query::Request;
use super::text::{decode_string, encode_string};
use super::{Crc64, DeviceName, Header, Image, Limits, PolyData, ProtocolError, Status, Timestamp, TypeName};

/// The content of a message.
#[derive(Clone, Debug, PartialEq)]
pub enum Content<'a> {
    Image(Image<'a>),
    /// A STRING.
    Text(String),
    Status(Status),
    PolyData(PolyData),
    /// GET_, STT_ or STP_ and the requested type.
    Request(Request, TypeName),
    /// RTS_ and another type: whether the request was carried out.
    Answer {
        done: bool,
    },
    /// CAPABILITY: the types that a program sends and accepts.
    Capability(Vec<TypeName>),
}

/// A message, its pixels borrowed from the bytes that it was read from.
#[derive(Clone, Debug, PartialEq)]
pub struct Message<'a> {
    pub header: Header,
    /// The sender's number for this message; 0 before protocol version 3.
    pub message_id: u32,
    /// Keys and values, in the sender's order; empty before protocol version 3.
    pub metadata: Vec<(String, String)>,
    pub content: Content<'a>,
}

impl<'a> Message<'a> {
    /// Parses a body. The reader has checked the checksum.
    ///
    /// # Errors
    /// The body contradicts itself, or has a type that is not read here.
    pub fn decode(header: &Header, body: &'a [u8], limits: &Limits) -> Result<Self, ProtocolError> {
        let (message_id, content, metadata) = match header.version {
            0 | 1 => (0, body, Vec::new()),
            _ => {
                let Extended { message_id, content, metadata } = Extended::parse(body, limits)?;
                (message_id, content, metadata)
            }
        };
        let content = match header.kind.as_bytes() {
            b"IMAGE" => Content::Image(Image::parse(content)?),
            b"STRING" => Content::Text(decode_string(content)?),
            b"STATUS" => Content::Status(Status::parse(content)?),
            b"POLYDATA" => Content::PolyData(PolyData::parse(content)?),
            b"CAPABILITY" => Content::Capability(decode_capability(content)),
            name if name.starts_with(b"RTS_") => {
                Content::Answer { done: content.first().is_none_or(|byte| *byte == 0) }
            }
            name => match Request::of(&header.kind) {
                Some((request, subject)) => Content::Request(request, subject),
                None => {
                    let what = format!("the type `{}` is not read", name.escape_ascii());
                    return Err(ProtocolError::malformed("message", what));
                }
            },
        };
        Ok(Self { header: *header, message_id, metadata, content })
    }
}

/// The number of types, then their names; lists that are cut short end early.
fn decode_capability(content: &[u8]) -> Vec<TypeName> {
    let names = content.get(4..).unwrap_or_default().as_chunks::<12>().0;
    names.iter().map(|name| TypeName::from_field(*name)).collect()
}

/// The content of a message to write.
#[derive(Clone, Copy, Debug)]
pub enum Outgoing<'a> {
    Image(Image<'a>),
    Text(&'a str),
    Status(&'a Status),
    PolyData(&'a PolyData),
    Capability(&'a [TypeName]),
    /// Any type with an empty content, such as a request.
    Empty(TypeName),
    /// RTS_ and another type.
    Answer(TypeName, bool),
}

/// The parts of a message around the content.
#[derive(Clone, Copy, Debug)]
pub struct Envelope<'a> {
    /// The header version: 1, or 2 with a message number and metadata.
    pub version: u16,
    pub device: DeviceName,
    pub timestamp: Timestamp,
    pub message_id: u32,
    pub metadata: &'a [(&'a str, &'a str)],
}

impl Envelope<'_> {
    /// An envelope of version 1.
    pub fn new(device: DeviceName, timestamp: Timestamp) -> Self {
        Self { version: 1, device, timestamp, message_id: 0, metadata: &[] }
    }

    /// Appends a message to `out`.
    pub fn write(&self, content: Outgoing<'_>, out: &mut Vec<u8>) {
        let kind = match content {
            Outgoing::Image(_) => TypeName::new("IMAGE"),
            Outgoing::Text(_) => TypeName::new("STRING"),
            Outgoing::Status(_) => TypeName::new("STATUS"),
            Outgoing::PolyData(_) => TypeName::new("POLYDATA"),
            Outgoing::Capability(_) => TypeName::new("CAPABILITY"),
            Outgoing::Empty(kind) | Outgoing::Answer(kind, _) => Some(kind),
        };
        self.write_with(kind.unwrap_or(TypeName::from_field([0; 12])), out, |out| match content {
            Outgoing::Image(image) => image.write(out),
            Outgoing::Text(text) => encode_string(text, out),
            Outgoing::Status(status) => status.write(out),
            Outgoing::PolyData(data) => data.write(out),
            Outgoing::Capability(types) => {
                out.extend((types.len() as u32).to_be_bytes());
                types.iter().for_each(|name| out.extend(name.field()));
            }
            Outgoing::Empty(_) => {}
            Outgoing::Answer(_, done) => out.push(u8::from(!done)),
        });
    }

    /// Writes a message whose content `content` writes.
    pub fn write_with(&self, kind: TypeName, out: &mut Vec<u8>, content: impl FnOnce(&mut Vec<u8>)) {
        let start = out.len();
        out.extend([0; HEADER_BYTES]);
        match self.version {
            0 | 1 => content(out),
            _ => write_extended(self.message_id, self.metadata, out, content),
        }
        let body = &out[start + HEADER_BYTES..];
        let header = Header {
            version: self.version,
            kind,
            device: self.device,
            timestamp: self.timestamp,
            body_bytes: body.len() as u64,
            crc: Crc64::of(body),
        };
        out[start..start + HEADER_BYTES].copy_from_slice(&header.to_bytes());
    }
}
