//! Picture files as frames, one after the other.

use super::{FrameBuffer, FrameSource, SourceError};
use crate::io::Image;
use std::path::PathBuf;

/// PNG, JPEG, BMP and TIFF files in the order given. Their sizes may differ.
#[derive(Clone, Debug)]
pub struct PictureFiles {
    paths: Vec<PathBuf>,
    next: usize,
}

impl PictureFiles {
    /// Pictures in this order, each read when its turn comes.
    pub fn new(paths: Vec<PathBuf>) -> Self {
        Self { paths, next: 0 }
    }
}

impl FrameSource for PictureFiles {
    fn frame_count(&self) -> Option<usize> {
        Some(self.paths.len())
    }

    fn read_frame(&mut self, into: &mut FrameBuffer) -> Result<bool, SourceError> {
        let Some(path) = self.paths.get(self.next) else { return Ok(false) };
        self.next += 1;
        Image::open(path)?.move_into(into)?;
        Ok(true)
    }
}
