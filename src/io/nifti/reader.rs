//! Opens a NIfTI file: reads its header, and finds its pixels. Rows and columns are those of the array.

use super::header::Header;
use super::{HEADER_BYTES, NiftiError};
use crate::io::raster::{About, Packing, Place, RasterSequence};
use crate::io::source::{Bytes, SourceError};
use flate2::bufread::MultiGzDecoder;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::path::Path;

/// Opens a `.nii`, `.nii.gz` or `.hdr` file, and checks that it has exactly the bytes that it announces.
///
/// # Errors
/// The header is damaged or of an unsupported kind, or the pixels do not fit it.
pub fn open(path: &Path) -> Result<RasterSequence, SourceError> {
    let file = || Ok(BufReader::new(File::open(path)?));
    let opened = file().and_then(|file| read(path, Box::new(file), image_beside));
    opened.map_err(|problem| SourceError::Nifti { path: path.into(), problem })
}

/// As [`open`], from a file's bytes; `name` is its name in errors.
pub fn from_bytes(name: &Path, bytes: Vec<u8>) -> Result<RasterSequence, SourceError> {
    read(name, Box::new(Cursor::new(bytes)), |_| None)
        .map_err(|problem| SourceError::Nifti { path: name.into(), problem })
}

/// The file with the pixels of a pair.
fn image_beside(header_path: &Path) -> Option<Box<dyn Bytes>> {
    let name = header_path.file_name()?.to_str()?;
    let stem = name.strip_suffix(".gz").unwrap_or(name).strip_suffix(".hdr")?;
    let beside = [format!("{stem}.img"), format!("{stem}.img.gz")].map(|name| header_path.with_file_name(name));
    let found = beside.iter().find_map(|path| File::open(path).ok())?;
    Some(Box::new(BufReader::new(found)))
}

fn read(
    path: &Path,
    mut source: Box<dyn Bytes>,
    image_beside: impl Fn(&Path) -> Option<Box<dyn Bytes>>,
) -> Result<RasterSequence, NiftiError> {
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
    let mut ignored = header.ignored;
    ignored.push("the direction of rows and columns, which describes the patient and not the picture".into());
    let about = About {
        format: format!("NIfTI-{}", header.version),
        compression: if place.packing == Packing::Plain { "none" } else { "gzip" },
        geometry: header.geometry,
        is_volume: header.is_volume,
        seconds_per_frame: header.seconds_per_frame,
        ignored,
        ..About::default()
    };
    Ok(RasterSequence::new(path, header.raster, source, place, about)?)
}

fn is_gzip(source: &mut impl BufRead) -> io::Result<bool> {
    Ok(source.fill_buf()?.starts_with(&[0x1f, 0x8b]))
}

/// The first bytes of a file, unpacked where it is compressed.
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
