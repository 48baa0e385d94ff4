//! The header: a line with the format's version, `field: value` and `key:=value` lines, and an empty line before pixels
//! that follow.

use super::axes::Axes;
use super::{MAGIC, NrrdError};
use crate::frame::Orientation;
use crate::io::frame_fields::FrameFields;
use crate::io::geometry::Geometry;
use crate::io::metaimage::{MAX_HEADER_BYTES, is_elsewhere};
use crate::io::raster::{Element, Packing, Raster};
use std::collections::BTreeMap;
use std::io::{BufRead, Read};

const MAX_LINE_BYTES: u64 = 64 << 10;

/// The most axes; the format's limit.
const MAX_AXES: usize = 16;

/// The content of a header.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Header {
    pub raster: Raster,
    pub geometry: Geometry,
    pub is_volume: bool,
    pub orientation: Orientation,
    pub packing: Packing,
    /// Lines, and then bytes, to skip before the pixels in their file; `None` where the pixels are the last bytes of
    /// their file.
    pub skip_lines: u64,
    pub skip_bytes: Option<u64>,
    /// The file with the pixels; `None` where they follow the header.
    pub data_file: Option<String>,
    /// Keys that are not the format's own, in the file's order.
    pub fields: Vec<(String, String)>,
    pub frame_fields: FrameFields,
    /// Content that is not used.
    pub ignored: Vec<String>,
}

#[derive(Default)]
struct Lines {
    layout: BTreeMap<String, String>,
    fields: Vec<(String, String)>,
    frame_fields: FrameFields,
}

impl Header {
    /// Reads up to and including the empty line. The pixels follow in `source`, where they are not in another file.
    pub fn read(source: &mut impl BufRead) -> Result<Self, NrrdError> {
        let mut lines = Lines::default();
        let (mut read_bytes, mut number) = (0, 0u64);
        let mut line = Vec::new();
        loop {
            line.clear();
            let read = source.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', &mut line)? as u64;
            read_bytes += read;
            if read == MAX_LINE_BYTES || read_bytes > MAX_HEADER_BYTES {
                return Err(damaged("a line, or all of it, is longer than any header"));
            }
            let text = String::from_utf8_lossy(&line);
            let text = text.trim_end_matches(['\n', '\r']);
            if number == 0 && !text.as_bytes().starts_with(MAGIC) {
                return Err(damaged("it does not begin with NRRD"));
            }
            // The end of a header whose pixels are in another file may be the file's.
            if text.is_empty() {
                return lines.finish(read == 0);
            }
            if number > 0 {
                lines.add(text)?;
            }
            number += 1;
        }
    }
}

impl Lines {
    fn add(&mut self, line: &str) -> Result<(), NrrdError> {
        if line.starts_with('#') {
            return Ok(());
        }
        // Whichever comes first: a value may contain either.
        let (colon, assign) = (line.find(": "), line.find(":="));
        if let Some(at) = assign.filter(|at| colon.is_none_or(|colon| *at < colon)) {
            let (key, value) = (line[..at].trim(), line[at + 2..].trim().to_string());
            if let Some(value) = self.frame_fields.take(key, value) {
                self.fields.push((key.to_string(), value));
            }
            return Ok(());
        }
        let (field, value) = line.split_once(':').ok_or_else(|| damaged("a line has no `:`"))?;
        // Spaces in a field's name are optional, and case does not matter.
        let name = field.trim().to_ascii_lowercase().replace(' ', "");
        self.layout.insert(name, value.trim().to_string());
        Ok(())
    }

    fn text(&self, names: &[&str]) -> Option<&str> {
        names.iter().find_map(|name| self.layout.get(*name)).map(String::as_str)
    }

    fn number(&self, names: &[&str]) -> Result<Option<i64>, NrrdError> {
        let parse = |value: &str| value.parse().map_err(|_| damaged(&format!("{} is not a number", names[0])));
        self.text(names).map(parse).transpose()
    }

    fn words(&self, name: &str) -> Vec<String> {
        self.text(&[name]).unwrap_or_default().split_whitespace().take(MAX_AXES).map(str::to_string).collect()
    }

    fn finish(mut self, at_end: bool) -> Result<Header, NrrdError> {
        let sizes: Vec<u64> = self
            .words("sizes")
            .iter()
            .map(|size| size.parse().map_err(|_| damaged("sizes contains something that is not a number")))
            .collect::<Result<_, _>>()?;
        if sizes.is_empty() {
            return Err(damaged("sizes is missing"));
        }
        if self.number(&["dimension"])?.is_some_and(|dimension| dimension != sizes.len() as i64) {
            return Err(damaged("dimension and sizes disagree"));
        }
        let steps = self.vectors("spacedirections")?;
        let in_space: Vec<bool> = steps.iter().map(Option::is_some).collect();
        let axes = Axes::of(&sizes, &self.words("kinds"), &in_space)?;
        let element = self.element()?;
        if ![1, 3, 4].contains(&axes.channels) {
            return Err(NrrdError::Unsupported(format!("its pixels have {} samples", axes.channels)));
        }
        let packing = match self.text(&["encoding"]).unwrap_or("raw").to_ascii_lowercase().as_str() {
            "raw" => Packing::Plain,
            "gz" | "gzip" => Packing::Compressed,
            "txt" | "text" | "ascii" => Packing::Text,
            other => {
                let other: String = other.chars().take(20).collect();
                return Err(NrrdError::Unsupported(format!("its encoding is {other}")));
            }
        };
        let data_file = self.text(&["datafile"]).map(str::to_string);
        match &data_file {
            Some(name) if is_elsewhere(name) || name.starts_with("LIST") || name.contains(' ') => {
                return Err(NrrdError::Unsupported("its pixels are not in one file beside the header".into()));
            }
            None if at_end => return Err(damaged("it ends before the pixels")),
            _ => {}
        }
        let big_endian = match self.text(&["endian"]) {
            Some("big") => true,
            Some("little") | None => false,
            Some(_) => return Err(damaged("endian is neither big nor little")),
        };
        let skip_bytes = match self.number(&["byteskip"])?.unwrap_or(0) {
            -1 => None,
            bytes => Some(u64::try_from(bytes).map_err(|_| damaged("byte skip is below -1"))?),
        };
        let skip_lines = self.number(&["lineskip"])?.unwrap_or(0);
        let (geometry, ignored) = self.geometry(&axes, &steps)?;
        let orientation = self.fields.iter().find(|(key, _)| key == "UltrasoundImageOrientation");
        let size = |axis: Option<usize>| axis.and_then(|axis| sizes.get(axis)).copied().unwrap_or(1);
        Ok(Header {
            raster: Raster {
                width: size(Some(axes.columns)),
                height: size(Some(axes.rows)),
                frames: size(axes.frames),
                element,
                channels: axes.channels as usize,
                big_endian,
                frames_first: axes.frames_first,
                scale: None,
            },
            geometry,
            is_volume: axes.is_volume,
            orientation: orientation.and_then(|(_, value)| Orientation::from_plus(value)).unwrap_or_default(),
            packing,
            skip_lines: u64::try_from(skip_lines).map_err(|_| damaged("line skip is below zero"))?,
            skip_bytes,
            data_file,
            fields: std::mem::take(&mut self.fields),
            frame_fields: std::mem::take(&mut self.frame_fields),
            ignored,
        })
    }

    fn element(&self) -> Result<Element, NrrdError> {
        let kind = self.text(&["type"]).ok_or_else(|| damaged("type is missing"))?.to_ascii_lowercase();
        Ok(match kind.as_str() {
            "uchar" | "unsigned char" | "uint8" | "uint8_t" => Element::U8,
            "signed char" | "int8" | "int8_t" => Element::I8,
            "ushort" | "unsigned short" | "unsigned short int" | "uint16" | "uint16_t" => Element::U16,
            "short" | "short int" | "signed short" | "signed short int" | "int16" | "int16_t" => Element::I16,
            "uint" | "unsigned int" | "uint32" | "uint32_t" => Element::U32,
            "int" | "signed int" | "int32" | "int32_t" => Element::I32,
            "ulonglong" | "unsigned long long" | "unsigned long long int" | "uint64" | "uint64_t" => Element::U64,
            "longlong"
            | "long long"
            | "long long int"
            | "signed long long"
            | "signed long long int"
            | "int64"
            | "int64_t" => Element::I64,
            "float" => Element::F32,
            "double" => Element::F64,
            other => {
                let other: String = other.chars().take(40).collect();
                return Err(NrrdError::Unsupported(format!("its samples are of type {other}")));
            }
        })
    }

    /// A list such as `none (0.3,0,0) (0,0.2,0)`.
    fn vectors(&self, name: &str) -> Result<Vec<Option<[f64; 3]>>, NrrdError> {
        let Some(text) = self.text(&[name]) else { return Ok(Vec::new()) };
        let wrong = || damaged(&format!("{name} is not a list of vectors"));
        let mut vectors = Vec::new();
        let mut rest = text.trim();
        while !rest.is_empty() && vectors.len() < MAX_AXES {
            if let Some(after) = rest.strip_prefix("none") {
                vectors.push(None);
                rest = after.trim_start();
                continue;
            }
            let (inside, after) = rest.strip_prefix('(').and_then(|rest| rest.split_once(')')).ok_or_else(wrong)?;
            let mut vector = [0f64; 3];
            for (part, text) in vector.iter_mut().zip(inside.split(',')) {
                *part = text.trim().parse().map_err(|_| wrong())?;
            }
            // `(nan,nan,nan)` is another spelling of none.
            vectors.push(vector.iter().all(|part| part.is_finite()).then_some(vector));
            rest = after.trim_start();
        }
        Ok(vectors)
    }

    /// The directions of the axes, and the parts of their description that are not used.
    fn geometry(&self, axes: &Axes, steps: &[Option<[f64; 3]>]) -> Result<(Geometry, Vec<String>), NrrdError> {
        let mut ignored = Vec::new();
        let millimetres = |unit: &String| unit.trim_matches('"').eq_ignore_ascii_case("mm") || unit == "\"\"";
        let units = self.words(if self.layout.contains_key("spaceunits") { "spaceunits" } else { "units" });
        if let Some(unit) = units.iter().find(|unit| !millimetres(unit)).filter(|_| !steps.is_empty()) {
            let unit: String = unit.chars().take(20).collect();
            ignored.push(format!("the size of a pixel, which is in {unit} and not in millimetres"));
            return Ok((Geometry::default(), ignored));
        }
        // Millimetres to the right and to the front, where ours are to the left and to the back.
        let signs = match self.text(&["space"]).unwrap_or_default().to_ascii_lowercase().as_str() {
            "right-anterior-superior" | "ras" => [-1.0, -1.0, 1.0],
            "left-anterior-superior" | "las" => [1.0, -1.0, 1.0],
            _ => [1.0; 3],
        };
        let turned = |mut vector: [f64; 3]| {
            vector.iter_mut().zip(signs).for_each(|(part, sign)| *part *= sign);
            // No negative zeros.
            vector.map(|part| part + 0.0)
        };
        let origin = self.vectors("spaceorigin")?.first().copied().flatten().map(turned).unwrap_or_default();
        let step = |axis: Option<usize>| axis.and_then(|axis| steps.get(axis).copied().flatten()).map(turned);
        let mut frame_step = step(axes.frames);
        if frame_step.is_none() && axes.frames_first {
            // A sequence's pictures are slices of one step.
            frame_step = step(Some(axes.rows + 1));
        }
        let mut geometry = Geometry::from_steps([step(Some(axes.columns)), step(Some(axes.rows)), frame_step], origin);
        if steps.is_empty() {
            let spacings = self.words("spacings");
            for (mm, axis) in geometry.spacing_mm.iter_mut().zip([Some(axes.columns), Some(axes.rows), axes.frames]) {
                let given = axis.and_then(|axis| spacings.get(axis)).and_then(|text| text.parse::<f64>().ok());
                *mm = given.filter(|given| given.is_finite() && *given > 0.0).unwrap_or(*mm);
            }
        }
        Ok((geometry, ignored))
    }
}

fn damaged(reason: &str) -> NrrdError {
    NrrdError::Header(reason.into())
}
