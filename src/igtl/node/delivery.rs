//! Sends one frame's results to their recipients.

use super::counters::count;
use super::hub::{FrameOrigin, Hub};
use super::outbox::Slot;
use super::peer::Peer;
use crate::igtl::{
    ByteOrder, DeviceName, Envelope, ImageHeader, Outgoing, PolyData, ScalarType, Status, TypeName, status_code,
};
use crate::mask::Contour;
use ndarray::ArrayView2;
use std::sync::Arc;

/// The delivery of one frame's results; created once they are available.
pub(super) struct Delivery<'a> {
    hub: &'a Hub,
    origin: FrameOrigin,
    recipients: Vec<Arc<Peer>>,
}

impl<'a> Delivery<'a> {
    /// The delivery for a ticket; `None` if the ticket is unknown.
    pub(crate) fn new(hub: &'a Hub, ticket: u64) -> Option<Self> {
        let origin = hub.take_frame(ticket)?;
        Some(Self { hub, origin, recipients: hub.recipients(origin.peer) })
    }

    /// The time of the frame, in microseconds since 1970.
    pub(crate) fn timestamp_us(&self) -> u64 {
        self.origin.timestamp_us
    }

    /// Sends a mask (height x width, zero or not) as a label map of zeros and ones with the frame's position.
    pub(crate) fn mask(&self, prompt: usize, text: &str, mask: ArrayView2<'_, u8>) {
        let size = [mask.ncols(), mask.nrows(), 1].map(|side| u16::try_from(side).unwrap_or(u16::MAX));
        let header = ImageHeader {
            components: 1,
            scalar: ScalarType::Uint8,
            byte_order: ByteOrder::Little,
            size,
            part_offset: [0; 3],
            part_size: size,
            ..self.origin.image
        };
        let (Some(device), Some(kind)) = (self.hub.names.mask(prompt), TypeName::new("IMAGE")) else { return };
        self.send(Slot::Mask(prompt), device, &[("prompt", text)], |envelope, out| {
            out.reserve(mask.len() + 256);
            envelope.write_with(kind, out, |out| {
                header.write(out);
                for row in mask.rows() {
                    match row.as_slice() {
                        Some(row) => out.extend(row.iter().map(|pixel| u8::from(*pixel != 0))),
                        None => out.extend(row.iter().map(|pixel| u8::from(*pixel != 0))),
                    }
                }
            });
        });
    }

    /// Sends outlines as closed lines in the millimetres of the frame's own coordinate system.
    pub(crate) fn contours(&self, prompt: usize, text: &str, contours: &[Contour]) {
        let Some(device) = self.hub.names.contours(prompt) else { return };
        let ImageHeader { geometry, size, .. } = self.origin.image;
        // A contour's integer coordinates are the corners of pixels, an image's are their centres.
        let position = |[x, y]: &[u32; 2]| {
            geometry.position_mm([f64::from(*x) - 0.5, f64::from(*y) - 0.5, 0.0], size).map(|mm| mm as f32)
        };
        let mut data = PolyData::default();
        contours.iter().for_each(|contour| data.add_closed_line(contour.points.iter().map(position)));
        self.send(Slot::Contours(prompt), device, &[("prompt", text)], |envelope, out| {
            envelope.write(Outgoing::PolyData(&data), out);
        });
    }

    /// Sends measurements and flags, a line of JSON.
    pub(crate) fn report(&self, prompt: usize, json: &str) {
        let Some(device) = self.hub.names.report(prompt) else { return };
        self.send(Slot::Report(prompt), device, &[], |envelope, out| envelope.write(Outgoing::Text(json), out));
    }

    /// Reports to the sender that its image has no result.
    pub(crate) fn failure(&self, reason: &str) {
        let status = Status::new(status_code::UNKNOWN_ERROR, format!("an image has no result: {reason}"));
        for peer in self.recipients.iter().filter(|peer| peer.id() == self.origin.peer) {
            peer.outbox().push(Slot::Status, self.hub.status_message(peer.version(), &status));
        }
    }

    fn send(
        &self,
        slot: Slot,
        device: DeviceName,
        metadata: &[(&str, &str)],
        write: impl Fn(&Envelope<'_>, &mut Vec<u8>),
    ) {
        // Written once for each header version in use.
        let mut written: [Option<Arc<Vec<u8>>>; 2] = Default::default();
        for peer in self.recipients.iter().filter(|peer| peer.wants(slot)) {
            let version = peer.version();
            let message = written[usize::from(version > 1)].get_or_insert_with(|| {
                let FrameOrigin { timestamp, message_id, .. } = self.origin;
                let envelope = Envelope { version, device, timestamp, message_id, metadata };
                self.hub.buffer(|out| write(&envelope, out))
            });
            if peer.outbox().push(slot, message.clone()) {
                count(&self.hub.counters.superseded_results);
            }
        }
    }
}
