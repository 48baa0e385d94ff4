//! The header: lines of `key = value`, the last of which names the place of the pixels.

use super::MetaImageError;
use crate::frame::Orientation;
use crate::io::frame_fields::FrameFields;
use crate::io::geometry::Geometry;
use crate::io::raster::{Element, Packing, Raster};
use std::collections::BTreeMap;
use std::io::{BufRead, Read};

/// The most bytes of a header: some hundred thousand frames with a transform each.
pub const MAX_HEADER_BYTES: u64 = 64 << 20;

const MAX_LINE_BYTES: u64 = 64 << 10;

/// The content of a header.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Header {
    pub raster: Raster,
    pub geometry: Geometry,
    /// The orientation by `UltrasoundImageOrientation`.
    pub orientation: Orientation,
    pub packing: Packing,
    /// The size of the compressed pixels, where the header states it.
    pub compressed_bytes: Option<u64>,
    /// Bytes to skip before the pixels in a separate file; `None` where the pixels are the last bytes of their file.
    pub skip_bytes: Option<u64>,
    /// The file with the pixels; `None` where they follow the header.
    pub data_file: Option<String>,
    /// Everything about the sequence that its geometry does not state, in the file's order.
    pub fields: Vec<(String, String)>,
    /// The fields of single frames.
    pub frame_fields: FrameFields,
    /// Whether the text is not UTF-8 and was read as Latin-1.
    pub is_latin_1: bool,
}

/// Whether a file's first bytes are a MetaImage header's: lines of `key = value`, among them one that only MetaImage
/// has.
pub(in crate::io) fn starts_like_one(start: &[u8]) -> bool {
    let mut lines = start.split(|byte| *byte == b'\n');
    let mut keys = lines.by_ref().map_while(|line| {
        let equals = line.iter().position(|byte| *byte == b'=')?;
        Some(line[..equals].trim_ascii())
    });
    keys.any(|key| matches!(key, b"ObjectType" | b"NDims" | b"DimSize" | b"ElementType" | b"ElementDataFile"))
}

impl Header {
    /// Reads up to and including the line `ElementDataFile`. The pixels follow in `source`, where they are local.
    pub fn read(source: &mut impl BufRead) -> Result<Self, MetaImageError> {
        let mut lines = Lines::default();
        let mut read_bytes = 0;
        let mut line = Vec::new();
        while lines.data_file.is_none() {
            line.clear();
            let read = source.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', &mut line)? as u64;
            read_bytes += read;
            if read == 0 {
                return Err(damaged("it ends before ElementDataFile"));
            }
            if read == MAX_LINE_BYTES || read_bytes > MAX_HEADER_BYTES {
                return Err(damaged("a line, or all of it, is longer than any header"));
            }
            lines.add(&line)?;
        }
        lines.finish()
    }
}

/// The header's lines by key, before they are interpreted.
#[derive(Default)]
struct Lines {
    layout: BTreeMap<&'static str, String>,
    data_file: Option<String>,
    fields: Vec<(String, String)>,
    frame_fields: FrameFields,
    is_latin_1: bool,
}

/// Keys that describe the layout of pixels in the file and in space; a writer of results states its own.
const LAYOUT: [&str; 20] = [
    "NDims",
    "DimSize",
    "ElementType",
    "ElementNumberOfChannels",
    "ElementSpacing",
    "ElementSize",
    "BinaryData",
    "BinaryDataByteOrderMSB",
    "ElementByteOrderMSB",
    "CompressedData",
    "CompressedDataSize",
    "HeaderSize",
    "ObjectType",
    "TransformMatrix",
    "Rotation",
    "Orientation",
    "Offset",
    "Position",
    "Origin",
    "CenterOfRotation",
];

impl Lines {
    fn add(&mut self, line: &[u8]) -> Result<(), MetaImageError> {
        // Comments come in any encoding; bytes that are not UTF-8 are read as Latin-1, in which all are letters.
        let line = match std::str::from_utf8(line) {
            Ok(line) => line.to_string(),
            Err(_) => {
                self.is_latin_1 = true;
                line.iter().map(|byte| char::from(*byte)).collect()
            }
        };
        let line = line.trim();
        if line.is_empty() {
            return Ok(());
        }
        let (key, value) = line.split_once('=').ok_or_else(|| damaged("a line has no `=`"))?;
        let (key, value) = (key.trim(), value.trim().to_string());
        if key == "ElementDataFile" {
            self.data_file = Some(value);
        } else if let Some(name) = LAYOUT.into_iter().find(|name| *name == key) {
            self.layout.insert(name, value);
        } else if let Some(value) = self.frame_fields.take(key, value) {
            self.fields.push((key.to_string(), value));
        }
        Ok(())
    }

    fn text(&self, key: &str) -> Option<&str> {
        self.layout.get(key).map(String::as_str)
    }

    fn flag(&self, key: &str) -> Result<Option<bool>, MetaImageError> {
        match self.text(key) {
            None => Ok(None),
            // MetaIO reads the first letter.
            Some(value) if value.starts_with(['T', 't', '1']) => Ok(Some(true)),
            Some(value) if value.starts_with(['F', 'f', '0']) => Ok(Some(false)),
            Some(_) => Err(damaged(&format!("{key} is neither True nor False"))),
        }
    }

    fn number(&self, key: &str) -> Result<Option<i64>, MetaImageError> {
        let parse = |value: &str| value.parse().map_err(|_| damaged(&format!("{key} is not a number")));
        self.text(key).map(parse).transpose()
    }

    /// The numbers of the first key that is there.
    fn reals(&self, keys: &[&str]) -> Result<Option<Vec<f64>>, MetaImageError> {
        let Some((key, text)) = keys.iter().find_map(|key| Some((*key, self.text(key)?))) else { return Ok(None) };
        let numbers =
            text.split_whitespace().take(64).map(|number| number.parse::<f64>().ok().filter(|n| n.is_finite()));
        numbers
            .collect::<Option<Vec<_>>>()
            .map(Some)
            .ok_or_else(|| damaged(&format!("{key} contains something that is not a number")))
    }

    fn finish(self) -> Result<Header, MetaImageError> {
        if self.text("ObjectType").is_some_and(|kind| kind != "Image") {
            return Err(MetaImageError::Unsupported("it holds no image".into()));
        }
        let (width, height, frames) = size(self.text("DimSize"), self.number("NDims")?)?;
        let (element, channels) = self.element()?;
        let data_file = self.data_file.as_deref().filter(|name| !["LOCAL", "Local", "local"].contains(name));
        if let Some(name) = data_file
            && (is_elsewhere(name) || name.starts_with("LIST"))
        {
            return Err(MetaImageError::Unsupported("its pixels are not in one file beside the header".into()));
        }
        let skip_bytes = match self.number("HeaderSize")? {
            Some(-1) => None,
            bytes => Some(u64::try_from(bytes.unwrap_or(0)).map_err(|_| damaged("HeaderSize is below -1"))?),
        };
        let compressed_bytes = self
            .number("CompressedDataSize")?
            .map(|bytes| u64::try_from(bytes).map_err(|_| damaged("CompressedDataSize is below zero")))
            .transpose()?
            // Some writers put 0 where they do not know it.
            .filter(|bytes| *bytes > 0);
        let packing = match (self.flag("BinaryData")?, self.flag("CompressedData")?) {
            (_, Some(true)) => Packing::Compressed,
            (Some(false), _) => Packing::Text,
            _ => Packing::Plain,
        };
        let big_endian = self.flag("BinaryDataByteOrderMSB")?.or(self.flag("ElementByteOrderMSB")?).unwrap_or(false);
        let orientation = self.fields.iter().find(|(key, _)| key == "UltrasoundImageOrientation");
        Ok(Header {
            raster: Raster { width, height, frames, element, channels, big_endian, frames_first: false, scale: None },
            geometry: self.geometry()?,
            orientation: orientation.and_then(|(_, value)| Orientation::from_plus(value)).unwrap_or_default(),
            packing,
            compressed_bytes,
            skip_bytes,
            data_file: data_file.map(str::to_string),
            fields: self.fields,
            frame_fields: self.frame_fields,
            is_latin_1: self.is_latin_1,
        })
    }

    fn element(&self) -> Result<(Element, usize), MetaImageError> {
        let kind = self.text("ElementType").ok_or_else(|| damaged("ElementType is missing"))?;
        let channels = self.number("ElementNumberOfChannels")?.unwrap_or(1);
        let element = match kind.strip_suffix("_ARRAY").unwrap_or(kind) {
            "MET_UCHAR" => Some(Element::U8),
            "MET_CHAR" | "MET_ASCII_CHAR" => Some(Element::I8),
            "MET_USHORT" => Some(Element::U16),
            "MET_SHORT" => Some(Element::I16),
            // MetaIO's long is four bytes on every system.
            "MET_UINT" | "MET_ULONG" => Some(Element::U32),
            "MET_INT" | "MET_LONG" => Some(Element::I32),
            "MET_ULONG_LONG" => Some(Element::U64),
            "MET_LONG_LONG" => Some(Element::I64),
            "MET_FLOAT" => Some(Element::F32),
            "MET_DOUBLE" => Some(Element::F64),
            _ => None,
        };
        match (element, channels) {
            (Some(element), 1 | 3 | 4) => Ok((element, channels as usize)),
            _ => {
                let kind: String = kind.chars().take(40).collect();
                Err(MetaImageError::Unsupported(format!("its pixels are {channels} x {kind}")))
            }
        }
    }

    fn geometry(&self) -> Result<Geometry, MetaImageError> {
        let mut geometry = Geometry::default();
        if let Some(spacing) = self.reals(&["ElementSpacing", "ElementSize"])? {
            if spacing.len() < 2 || spacing[..2].iter().any(|mm| *mm <= 0.0) {
                return Err(damaged("ElementSpacing is not a pixel size"));
            }
            for (mm, given) in geometry.spacing_mm.iter_mut().zip(spacing) {
                // Frames of a sequence have no distance from each other.
                *mm = if given > 0.0 { given } else { 1.0 };
            }
        }
        if let Some(origin) = self.reals(&["Offset", "Position", "Origin"])? {
            geometry.origin_mm.iter_mut().zip(origin).for_each(|(mm, given)| *mm = given);
        }
        let matrix = self.reals(&["TransformMatrix", "Rotation", "Orientation"])?.unwrap_or_default();
        // A line of the matrix is the direction of an axis. A picture's has two axes in its own plane.
        let axes = match matrix.len() {
            4 => 2,
            9 => 3,
            _ => return Ok(geometry),
        };
        for (axis, direction) in matrix.chunks_exact(axes).enumerate() {
            let length = direction.iter().map(|part| part * part).sum::<f64>().sqrt();
            if length > 0.0 {
                geometry.directions[axis][..axes].copy_from_slice(direction);
            }
        }
        Ok(geometry)
    }
}

/// A pattern of names, or a file anywhere on the disk, which an untrusted header must not name.
pub(in crate::io) fn is_elsewhere(name: &str) -> bool {
    name.contains(['/', '\\', '%']) || name == ".." || name == "." || name.is_empty()
}

fn size(text: Option<&str>, dimensions: Option<i64>) -> Result<(u64, u64, u64), MetaImageError> {
    let text = text.ok_or_else(|| damaged("DimSize is missing"))?;
    let sides: Vec<u64> = text
        .split_whitespace()
        .take(8)
        .map(|side| side.parse().map_err(|_| damaged("DimSize contains something that is not a number")))
        .collect::<Result<_, _>>()?;
    if dimensions.is_some_and(|dimensions| dimensions != sides.len() as i64) {
        return Err(damaged("NDims and DimSize disagree"));
    }
    match sides[..] {
        [width, height] => Ok((width, height, 1)),
        [width, height, frames] | [width, height, 1, frames] | [width, height, frames, 1] => {
            Ok((width, height, frames))
        }
        [_, _, _, _] => Err(MetaImageError::Unsupported("it has four dimensions, volumes over time".into())),
        _ => Err(MetaImageError::Unsupported("it has neither two nor three dimensions".into())),
    }
}

fn damaged(reason: &str) -> MetaImageError {
    MetaImageError::Header(reason.into())
}
