//! PLUS's fields of single frames, in MetaImage and NRRD alike: `Seq_Frame0007_Timestamp` is `Timestamp` of frame 7.

use super::source::FrameBuffer;
use std::collections::BTreeMap;

/// Fields by frame, `key, value` in the file's order.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct FrameFields(BTreeMap<u64, Vec<(String, String)>>);

impl FrameFields {
    /// Takes a field about a single frame; returns any other.
    pub fn take(&mut self, key: &str, value: String) -> Option<String> {
        let named = key.strip_prefix("Seq_Frame").and_then(|rest| rest.split_once('_'));
        let Some((frame, name)) = named.and_then(|(number, name)| Some((number.parse().ok()?, name))) else {
            return Some(value);
        };
        self.0.entry(frame).or_default().push((name.to_string(), value));
        None
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Writes the fields of a frame into the buffer.
    pub fn note(&self, frame: u64, into: &mut FrameBuffer) {
        let Some(fields) = self.0.get(&frame) else { return };
        let field = |name: &str| fields.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        into.timestamp_s = field("Timestamp").and_then(|text| text.parse().ok()).filter(|s: &f64| s.is_finite());
        into.valid = field("ImageStatus").is_none_or(|status| status == "OK");
        into.fields = fields.clone();
    }
}
