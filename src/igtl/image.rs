//! The IMAGE message: a header of 72 bytes, then pixels.

use super::fields::Fields;
use super::{Geometry, ProtocolError};

/// The size of an IMAGE's own header, in bytes.
pub(super) const IMAGE_HEADER_BYTES: usize = 72;

/// How a component of a pixel is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ScalarType {
    Int8 = 2,
    Uint8 = 3,
    Int16 = 4,
    Uint16 = 5,
    Int32 = 6,
    Uint32 = 7,
    Float32 = 10,
    Float64 = 11,
}

impl ScalarType {
    pub const ALL: [Self; 8] =
        [Self::Int8, Self::Uint8, Self::Int16, Self::Uint16, Self::Int32, Self::Uint32, Self::Float32, Self::Float64];

    fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|scalar| *scalar as u8 == code)
    }

    pub const fn bytes(self) -> usize {
        match self {
            Self::Int8 | Self::Uint8 => 1,
            Self::Int16 | Self::Uint16 => 2,
            Self::Int32 | Self::Uint32 | Self::Float32 => 4,
            Self::Float64 => 8,
        }
    }
}

/// The order of bytes within a pixel's component. Everything else in a message is big-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ByteOrder {
    Big,
    Little,
}

/// The direction of a patient's axes. Passed on unchanged: nothing here depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CoordinateSystem {
    /// Right, anterior, superior.
    Ras,
    /// Left, posterior, superior.
    Lps,
    /// A number that the protocol does not define.
    Other(u8),
}

/// An IMAGE's description of its pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ImageHeader {
    /// The number of interleaved components: 1 for grey, 3 for red, green and blue.
    pub components: u8,
    pub scalar: ScalarType,
    pub byte_order: ByteOrder,
    pub coordinates: CoordinateSystem,
    /// The size of the complete image: width, height, slices.
    pub size: [u16; 3],
    pub geometry: Geometry,
    /// The position of this message's pixels in the complete image.
    pub part_offset: [u16; 3],
    /// The size of the part whose pixels this message has.
    pub part_size: [u16; 3],
}

impl ImageHeader {
    /// The header of a complete two-dimensional image of bytes.
    pub fn new(components: u8, width: u16, height: u16, geometry: Geometry) -> Self {
        let size = [width, height, 1];
        Self {
            components,
            scalar: ScalarType::Uint8,
            byte_order: ByteOrder::Little,
            coordinates: CoordinateSystem::Ras,
            size,
            geometry,
            part_offset: [0; 3],
            part_size: size,
        }
    }

    /// Whether the message has all pixels of the image.
    pub fn is_whole(&self) -> bool {
        self.part_size == self.size
    }

    /// The size of the pixels in the message, in bytes; fits 64 bits for any header.
    pub fn pixel_bytes(&self) -> u64 {
        let pixels: u64 = self.part_size.iter().map(|side| u64::from(*side)).product();
        pixels * u64::from(self.components) * self.scalar.bytes() as u64
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let coordinates = match self.coordinates {
            CoordinateSystem::Ras => 1,
            CoordinateSystem::Lps => 2,
            CoordinateSystem::Other(code) => code,
        };
        let byte_order = match self.byte_order {
            ByteOrder::Big => 1,
            ByteOrder::Little => 2,
        };
        out.extend(1u16.to_be_bytes());
        out.extend([self.components, self.scalar as u8, byte_order, coordinates]);
        out.extend(self.size.iter().flat_map(|side| side.to_be_bytes()));
        let numbers = self.geometry.columns.as_flattened().iter().chain(&self.geometry.centre);
        out.extend(numbers.flat_map(|number| number.to_be_bytes()));
        out.extend(self.part_offset.iter().chain(&self.part_size).flat_map(|side| side.to_be_bytes()));
    }
}

/// An IMAGE's content.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Image<'a> {
    pub header: ImageHeader,
    /// The pixels row by row, `header.pixel_bytes()` bytes.
    pub pixels: &'a [u8],
}

impl<'a> Image<'a> {
    /// # Errors
    /// The header is cut short or contradicts itself, or there are fewer or more pixels than it says.
    pub(super) fn parse(content: &'a [u8]) -> Result<Self, ProtocolError> {
        let malformed = |what: String| ProtocolError::malformed("IMAGE", what);
        let mut fields = Fields::new("IMAGE header", content);
        let version = fields.u16()?;
        if !(1..=2).contains(&version) {
            return Err(malformed(format!("its header has version {version}, not 1 or 2")));
        }
        let (components, scalar, byte_order, coordinates) = (fields.u8()?, fields.u8()?, fields.u8()?, fields.u8()?);
        let scalar = ScalarType::from_code(scalar).ok_or_else(|| malformed(format!("it has scalar type {scalar}")))?;
        let byte_order = match byte_order {
            1 => ByteOrder::Big,
            2 => ByteOrder::Little,
            // The order of single bytes means nothing, and some senders do not set the field.
            _ if scalar.bytes() == 1 => ByteOrder::Big,
            other => return Err(malformed(format!("its byte order is {other}, neither big (1) nor little (2)"))),
        };
        let coordinates = match coordinates {
            1 => CoordinateSystem::Ras,
            2 => CoordinateSystem::Lps,
            other => CoordinateSystem::Other(other),
        };
        let size = [fields.u16()?, fields.u16()?, fields.u16()?];
        let mut column = || Ok::<_, ProtocolError>([fields.f32()?, fields.f32()?, fields.f32()?]);
        let geometry = Geometry { columns: [column()?, column()?, column()?], centre: column()? };
        let part_offset = [fields.u16()?, fields.u16()?, fields.u16()?];
        let part_size = [fields.u16()?, fields.u16()?, fields.u16()?];
        let header =
            ImageHeader { components, scalar, byte_order, coordinates, size, geometry, part_offset, part_size };
        if components == 0 || size.contains(&0) || part_size.contains(&0) {
            let [i, j, k] = size;
            return Err(malformed(format!("it has no pixels ({i} x {j} x {k}, {components} components)")));
        }
        let leaves = |at: usize| u32::from(part_offset[at]) + u32::from(part_size[at]) > u32::from(size[at]);
        if (0..3).any(leaves) {
            return Err(malformed(format!("its part {part_size:?} at {part_offset:?} leaves the image {size:?}")));
        }
        let pixels = fields.rest();
        match header.pixel_bytes() {
            needed if needed > pixels.len() as u64 => {
                Err(ProtocolError::CutShort { part: "pixels", needed, actual: pixels.len() })
            }
            needed if needed < pixels.len() as u64 => {
                Err(malformed(format!("{needed} bytes of pixels are announced and {} follow", pixels.len())))
            }
            _ => Ok(Self { header, pixels }),
        }
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.reserve(IMAGE_HEADER_BYTES + self.pixels.len());
        self.header.write(out);
        out.extend(self.pixels);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scalar_type_and_byte_order_survives() {
        for scalar in ScalarType::ALL {
            for byte_order in [ByteOrder::Big, ByteOrder::Little] {
                for components in [1u8, 3] {
                    let header = ImageHeader {
                        scalar,
                        byte_order,
                        coordinates: CoordinateSystem::Lps,
                        size: [4, 3, 2],
                        part_offset: [1, 0, 1],
                        part_size: [3, 2, 1],
                        ..ImageHeader::new(
                            components,
                            4,
                            3,
                            Geometry::new([0.5, 0.25, 2.0], Geometry::default().columns, [1.0; 3]),
                        )
                    };
                    let pixels: Vec<u8> = (0..header.pixel_bytes()).map(|at| at as u8).collect();
                    let mut content = Vec::new();
                    let image = Image { header, pixels: &pixels };
                    image.write(&mut content);
                    assert_eq!(content.len(), IMAGE_HEADER_BYTES + pixels.len());
                    assert_eq!(Image::parse(&content).unwrap(), image);
                }
            }
        }
    }

    #[test]
    fn contradictions_are_refused() {
        let header = ImageHeader::new(1, 4, 3, Geometry::default());
        let mut good = Vec::new();
        Image { header, pixels: &[0; 12] }.write(&mut good);
        for cut in 0..good.len() {
            assert!(Image::parse(&good[..cut]).is_err(), "{cut}");
        }
        let with = |at: usize, byte: u8| {
            let mut bytes = good.clone();
            bytes[at] = byte;
            Image::parse(&bytes).map(|image| image.header)
        };
        // Version, components, scalar type, width, height, slices, offset and size of the part.
        for (at, byte) in [(1, 0), (1, 3), (2, 0), (3, 1), (3, 9), (7, 0), (9, 0), (11, 0), (61, 1), (67, 5), (67, 0)] {
            assert!(with(at, byte).is_err(), "{at} {byte}");
        }
        assert!(with(4, 0).is_ok() && with(5, 0).is_ok());
        assert_eq!(with(5, 7).unwrap().coordinates, CoordinateSystem::Other(7));
        let sixteen = {
            let header = ImageHeader { scalar: ScalarType::Uint16, ..header };
            let mut bytes = Vec::new();
            Image { header, pixels: &[0; 24] }.write(&mut bytes);
            bytes[4] = 0;
            Image::parse(&bytes).map(|image| image.header)
        };
        assert!(sixteen.unwrap_err().to_string().contains("byte order"));
        good.push(0);
        assert!(Image::parse(&good).unwrap_err().to_string().contains("13 follow"));
        let huge = ImageHeader { size: [u16::MAX; 3], part_size: [u16::MAX; 3], components: 255, ..header };
        assert_eq!(huge.pixel_bytes(), 65_535u64.pow(3) * 255);
    }
}
