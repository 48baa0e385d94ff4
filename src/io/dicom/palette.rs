//! PALETTE COLOR (DICOM PS3.3, C.7.6.3.1.5): three lookup tables.

use super::DicomError;
use super::values::{integers, words};
use dicom_core::Tag;
use dicom_dictionary_std::tags;
use dicom_object::InMemDicomObject;

/// Red, green and blue of every stored value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Palette {
    /// The stored value of the first entry; smaller ones take it too, and larger ones than the last take the last.
    first: u16,
    colours: Vec<[u8; 3]>,
}

impl Palette {
    pub fn read(root: &InMemDicomObject) -> Result<Self, DicomError> {
        let red =
            channel(root, tags::RED_PALETTE_COLOR_LOOKUP_TABLE_DESCRIPTOR, tags::RED_PALETTE_COLOR_LOOKUP_TABLE_DATA)?;
        let green = channel(
            root,
            tags::GREEN_PALETTE_COLOR_LOOKUP_TABLE_DESCRIPTOR,
            tags::GREEN_PALETTE_COLOR_LOOKUP_TABLE_DATA,
        )?;
        let blue = channel(
            root,
            tags::BLUE_PALETTE_COLOR_LOOKUP_TABLE_DESCRIPTOR,
            tags::BLUE_PALETTE_COLOR_LOOKUP_TABLE_DATA,
        )?;
        if red.0 != green.0 || red.0 != blue.0 || red.1.len() != green.1.len() || red.1.len() != blue.1.len() {
            return Err(DicomError::Value("the palette"));
        }
        let colours = red.1.iter().zip(&green.1).zip(&blue.1).map(|((r, g), b)| [*r, *g, *b]).collect();
        Ok(Self { first: red.0, colours })
    }

    pub fn colour(&self, stored: u16) -> [u8; 3] {
        let index = usize::from(stored.saturating_sub(self.first)).min(self.colours.len().saturating_sub(1));
        self.colours.get(index).copied().unwrap_or_default()
    }
}

/// The first stored value and the entries, 8 bits each.
fn channel(root: &InMemDicomObject, descriptor: Tag, data: Tag) -> Result<(u16, Vec<u8>), DicomError> {
    let descriptor = integers(root, descriptor).ok_or(DicomError::Missing("its palette"))?;
    let &[entries, first, bits] = descriptor.as_slice() else { return Err(DicomError::Value("the palette")) };
    // Signed in some files; and zero stands for what sixteen bits cannot hold.
    let entries = match entries as u16 {
        0 => 65_536,
        entries => usize::from(entries),
    };
    let first = first as u16;
    let words = words(root, data).ok_or(DicomError::Missing("its palette"))?;
    let table: Vec<u8> = match bits {
        // The high byte is what a screen shows of sixteen bits. Some write eight bits into the low one.
        16 if words.len() >= entries => {
            let eight = words.iter().all(|word| *word < 256);
            words.iter().map(|word| if eight { *word as u8 } else { (*word >> 8) as u8 }).collect()
        }
        8 if words.len() >= entries => words.iter().map(|word| *word as u8).collect(),
        8 if words.len() * 2 >= entries => words.iter().flat_map(|word| word.to_le_bytes()).collect(),
        _ => return Err(DicomError::Value("the palette")),
    };
    Ok((first, table.into_iter().take(entries).collect()))
}
