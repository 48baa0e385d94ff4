//! The header: lines of `key = value`, the last of which says where the pixels are.

use super::MetaImageError;
use crate::frame::{MAX_SIDE, PixelFormat};
use crate::io::MAX_DECODED_BYTES;
use std::collections::BTreeMap;
use std::io::{BufRead, Read};

/// The most bytes a header may take: some hundred thousand frames with a transform each.
pub const MAX_HEADER_BYTES: u64 = 64 << 20;

const MAX_LINE_BYTES: u64 = 64 << 10;

/// What a header says.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Header {
    pub width: usize,
    pub height: usize,
    pub frames: u64,
    pub format: PixelFormat,
    /// Two-byte samples with the high byte first.
    pub big_endian: bool,
    pub mm_per_pixel: Option<[f32; 2]>,
    pub compressed: bool,
    /// Where the header says so.
    pub compressed_bytes: Option<u64>,
    /// Bytes to skip before the pixels in a file of their own.
    pub skip_bytes: u64,
    /// The file with the pixels; `None` where they follow the header.
    pub data_file: Option<String>,
    /// Everything about the sequence that its geometry does not say, in the file's order.
    pub fields: Vec<(String, String)>,
    /// What is said about single frames: `Seq_Frame0007_Timestamp = 3` is `Timestamp` of 7.
    pub frame_fields: BTreeMap<u64, Vec<(String, String)>>,
}

impl Header {
    /// In bytes.
    pub fn frame_bytes(&self) -> usize {
        self.width * self.height * self.format.bytes_per_pixel()
    }

    /// Reads up to and with the line `ElementDataFile`. What follows in `source` are the pixels, where they are local.
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

/// The header's lines, sorted, before they are understood.
#[derive(Default)]
struct Lines {
    layout: BTreeMap<&'static str, String>,
    data_file: Option<String>,
    fields: Vec<(String, String)>,
    frame_fields: BTreeMap<u64, Vec<(String, String)>>,
}

/// Keys that say how pixels lie in the file; a writer of results states its own.
const LAYOUT: [&str; 13] = [
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
];

impl Lines {
    fn add(&mut self, line: &[u8]) -> Result<(), MetaImageError> {
        let line = std::str::from_utf8(line).map_err(|_| damaged("a line is not text"))?.trim();
        if line.is_empty() {
            return Ok(());
        }
        let (key, value) = line.split_once('=').ok_or_else(|| damaged("a line has no `=`"))?;
        let (key, value) = (key.trim(), value.trim().to_string());
        if key == "ElementDataFile" {
            self.data_file = Some(value);
        } else if let Some(name) = LAYOUT.into_iter().find(|name| *name == key) {
            self.layout.insert(name, value);
        } else if let Some((frame, name)) = frame_key(key) {
            self.frame_fields.entry(frame).or_default().push((name.to_string(), value));
        } else {
            self.fields.push((key.to_string(), value));
        }
        Ok(())
    }

    fn finish(self) -> Result<Header, MetaImageError> {
        let text = |key: &str| self.layout.get(key).map(String::as_str);
        let flag = |key: &str| match text(key) {
            None => Ok(None),
            Some(value) if value.eq_ignore_ascii_case("true") => Ok(Some(true)),
            Some(value) if value.eq_ignore_ascii_case("false") => Ok(Some(false)),
            Some(_) => Err(damaged(&format!("{key} is neither True nor False"))),
        };
        let number = |key: &str| {
            text(key).map(|value| value.parse::<i64>().map_err(|_| damaged(&format!("{key} is no number")))).transpose()
        };
        if text("ObjectType").is_some_and(|kind| kind != "Image") {
            return Err(MetaImageError::Unsupported("it holds no image".into()));
        }
        if flag("BinaryData")? == Some(false) {
            return Err(MetaImageError::Unsupported("its pixels are written as text".into()));
        }
        let (width, height, frames) = size(text("DimSize"), number("NDims")?)?;
        let channels = number("ElementNumberOfChannels")?.unwrap_or(1);
        let format = match (text("ElementType"), channels) {
            (Some("MET_UCHAR"), 1) => PixelFormat::Gray8,
            (Some("MET_USHORT"), 1) => PixelFormat::Gray16Le,
            (Some("MET_UCHAR" | "MET_UCHAR_ARRAY"), 3) => PixelFormat::Rgb8,
            (Some(kind), channels) => {
                let kind: String = kind.chars().take(40).collect();
                return Err(MetaImageError::Unsupported(format!("its pixels are {channels} x {kind}")));
            }
            (None, _) => return Err(damaged("ElementType is missing")),
        };
        if (width * height) as u64 * format.bytes_per_pixel() as u64 > MAX_DECODED_BYTES {
            return Err(MetaImageError::Memory);
        }
        let data_file = self.data_file.as_deref().filter(|name| *name != "LOCAL");
        if let Some(name) = data_file {
            // A pattern or a list of files; or a file anywhere on the disk, which a header from elsewhere has no business
            // to name.
            let elsewhere =
                name.contains(['/', '\\', '%']) || name == ".." || name.starts_with("LIST") || name.is_empty();
            if elsewhere {
                return Err(MetaImageError::Unsupported("its pixels are not in one file beside the header".into()));
            }
        }
        let skip_bytes = u64::try_from(number("HeaderSize")?.unwrap_or(0))
            .map_err(|_| MetaImageError::Unsupported("its pixels are counted from the end of the file".into()))?;
        let compressed_bytes = number("CompressedDataSize")?
            .map(|bytes| u64::try_from(bytes).map_err(|_| damaged("CompressedDataSize is below zero")))
            .transpose()?;
        let big_endian = flag("BinaryDataByteOrderMSB")?.or(flag("ElementByteOrderMSB")?).unwrap_or(false);
        Ok(Header {
            width,
            height,
            frames,
            format,
            big_endian,
            mm_per_pixel: spacing(text("ElementSpacing").or(text("ElementSize")))?,
            compressed: flag("CompressedData")?.unwrap_or(false),
            compressed_bytes,
            skip_bytes,
            data_file: data_file.map(str::to_string),
            fields: self.fields,
            frame_fields: self.frame_fields,
        })
    }
}

/// `Seq_Frame0007_Timestamp` as 7 and `Timestamp`.
fn frame_key(key: &str) -> Option<(u64, &str)> {
    let (number, name) = key.strip_prefix("Seq_Frame")?.split_once('_')?;
    Some((number.parse().ok()?, name))
}

fn size(text: Option<&str>, dimensions: Option<i64>) -> Result<(usize, usize, u64), MetaImageError> {
    let text = text.ok_or_else(|| damaged("DimSize is missing"))?;
    let sides: Vec<u64> = text
        .split_whitespace()
        .take(8)
        .map(|side| side.parse().map_err(|_| damaged("DimSize holds no number")))
        .collect::<Result<_, _>>()?;
    if dimensions.is_some_and(|dimensions| dimensions != sides.len() as i64) {
        return Err(damaged("NDims and DimSize disagree"));
    }
    let (width, height, frames) = match sides[..] {
        [width, height] => (width, height, 1),
        [width, height, frames] => (width, height, frames),
        _ => return Err(MetaImageError::Unsupported("it has neither two nor three dimensions".into())),
    };
    if width == 0 || height == 0 || frames == 0 {
        return Err(damaged("it holds no pixels"));
    }
    match (usize::try_from(width), usize::try_from(height)) {
        (Ok(w), Ok(h)) if w <= MAX_SIDE && h <= MAX_SIDE => Ok((w, h, frames)),
        _ => Err(MetaImageError::TooLarge { width, height }),
    }
}

/// PLUS writes a spacing of 1 where it keeps the pixels' size in its calibration, so 1 is no size.
fn spacing(text: Option<&str>) -> Result<Option<[f32; 2]>, MetaImageError> {
    let Some(text) = text else { return Ok(None) };
    let mut sides = text.split_whitespace().map(str::parse::<f32>);
    match (sides.next(), sides.next()) {
        (Some(Ok(x)), Some(Ok(y))) if x == 1.0 && y == 1.0 => Ok(None),
        (Some(Ok(x)), Some(Ok(y))) if x > 0.0 && y > 0.0 && x.is_finite() && y.is_finite() => Ok(Some([x, y])),
        _ => Err(damaged("ElementSpacing is no size of a pixel")),
    }
}

fn damaged(reason: &str) -> MetaImageError {
    MetaImageError::Header(reason.into())
}
