//! Limits on what a file may require.

use super::ReadError;

/// Bounds on what a file may cause the reader to do. The defaults are several times what the largest CLIP ResNets and
/// their training checkpoints need.
#[derive(Clone, Debug)]
pub struct Limits {
    pub file_bytes: u64,
    /// The most entries of a zip archive.
    pub entries: usize,
    /// The most bytes of all entries that are read, together.
    pub inflated_bytes: u64,
    /// The most inflated bytes for each stored byte. Entries below a mebibyte are exempt: small ones compress by any
    /// factor.
    pub inflation_ratio: u64,
    pub pickle_bytes: u64,
    pub opcodes: usize,
    /// The most values on the pickle machine's stack.
    pub stack: usize,
    /// The most entries of all the pickle's containers, together.
    pub container_entries: usize,
    /// The most levels of nested dictionaries and modules.
    pub nesting: usize,
    pub tensors: usize,
    pub name_bytes: usize,
    pub tensor_elements: u64,
    /// The most elements of all tensors, together.
    pub elements: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            file_bytes: 16 << 30,
            entries: 1 << 16,
            inflated_bytes: 16 << 30,
            inflation_ratio: 100,
            pickle_bytes: 32 << 20,
            opcodes: 4 << 20,
            stack: 1 << 20,
            container_entries: 4 << 20,
            nesting: 64,
            tensors: 1 << 15,
            name_bytes: 1024,
            tensor_elements: 1 << 29,
            elements: 1 << 31,
        }
    }
}

impl Limits {
    pub(super) fn file_size(&self, bytes: u64) -> Result<(), ReadError> {
        within("the file's number of bytes", bytes, self.file_bytes)
    }

    /// Refuses compression ratios that only a zip bomb has.
    pub(super) fn inflation(&self, entry: &str, stored: u64, inflated: u64) -> Result<(), ReadError> {
        const EXEMPT_BYTES: u64 = 1 << 20;
        if inflated > EXEMPT_BYTES && inflated / self.inflation_ratio.max(1) > stored {
            return Err(ReadError::ZipBomb { entry: entry.to_string(), stored, inflated, most: self.inflation_ratio });
        }
        Ok(())
    }
}

/// Refuses `value` above `most`.
pub(super) fn within(what: &'static str, value: u64, most: u64) -> Result<(), ReadError> {
    if value > most { Err(ReadError::Limit { what, value, most }) } else { Ok(()) }
}
