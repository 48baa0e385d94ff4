//! Code that the targets share.

pub mod bundle;

use causalclipseg::io::source::{FrameBuffer, FrameSource};

/// Number of frames that are read from one file; more of them only take longer.
const FRAMES: usize = 4;

/// Reads the first frames, and borrows each as the runtime would.
pub fn read_some(mut source: impl FrameSource) {
    let mut buffer = FrameBuffer::default();
    for _ in 0..FRAMES {
        match source.read_frame(&mut buffer) {
            Ok(true) => drop(buffer.frame().expect("a frame that was read can be lent")),
            Ok(false) | Err(_) => return,
        }
    }
}
