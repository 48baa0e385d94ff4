//! Compressed pixels: the position of each frame's fragments.

use super::DicomError;
use crate::io::source::Bytes;
use std::io::SeekFrom;

/// The most fragments of one file; more than an hour at 60 frames a second, each in four.
const MAX_FRAGMENTS: usize = 1 << 20;

/// The longest fragments of one frame, together.
const MAX_FRAME_BYTES: u64 = 128 << 20;

#[derive(Clone, Copy, Debug)]
struct Fragment {
    /// The position of its first byte in the file.
    offset: u64,
    bytes: u32,
}

/// The fragments of all frames.
#[derive(Debug)]
pub(super) struct Fragments {
    fragments: Vec<Fragment>,
    /// The index of every frame's first fragment, and the end of the last one.
    starts: Vec<usize>,
}

impl Fragments {
    /// Finds them from the offset table on, which begins at `offset`, for the `frames` that the file announces. If the
    /// file has fewer, there are fewer, which is noted.
    pub fn find(
        source: &mut dyn Bytes,
        offset: u64,
        frames: u64,
        marked: bool,
        notes: &mut Vec<String>,
    ) -> Result<Self, DicomError> {
        let end = source.seek(SeekFrom::End(0))?;
        let frames = usize::try_from(frames).unwrap_or(usize::MAX);
        let mut position = offset;
        let mut table: Vec<u32> = Vec::new();
        let mut fragments: Vec<Fragment> = Vec::new();
        let mut is_table = true;
        loop {
            let at = position;
            let damaged = |reason| DicomError::Damaged { position: at, reason };
            source.seek(SeekFrom::Start(position))?;
            let mut head = [0; 8];
            if source.read_exact(&mut head).is_err() {
                if position >= end && !fragments.is_empty() {
                    notes.push("the delimiter after its pixels is missing".into());
                    break;
                }
                return Err(DicomError::CutShort { announced: position.saturating_add(8), actual: end });
            }
            let [t0, t1, t2, t3, l0, l1, l2, l3] = head;
            let bytes = u32::from_le_bytes([l0, l1, l2, l3]);
            match [t0, t1, t2, t3] {
                [0xfe, 0xff, 0x00, 0xe0] => {}
                [0xfe, 0xff, 0xdd, 0xe0] => break,
                // Attributes may follow the pixels.
                [g0, g1, ..] if !fragments.is_empty() && u16::from_le_bytes([g0, g1]) >= 0x7fe0 => {
                    notes.push("the delimiter after its pixels is missing".into());
                    break;
                }
                _ => return Err(damaged("the pixels are not in fragments")),
            }
            position += 8;
            if u64::from(bytes) > end.saturating_sub(position) {
                return Err(DicomError::CutShort { announced: position.saturating_add(u64::from(bytes)), actual: end });
            }
            if is_table {
                let entries = bytes as usize / 4;
                if entries > MAX_FRAGMENTS {
                    return Err(damaged("its table of frames is longer than any"));
                }
                let mut raw = vec![0; entries * 4];
                source.read_exact(&mut raw)?;
                table = raw.as_chunks().0.iter().map(|entry| u32::from_le_bytes(*entry)).collect();
                is_table = false;
            } else if fragments.len() == MAX_FRAGMENTS {
                return Err(damaged("it has more fragments than any clip"));
            } else {
                fragments.push(Fragment { offset: position, bytes });
            }
            position += u64::from(bytes);
        }
        if fragments.is_empty() {
            return Err(DicomError::CutShort { announced: frames as u64, actual: 0 });
        }
        let starts = starts(source, &fragments, &table, frames, marked, notes)?;
        Ok(Self { fragments, starts })
    }

    /// The number of frames.
    pub fn frames(&self) -> u64 {
        self.starts.len().saturating_sub(1) as u64
    }

    /// The bytes of all fragments together.
    pub fn bytes(&self) -> u64 {
        self.fragments.iter().map(|fragment| u64::from(fragment.bytes)).sum()
    }

    /// Reads the compressed bytes of a frame.
    pub fn read(&self, source: &mut dyn Bytes, frame: u64, into: &mut Vec<u8>) -> Result<(), DicomError> {
        into.clear();
        let frame = usize::try_from(frame).unwrap_or(usize::MAX);
        let (Some(&from), Some(&to)) = (self.starts.get(frame), self.starts.get(frame.saturating_add(1))) else {
            return Err(DicomError::NoPixels);
        };
        let fragments = self.fragments.get(from..to).unwrap_or_default();
        if fragments.iter().map(|fragment| u64::from(fragment.bytes)).sum::<u64>() > MAX_FRAME_BYTES {
            return Err(DicomError::Memory);
        }
        for fragment in fragments {
            source.seek(SeekFrom::Start(fragment.offset))?;
            let start = into.len();
            into.resize(start + fragment.bytes as usize, 0);
            source.read_exact(into.get_mut(start..).unwrap_or_default())?;
        }
        Ok(())
    }
}

/// The first fragment of every frame, and the end of the last: one fragment a frame, or by the table, or by the markers
/// with which the JPEG family begins a picture (`marked`).
fn starts(
    source: &mut dyn Bytes,
    fragments: &[Fragment],
    table: &[u32],
    frames: usize,
    marked: bool,
    notes: &mut Vec<String>,
) -> Result<Vec<usize>, DicomError> {
    let count = fragments.len();
    if count == frames {
        return Ok((0..=count).collect());
    }
    // For a single picture the table means nothing, and its markers show whether it is one.
    let by_table = by_table(fragments, table).filter(|starts| starts.len() == frames + 1 && (frames > 1 || !marked));
    if count > frames
        && let Some(starts) = by_table
    {
        return Ok(starts);
    }
    if !marked {
        return match (frames, count < frames) {
            (1, _) => Ok(vec![0, count]),
            (_, true) => {
                notes.push(format!("it announces {frames} frames and has {count}; those that it has are read"));
                Ok((0..=count).collect())
            }
            (_, false) => Err(DicomError::Unsupported("its fragments cannot be assigned to frames".into())),
        };
    }
    let mut starts = Vec::new();
    for (index, fragment) in fragments.iter().enumerate() {
        let mut mark = [0; 3];
        source.seek(SeekFrom::Start(fragment.offset))?;
        if fragment.bytes >= 3 {
            source.read_exact(&mut mark)?;
        }
        // Start of an image, or of a codestream of JPEG 2000.
        if index == 0 || matches!(mark, [0xff, 0xd8, 0xff] | [0xff, 0x4f, 0xff]) {
            starts.push(index);
        }
    }
    let found = starts.len();
    starts.push(count);
    if found != frames {
        let read = if found < frames { "those that it has are" } else { "only those that it announces are" };
        notes.push(format!("it announces {frames} frames and has {found}; {read} read"));
        starts.truncate(frames.saturating_add(1));
    }
    Ok(starts)
}

fn by_table(fragments: &[Fragment], table: &[u32]) -> Option<Vec<usize>> {
    // Offsets count from the first fragment's own head of eight bytes.
    let first = fragments.first()?.offset;
    let mut starts: Vec<usize> = Vec::with_capacity(table.len() + 1);
    for offset in table {
        let at = first.saturating_add(u64::from(*offset));
        let index = fragments.binary_search_by_key(&at, |fragment| fragment.offset).ok()?;
        if starts.last().is_some_and(|last| *last >= index) {
            return None;
        }
        starts.push(index);
    }
    starts.push(fragments.len());
    Some(starts)
}
