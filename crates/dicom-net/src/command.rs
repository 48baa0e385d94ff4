//! Command sets (PS3.7, 9 and 10, annex E).

use crate::elements::{self, Malformed};
use crate::uid;
use dicom_core::Tag;
use dicom_dictionary_std::tags;

pub(crate) const C_STORE_RQ: u16 = 0x0001;
pub(crate) const C_ECHO_RQ: u16 = 0x0030;
pub(crate) const N_EVENT_REPORT_RQ: u16 = 0x0100;
pub(crate) const N_ACTION_RQ: u16 = 0x0130;
/// The bit that makes a request's field its response's.
pub(crate) const RESPONSE: u16 = 0x8000;

/// The value of Command Data Set Type that means none.
const NO_DATA_SET: u16 = 0x0101;
const DATA_SET: u16 = 0x0001;

pub(crate) const SUCCESS: u16 = 0x0000;
pub(crate) const OUT_OF_RESOURCES: u16 = 0xa700;
pub(crate) const WRONG_CLASS: u16 = 0xa900;
pub(crate) const CANNOT_UNDERSTAND: u16 = 0xc000;
pub(crate) const PROCESSING_FAILURE: u16 = 0x0110;
pub(crate) const UNRECOGNIZED_OPERATION: u16 = 0x0211;

/// The most bytes of a command set; real ones have some 200.
pub(crate) const MAX_COMMAND_BYTES: usize = 16 << 10;

/// A command set, with the fields that are used here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Command {
    /// Which request or response it is.
    pub field: u16,
    /// Message ID of a request, or of the request that is answered.
    pub message_id: u16,
    pub has_data: bool,
    /// Of a response.
    pub status: Option<u16>,
    /// Affected or requested SOP class and instance.
    pub sop_class: Option<String>,
    pub sop_instance: Option<String>,
    /// Event type or action type.
    pub kind: Option<u16>,
}

impl Command {
    /// Reads a command set; UIDs that cannot be one are left out.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, Malformed> {
        let elements = elements::elements(bytes)?;
        let number = |tag| elements::number(&elements, tag);
        let uid = |tags: [Tag; 2]| {
            let text = tags.into_iter().find_map(|tag| elements::text(&elements, tag))?;
            uid::checked(text).map(str::to_string)
        };
        let field = number(tags::COMMAND_FIELD).ok_or(Malformed)?;
        let id = if field & RESPONSE == 0 { tags::MESSAGE_ID } else { tags::MESSAGE_ID_BEING_RESPONDED_TO };
        Ok(Self {
            field,
            message_id: number(id).unwrap_or(0),
            has_data: number(tags::COMMAND_DATA_SET_TYPE).ok_or(Malformed)? != NO_DATA_SET,
            status: number(tags::STATUS),
            sop_class: uid([tags::AFFECTED_SOP_CLASS_UID, tags::REQUESTED_SOP_CLASS_UID]),
            sop_instance: uid([tags::AFFECTED_SOP_INSTANCE_UID, tags::REQUESTED_SOP_INSTANCE_UID]),
            kind: number(tags::EVENT_TYPE_ID).or_else(|| number(tags::ACTION_TYPE_ID)),
        })
    }

    /// The answer to this request.
    pub(crate) fn answer(&self, status: u16) -> Self {
        Self { field: self.field | RESPONSE, status: Some(status), has_data: false, ..self.clone() }
    }

    pub(crate) fn write(&self) -> Vec<u8> {
        let is_response = self.field & RESPONSE != 0;
        // Requests of normalized services name what is requested, all others what is affected.
        let requested = self.field == N_ACTION_RQ;
        let mut fields = Vec::new();
        let short = |into: &mut Vec<u8>, tag, value: u16| elements::put(into, tag, &value.to_le_bytes());
        let class = if requested { tags::REQUESTED_SOP_CLASS_UID } else { tags::AFFECTED_SOP_CLASS_UID };
        if let Some(uid) = &self.sop_class {
            elements::put_uid(&mut fields, class, uid);
        }
        short(&mut fields, tags::COMMAND_FIELD, self.field);
        let id = if is_response { tags::MESSAGE_ID_BEING_RESPONDED_TO } else { tags::MESSAGE_ID };
        short(&mut fields, id, self.message_id);
        if self.field == C_STORE_RQ {
            // Medium.
            short(&mut fields, tags::PRIORITY, 0);
        }
        short(&mut fields, tags::COMMAND_DATA_SET_TYPE, if self.has_data { DATA_SET } else { NO_DATA_SET });
        if let Some(status) = self.status {
            short(&mut fields, tags::STATUS, status);
        }
        let instance = if requested { tags::REQUESTED_SOP_INSTANCE_UID } else { tags::AFFECTED_SOP_INSTANCE_UID };
        if let Some(uid) = &self.sop_instance {
            elements::put_uid(&mut fields, instance, uid);
        }
        if let Some(kind) = self.kind {
            let tag = if self.field & !RESPONSE == N_ACTION_RQ { tags::ACTION_TYPE_ID } else { tags::EVENT_TYPE_ID };
            short(&mut fields, tag, kind);
        }
        let mut bytes = Vec::new();
        let length = u32::try_from(fields.len()).unwrap_or(0);
        elements::put(&mut bytes, tags::COMMAND_GROUP_LENGTH, &length.to_le_bytes());
        bytes.extend(fields);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_read_as_written() {
        let store = Command {
            field: C_STORE_RQ,
            message_id: 7,
            has_data: true,
            status: None,
            sop_class: Some("1.2".into()),
            sop_instance: Some("1.2.3.4".into()),
            kind: None,
        };
        let action = Command { field: N_ACTION_RQ, kind: Some(1), ..store.clone() };
        let event = Command { field: N_EVENT_REPORT_RQ, kind: Some(2), ..store.clone() };
        for command in [store.clone(), action, event, store.answer(OUT_OF_RESOURCES)] {
            assert_eq!(Command::read(&command.write()).unwrap(), command);
        }
        // Ordered, as data sets are.
        for command in [store.clone(), store.answer(0), Command { field: N_ACTION_RQ, kind: Some(1), ..store.clone() }]
        {
            let bytes = command.write();
            let tags: Vec<Tag> = elements::elements(&bytes).unwrap().into_iter().map(|(tag, _)| tag).collect();
            assert!(tags.is_sorted(), "{tags:?}");
        }
        let bytes = store.write();
        for length in 0..bytes.len() {
            assert!(Command::read(&bytes[..length]).is_err() || length > 40);
        }
    }
}
