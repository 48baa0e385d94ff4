//! Safetensors files. They are read only where their length is the one that their header says, and written with bytes that
//! depend on their content alone: the library writes metadata in an order that changes from run to run. Tensors are encoded one
//! at a time while the file is written, so that large networks are not copied.

use safetensors::Dtype;
use safetensors::tensor::Metadata;
use serde_json::{Map, Value, json};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{Error, ErrorKind, Read, Result, Write};
use std::path::Path;

/// The header is padded to a multiple of this many bytes, which its length has too, so that tensors are aligned.
const ALIGNMENT_BYTES: usize = 8;
/// The most bytes of a header that the library reads.
const MOST_HEADER_BYTES: usize = 100_000_000;
/// The bytes of the header's length.
const LENGTH_BYTES: usize = 8;

/// Why a file is not read.
#[derive(Debug)]
pub(crate) enum FileError {
    /// The system refuses.
    Read(Error),
    /// It is not a safetensors file, or not a complete one.
    Format(String),
}

impl From<Error> for FileError {
    fn from(error: Error) -> Self {
        Self::Read(error)
    }
}

/// A file of the length that its header says, read up to the end of the header.
struct Opened {
    file: File,
    length: usize,
    /// Its first bytes: the header's length and the header.
    start: Vec<u8>,
    header: Metadata,
}

/// Reads a file's header. A header of another length than the file's is refused.
pub(crate) fn read_header(path: &Path) -> std::result::Result<Metadata, FileError> {
    Ok(open(path)?.header)
}

/// Reads a complete file. Memory is taken only after its length was compared with what its header says.
pub(crate) fn read(path: &Path) -> std::result::Result<Vec<u8>, FileError> {
    let Opened { file, length, start: mut bytes, .. } = open(path)?;
    let rest = length - bytes.len();
    bytes.try_reserve_exact(rest).map_err(|_| FileError::Format(format!("memory does not hold its {length} bytes")))?;
    file.take(rest as u64).read_to_end(&mut bytes)?;
    match bytes.len() == length {
        true => Ok(bytes),
        false => Err(FileError::Format("it became shorter while it was read".into())),
    }
}

fn open(path: &Path) -> std::result::Result<Opened, FileError> {
    let wrong = |reason: String| Err(FileError::Format(reason));
    // Opening a pipe would wait, and a device has no length.
    let about = std::fs::metadata(path)?;
    if !about.is_file() {
        return Err(Error::new(ErrorKind::InvalidInput, "it is not a regular file").into());
    }
    let file = File::open(path)?;
    let Ok(length) = usize::try_from(about.len()) else {
        return wrong(format!("memory does not hold its {} bytes", about.len()));
    };
    let mut start = Vec::new();
    (&file).take(LENGTH_BYTES as u64).read_to_end(&mut start)?;
    let Ok(header_bytes) = <[u8; LENGTH_BYTES]>::try_from(start.as_slice()).map(u64::from_le_bytes) else {
        return wrong(format!("it has {length} bytes, fewer than a header"));
    };
    if header_bytes > MOST_HEADER_BYTES as u64 || header_bytes > length.saturating_sub(LENGTH_BYTES) as u64 {
        return wrong(format!("it has {length} bytes, and a header of {header_bytes} is not possible in it"));
    }
    (&file).take(header_bytes).read_to_end(&mut start)?;
    let header: Metadata = match serde_json::from_slice(&start[LENGTH_BYTES..]) {
        Ok(header) => header,
        Err(error) => return wrong(format!("its header: {error}")),
    };
    match start.len().checked_add(header.data_len()) {
        Some(needed) if needed == length => Ok(Opened { file, length, start, header }),
        Some(needed) => wrong(format!("it has {length} bytes, and its header says {needed}")),
        None => wrong("the length in its header overflows".into()),
    }
}

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
    fn a_file_is_read_only_with_the_length_of_its_header() {
        let numbers: Vec<u8> = (0..24).collect();
        let whole = made(&numbers);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.safetensors");
        let read_again = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            (read(&path), read_header(&path))
        };
        let (bytes, header) = read_again(&whole);
        assert_eq!(bytes.unwrap(), whole);
        assert_eq!(header.unwrap().metadata().as_ref().unwrap()["key 7"], "\"text\" 7");
        let refused = |bytes: &[u8]| match read_again(bytes) {
            (Err(FileError::Format(reason)), Err(FileError::Format(again))) if reason == again => reason,
            other => panic!("{other:?}"),
        };
        for length in 0..whole.len() {
            let reason = refused(&whole[..length]);
            assert!(reason.contains(&format!("it has {length} bytes")), "{reason}");
        }
        let longer = [whole.as_slice(), b"x"].concat();
        assert!(refused(&longer).contains(&format!(
            "it has {} bytes, and its header says {}",
            longer.len(),
            whole.len()
        )));
        for claimed in [u64::MAX, MOST_HEADER_BYTES as u64 + 1, whole.len() as u64 - 7] {
            let mut file = whole.clone();
            file[..8].copy_from_slice(&claimed.to_le_bytes());
            assert!(refused(&file).contains(&format!("a header of {claimed} is not possible")));
        }
        // A tensor of 16 exabytes, in a file of a few bytes.
        let header = br#"{"a":{"dtype":"U8","shape":[18446744073709551600],"data_offsets":[0,18446744073709551600]}}"#;
        let bomb = [&(header.len() as u64).to_le_bytes()[..], header].concat();
        assert!(refused(&bomb).contains("its header"));
        assert!(matches!(read(folder.path()), Err(FileError::Read(_))));
        assert!(matches!(read(&folder.path().join("none")), Err(FileError::Read(_))));
    }

    #[test]
    fn numbers_that_do_not_fit_their_shape_are_refused() {
        let entry = Entry::floats("a".into(), &[3], || vec![1.0; 2]);
        let error = write(&mut Vec::new(), vec![entry], HashMap::new()).unwrap_err();
        assert!(error.to_string().contains("`a`"), "{error}");
    }
}
