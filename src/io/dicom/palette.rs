//! Lookup tables: PALETTE COLOR (DICOM PS3.3, C.7.6.3.1.5), also in segments (C.7.9.2), and those of grey values (C.11).

use super::DicomError;
use super::values::{Elements, integers, words};
use dicom_core::Tag;
use dicom_dictionary_std::tags;

/// The most entries of any table.
const MAX_ENTRIES: usize = 1 << 16;

/// Red, green and blue of every stored value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Palette {
    /// The stored value of the first entry; smaller values use it too, and values beyond the last entry use the last.
    first: i32,
    colours: Vec<[u8; 3]>,
}

/// Tags of one colour: descriptor, entries, entries in segments.
const CHANNELS: [[Tag; 3]; 3] = [
    [
        tags::RED_PALETTE_COLOR_LOOKUP_TABLE_DESCRIPTOR,
        tags::RED_PALETTE_COLOR_LOOKUP_TABLE_DATA,
        tags::SEGMENTED_RED_PALETTE_COLOR_LOOKUP_TABLE_DATA,
    ],
    [
        tags::GREEN_PALETTE_COLOR_LOOKUP_TABLE_DESCRIPTOR,
        tags::GREEN_PALETTE_COLOR_LOOKUP_TABLE_DATA,
        tags::SEGMENTED_GREEN_PALETTE_COLOR_LOOKUP_TABLE_DATA,
    ],
    [
        tags::BLUE_PALETTE_COLOR_LOOKUP_TABLE_DESCRIPTOR,
        tags::BLUE_PALETTE_COLOR_LOOKUP_TABLE_DATA,
        tags::SEGMENTED_BLUE_PALETTE_COLOR_LOOKUP_TABLE_DATA,
    ],
];

impl Palette {
    /// Reads the palette; `signed` where stored values are signed.
    pub fn read(root: &Elements, signed: bool) -> Result<Self, DicomError> {
        let [red, green, blue] = CHANNELS.map(|tags| channel(root, tags, signed));
        let (red, green, blue) = (red?, green?, blue?);
        if red.0 != green.0 || red.0 != blue.0 || red.1.len() != green.1.len() || red.1.len() != blue.1.len() {
            return Err(DicomError::Value("the palette"));
        }
        let colours = red.1.iter().zip(&green.1).zip(&blue.1).map(|((r, g), b)| [*r, *g, *b]).collect();
        Ok(Self { first: red.0, colours })
    }

    pub fn colour(&self, stored: i32) -> [u8; 3] {
        let index = stored.saturating_sub(self.first).max(0) as usize;
        self.colours.get(index).or(self.colours.last()).copied().unwrap_or_default()
    }
}

/// Entries, first stored value and bits of an entry, from a descriptor.
fn descriptor(values: &[i64], signed: bool) -> Option<(usize, i32, i64)> {
    let &[entries, first, bits] = values else { return None };
    // Signed in some files; and zero means the value that sixteen bits cannot hold.
    let entries = match entries as u16 {
        0 => MAX_ENTRIES,
        entries => usize::from(entries),
    };
    let first = if signed { i32::from(first as u16 as i16) } else { i32::from(first as u16) };
    Some((entries, first, bits))
}

/// The first stored value and the entries, 8 bits each.
fn channel(
    root: &Elements,
    [descriptor_tag, data, segmented]: [Tag; 3],
    signed: bool,
) -> Result<(i32, Vec<u8>), DicomError> {
    let values = integers(root, descriptor_tag).ok_or(DicomError::Missing("its palette"))?;
    let (entries, first, bits) = descriptor(&values, signed).ok_or(DicomError::Value("the palette"))?;
    let table = if root.get(data).is_some() {
        let words = words(root, data).ok_or(DicomError::Value("the palette"))?;
        match bits {
            16 if words.len() >= entries => eight_bits(&words),
            8 if words.len() >= entries => words.iter().map(|word| *word as u8).collect(),
            8 if words.len() * 2 >= entries => words.iter().flat_map(|word| word.to_le_bytes()).collect(),
            _ => return Err(DicomError::Value("the palette")),
        }
    } else {
        let stored = root.get(segmented).ok_or(DicomError::Missing("its palette"))?;
        let bytes: Vec<u16> = stored.bytes.iter().map(|byte| u16::from(*byte)).collect();
        let words = words(root, segmented).unwrap_or_default();
        let expanded = match bits {
            16 => expand(&words, 2, entries).map(|entries| eight_bits(&entries)),
            8 => {
                let low = |entries: Vec<u16>| entries.into_iter().map(|entry| entry as u8).collect();
                expand(&bytes, 1, entries).or_else(|| expand(&words, 2, entries)).map(low)
            }
            _ => None,
        };
        expanded.ok_or(DicomError::Value("the palette"))?
    };
    Ok((first, table.into_iter().take(entries).collect()))
}

/// The displayed value of sixteen bits is the high byte. Some writers put eight bits into the low one.
fn eight_bits(words: &[u16]) -> Vec<u8> {
    let low = words.iter().all(|word| *word < 256);
    words.iter().map(|word| if low { *word as u8 } else { (*word >> 8) as u8 }).collect()
}

/// Expands segments of numbers of `unit` bytes each into `entries` entries; `None` where there are fewer.
fn expand(segments: &[u16], unit: usize, entries: usize) -> Option<Vec<u16>> {
    let mut out: Vec<u16> = Vec::with_capacity(entries);
    let mut at = 0;
    while at < segments.len() && out.len() < entries {
        if segments[at] == 2 {
            // Repeats a few earlier segments: their number, and the offset of the first, in bytes.
            let &[_, count, low, high, ..] = segments.get(at..)? else { return None };
            let start = match unit {
                1 => usize::from(low) | usize::from(high) << 8,
                _ => (usize::from(low) | usize::from(high) << 16) / unit,
            };
            at += 4;
            let mut again = start;
            for _ in 0..count {
                if again >= at || segments.get(again) == Some(&2) {
                    return None;
                }
                again = segment(segments, again, entries, &mut out)?;
            }
        } else {
            at = segment(segments, at, entries, &mut out)?;
        }
    }
    (out.len() >= entries).then_some(out)
}

/// Adds one discrete or linear segment, limited to the entries that fit; returns where the next begins.
fn segment(segments: &[u16], at: usize, entries: usize, out: &mut Vec<u16>) -> Option<usize> {
    let &[kind, count, ref rest @ ..] = segments.get(at..)? else { return None };
    let count = usize::from(count);
    let room = entries.saturating_sub(out.len());
    match kind {
        0 => {
            out.extend(rest.get(..count)?.iter().take(room));
            Some(at + 2 + count)
        }
        1 => {
            let (from, to) = (i64::from(*out.last()?), i64::from(*rest.first()?));
            let of = |step: usize| {
                let share = (to - from) * step as i64;
                let half = count as i64 / 2 * share.signum();
                (from + (share + half) / count as i64) as u16
            };
            out.extend((1..=count).take(room).map(of));
            Some(at + 3)
        }
        _ => None,
    }
}

/// A lookup table of grey values.
pub(super) struct Lut {
    first: i32,
    entries: Vec<u16>,
    /// The largest possible value of an entry.
    pub most: f64,
}

impl Lut {
    /// Reads an item of Modality LUT Sequence or VOI LUT Sequence. `signed` where the values that are looked up may be
    /// signed.
    pub fn read(item: &Elements, signed: bool) -> Option<Self> {
        let (entries, first, bits) = descriptor(&integers(item, tags::LUT_DESCRIPTOR)?, signed)?;
        if !(8..=16).contains(&bits) {
            return None;
        }
        let mut table = words(item, tags::LUT_DATA)?;
        if table.len() < entries && bits == 8 {
            table = item.get(tags::LUT_DATA)?.bytes.iter().map(|byte| u16::from(*byte)).collect();
        }
        table.truncate(entries);
        (table.len() == entries).then_some(())?;
        // Some writers store eight bits and say sixteen.
        let bits = if table.iter().all(|entry| *entry < 256) { 8 } else { bits };
        Some(Self { first, entries: table, most: ((1u32 << bits) - 1).into() })
    }

    pub fn at(&self, value: f64) -> f64 {
        let index = (value.round() - f64::from(self.first)).max(0.0) as usize;
        self.entries.get(index).or(self.entries.last()).copied().unwrap_or_default().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_expand() {
        // Two as they are, three to 8, and the first of these segments again.
        let segments = [0, 2, 0, 2, 1, 3, 8, 2, 1, 0, 0];
        assert_eq!(expand(&segments, 2, 7), Some(vec![0, 2, 4, 6, 8, 0, 2]));
        assert_eq!(expand(&segments, 2, 8), None);
        assert_eq!(expand(&segments, 2, 4), Some(vec![0, 2, 4, 6]));
        // Falling, and to what lies between.
        assert_eq!(expand(&[0, 1, 10, 1, 4, 0], 2, 5), Some(vec![10, 7, 5, 2, 0]));
        for bad in [&[1, 3, 8][..], &[0, 4, 1], &[0], &[3, 1, 1], &[0, 1, 5, 2, 1, 100, 0], &[0, 1, 5, 2, 1, 6, 0]] {
            assert_eq!(expand(bad, 2, 2), None, "{bad:?}");
        }
    }
}
