//! Handles one peer's messages.

use super::counters::count;
use super::hub::FrameOrigin;
use super::outbox::Slot;
use super::peer::Peer;
use super::prompts::PromptChange;
use super::{LOOK_AROUND, Shared};
use crate::igtl::query::answer_type;
use crate::igtl::{
    Content, DeviceName, Envelope, FrameAssembler, Header, Image, MessageReader, Outgoing, ProtocolError, ReadError,
    Received, Request, Status, Timestamp, TypeName, status_code,
};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The interval after which the same complaint is repeated to a peer.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(1);

/// Reads a peer's messages until the connection or the node ends. Returns whether there was any.
pub(super) fn read(shared: &Shared, peer: &Arc<Peer>) -> bool {
    let options = &shared.hub.options;
    let mut reader = MessageReader::new(options.limits);
    let mut handler = Handler {
        shared,
        peer,
        assembler: FrameAssembler::new(options.limits.frame_bytes, options.white),
        complained: None,
    };
    let mut any = false;
    while !shared.hub.is_stopping() {
        match reader.next(&mut peer.socket()) {
            Ok(Received::Message(message)) => {
                any = true;
                peer.note_version(message.header.version);
                handler.take(&message.header, message.message_id, message.content);
            }
            Ok(Received::Skipped(header)) => {
                any = true;
                handler.skipped(&header);
            }
            Ok(Received::Damaged(header, error)) => handler.damaged(&header, &error),
            Ok(Received::Nothing) => {}
            Ok(Received::Closed { within_message }) => {
                if within_message {
                    count(&shared.hub.counters.broken_connections);
                    log::info!("{}: the connection ended within a message", peer.address());
                }
                break;
            }
            Err(error) => {
                handler.broken(&error);
                break;
            }
        }
    }
    any
}

struct Handler<'a> {
    shared: &'a Shared,
    peer: &'a Arc<Peer>,
    assembler: FrameAssembler,
    /// The last error that the peer was told, and when.
    complained: Option<(String, Instant)>,
}

impl Handler<'_> {
    fn take(&mut self, header: &Header, message_id: u32, content: Content<'_>) {
        match content {
            Content::Image(image) => self.image(header, message_id, &image),
            Content::Text(text) => self.text(&header.device, &text),
            Content::Request(request, subject) => self.request(request, &subject, header.device),
            Content::Status(status) => {
                log::debug!("{}: status {}: {}", self.peer.address(), status.code, status.message.escape_debug());
            }
            Content::PolyData(_) | Content::Answer { .. } | Content::Capability(_) => {}
        }
    }

    fn image(&mut self, header: &Header, message_id: u32, image: &Image<'_>) {
        let hub = &self.shared.hub;
        let wanted = hub.options.image_device.is_none_or(|device| device == header.device);
        if !wanted || hub.names.is_own_mask(&header.device) {
            count(&hub.counters.ignored_images);
            return;
        }
        self.peer.note_frame();
        let frame = match self.assembler.frame(header.device, image) {
            Ok(frame) => frame,
            Err(error) => {
                count(&hub.counters.refused_images);
                return self.complain(status_code::UNKNOWN_INSTRUCTION, error.to_string());
            }
        };
        let frame = match hub.options.region {
            None => frame,
            Some(region) => match frame.with_region(region) {
                Ok(frame) => frame,
                Err(error) => {
                    count(&hub.counters.refused_images);
                    return self.complain(status_code::CONFIGURATION, error.to_string());
                }
            },
        };
        let timestamp = if header.timestamp.is_given() { header.timestamp } else { Timestamp::now() };
        let ticket = hub.note_frame(FrameOrigin {
            peer: self.peer.id(),
            message_id,
            timestamp: header.timestamp,
            timestamp_us: timestamp.micros(),
            image: image.header,
        });
        match self.shared.segmenter.submit(&frame, ticket) {
            Ok(()) => count(&hub.counters.images),
            Err(error) => {
                count(&hub.counters.refused_images);
                hub.take_frame(ticket);
                self.complain(status_code::UNKNOWN_ERROR, error.to_string());
            }
        }
    }

    fn text(&mut self, device: &DeviceName, text: &str) {
        let hub = &self.shared.hub;
        match PromptChange::of(device, &hub.options.prompt_device, text) {
            None => log::debug!("{}: a text from the device `{device}` is not for us", self.peer.address()),
            Some(Ok(change)) => {
                if !self.shared.prompts.ask(self.peer, change) {
                    count(&hub.counters.refused_prompts);
                    self.reply_status(&Status::new(status_code::BUSY, "prompts come faster than they are encoded"));
                }
            }
            Some(Err(reason)) => {
                count(&hub.counters.refused_prompts);
                let message = format!("the prompt is not taken: {reason}");
                self.reply_status(&Status::new(status_code::CONFIGURATION, message));
            }
        }
    }

    fn request(&mut self, request: Request, subject: &TypeName, device: DeviceName) {
        match (request, subject.as_bytes()) {
            (Request::Get, b"STATUS") => {
                let looking_for = self.shared.hub.prompts().join(" | ");
                self.reply_status(&Status::new(status_code::OK, format!("looking for: {looking_for}")));
            }
            // The request's name is cut to the field's length.
            (Request::Get, b"CAPABIL" | b"CAPABILITY") => {
                let known = ["IMAGE", "POLYDATA", "STRING", "STATUS", "CAPABILITY"];
                let types: Vec<TypeName> = known.iter().filter_map(|name| TypeName::new(name)).collect();
                self.reply(device, Outgoing::Capability(&types));
            }
            (Request::Get, _) => {
                let message = format!("GET_{subject} is not answered: results are sent as they come");
                self.reply_status(&Status::new(status_code::UNKNOWN_INSTRUCTION, message));
            }
            (Request::Start | Request::Stop, kind) => {
                let done = self.peer.set_wanted(kind, request == Request::Start);
                if let Some(answer) = answer_type(subject) {
                    self.reply(device, Outgoing::Answer(answer, done));
                }
            }
        }
    }

    fn skipped(&mut self, header: &Header) {
        self.peer.note_version(header.version);
        count(&self.shared.hub.counters.skipped_messages);
        if header.kind == "VIDEO" {
            let message = "VIDEO messages are not decoded: send IMAGE messages";
            self.complain(status_code::UNKNOWN_INSTRUCTION, message.into());
        }
    }

    fn damaged(&mut self, header: &Header, error: &ProtocolError) {
        count(&self.shared.hub.counters.damaged_messages);
        log::info!("{}: a {} message is not used: {error}", self.peer.address(), header.kind);
        let code = match error {
            ProtocolError::Checksum { .. } => status_code::CHECKSUM,
            _ => status_code::UNKNOWN_ERROR,
        };
        self.complain(code, error.to_string());
    }

    /// The last message to the peer.
    fn broken(&mut self, error: &ReadError) {
        log::info!("{}: the connection is closed: {error}", self.peer.address());
        let code = match error {
            // The peer may have disconnected.
            ReadError::Io(_) => return,
            ReadError::Protocol(ProtocolError::TooLarge { .. }) => status_code::OVERFLOW,
            _ => status_code::UNKNOWN_ERROR,
        };
        count(&self.shared.hub.counters.broken_connections);
        self.reply_status(&Status::new(code, error.to_string()));
        self.peer.outbox().close(LOOK_AROUND);
    }

    /// Reports an error to the peer, unless the same was reported a moment ago.
    fn complain(&mut self, code: u16, message: String) {
        let repeated = |(last, when): &(String, Instant)| *last == message && when.elapsed() < COMPLAINT_INTERVAL;
        if self.complained.as_ref().is_some_and(repeated) {
            return;
        }
        log::info!("{}: {message}", self.peer.address());
        self.reply_status(&Status::new(code, message.clone()));
        self.complained = Some((message, Instant::now()));
    }

    fn reply_status(&self, status: &Status) {
        let message = self.shared.hub.status_message(self.peer.version(), status);
        self.peer.outbox().push(Slot::Reply, message);
    }

    fn reply(&self, device: DeviceName, content: Outgoing<'_>) {
        let envelope = Envelope { version: self.peer.version(), ..Envelope::new(device, Timestamp::now()) };
        let message = self.shared.hub.buffer(|out| envelope.write(content, out));
        self.peer.outbox().push(Slot::Reply, message);
    }
}
