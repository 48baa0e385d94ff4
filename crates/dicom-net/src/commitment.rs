//! Storage commitment (PS3.4, J): the data sets of a request and of the report that answers it.

use crate::elements::{self, Malformed};
use crate::uid;
use dicom_dictionary_std::tags;

/// The most bytes of a report's data set.
pub(crate) const MAX_REPORT_BYTES: u64 = 1 << 20;

/// The only action.
pub(crate) const REQUEST: u16 = 1;

/// An instance by class and UID.
pub(crate) type Reference = (String, String);

/// What a peer says about a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Report {
    pub transaction: String,
    /// UIDs of instances that the peer commits to keep, and of those that it does not.
    pub kept: Vec<String>,
    pub failed: Vec<String>,
}

/// The data set of a request.
pub(crate) fn request(transaction: &str, references: &[Reference]) -> Vec<u8> {
    let mut bytes = Vec::new();
    elements::put_uid(&mut bytes, tags::TRANSACTION_UID, transaction);
    let item = |(class, instance): &Reference| {
        let mut item = Vec::new();
        elements::put_uid(&mut item, tags::REFERENCED_SOP_CLASS_UID, class);
        elements::put_uid(&mut item, tags::REFERENCED_SOP_INSTANCE_UID, instance);
        item
    };
    elements::put_sequence(&mut bytes, tags::REFERENCED_SOP_SEQUENCE, references.iter().map(item));
    bytes
}

/// Reads the data set of a report.
pub(crate) fn report(bytes: &[u8]) -> Result<Report, Malformed> {
    let all = elements::elements(bytes)?;
    let transaction = elements::text(&all, tags::TRANSACTION_UID).and_then(uid::checked).ok_or(Malformed)?;
    let instances = |tag| {
        let Some((_, value)) = all.iter().find(|(known, _)| *known == tag) else { return Ok(Vec::new()) };
        let mut instances = Vec::new();
        for item in elements::items(value)? {
            let item = elements::elements(item)?;
            let instance = elements::text(&item, tags::REFERENCED_SOP_INSTANCE_UID).and_then(uid::checked);
            instances.push(instance.ok_or(Malformed)?.to_string());
        }
        Ok(instances)
    };
    Ok(Report {
        transaction: transaction.to_string(),
        kept: instances(tags::REFERENCED_SOP_SEQUENCE)?,
        failed: instances(tags::FAILED_SOP_SEQUENCE)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_that_repeats_a_request() {
        let references = [("1.2".to_string(), "1.2.3".to_string()), ("1.2".into(), "1.2.4".into())];
        let bytes = request("2.25.1", &references);
        let read = report(&bytes).unwrap();
        assert_eq!(
            (read.transaction.as_str(), read.kept, read.failed),
            ("2.25.1", vec!["1.2.3".into(), "1.2.4".into()], vec![])
        );
        for length in 0..bytes.len() {
            let cut = report(&bytes[..length]);
            assert!(cut.is_err() || cut.is_ok_and(|report| report.kept.is_empty()), "{length}");
        }
    }
}
