//! Opens an NRRD file: reads its header, and finds its pixels.

use super::NrrdError;
use super::header::Header;
use crate::io::raster::{About, Packing, Place, RasterSequence, pixels_of};
use crate::io::source::{Bytes, SourceError};
use std::fs::File;
use std::io::{BufReader, Cursor};
use std::path::Path;

/// Opens a `.nrrd` or `.nhdr` file, and checks that it has exactly the bytes that it announces.
///
/// # Errors
/// The header is damaged or of an unsupported kind, or the pixels do not fit it.
pub fn open(path: &Path) -> Result<RasterSequence, SourceError> {
    let file = || Ok(BufReader::new(File::open(path)?));
    let opened = file().and_then(|file| read(path, file, Some(path)));
    opened.map_err(|problem| SourceError::Nrrd { path: path.into(), problem })
}

/// As [`open`], from a file's bytes; `name` is its name in errors.
pub fn from_bytes(name: &Path, bytes: Vec<u8>) -> Result<RasterSequence, SourceError> {
    read(name, Cursor::new(bytes), None).map_err(|problem| SourceError::Nrrd { path: name.into(), problem })
}

fn read(name: &Path, mut source: impl Bytes + 'static, path: Option<&Path>) -> Result<RasterSequence, NrrdError> {
    let header = Header::read(&mut source)?;
    let unsupported = |reason: &str| NrrdError::Unsupported(reason.into());
    let mut pixels = pixels_of(source, header.data_file.as_deref(), path).map_err(unsupported)?;
    for _ in 0..header.skip_lines {
        if pixels.skip_until(b'\n')? == 0 {
            return Err(NrrdError::Header("line skip is beyond the end".into()));
        }
    }
    let start = pixels.stream_position()?;
    let skip = header.skip_bytes.unwrap_or(0);
    let mut place = Place::new(start, header.packing);
    match header.packing {
        // In compressed pixels, bytes are skipped after unpacking.
        Packing::Compressed => place.skip_unpacked = skip,
        Packing::Text => place.start = start.saturating_add(skip),
        Packing::Plain => {
            place.start = start.saturating_add(skip);
            place.from_end = header.skip_bytes.is_none();
        }
    }
    let raster = header.raster.clone();
    Ok(RasterSequence::new(name, raster, pixels, place, about(header))?)
}

fn about(header: Header) -> About {
    About {
        format: "NRRD".into(),
        compression: header.packing.name(),
        geometry: header.geometry,
        orientation: header.orientation,
        fields: header.fields,
        frame_fields: header.frame_fields,
        is_volume: header.is_volume,
        ignored: header.ignored,
        ..About::default()
    }
}

#[cfg(test)]
mod tests;
