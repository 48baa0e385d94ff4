//! The header, of version 1 and 2: numbers at fixed positions, in either byte order.

use super::NiftiError;
use crate::io::geometry::Geometry;
use crate::io::raster::{Element, Raster};

/// The number of bytes that show whether a file is NIfTI, the longer of the two headers.
pub(in crate::io) const HEADER_BYTES: usize = 540;

const SIZE_1: i32 = 348;
const SIZE_2: i32 = 540;

/// The content of a header.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Header {
    pub raster: Raster,
    pub geometry: Geometry,
    /// Whether the pixels are the third axis's slices, not frames over time.
    pub is_volume: bool,
    /// The time from frame to frame, where the fourth axis is time.
    pub seconds_per_frame: Option<f64>,
    /// Whether the pixels are in a separate file.
    pub is_pair: bool,
    /// The offset of the pixels.
    pub offset: u64,
    pub version: u8,
    pub ignored: Vec<String>,
}

/// Numbers of the header's bytes.
struct Fields<'a> {
    bytes: &'a [u8],
    big_endian: bool,
    /// Whether this is version 2, in which positions and widths differ.
    second: bool,
}

/// Whether a file's first bytes are a NIfTI header's.
pub(in crate::io) fn starts_like_one(start: &[u8]) -> bool {
    magic(start).is_some()
}

/// The version, the byte order, and whether pixels are in a file of their own.
fn magic(start: &[u8]) -> Option<(u8, bool, bool)> {
    let size: [u8; 4] = *start.first_chunk()?;
    let (big_endian, size) = match (i32::from_le_bytes(size), i32::from_be_bytes(size)) {
        (size @ (SIZE_1 | SIZE_2), _) => (false, size),
        (_, size @ (SIZE_1 | SIZE_2)) => (true, size),
        _ => return None,
    };
    let at = if size == SIZE_1 { 344 } else { 4 };
    match (size, start.get(at..at + 4)?) {
        (SIZE_1, b"n+1\0") => Some((1, big_endian, false)),
        (SIZE_1, b"ni1\0") => Some((1, big_endian, true)),
        (SIZE_2, b"n+2\0") => Some((2, big_endian, false)),
        (SIZE_2, b"ni2\0") => Some((2, big_endian, true)),
        _ => None,
    }
}

impl Fields<'_> {
    fn word<const N: usize>(&self, at: usize) -> [u8; N] {
        let mut word = self.bytes.get(at..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; N]);
        if self.big_endian {
            word.reverse();
        }
        word
    }

    fn i16(&self, at: usize) -> i64 {
        i16::from_le_bytes(self.word(at)).into()
    }

    fn i32(&self, at: usize) -> i64 {
        i32::from_le_bytes(self.word(at)).into()
    }

    fn f32(&self, at: usize) -> f64 {
        f32::from_le_bytes(self.word(at)).into()
    }

    fn f64(&self, at: usize) -> f64 {
        f64::from_le_bytes(self.word(at))
    }

    /// The array's sides; the first one is their number.
    fn dim(&self, index: usize) -> i64 {
        if self.second { i64::from_le_bytes(self.word(16 + 8 * index)) } else { self.i16(40 + 2 * index) }
    }

    /// A float at the given position of each version, plus `stride` floats.
    fn real(&self, first: usize, second: usize, index: usize) -> f64 {
        if self.second { self.f64(second + 8 * index) } else { self.f32(first + 4 * index) }
    }

    fn datatype(&self) -> i64 {
        if self.second { self.i16(12) } else { self.i16(70) }
    }

    fn bits(&self) -> i64 {
        if self.second { self.i16(14) } else { self.i16(72) }
    }

    fn units(&self) -> i64 {
        if self.second { self.i32(500) } else { i64::from(self.bytes.get(123).copied().unwrap_or(0)) }
    }

    fn codes(&self) -> [i64; 2] {
        if self.second { [self.i32(344), self.i32(348)] } else { [self.i16(252), self.i16(254)] }
    }
}

impl Header {
    /// Reads the file's first [`HEADER_BYTES`], or as many as there are.
    pub fn read(bytes: &[u8]) -> Result<Self, NiftiError> {
        let (version, big_endian, is_pair) = magic(bytes).ok_or(NiftiError::Header("it is not NIfTI 1 or 2"))?;
        let fields = Fields { bytes, big_endian, second: version == 2 };
        let count = fields.dim(0);
        if bytes.len() < if version == 2 { 540 } else { 348 } || !(1..=7).contains(&count) {
            return Err(NiftiError::Header("the number of dimensions is not between 1 and 7"));
        }
        let mut sides = [1u64; 7];
        for (index, side) in sides.iter_mut().enumerate().take(count as usize) {
            *side = u64::try_from(fields.dim(index + 1)).map_err(|_| NiftiError::Header("a side is below zero"))?;
        }
        let (element, mut channels) = match fields.datatype() {
            2 => (Element::U8, 1),
            4 => (Element::I16, 1),
            8 => (Element::I32, 1),
            16 => (Element::F32, 1),
            64 => (Element::F64, 1),
            128 => (Element::U8, 3),
            256 => (Element::I8, 1),
            512 => (Element::U16, 1),
            768 => (Element::U32, 1),
            1024 => (Element::I64, 1),
            1280 => (Element::U64, 1),
            2304 => (Element::U8, 4),
            other => return Err(NiftiError::Unsupported(format!("its pixels are of data type {other}"))),
        };
        let bits = 8 * (element.bytes() * channels) as i64;
        if fields.bits() != bits && fields.bits() != 0 {
            return Err(NiftiError::Header("data type and bits of a pixel disagree"));
        }
        let [width, height, slices, times, vector, more @ ..] = sides;
        if more.iter().any(|side| *side > 1) || (vector > 1 && channels > 1) {
            return Err(NiftiError::Unsupported("it has more than four dimensions".into()));
        }
        if vector > 1 {
            // Colours one after the other, in planes, which no writer of ultrasound uses.
            return Err(NiftiError::Unsupported(format!("its pixels are vectors of {vector}")));
        }
        let (frames, is_volume) = match (slices, times) {
            (slices, 1) => (slices, slices > 1),
            (1, times) => (times, false),
            _ => return Err(NiftiError::Unsupported("it has four dimensions, volumes over time".into())),
        };
        let [slope, intercept] = [0, 1].map(|index| fields.real(112, 176, index));
        let is_scaled = slope != 0.0 && slope.is_finite() && intercept.is_finite() && (slope, intercept) != (1.0, 0.0);
        if channels > 4 {
            channels = 4;
        }
        let offset = match (version, is_pair) {
            (2, _) => i64::from_le_bytes(fields.word(168)) as f64,
            _ => fields.f32(108),
        };
        let least = if is_pair { 0.0 } else { f64::from(if version == 2 { SIZE_2 } else { SIZE_1 }) };
        if !(least..=1e15).contains(&offset) || offset.fract() != 0.0 {
            return Err(NiftiError::Header("its pixels begin within the header, or nowhere"));
        }
        let mut ignored = Vec::new();
        let geometry = fields.geometry(&mut ignored);
        let seconds = fields.real(76, 104, 4)
            * match fields.units() & 0x38 {
                8 => 1.0,
                16 => 1e-3,
                24 => 1e-6,
                _ => 0.0,
            };
        Ok(Self {
            raster: Raster {
                width,
                height,
                frames,
                element,
                channels,
                big_endian,
                frames_first: false,
                scale: is_scaled.then_some([slope, intercept]),
            },
            geometry,
            is_volume,
            seconds_per_frame: (times > 1 && seconds.is_finite() && seconds > 0.0).then_some(seconds),
            is_pair,
            offset: offset as u64,
            version,
            ignored,
        })
    }
}

impl Fields<'_> {
    /// The directions of the axes. NIfTI's coordinates point to the right and to the front.
    fn geometry(&self, ignored: &mut Vec<String>) -> Geometry {
        let millimetres = match self.units() & 7 {
            1 => 1e3,
            3 => 1e-3,
            // Millimetres, or unknown, which is treated as millimetres.
            _ => 1.0,
        };
        let size = |axis: usize| {
            Some(self.real(76, 104, axis + 1).abs() * millimetres).filter(|mm| mm.is_finite() && *mm > 0.0)
        };
        let [qform, sform] = self.codes();
        let signs = [-1.0, -1.0, 1.0];
        let signed = |vector: [f64; 3]| [0, 1, 2].map(|row| vector[row] * signs[row] + 0.0);
        if sform > 0 {
            // Three rows of a matrix of 3 x 4.
            let at = |row: usize, column: usize| self.real(280, 400, 4 * row + column) * millimetres;
            let column = |column: usize| signed([at(0, column), at(1, column), at(2, column)]);
            let mut geometry = Geometry::from_steps([Some(column(0)), Some(column(1)), Some(column(2))], column(3));
            for (axis, mm) in geometry.spacing_mm.iter_mut().enumerate() {
                // Where both state it, ITK uses the sizes and takes only the directions from the matrix.
                *mm = size(axis).unwrap_or(*mm);
            }
            if geometry.origin_mm.iter().all(|mm| mm.is_finite()) {
                return geometry;
            }
            ignored.push("a transform of the image that contains something that is not a number".into());
        }
        let mut geometry = Geometry::default();
        for (axis, mm) in geometry.spacing_mm.iter_mut().enumerate() {
            *mm = size(axis).unwrap_or(1.0);
        }
        let [b, c, d] = [0, 1, 2].map(|index| self.real(256, 352, index));
        let square = b * b + c * c + d * d;
        if qform > 0 && square <= 1.0 + 1e-6 {
            let a = (1.0 - square).max(0.0).sqrt();
            let handed = if self.real(76, 104, 0) < 0.0 { -1.0 } else { 1.0 };
            let columns = [
                [a * a + b * b - c * c - d * d, 2.0 * (b * c + a * d), 2.0 * (b * d - a * c)],
                [2.0 * (b * c - a * d), a * a + c * c - b * b - d * d, 2.0 * (c * d + a * b)],
                [2.0 * (b * d + a * c), 2.0 * (c * d - a * b), a * a + d * d - b * b - c * c].map(|part| part * handed),
            ];
            geometry.directions = columns.map(signed);
            let origin = [0, 1, 2].map(|index| self.real(268, 376, index) * millimetres);
            if origin.iter().all(|mm| mm.is_finite()) {
                geometry.origin_mm = signed(origin);
            }
        }
        geometry
    }
}
