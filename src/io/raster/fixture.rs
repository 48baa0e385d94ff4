//! Test helpers that the formats share.

use super::RasterSequence;
use crate::io::source::{FrameBuffer, FrameSource, SourceError};

/// Reads all frames, and checks that there are as many as were announced.
pub(in crate::io) fn frames(mut sequence: RasterSequence) -> Result<Vec<FrameBuffer>, SourceError> {
    let (mut frames, mut buffer) = (Vec::new(), FrameBuffer::default());
    while sequence.read_frame(&mut buffer)? {
        frames.push(buffer.clone());
    }
    assert_eq!(sequence.frame_count(), Some(frames.len()));
    Ok(frames)
}

/// Opens and reads a file cut at every length, and with every byte changed into each of `values`, into its neighbour
/// and with its highest bit flipped. None of these may panic.
pub(in crate::io) fn mutate(file: &[u8], values: &[u8], open: impl Fn(Vec<u8>) -> Result<RasterSequence, SourceError>) {
    let run = |bytes: Vec<u8>| {
        let Ok(mut sequence) = open(bytes) else { return };
        let mut buffer = FrameBuffer::default();
        for _ in 0..20 {
            if !sequence.read_frame(&mut buffer).unwrap_or(false) {
                break;
            }
        }
    };
    run(file.to_vec());
    for at in 0..file.len() {
        run(file[..at].to_vec());
        for value in values.iter().copied().chain([file[at] ^ 1, file[at] ^ 128]) {
            let mut changed = file.to_vec();
            changed[at] = value;
            run(changed);
        }
    }
}
