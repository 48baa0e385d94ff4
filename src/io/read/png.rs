//! The content of a PNG file beside its picture.

use std::io::{self, Read, Seek, SeekFrom};

const SIGNATURE_BYTES: i64 = 8;

/// The most chunks before the picture.
const MAX_CHUNKS: usize = 10_000;

/// The number of pictures of an animated PNG; `None` where it is not animated. The source is back where it was.
pub(super) fn animation_frames(source: &mut (impl Read + Seek)) -> io::Result<Option<u32>> {
    let start = source.stream_position()?;
    source.seek(SeekFrom::Current(SIGNATURE_BYTES))?;
    let mut found = None;
    for _ in 0..MAX_CHUNKS {
        let mut head = [0; 8];
        match source.read_exact(&mut head) {
            // The decoder reports what is missing.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break,
            read => read?,
        }
        let [a, b, c, d, kind @ ..] = head;
        let length = u32::from_be_bytes([a, b, c, d]);
        if kind == *b"acTL" {
            let mut frames = [0; 4];
            source.read_exact(&mut frames).ok();
            found = Some(u32::from_be_bytes(frames)).filter(|frames| *frames > 1);
            break;
        }
        if kind == *b"IDAT" || kind == *b"IEND" {
            break;
        }
        // With the chunk's checksum.
        source.seek(SeekFrom::Current(i64::from(length) + 4))?;
    }
    source.seek(SeekFrom::Start(start))?;
    Ok(found)
}
