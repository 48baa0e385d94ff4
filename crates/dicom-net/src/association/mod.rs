//! Associations (PS3.8): negotiated on one side or the other, then used alike.

mod acceptor;
mod fuzzing;
mod requestor;

pub(crate) use acceptor::{Acceptor, turn_away};
pub use fuzzing::fuzz_acceptor;
pub(crate) use requestor::{Connector, Proposal};

use crate::command::{Command, MAX_COMMAND_BYTES, RESPONSE};
use crate::error::NetError;
use crate::limits::Limits;
use crate::wire::Wire;
use dicom_ul::pdu::{AbortRQServiceProviderReason, AbortRQSource, PDataValue, PDataValueType, Pdu};
use std::collections::VecDeque;
use std::io::Read;
use std::time::{Duration, Instant};

/// The largest data unit that is sent, whatever a peer allows, and the smallest, whatever it demands.
const MAX_SENT_PDU: u32 = 128 << 10;
const MIN_SENT_PDU: u32 = 128;
/// Bytes of a value's own header, which count towards its unit.
const VALUE_HEADER: u32 = 6;

/// An accepted presentation context.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Context {
    pub id: u8,
    pub abstract_syntax: String,
    pub transfer_syntax: String,
}

/// What a peer does next.
#[derive(Debug)]
pub(crate) enum Received {
    /// A command; its data set follows, if it has one.
    Command(u8, Command),
    /// The peer released the association, and was answered.
    Released,
}

/// A negotiated association.
pub(crate) struct Association {
    wire: Wire,
    contexts: Vec<Context>,
    /// The other side's title.
    peer: String,
    sent_pdu: u32,
    limits: Limits,
    pending: VecDeque<PDataValue>,
    next_message: u16,
}

impl Association {
    fn new(wire: Wire, contexts: Vec<Context>, peer: String, peer_max_pdu: u32, limits: Limits) -> Self {
        // Zero is no limit.
        let sent_pdu = if peer_max_pdu == 0 { MAX_SENT_PDU } else { peer_max_pdu.clamp(MIN_SENT_PDU, MAX_SENT_PDU) };
        Self { wire, contexts, peer, sent_pdu, limits, pending: VecDeque::new(), next_message: 1 }
    }

    pub(crate) fn peer(&self) -> &str {
        &self.peer
    }

    pub(crate) fn context(&self, id: u8) -> Option<&Context> {
        self.contexts.iter().find(|context| context.id == id)
    }

    /// The accepted contexts of a class.
    pub(crate) fn contexts_of<'a>(&'a self, class: &'a str) -> impl Iterator<Item = &'a Context> {
        self.contexts.iter().filter(move |context| context.abstract_syntax == class)
    }

    /// The next piece of a message, or `None` where the peer releases the association.
    fn next_value(&mut self, patience: Duration) -> Result<Option<PDataValue>, NetError> {
        let mut empty_units = 0;
        loop {
            if let Some(value) = self.pending.pop_front() {
                return Ok(Some(value));
            }
            match self.wire.read(patience)? {
                Pdu::PData { data } if data.is_empty() => {
                    empty_units += 1;
                    if empty_units > 16 {
                        return Err(NetError::Malformed("data units without data"));
                    }
                }
                Pdu::PData { data } => self.pending.extend(data),
                Pdu::ReleaseRQ => return Ok(None),
                Pdu::AbortRQ { .. } => return Err(NetError::Aborted),
                _ => return Err(NetError::Malformed("a protocol data unit that has no place here")),
            }
        }
    }

    /// Waits up to `patience` for the next command. A release is answered.
    pub(crate) fn receive(&mut self, patience: Duration) -> Result<Received, NetError> {
        let mut bytes = Vec::new();
        let mut context = None;
        let begun = Instant::now();
        loop {
            let patience = if bytes.is_empty() { patience } else { self.limits.silence };
            let Some(value) = self.next_value(patience)? else {
                if !bytes.is_empty() {
                    return Err(NetError::Malformed("the association is released within a command"));
                }
                self.wire.write(&Pdu::ReleaseRP)?;
                self.wire.shut_down();
                return Ok(Received::Released);
            };
            if value.value_type != PDataValueType::Command {
                return Err(NetError::Malformed("data where a command belongs"));
            }
            if *context.get_or_insert(value.presentation_context_id) != value.presentation_context_id {
                return Err(NetError::Malformed("a command in two presentation contexts"));
            }
            if bytes.len() + value.data.len() > MAX_COMMAND_BYTES {
                return Err(NetError::TooLarge { what: "a command", limit: MAX_COMMAND_BYTES as u64 });
            }
            bytes.extend(value.data);
            if value.is_last {
                break;
            }
            if begun.elapsed() > patience + self.limits.silence {
                return Err(NetError::Timeout);
            }
        }
        let context = context.filter(|id| self.context(*id).is_some());
        let context =
            context.ok_or(NetError::Malformed("a command in a presentation context that was not accepted"))?;
        let command = Command::read(&bytes).map_err(|_| NetError::Malformed("a command that cannot be read"))?;
        Ok(Received::Command(context, command))
    }

    /// Passes the data set of the last command on, piece by piece. Returns its length.
    pub(crate) fn receive_data(
        &mut self,
        context: u8,
        limit: u64,
        mut take: impl FnMut(&[u8]),
    ) -> Result<u64, NetError> {
        let deadline = Instant::now() + self.limits.object_time;
        let mut length = 0u64;
        loop {
            let Some(value) = self.next_value(self.limits.silence)? else {
                return Err(NetError::Malformed("the association is released within a data set"));
            };
            if value.value_type != PDataValueType::Data || value.presentation_context_id != context {
                return Err(NetError::Malformed("a data set is interrupted by another message"));
            }
            length += value.data.len() as u64;
            if length > limit {
                return Err(NetError::TooLarge { what: "a data set", limit });
            }
            take(&value.data);
            if value.is_last {
                return Ok(length);
            }
            if Instant::now() > deadline {
                return Err(NetError::Timeout);
            }
        }
    }

    /// Receives a data set into memory.
    pub(crate) fn receive_small(&mut self, context: u8, limit: u64) -> Result<Vec<u8>, NetError> {
        let mut bytes = Vec::new();
        self.receive_data(context, limit, |piece| bytes.extend_from_slice(piece))?;
        Ok(bytes)
    }

    /// The number of the next request.
    pub(crate) fn new_message(&mut self) -> u16 {
        let id = self.next_message;
        self.next_message = self.next_message.checked_add(1).unwrap_or(1);
        id
    }

    /// Sends a command, and the data set if there is one.
    pub(crate) fn send(&mut self, context: u8, command: &Command, data: Option<&mut dyn Read>) -> Result<(), NetError> {
        self.send_values(context, PDataValueType::Command, &mut command.write().as_slice())?;
        data.map_or(Ok(()), |data| self.send_values(context, PDataValueType::Data, data))
    }

    fn send_values(&mut self, context: u8, kind: PDataValueType, from: &mut dyn Read) -> Result<(), NetError> {
        let most = u64::from(self.sent_pdu - VALUE_HEADER);
        let mut data = read_up_to(from, most)?;
        loop {
            let next = read_up_to(from, most)?;
            let value = PDataValue {
                presentation_context_id: context,
                value_type: kind.clone(),
                is_last: next.is_empty(),
                data,
            };
            self.wire.write(&Pdu::PData { data: vec![value] })?;
            if next.is_empty() {
                return Ok(());
            }
            data = next;
        }
    }

    /// Sends a request and waits for the status that answers it.
    pub(crate) fn ask(&mut self, context: u8, request: &Command, data: Option<&mut dyn Read>) -> Result<u16, NetError> {
        self.send(context, request, data)?;
        let deadline = Instant::now() + self.limits.response;
        loop {
            let patience = deadline.saturating_duration_since(Instant::now());
            let Received::Command(id, answer) = self.receive(patience)? else { return Err(NetError::Closed) };
            if answer.has_data {
                self.receive_small(id, crate::commitment::MAX_REPORT_BYTES)?;
            }
            if answer.field != request.field | RESPONSE || answer.message_id != request.message_id {
                return Err(NetError::Malformed("an answer to what was not asked"));
            }
            let status = answer.status.ok_or(NetError::Malformed("an answer without a status"))?;
            // Pending.
            if status != 0xff00 && status != 0xff01 {
                return Ok(status);
            }
        }
    }

    /// Ends the association in order.
    pub(crate) fn release(mut self) -> Result<(), NetError> {
        self.wire.write(&Pdu::ReleaseRQ)?;
        let answer = self.wire.read(self.limits.silence.min(Duration::from_secs(10)));
        self.wire.shut_down();
        match answer? {
            Pdu::ReleaseRP => Ok(()),
            _ => Err(NetError::Malformed("the release was not answered")),
        }
    }

    /// Ends the association because of `error`: tells a peer that is still there.
    pub(crate) fn abort(mut self, error: &NetError) {
        abort(&mut self.wire, error);
    }
}

fn abort(wire: &mut Wire, error: &NetError) {
    let reason = match error {
        NetError::Closed | NetError::Aborted | NetError::Io(_) => return wire.shut_down(),
        NetError::Malformed(_) | NetError::Pdu(_) => AbortRQServiceProviderReason::UnexpectedPdu,
        _ => AbortRQServiceProviderReason::ReasonNotSpecified,
    };
    let _ = wire.write(&Pdu::AbortRQ { source: AbortRQSource::ServiceProvider(reason) });
    wire.shut_down();
}

fn read_up_to(from: &mut dyn Read, most: u64) -> Result<Vec<u8>, NetError> {
    let mut bytes = Vec::new();
    from.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}
