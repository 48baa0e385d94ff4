//! The converter's readers, built alone: instrumenting the whole crate would instrument its training backend too.

#[path = "../../src/import/read/mod.rs"]
pub mod read;

use read::Limits;

/// Limits tight enough that reaching one is quick and never looks like a hang.
pub fn limits() -> Limits {
    Limits {
        file_bytes: 1 << 24,
        inflated_bytes: 1 << 24,
        opcodes: 1 << 18,
        container_entries: 1 << 18,
        tensor_elements: 1 << 20,
        elements: 1 << 22,
        ..Limits::default()
    }
}
