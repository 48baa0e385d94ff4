//! Picture files as frames, one after the other.

use super::{FrameBuffer, FrameSource, SourceError};
use crate::io::Description;
use crate::io::read::{self, Image, ReadError, TiffPages};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// PNG, JPEG, BMP and TIFF files in the order given; each page of a TIFF file is a frame. Their sizes may differ.
pub struct PictureFiles {
    paths: Vec<PathBuf>,
    /// Of all files together.
    frames: usize,
    next: usize,
    /// The file whose pages are being read.
    pages: Option<TiffPages>,
}

impl PictureFiles {
    /// Pictures in this order, each read when its turn comes. Counts the frames of all files; what cannot be read counts as
    /// one, and says why when it is read.
    pub fn new(paths: Vec<PathBuf>) -> Self {
        let count = |path: &PathBuf| match is_tiff(path) {
            true => TiffPages::open(path).map_or(1, |pages| pages.len()),
            false => 1,
        };
        let frames = paths.iter().map(count).sum();
        Self { paths, frames, next: 0, pages: None }
    }

    /// What was understood of the first file, which is decoded for that.
    ///
    /// # Errors
    /// A file that cannot be read; no file at all.
    pub fn description(&self) -> Result<Description, SourceError> {
        let path = self.paths.first().ok_or_else(|| ReadError::Missing(PathBuf::new()))?;
        let mut description = read::describe(path)?;
        if self.paths.len() > 1 {
            description.frames = Some(self.frames as u64);
            description.format =
                format!("{} picture files, the first of them {}", self.paths.len(), description.format);
        }
        Ok(description)
    }
}

impl FrameSource for PictureFiles {
    fn frame_count(&self) -> Option<usize> {
        Some(self.frames)
    }

    fn read_frame(&mut self, into: &mut FrameBuffer) -> Result<bool, SourceError> {
        loop {
            if let Some(pages) = &mut self.pages {
                match pages.read_page(into) {
                    Ok(true) => return Ok(true),
                    Ok(false) => self.pages = None,
                    Err(error) => {
                        self.pages = None;
                        return Err(error.into());
                    }
                }
            }
            let Some(path) = self.paths.get(self.next) else { return Ok(false) };
            self.next += 1;
            if is_tiff(path) {
                self.pages = Some(TiffPages::open(path)?);
                continue;
            }
            Image::open(path)?.move_into(into)?;
            return Ok(true);
        }
    }
}

fn is_tiff(path: &Path) -> bool {
    let mut start = [0; 4];
    File::open(path).and_then(|mut file| file.read_exact(&mut start)).is_ok() && read::is_tiff(&start)
}
