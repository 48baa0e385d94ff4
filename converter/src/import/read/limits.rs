//! How much a file may ask for.

use super::ReadError;

/// Bounds on what a file may make the reader do. The defaults leave several times what the largest CLIP ResNets and
/// their training checkpoints need.
#[derive(Clone, Debug)]
pub struct Limits {
    pub file_bytes: u64,
    /// Entries of a zip archive.
    pub entries: usize,
    /// All entries that are read, together.
    pub inflated_bytes: u64,
    /// Inflated bytes for each stored byte. Entries below a mebibyte are exempt: small ones compress by any factor.
    pub inflation_ratio: u64,
    pub pickle_bytes: u64,
    pub opcodes: usize,
    /// Values on the pickle machine's stack.
    pub stack: usize,
    /// Entries of all the pickle's containers, together.
    pub container_entries: usize,
    /// Dictionaries and modules inside one another.
    pub nesting: usize,
    pub tensors: usize,
    pub name_bytes: usize,
    pub tensor_elements: u64,
    /// Elements of all tensors, together.
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

    /// Refuses what only a zip bomb would ask for.
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
