//! Safetensors files whose bytes depend on their content alone: the library writes metadata in an order that changes
//! from run to run.

use safetensors::SafeTensorError;
use safetensors::tensor::TensorView;
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};

/// The size of the header's length, which precedes it.
const LENGTH_BYTES: usize = 8;

/// A file of these tensors and texts, with the same bytes for the same content.
pub(crate) fn serialize<'data, S: AsRef<str> + Ord + std::fmt::Display>(
    tensors: impl IntoIterator<Item = (S, TensorView<'data>)>,
    metadata: HashMap<String, String>,
) -> Result<Vec<u8>, SafeTensorError> {
    let file = safetensors::serialize(tensors, Some(metadata))?;
    Ok(with_sorted_header(&file).unwrap_or(file))
}

/// `None` where the bytes are not such a file.
fn with_sorted_header(file: &[u8]) -> Option<Vec<u8>> {
    let length = u64::from_le_bytes(file.get(..LENGTH_BYTES)?.try_into().ok()?);
    let end = LENGTH_BYTES.checked_add(usize::try_from(length).ok()?)?;
    let entries: BTreeMap<String, Value> = serde_json::from_slice(file.get(LENGTH_BYTES..end)?).ok()?;
    let sorted = |value: Value| match value {
        Value::Object(fields) => {
            let fields: BTreeMap<String, Value> = fields.into_iter().collect();
            serde_json::to_value(fields)
        }
        other => Ok(other),
    };
    let mut header = b"{".to_vec();
    for (index, (key, value)) in entries.into_iter().enumerate() {
        if index > 0 {
            header.push(b',');
        }
        serde_json::to_writer(&mut header, &key).ok()?;
        header.push(b':');
        serde_json::to_writer(&mut header, &sorted(value).ok()?).ok()?;
    }
    header.push(b'}');
    // Spaces keep the tensors aligned, as in the library.
    header.resize(header.len().next_multiple_of(LENGTH_BYTES), b' ');
    let mut written = (header.len() as u64).to_le_bytes().to_vec();
    written.extend_from_slice(&header);
    written.extend_from_slice(&file[end..]);
    Some(written)
}

#[cfg(test)]
mod tests {
    use super::*;
    use safetensors::{Dtype, SafeTensors};

    #[test]
    fn the_same_content_makes_the_same_bytes_and_reads_as_it_was() {
        let numbers: Vec<u8> = (0..24).collect();
        let made = || {
            let tensors = [("b", 2), ("a", 4)]
                .map(|(name, count)| (name, TensorView::new(Dtype::F32, vec![count], &numbers[..4 * count]).unwrap()));
            // New maps have orders of their own.
            let metadata = (0..20).map(|index| (format!("key {index}"), format!("\"text\" {index}")));
            serialize(tensors, metadata.collect()).unwrap()
        };
        let file = made();
        assert!((0..10).all(|_| made() == file));
        let read = SafeTensors::deserialize(&file).unwrap();
        assert_eq!(read.tensor("a").unwrap().data(), &numbers[..16]);
        assert_eq!(read.tensor("b").unwrap().data(), &numbers[..8]);
        let (_, header) = SafeTensors::read_metadata(&file).unwrap();
        assert_eq!(header.metadata().as_ref().unwrap()["key 7"], "\"text\" 7");
    }
}
