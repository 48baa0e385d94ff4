//! Compressed pixels: where each frame's fragments lie.

use super::DicomError;
use std::io::{BufRead, Read, Seek, SeekFrom};

/// The most fragments of one file; more than an hour at 60 frames a second, each in four.
const MAX_FRAGMENTS: usize = 1 << 20;

/// The longest fragments of one frame, together.
const MAX_FRAME_BYTES: u64 = 128 << 20;

#[derive(Clone, Copy, Debug)]
struct Fragment {
    /// Of its first byte in the file.
    offset: u64,
    bytes: u32,
}

/// The fragments of all frames.
#[derive(Debug)]
pub(super) struct Fragments {
    fragments: Vec<Fragment>,
    /// Of the first fragment of every frame, and the count of all at the end.
    starts: Vec<usize>,
}

impl Fragments {
    /// Finds them from the offset table on, which begins at `offset`.
    pub fn find<S: BufRead + Seek>(source: &mut S, offset: u64, frames: u64) -> Result<Self, DicomError> {
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
                return Err(DicomError::CutShort { announced: position.saturating_add(8), actual: end });
            }
            let [t0, t1, t2, t3, l0, l1, l2, l3] = head;
            let bytes = u32::from_le_bytes([l0, l1, l2, l3]);
            match [t0, t1, t2, t3] {
                [0xfe, 0xff, 0x00, 0xe0] => {}
                [0xfe, 0xff, 0xdd, 0xe0] => break,
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
        let starts = starts(&fragments, &table, frames)?;
        Ok(Self { fragments, starts })
    }

    /// Reads the compressed bytes of a frame.
    pub fn read<S: Read + Seek>(&self, source: &mut S, frame: u64, into: &mut Vec<u8>) -> Result<(), DicomError> {
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

/// One fragment a frame, or all for the only frame, or as the table says.
fn starts(fragments: &[Fragment], table: &[u32], frames: usize) -> Result<Vec<usize>, DicomError> {
    let count = fragments.len();
    if count < frames {
        return Err(DicomError::CutShort { announced: frames as u64, actual: count as u64 });
    }
    if count == frames {
        return Ok((0..=count).collect());
    }
    if frames == 1 {
        return Ok(vec![0, count]);
    }
    if table.len() != frames {
        return Err(DicomError::Unsupported("nothing says which fragments make a frame".into()));
    }
    // Offsets count from the first fragment's own head of eight bytes.
    let first = fragments.first().map_or(0, |fragment| fragment.offset);
    let mut starts = Vec::with_capacity(frames + 1);
    for offset in table {
        let at = first.saturating_add(u64::from(*offset));
        let index = fragments.binary_search_by_key(&at, |fragment| fragment.offset);
        let index = index.map_err(|_| DicomError::Value("the table of frames"))?;
        if starts.last().is_some_and(|last| *last >= index) {
            return Err(DicomError::Value("the table of frames"));
        }
        starts.push(index);
    }
    starts.push(count);
    Ok(starts)
}
