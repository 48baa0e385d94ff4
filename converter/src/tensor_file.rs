//! Safetensors files whose bytes depend on their content alone: the library writes metadata in an order that changes
//! from run to run. Tensors are encoded one at a time while the file is written, so that large networks are not copied.

use safetensors::Dtype;
use serde_json::{Map, Value, json};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::io::{Error, ErrorKind, Result, Write};

/// The header is padded to a multiple of this many bytes, which its length has too, so that tensors are aligned.
const ALIGNMENT_BYTES: usize = 8;
/// The most bytes of a header that the library reads.
const MOST_HEADER_BYTES: usize = 100_000_000;

/// A tensor to write.
pub(crate) struct Entry<'data> {
    name: String,
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Box<dyn Fn() -> Cow<'data, [u8]> + 'data>,
}

impl<'data> Entry<'data> {
    /// `bytes` yields the values, little-endian and row by row, when the file is written.
    pub fn new(name: String, dtype: Dtype, shape: &[usize], bytes: impl Fn() -> Cow<'data, [u8]> + 'data) -> Self {
        Self { name, dtype, shape: shape.to_vec(), bytes: Box::new(bytes) }
    }

    /// A tensor of numbers in f32.
    pub fn floats(name: String, shape: &[usize], numbers: impl Fn() -> Vec<f32> + 'data) -> Self {
        Self::new(name, Dtype::F32, shape, move || {
            Cow::Owned(numbers().iter().flat_map(|number| number.to_le_bytes()).collect())
        })
    }

    fn length_bytes(&self) -> usize {
        self.shape.iter().product::<usize>() * self.dtype.bitsize() / 8
    }
}

/// Writes a file of these tensors and texts, with the same bytes for the same content.
pub(crate) fn write(
    file: &mut impl Write,
    mut tensors: Vec<Entry<'_>>,
    metadata: HashMap<String, String>,
) -> Result<()> {
    // The library's order, which keeps the tensors aligned.
    tensors.sort_by(|one, other| other.dtype.cmp(&one.dtype).then(one.name.cmp(&other.name)));
    let mut entries: BTreeMap<&str, Value> = BTreeMap::new();
    if !metadata.is_empty() {
        let texts: Map<String, Value> = metadata
            .into_iter()
            .collect::<BTreeMap<_, _>>()
            .into_iter()
            .map(|(key, text)| (key, text.into()))
            .collect();
        entries.insert("__metadata__", Value::Object(texts));
    }
    let mut end = 0;
    for tensor in &tensors {
        let start = end;
        end += tensor.length_bytes();
        let entry = json!({ "data_offsets": [start, end], "dtype": tensor.dtype, "shape": tensor.shape });
        entries.insert(&tensor.name, entry);
    }
    let mut header = serde_json::to_vec(&entries)?;
    header.resize(header.len().next_multiple_of(ALIGNMENT_BYTES), b' ');
    if header.len() > MOST_HEADER_BYTES {
        return Err(Error::new(ErrorKind::InvalidInput, "its header would be too large"));
    }
    file.write_all(&(header.len() as u64).to_le_bytes())?;
    file.write_all(&header)?;
    for tensor in &tensors {
        let bytes = (tensor.bytes)();
        if bytes.len() != tensor.length_bytes() {
            return Err(Error::new(ErrorKind::InvalidData, format!("`{}` does not have its shape", tensor.name)));
        }
        file.write_all(&bytes)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use safetensors::SafeTensors;
    use safetensors::tensor::TensorView;

    const SHAPES: [(&str, Dtype, usize); 4] =
        [("b", Dtype::F32, 2), ("a", Dtype::F32, 4), ("c", Dtype::F16, 3), ("d", Dtype::I8, 5)];

    fn texts() -> HashMap<String, String> {
        // New maps have orders of their own.
        (0..20).map(|index| (format!("key {index}"), format!("\"text\" {index}"))).collect()
    }

    fn made(numbers: &[u8]) -> Vec<u8> {
        let entry = |(name, dtype, count): (&str, Dtype, usize)| {
            let bytes = &numbers[..count * dtype.bitsize() / 8];
            Entry::new(name.into(), dtype, &[count], move || Cow::Borrowed(bytes))
        };
        let mut file = Vec::new();
        write(&mut file, SHAPES.into_iter().map(entry).collect(), texts()).unwrap();
        file
    }

    #[test]
    fn the_same_content_makes_the_same_bytes_and_reads_as_it_was() {
        let numbers: Vec<u8> = (0..24).collect();
        let file = made(&numbers);
        assert!((0..10).all(|_| made(&numbers) == file));
        let read = SafeTensors::deserialize(&file).unwrap();
        for (name, dtype, count) in SHAPES {
            let view = read.tensor(name).unwrap();
            assert_eq!((view.dtype(), view.shape()), (dtype, [count].as_slice()));
            assert_eq!(view.data(), &numbers[..count * dtype.bitsize() / 8]);
        }
        let (_, header) = SafeTensors::read_metadata(&file).unwrap();
        assert_eq!(header.metadata().as_ref().unwrap()["key 7"], "\"text\" 7");
    }

    /// The library's file, but for the order of its header.
    #[test]
    fn the_library_writes_the_same() {
        let numbers: Vec<u8> = (0..24).collect();
        let views = SHAPES.map(|(name, dtype, count)| {
            (name, TensorView::new(dtype, vec![count], &numbers[..count * dtype.bitsize() / 8]).unwrap())
        });
        let expected = safetensors::serialize(views, Some(texts())).unwrap();
        let file = made(&numbers);
        assert_eq!(file.len(), expected.len());
        let parts = |file: &[u8]| {
            let end = 8 + u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
            (serde_json::from_slice::<Value>(&file[8..end]).unwrap(), file[end..].to_vec())
        };
        assert_eq!(parts(&file), parts(&expected));
    }

    #[test]
    fn numbers_that_do_not_fit_their_shape_are_refused() {
        let entry = Entry::floats("a".into(), &[3], || vec![1.0; 2]);
        let error = write(&mut Vec::new(), vec![entry], HashMap::new()).unwrap_err();
        assert!(error.to_string().contains("`a`"), "{error}");
    }
}
