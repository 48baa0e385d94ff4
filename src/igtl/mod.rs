//! OpenIGTLink, the protocol of image-guided therapy: messages, and a node that segments the images that it receives.
//!
//! ```text
//! connection --MessageReader--> Message --FrameAssembler--> Frame --> Stream --> mask, contours, report
//!                                STRING --> prompt                      |
//! connection <------------------ Envelope::write <----------------------+
//! ```
//!
//! Protocol versions 1 to 3 (header versions 1 and 2), over the standard library's sockets only: the few messages that
//! are needed are less code than a general library with its runtime. Sizes are compared with [`Limits`] before memory
//! is allocated, checksums are checked, and nothing that a peer sends causes a panic. `docs/openigtlink.md` lists the
//! messages that are accepted and sent.

mod connect;
mod crc;
mod error;
mod extension;
mod fields;
mod frames;
mod geometry;
mod header;
mod image;
mod limits;
mod message;
mod node;
mod poly_data;
mod query;
mod reader;
mod source;
mod status;
mod text;
mod timestamp;

pub use crc::Crc64;
pub use error::{ProtocolError, ReadError};
pub use frames::{FrameAssembler, ImageError};
pub use geometry::Geometry;
pub use header::{DeviceName, HEADER_BYTES, Header, Name, TypeName};
pub use image::{ByteOrder, CoordinateSystem, Image, ImageHeader, ScalarType};
pub use limits::Limits;
pub use message::{Content, Envelope, Message, Outgoing};
pub use node::{Node, NodeError, NodeOptions, NodeStatistics, ReportLine};
pub use poly_data::PolyData;
pub use query::Request;
pub use reader::{MessageReader, Received};
pub use source::ImageSource;
pub use status::{Status, status_code};
pub use timestamp::Timestamp;
