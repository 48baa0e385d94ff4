//! Picture files as frames, one after the other.

use super::{Bytes, FrameBuffer, FrameSource, SourceError};
use crate::io::Description;
use crate::io::read::{self, ReadError, TiffPages};
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// PNG, JPEG, BMP and TIFF files in the order given; each page of a TIFF file is a frame. Their sizes may differ.
pub struct PictureFiles {
    files: Vec<PictureFile>,
    /// The number of frames of all files together.
    frames: usize,
    next: usize,
    /// The file whose pages are being read.
    pages: Option<TiffPages<Box<dyn Bytes>>>,
}

/// The place of a picture's bytes.
enum PictureFile {
    Path(PathBuf),
    Memory { name: PathBuf, bytes: Arc<[u8]> },
}

impl PictureFile {
    /// The name in errors.
    fn name(&self) -> &Path {
        match self {
            Self::Path(path) | Self::Memory { name: path, .. } => path,
        }
    }

    fn open(&self) -> Result<Box<dyn Bytes>, ReadError> {
        match self {
            Self::Path(path) => Ok(Box::new(read::open_file(path)?)),
            Self::Memory { bytes, .. } => Ok(Box::new(Cursor::new(bytes.clone()))),
        }
    }

    /// The pages of a TIFF file; `None` for any other.
    fn pages(&self) -> Result<Option<TiffPages<Box<dyn Bytes>>>, ReadError> {
        let mut source = self.open()?;
        match source.fill_buf() {
            Ok(start) if read::is_tiff(start) => TiffPages::new(self.name(), source).map(Some),
            // The reader of the picture reports what is wrong.
            _ => Ok(None),
        }
    }
}

impl PictureFiles {
    /// Pictures in this order, each read when its turn comes. Counts the frames of all files; a file that cannot be
    /// read counts as one, and reports why when it is read.
    pub fn new(paths: Vec<PathBuf>) -> Self {
        Self::of(paths.into_iter().map(PictureFile::Path).collect())
    }

    /// One picture file from its bytes; `name` is its name in errors.
    pub fn from_bytes(name: &Path, bytes: Vec<u8>) -> Self {
        Self::of(vec![PictureFile::Memory { name: name.into(), bytes: bytes.into() }])
    }

    fn of(files: Vec<PictureFile>) -> Self {
        let count = |file: &PictureFile| file.pages().ok().flatten().map_or(1, |pages| pages.len());
        let frames = files.iter().map(count).sum();
        Self { files, frames, next: 0, pages: None }
    }

    /// The description of the first file, which is decoded for that.
    ///
    /// # Errors
    /// The file cannot be read, or there is none.
    pub fn description(&self) -> Result<Description, SourceError> {
        let file = self.files.first().ok_or_else(|| ReadError::Missing(PathBuf::new()))?;
        let mut description = read::describe(file.name(), file.open()?)?;
        if self.files.len() > 1 {
            description.frames = Some(self.frames as u64);
            description.format =
                format!("{} picture files, the first of them {}", self.files.len(), description.format);
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
            let Some(file) = self.files.get(self.next) else { return Ok(false) };
            self.next += 1;
            if let Some(pages) = file.pages()? {
                self.pages = Some(pages);
                continue;
            }
            read::decode_into(file.name(), file.open()?, into)?;
            return Ok(true);
        }
    }
}
