//! The frames of a NIfTI file, in their order.

use super::header::Header;
use super::{HEADER_BYTES, NiftiError};
use crate::io::Description;
use crate::io::geometry::Geometry;
use crate::io::raster::{Packing, Place, RasterReader};
use crate::io::source::{Bytes, FrameBuffer, FrameSource, SourceError};
use flate2::bufread::MultiGzDecoder;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::path::{Path, PathBuf};

/// A `.nii`, `.nii.gz` or `.hdr` file. Rows and columns are those of the array; frames are read as they are asked for.
pub struct NiftiSequence {
    path: PathBuf,
    header: Header,
    packing: Packing,
    pixels: RasterReader,
}

impl NiftiSequence {
    /// Reads the header, and checks that the file holds what it announces, no less and no more.
    ///
    /// # Errors
    /// A header that is damaged or of a kind that is not supported; pixels that do not fit it.
    pub fn open(path: &Path) -> Result<Self, SourceError> {
        let failed = |problem| SourceError::Nifti { path: path.into(), problem };
        let open = |path: &Path| File::open(path).map(BufReader::new).map_err(|error| failed(error.into()));
        let file = open(path)?;
        Self::new(path, Box::new(file), |header_path| {
            let name = header_path.file_name()?.to_str()?.to_string();
            let stem = name.strip_suffix(".gz").unwrap_or(&name).strip_suffix(".hdr")?.to_string();
            let beside = [format!("{stem}.img"), format!("{stem}.img.gz")].map(|name| header_path.with_file_name(name));
            let found = beside.iter().find_map(|path| File::open(path).ok())?;
            Some(Box::new(BufReader::new(found)) as Box<dyn Bytes>)
        })
        .map_err(failed)
    }

    /// The same from a file's bytes; `name` is what errors call it.
    pub fn from_bytes(name: &Path, bytes: Vec<u8>) -> Result<Self, SourceError> {
        Self::new(name, Box::new(Cursor::new(bytes)), |_| None)
            .map_err(|problem| SourceError::Nifti { path: name.into(), problem })
    }

    fn new(
        path: &Path,
        mut source: Box<dyn Bytes>,
        image_beside: impl Fn(&Path) -> Option<Box<dyn Bytes>>,
    ) -> Result<Self, NiftiError> {
        let header = Header::read(&start_of(&mut source)?)?;
        if header.is_pair {
            let missing = || NiftiError::Unsupported("the .img file with its pixels is not beside the header".into());
            source = image_beside(path).ok_or_else(missing)?;
        }
        source.rewind()?;
        let place = match is_gzip(&mut source)? {
            true => Place { skip_unpacked: header.offset, ..Place::new(0, Packing::Compressed) },
            false => Place::new(header.offset, Packing::Plain),
        };
        let pixels = RasterReader::new(header.raster.clone(), source, place)?;
        Ok(Self { path: path.into(), header, packing: place.packing, pixels })
    }

    /// Where the pixels lie in space.
    pub fn geometry(&self) -> &Geometry {
        &self.header.geometry
    }

    /// Whether this is one picture, not a clip or a volume.
    pub fn is_still(&self) -> bool {
        self.pixels.frames() == 1
    }

    /// Whether frames are the slices of a volume.
    pub fn is_volume(&self) -> bool {
        self.header.is_volume
    }

    /// What was understood of the file.
    pub fn description(&self) -> Description {
        let [width, height] = self.pixels.size();
        let mut ignored = self.header.ignored.clone();
        ignored.push("the direction of rows and columns, which says how the patient lies and not the picture".into());
        if self.header.raster.channels == 4 {
            ignored.push("the fourth channel, taken for transparency".into());
        }
        Description {
            format: format!("NIfTI-{}", self.header.version),
            width,
            height,
            frames: Some(self.pixels.frames()),
            pixels: self.pixels.describe_pixels(),
            compression: if self.packing == Packing::Plain { "none" } else { "gzip" }.into(),
            mm_per_pixel: self.header.geometry.mm_per_pixel(),
            slice_spacing_mm: self.header.is_volume.then_some(self.header.geometry.spacing_mm[2] as f32),
            seconds_per_frame: self.header.seconds_per_frame,
            ignored,
            ..Description::default()
        }
    }
}

impl FrameSource for NiftiSequence {
    fn frame_count(&self) -> Option<usize> {
        usize::try_from(self.pixels.frames()).ok()
    }

    fn read_frame(&mut self, into: &mut FrameBuffer) -> Result<bool, SourceError> {
        let frame = self.pixels.next();
        let failed = |problem: NiftiError| SourceError::Nifti { path: self.path.clone(), problem };
        if !self.pixels.read_frame(into).map_err(|error| failed(error.into()))? {
            return Ok(false);
        }
        if let Some(mm_per_pixel) = self.header.geometry.mm_per_pixel() {
            into.set_mm_per_pixel(mm_per_pixel)?;
        }
        into.timestamp_s = self.header.seconds_per_frame.map(|seconds| frame as f64 * seconds);
        Ok(true)
    }
}

fn is_gzip(source: &mut impl BufRead) -> io::Result<bool> {
    Ok(source.fill_buf()?.starts_with(&[0x1f, 0x8b]))
}

/// The first bytes of a file, unpacked where it is packed.
pub(in crate::io) fn start_of(source: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut start = Vec::with_capacity(HEADER_BYTES);
    let limit = HEADER_BYTES as u64;
    match is_gzip(source)? {
        true => MultiGzDecoder::new(source).take(limit).read_to_end(&mut start)?,
        false => source.take(limit).read_to_end(&mut start)?,
    };
    Ok(start)
}

#[cfg(test)]
mod tests;
