//! Opens a MetaImage: reads its header, and finds its pixels.

use super::MetaImageError;
use super::header::Header;
use crate::frame::Orientation;
use crate::io::raster::{About, Packing, Place, RasterSequence, pixels_of};
use crate::io::source::{Bytes, SourceError};
use std::fs::File;
use std::io::{BufReader, Cursor};
use std::path::Path;

/// Opens a `.mha` or `.mhd` file, and checks that it has exactly the bytes that it announces.
///
/// # Errors
/// The header is damaged or of an unsupported kind, or the pixels do not fit it.
pub fn open(path: &Path) -> Result<RasterSequence, SourceError> {
    let file = || Ok(BufReader::new(File::open(path)?));
    let opened = file().and_then(|file| read(path, file, Some(path)));
    opened.map_err(|problem| SourceError::MetaImage { path: path.into(), problem })
}

/// As [`open`], from a `.mha` file's bytes; `name` is its name in errors.
pub fn from_bytes(name: &Path, bytes: Vec<u8>) -> Result<RasterSequence, SourceError> {
    read(name, Cursor::new(bytes), None).map_err(|problem| SourceError::MetaImage { path: name.into(), problem })
}

fn read(name: &Path, mut source: impl Bytes + 'static, path: Option<&Path>) -> Result<RasterSequence, MetaImageError> {
    let header = Header::read(&mut source)?;
    let unsupported = |reason: &str| MetaImageError::Unsupported(reason.into());
    let mut pixels = pixels_of(source, header.data_file.as_deref(), path).map_err(unsupported)?;
    let start = pixels.stream_position()?.saturating_add(header.skip_bytes.unwrap_or(0));
    let place = Place {
        from_end: header.skip_bytes.is_none() && header.packing == Packing::Plain,
        bytes: header.compressed_bytes.unwrap_or(u64::MAX),
        ..Place::new(start, header.packing)
    };
    let raster = header.raster.clone();
    Ok(RasterSequence::new(name, raster, pixels, place, about(header))?)
}

fn about(header: Header) -> About {
    let mut ignored = Vec::new();
    if header.geometry.spacing_mm[..2] == [1.0, 1.0] {
        ignored.push("a spacing of 1 x 1, which means an unknown one".to_string());
    }
    let orientation = header.fields.iter().find(|(key, _)| key == "UltrasoundImageOrientation");
    if let Some((_, letters)) = orientation
        && Orientation::from_plus(letters).is_none()
    {
        let letters: String = letters.chars().take(8).collect();
        ignored.push(format!("UltrasoundImageOrientation {letters}, which is unknown: treated as upright"));
    }
    // Several frames without PLUS's fields of a sequence are a volume.
    let says_sequence = |(key, value): &(String, String)| {
        key.starts_with("Ultrasound") || (key == "Kinds" && value.split_whitespace().last() == Some("list"))
    };
    About {
        format: "MetaImage".into(),
        compression: header.packing.name(),
        geometry: header.geometry,
        orientation: header.orientation,
        is_volume: !header.fields.iter().any(says_sequence),
        fields: header.fields,
        frame_fields: header.frame_fields,
        character_set: header.is_latin_1.then_some("not UTF-8, read as Latin-1"),
        ignored,
        ..About::default()
    }
}

#[cfg(test)]
mod tests;
