//! Reads tensors by name from other programs' files, without executing anything in them and within [`Limits`].
//!
//! Nothing here depends on the network, so that the fuzz targets build this folder alone.

mod archive;
mod error;
mod limits;
pub mod pickle;
mod safetensors_file;
mod state_dict;
mod tensor;
mod torch_forms;

pub use archive::read_archive;
pub use error::{PickleError, PickleProblem, ReadError};
pub use limits::Limits;
pub use safetensors_file::read_safetensors;

use ndarray::ArrayD;
use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::Path;

/// The content of a file. Integer tensors (counters, and the sizes in TorchScript archives) are left out.
#[derive(Debug, Default)]
pub struct Contents {
    /// The tensors: names as in the file, without wrappers such as `state_dict`; values row-major in f32.
    pub tensors: Vec<(String, ArrayD<f32>)>,
    /// The header's free text, where the format has one (safetensors).
    pub metadata: HashMap<String, String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    TorchArchive,
    Safetensors,
}

/// Reads a torch zip archive (state dict or TorchScript) or a safetensors file, identified by its bytes, not by its
/// name.
pub fn read_file(path: &Path, limits: &Limits) -> Result<Contents, ReadError> {
    read(BufReader::new(File::open(path)?), limits)
}

/// As [`read_file`], from anything that can be read from its start.
pub fn read<R: Read + Seek>(mut reader: R, limits: &Limits) -> Result<Contents, ReadError> {
    let mut start = Vec::with_capacity(16);
    reader.by_ref().take(16).read_to_end(&mut start)?;
    let bytes = reader.seek(SeekFrom::End(0))?;
    reader.rewind()?;
    limits.file_size(bytes)?;
    match recognise(&start)? {
        Format::TorchArchive => read_archive(reader, bytes, limits),
        Format::Safetensors => {
            let mut contents = Vec::new();
            reader.take(limits.file_bytes).read_to_end(&mut contents)?;
            read_safetensors(&contents, limits)
        }
    }
}

fn recognise(start: &[u8]) -> Result<Format, ReadError> {
    const LOCAL_ENTRY: &[u8] = b"PK\x03\x04";
    const EMPTY_ZIP: &[u8] = b"PK\x05\x06";
    // Protocol 2, and a ten-byte integer: torch's magic number before 1.6.
    const LEGACY_TORCH: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19";
    if start.is_empty() {
        return Err(ReadError::Empty);
    }
    if start.starts_with(LOCAL_ENTRY) || start.starts_with(EMPTY_ZIP) {
        return Ok(Format::TorchArchive);
    }
    if start.starts_with(LEGACY_TORCH) {
        return Err(ReadError::Legacy);
    }
    if start.starts_with(&[0x80]) && start.get(1).is_some_and(|protocol| (1..=5).contains(protocol)) {
        return Err(ReadError::BarePickle);
    }
    // A safetensors header is a length in eight bytes, then JSON.
    if start.get(8) == Some(&b'{') {
        return Ok(Format::Safetensors);
    }
    Err(ReadError::Unrecognised)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recognises_formats_by_their_first_bytes() {
        assert_eq!(recognise(b"PK\x03\x04rest").unwrap(), Format::TorchArchive);
        assert_eq!(recognise(b"\x40\0\0\0\0\0\0\0{\"a\"").unwrap(), Format::Safetensors);
        assert!(matches!(recognise(b""), Err(ReadError::Empty)));
        assert!(matches!(recognise(b"weights, in words"), Err(ReadError::Unrecognised)));
        assert!(matches!(recognise(b"\x80\x02}q\x00."), Err(ReadError::BarePickle)));
        let legacy = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19\x2e";
        let message = recognise(legacy).unwrap_err().to_string();
        assert!(message.contains("torch.save(torch.load("), "{message}");
    }
}
