//! Sources of frames: pictures, clips, sequences, a pipe. Each is read frame by frame into one buffer, so that a clip
//! of any length needs the memory of one frame.

mod kind;
mod pictures;
mod raw;

pub use kind::{Files, Source, expand, expand_tree, is_image};
pub use pictures::PictureFiles;
pub use raw::{RawFormat, RawFrames, RawPixels};

#[cfg(feature = "dicom")]
use super::dicom::DicomError;
use super::metaimage::MetaImageError;
use super::nifti::NiftiError;
use super::nrrd::NrrdError;
use super::{RasterError, ReadError};
use crate::frame::{Frame, FrameError, Orientation, PixelFormat, Region};
use std::io::{BufRead, Seek};
use std::path::PathBuf;

/// Any seekable reader for a clip.
pub(super) trait Bytes: BufRead + Seek + Send {}

impl<T: BufRead + Seek + Send> Bytes for T {}

/// One frame, owned: pixels row by row without gaps, and what the source says about them. Its memory is reused; it
/// grows only where a frame is larger than all before.
#[derive(Clone, Debug, PartialEq)]
pub struct FrameBuffer {
    pixels: Vec<u8>,
    format: PixelFormat,
    width: usize,
    height: usize,
    region: Option<Region>,
    mm_per_pixel: Option<[f32; 2]>,
    /// How the pixels are turned to be upright. They are stored as in the source, and so are results.
    pub orientation: Orientation,
    /// When the frame was taken, in seconds, by the source's own clock; `None` where it does not say.
    pub timestamp_s: Option<f64>,
    /// Whether the source marks the picture as valid. Recorders keep a place for frames that they lost.
    pub valid: bool,
    /// The other fields of this frame in a sequence, as `key, value`: PLUS's transforms and their status. For results
    /// that pass them on, not for logs.
    pub fields: Vec<(String, String)>,
}

impl Default for FrameBuffer {
    /// A buffer to read into, without pixels.
    fn default() -> Self {
        Self {
            pixels: Vec::new(),
            format: PixelFormat::Gray8,
            width: 0,
            height: 0,
            region: None,
            mm_per_pixel: None,
            orientation: Orientation::Upright,
            timestamp_s: None,
            valid: true,
            fields: Vec::new(),
        }
    }
}

impl FrameBuffer {
    /// Allocates memory for a frame and clears everything about the last one. Returns the pixels to fill: `height` rows
    /// of `width` pixels. Their content is that of an earlier frame.
    ///
    /// # Errors
    /// A side is zero, or above [`crate::frame::MAX_SIDE`].
    pub fn reset(&mut self, format: PixelFormat, width: usize, height: usize) -> Result<&mut [u8], FrameError> {
        let bytes = bytes_of(format, width, height)?;
        let pixels = std::mem::take(&mut self.pixels);
        *self = Self { pixels, format, width, height, ..Self::default() };
        self.pixels.resize(bytes, 0);
        Ok(&mut self.pixels)
    }

    /// Takes pixels that a decoder allocated. Errors as [`Frame::packed`].
    pub(super) fn replace(
        &mut self,
        pixels: Vec<u8>,
        format: PixelFormat,
        width: usize,
        height: usize,
    ) -> Result<(), FrameError> {
        Frame::packed(&pixels, format, width, height)?;
        *self = Self { pixels, format, width, height, ..Self::default() };
        Ok(())
    }

    /// Copies a frame that a caller borrowed: its pixels without padding, region, pixel size, orientation and validity.
    pub fn copy_from(&mut self, frame: &Frame<'_>) {
        let pixels = std::mem::take(&mut self.pixels);
        *self = Self {
            pixels,
            format: frame.format(),
            width: frame.width(),
            height: frame.height(),
            region: Some(frame.region()),
            mm_per_pixel: frame.mm_per_pixel(),
            orientation: frame.orientation(),
            valid: frame.is_valid(),
            ..Self::default()
        };
        self.pixels.clear();
        frame.rows().for_each(|row| self.pixels.extend_from_slice(row));
    }

    /// Sets the region of the scan.
    ///
    /// # Errors
    /// The region leaves the frame ([`FrameError::Region`]).
    pub fn set_region(&mut self, region: Region) -> Result<(), FrameError> {
        self.frame()?.with_region(region)?;
        self.region = Some(region);
        Ok(())
    }

    /// Whether the region of the scan was set, even to the complete frame.
    pub fn has_region(&self) -> bool {
        self.region.is_some()
    }

    /// Sets the size of a pixel, `[x, y]`.
    ///
    /// # Errors
    /// A number is not finite or not above zero ([`FrameError::PixelSize`]).
    pub fn set_mm_per_pixel(&mut self, mm_per_pixel: [f32; 2]) -> Result<(), FrameError> {
        self.frame()?.with_mm_per_pixel(mm_per_pixel)?;
        self.mm_per_pixel = Some(mm_per_pixel);
        Ok(())
    }

    /// Borrows the frame with its region of interest and pixel size, where the source knows them.
    ///
    /// # Errors
    /// Nothing was read yet ([`FrameError::Empty`]).
    pub fn frame(&self) -> Result<Frame<'_>, FrameError> {
        let mut frame = Frame::packed(&self.pixels, self.format, self.width, self.height)?
            .with_orientation(self.orientation)
            .with_valid(self.valid);
        if let Some(region) = self.region {
            frame = frame.with_region(region)?;
        }
        if let Some(mm_per_pixel) = self.mm_per_pixel {
            frame = frame.with_mm_per_pixel(mm_per_pixel)?;
        }
        Ok(frame)
    }

    /// The frame's pixels, row by row.
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    /// Blanks everything outside the region of interest: the machine's menus, and the patient's name in them. Does
    /// nothing where there is no region.
    pub fn blank_outside_region(&mut self) {
        let Some(region) = self.region else { return };
        let (pixel, row_bytes) = (self.format.bytes_per_pixel(), self.width * self.format.bytes_per_pixel());
        for (y, row) in self.pixels.chunks_exact_mut(row_bytes).enumerate() {
            if y < region.y || y >= region.y + region.height {
                row.fill(0);
            } else {
                row[..region.x * pixel].fill(0);
                row[(region.x + region.width) * pixel..].fill(0);
            }
        }
    }
}

fn bytes_of(format: PixelFormat, width: usize, height: usize) -> Result<usize, FrameError> {
    use crate::frame::MAX_SIDE;
    match (width, height) {
        (0, _) | (_, 0) => Err(FrameError::Empty { width, height }),
        _ if width > MAX_SIDE || height > MAX_SIDE => Err(FrameError::TooLarge { width, height }),
        _ => Ok(width * height * format.bytes_per_pixel()),
    }
}

/// Frames in their order.
pub trait FrameSource: Send {
    /// The number of all frames; `None` where it is unknown before the end, as on a pipe.
    fn frame_count(&self) -> Option<usize>;

    /// Reads the next frame into `into`; `false` after the last one, and `into` is unchanged.
    ///
    /// # Errors
    /// The frame cannot be read. A source of separate files can continue with the next one; every other ends there.
    fn read_frame(&mut self, into: &mut FrameBuffer) -> Result<bool, SourceError>;
}

/// Why the next frame can't be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages say it")]
pub enum SourceError {
    #[error(transparent)]
    Picture(#[from] ReadError),
    #[error(
        "{}: no picture in this folder; give one with PNG, JPEG, BMP, TIFF, DICOM, MetaImage, NRRD or NIfTI files",
        .0.display()
    )]
    EmptyFolder(PathBuf),
    #[error("{}: only results of an earlier run are in this folder; name the files themselves to use them", .0.display())]
    OnlyResults(PathBuf),
    #[error("{}: cannot be listed ({source}); check its permissions", path.display())]
    Folder { path: PathBuf, source: std::io::Error },
    #[error("standard input: cannot be read ({0}); check the command before the pipe")]
    Pipe(std::io::Error),
    #[error("standard input: ends within a frame, {actual} bytes of {needed}; check size, format and stride of --raw")]
    CutShort { actual: usize, needed: usize },
    #[error(
        "standard input: rows are {stride_bytes} bytes apart and hold {row_bytes}, as GStreamer pads them; write /{stride_bytes} \
         after the format of --raw, as in 641x480:gray8/644, or /{row_bytes} where rows are not padded"
    )]
    PaddedRows { row_bytes: usize, stride_bytes: usize },
    #[error("standard input: contains no frame; check the command before the pipe")]
    NoFrames,
    #[error("{}: {problem}", path.display())]
    MetaImage { path: PathBuf, problem: MetaImageError },
    #[error("{}: {problem}", path.display())]
    Nrrd { path: PathBuf, problem: NrrdError },
    #[error("{}: {problem}", path.display())]
    Nifti { path: PathBuf, problem: NiftiError },
    #[error("{}: {problem}", path.display())]
    Raster { path: PathBuf, problem: RasterError },
    #[cfg(feature = "dicom")]
    #[error("{}: {problem}", path.display())]
    Dicom { path: PathBuf, problem: DicomError },
    #[error("{}: a DICOM file, which this build does not read; build with the feature `dicom`", .0.display())]
    WithoutDicom(PathBuf),
    #[error(transparent)]
    Frame(#[from] FrameError),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_forgets_the_last_frame() {
        let mut buffer = FrameBuffer::default();
        assert_eq!(buffer.frame().unwrap_err(), FrameError::Empty { width: 0, height: 0 });
        buffer.reset(PixelFormat::Rgb8, 4, 2).unwrap().fill(7);
        buffer.set_region(Region { x: 1, y: 0, width: 2, height: 2 }).unwrap();
        buffer.set_mm_per_pixel([0.1, 0.2]).unwrap();
        (buffer.timestamp_s, buffer.valid) = (Some(3.0), false);
        let frame = buffer.frame().unwrap();
        assert_eq!((frame.region().x, frame.mm_per_pixel()), (1, Some([0.1, 0.2])));
        assert!(buffer.set_region(Region { x: 3, y: 0, width: 2, height: 2 }).is_err());
        assert!(buffer.set_mm_per_pixel([0.0, 1.0]).is_err());
        assert_eq!(buffer.reset(PixelFormat::Gray8, 3, 1).unwrap().len(), 3);
        let frame = buffer.frame().unwrap();
        assert_eq!((frame.region(), frame.mm_per_pixel()), (Region::whole(3, 1), None));
        assert_eq!((buffer.timestamp_s, buffer.valid), (None, true));
        assert!(
            buffer.reset(PixelFormat::Gray8, 0, 1).is_err() && buffer.reset(PixelFormat::Gray8, 1, 99_999).is_err()
        );
    }

    #[test]
    fn blank_outside_of_the_region() {
        let mut buffer = FrameBuffer::default();
        buffer.reset(PixelFormat::Gray16Le, 3, 3).unwrap().fill(9);
        buffer.blank_outside_region();
        assert_eq!(buffer.pixels(), [9; 18]);
        buffer.set_region(Region { x: 1, y: 1, width: 2, height: 1 }).unwrap();
        buffer.blank_outside_region();
        assert_eq!(buffer.pixels(), [0, 0, 0, 0, 0, 0, 0, 0, 9, 9, 9, 9, 0, 0, 0, 0, 0, 0]);
    }
}
