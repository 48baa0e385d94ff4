//! The frames of an NRRD file, in their order.

use super::NrrdError;
use super::header::Header;
use crate::frame::Orientation;
use crate::io::Description;
use crate::io::geometry::Geometry;
use crate::io::raster::{Packing, Place, RasterReader};
use crate::io::source::{Bytes, FrameBuffer, FrameSource, SourceError};
use std::fs::File;
use std::io::{BufRead, BufReader, Cursor, Seek};
use std::path::{Path, PathBuf};

/// A `.nrrd` or `.nhdr` file. Frames are read as they are asked for; a clip takes the memory of one frame, but for 3D
/// Slicer's sequences, whose frames are interleaved.
pub struct NrrdSequence {
    path: PathBuf,
    header: Header,
    pixels: RasterReader,
}

impl NrrdSequence {
    /// Reads the header, and checks that the file holds what it announces, no less and no more.
    ///
    /// # Errors
    /// A header that is damaged or of a kind that is not supported; pixels that do not fit it.
    pub fn open(path: &Path) -> Result<Self, SourceError> {
        let failed = |problem| SourceError::Nrrd { path: path.into(), problem };
        let open = |path: &Path| File::open(path).map(BufReader::new).map_err(|error| failed(error.into()));
        let mut file = open(path)?;
        let header = Header::read(&mut file).map_err(failed)?;
        let pixels: Box<dyn Bytes> = match &header.data_file {
            Some(name) => Box::new(open(&path.with_file_name(name)).map_err(|_| {
                failed(NrrdError::Unsupported("the file with its pixels is not beside the header".into()))
            })?),
            None => Box::new(file),
        };
        Self::new(path, header, pixels).map_err(failed)
    }

    /// The same from a file's bytes; `name` is what errors call it.
    pub fn from_bytes(name: &Path, bytes: Vec<u8>) -> Result<Self, SourceError> {
        let failed = |problem| SourceError::Nrrd { path: name.into(), problem };
        let mut source = Cursor::new(bytes);
        let header = Header::read(&mut source).map_err(failed)?;
        if header.data_file.is_some() {
            return Err(failed(NrrdError::Unsupported("its pixels are in another file".into())));
        }
        Self::new(name, header, Box::new(source)).map_err(failed)
    }

    fn new(path: &Path, header: Header, mut source: Box<dyn Bytes>) -> Result<Self, NrrdError> {
        for _ in 0..header.skip_lines {
            if source.skip_until(b'\n')? == 0 {
                return Err(NrrdError::Header("line skip is beyond the end".into()));
            }
        }
        let start = source.stream_position()?;
        let skip = header.skip_bytes.unwrap_or(0);
        let mut place = Place::new(start, header.packing);
        match header.packing {
            // Of packed pixels, bytes are left out once they are unpacked.
            Packing::Compressed => place.skip_unpacked = skip,
            Packing::Text => place.start = start.saturating_add(skip),
            Packing::Plain => {
                place.start = start.saturating_add(skip);
                place.from_end = header.skip_bytes.is_none();
            }
        }
        let pixels = RasterReader::new(header.raster.clone(), source, place)?;
        Ok(Self { path: path.into(), header, pixels })
    }

    /// Keys that are not the format's own, as `key, value` in the file's order: PLUS's, 3D Slicer's.
    pub fn fields(&self) -> &[(String, String)] {
        &self.header.fields
    }

    /// Where the pixels lie in space.
    pub fn geometry(&self) -> &Geometry {
        &self.header.geometry
    }

    /// How stored pixels are turned to be upright: as PLUS's `UltrasoundImageOrientation` says.
    pub fn orientation(&self) -> Orientation {
        self.header.orientation
    }

    /// Whether this is one picture, not a sequence of one or more.
    pub fn is_still(&self) -> bool {
        self.pixels.frames() == 1
    }

    /// Whether frames are the slices of a volume.
    pub fn is_volume(&self) -> bool {
        !self.is_still() && self.header.is_volume && self.header.frame_fields.is_empty()
    }

    /// What was understood of the file.
    pub fn description(&self) -> Description {
        let [width, height] = self.pixels.size();
        let spacing = self.header.geometry.spacing_mm;
        let mut ignored = self.header.ignored.clone();
        if self.header.raster.channels == 4 {
            ignored.push("the fourth channel, taken for transparency".to_string());
        }
        Description {
            format: "NRRD".into(),
            width,
            height,
            frames: Some(self.pixels.frames()),
            pixels: self.pixels.describe_pixels(),
            compression: self.header.packing.name().into(),
            mm_per_pixel: self.header.geometry.mm_per_pixel(),
            slice_spacing_mm: self.is_volume().then_some(spacing[2] as f32),
            orientation: self.header.orientation,
            ignored,
            ..Description::default()
        }
    }
}

impl FrameSource for NrrdSequence {
    fn frame_count(&self) -> Option<usize> {
        usize::try_from(self.pixels.frames()).ok()
    }

    fn read_frame(&mut self, into: &mut FrameBuffer) -> Result<bool, SourceError> {
        let frame = self.pixels.next();
        let read = self.pixels.read_frame(into);
        let failed = |problem: NrrdError| SourceError::Nrrd { path: self.path.clone(), problem };
        if !read.map_err(|error| failed(error.into()))? {
            return Ok(false);
        }
        if let Some(mm_per_pixel) = self.header.geometry.mm_per_pixel() {
            into.set_mm_per_pixel(mm_per_pixel)?;
        }
        into.orientation = self.header.orientation;
        self.header.frame_fields.note(frame, into);
        Ok(true)
    }
}

#[cfg(test)]
mod tests;
