//! Converts IMAGE messages to frames that a network takes.

use super::{ByteOrder, DeviceName, Image, ImageHeader, ScalarType};
use crate::frame::{Frame, FrameError, PixelFormat};

/// Why an IMAGE is not segmented.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ImageError {
    #[error("the image has {0} slices: send single slices, one message each")]
    Volume(u16),
    #[error(
        "the image has {components} components of type {scalar:?}: send 1 (grey), or 3 or 4 of type Uint8 (colour)"
    )]
    Pixels { components: u8, scalar: ScalarType },
    #[error("the image takes {bytes} bytes, more than the limit of {limit}: send smaller images")]
    TooLarge { bytes: u64, limit: u64 },
    #[error(transparent)]
    Frame(#[from] FrameError),
}

/// Bit depths of sensors and converters: white is the largest number of the smallest depth that holds all values seen.
const DEPTHS: [u32; 7] = [8, 10, 12, 14, 16, 24, 32];

/// Converts one sender's images to frames: assembles partial images, and converts components of more than 8 bits to 16
/// bits.
pub struct FrameAssembler {
    limit_bytes: u64,
    /// The white level that the caller set.
    white: Option<f64>,
    /// The state of the image before: the frame that parts are written into, and the white level so far.
    last: Option<Last>,
    pixels: Vec<u8>,
}

#[derive(Clone, Copy)]
struct Last {
    device: DeviceName,
    size: [u16; 3],
    components: u8,
    scalar: ScalarType,
    white: f64,
}

impl FrameAssembler {
    /// `limit_bytes` bounds a complete frame's memory. `white` is the value that is white in images whose components
    /// are not bytes; by default the largest of the smallest of 8, 10, 12, 14, 16, 24 or 32 bits that holds everything
    /// that the device has sent, or 1 for floating point up to 1.
    pub fn new(limit_bytes: u64, white: Option<f64>) -> Self {
        Self { limit_bytes, white, last: None, pixels: Vec::new() }
    }

    /// The frame with its pixel size, where the image has one. Complete images of bytes are borrowed, others copied. In
    /// an image that comes in parts, the missing parts are black.
    ///
    /// # Errors
    /// The image is a volume, has vectors as pixels, or is beyond the limit.
    pub fn frame<'a>(&'a mut self, device: DeviceName, image: &Image<'a>) -> Result<Frame<'a>, ImageError> {
        let ImageHeader { components, scalar, size, .. } = image.header;
        let [width, height, slices] = size;
        if slices != 1 {
            return Err(ImageError::Volume(slices));
        }
        let format = match (scalar, components) {
            (ScalarType::Uint8, 1) => PixelFormat::Gray8,
            (ScalarType::Uint8, 3) => PixelFormat::Rgb8,
            (ScalarType::Uint8, 4) => PixelFormat::Bgra8,
            (_, 1) => PixelFormat::Gray16Le,
            _ => return Err(ImageError::Pixels { components, scalar }),
        };
        let bytes = u64::from(width) * u64::from(height) * format.bytes_per_pixel() as u64;
        if bytes > self.limit_bytes {
            return Err(ImageError::TooLarge { bytes, limit: self.limit_bytes });
        }
        // Once a device has sent a part, its complete images are kept as well: the next part is written into them.
        let kept = self.last.is_some_and(|last| last.device == device);
        let borrowed = image.header.is_whole() && !kept && matches!(format, PixelFormat::Gray8 | PixelFormat::Rgb8);
        let pixels = if borrowed {
            image.pixels
        } else {
            self.place(device, image, format, bytes as usize);
            &self.pixels
        };
        let frame = Frame::packed(pixels, format, usize::from(width), usize::from(height))?;
        let [mm_i, mm_j, _] = image.header.geometry.spacing_mm();
        Ok(frame.with_mm_per_pixel([mm_i, mm_j]).unwrap_or(frame))
    }

    /// Converts the message's pixels and writes them to their position in the frame.
    fn place(&mut self, device: DeviceName, image: &Image<'_>, format: PixelFormat, bytes: usize) {
        let ImageHeader { components, scalar, byte_order, size, part_offset, part_size, .. } = image.header;
        let same =
            |last: &Last| (last.device, last.size, last.components, last.scalar) == (device, size, components, scalar);
        let before = self.last.filter(same);
        if before.is_none() {
            self.pixels.clear();
            self.pixels.resize(bytes, 0);
        }
        let read = reader(scalar, byte_order);
        let white = match (format, self.white) {
            (PixelFormat::Gray16Le, Some(white)) => white,
            (PixelFormat::Gray16Le, None) => {
                let largest = image.pixels.chunks_exact(scalar.bytes()).map(read).filter(|value| value.is_finite());
                white_of(scalar, largest.fold(0.0, f64::max)).max(before.map_or(0.0, |last| last.white))
            }
            _ => 0.0,
        };
        self.last = Some(Last { device, size, components, scalar, white });
        let pixel = format.bytes_per_pixel();
        let row_bytes = usize::from(size[0]) * pixel;
        let (left, part_bytes) = (usize::from(part_offset[0]) * pixel, usize::from(part_size[0]) * pixel);
        let source_bytes = usize::from(part_size[0]) * usize::from(components) * scalar.bytes();
        let rows = self.pixels.chunks_exact_mut(row_bytes).skip(usize::from(part_offset[1]));
        for (row, source) in rows.zip(image.pixels.chunks_exact(source_bytes)) {
            let target = &mut row[left..left + part_bytes];
            match format {
                PixelFormat::Gray8 | PixelFormat::Rgb8 => target.copy_from_slice(source),
                PixelFormat::Bgra8 => {
                    let (target, source) = (target.as_chunks_mut::<4>().0, source.as_chunks::<4>().0);
                    for (target, [red, green, blue, alpha]) in target.iter_mut().zip(source) {
                        *target = [*blue, *green, *red, *alpha];
                    }
                }
                PixelFormat::Gray16Le => {
                    let target = target.as_chunks_mut::<2>().0;
                    for (target, source) in target.iter_mut().zip(source.chunks_exact(scalar.bytes())) {
                        // NaN becomes 0.
                        let level = (read(source) / white).clamp(0.0, 1.0) * f64::from(u16::MAX);
                        *target = (level.round() as u16).to_le_bytes();
                    }
                }
            }
        }
    }
}

/// The white level where the largest value seen is `largest`; above zero.
fn white_of(scalar: ScalarType, largest: f64) -> f64 {
    match scalar {
        ScalarType::Int8 => f64::from(i8::MAX),
        ScalarType::Float32 | ScalarType::Float64 if largest <= 1.0 => 1.0,
        _ => DEPTHS.iter().map(|bits| 2f64.powi(*bits as i32) - 1.0).find(|white| largest <= *white).unwrap_or(largest),
    }
}

/// A function that reads one component; 0 where it has too few bytes.
fn reader(scalar: ScalarType, byte_order: ByteOrder) -> fn(&[u8]) -> f64 {
    macro_rules! number {
        ($kind:ty) => {
            match byte_order {
                ByteOrder::Big => {
                    |bytes: &[u8]| bytes.try_into().map_or(0.0, |bytes| <$kind>::from_be_bytes(bytes) as f64)
                }
                ByteOrder::Little => {
                    |bytes: &[u8]| bytes.try_into().map_or(0.0, |bytes| <$kind>::from_le_bytes(bytes) as f64)
                }
            }
        };
    }
    match scalar {
        ScalarType::Int8 => number!(i8),
        ScalarType::Uint8 => number!(u8),
        ScalarType::Int16 => number!(i16),
        ScalarType::Uint16 => number!(u16),
        ScalarType::Int32 => number!(i32),
        ScalarType::Uint32 => number!(u32),
        ScalarType::Float32 => number!(f32),
        ScalarType::Float64 => number!(f64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::igtl::Geometry;

    fn header(scalar: ScalarType, byte_order: ByteOrder, components: u8) -> ImageHeader {
        let geometry = Geometry::new([0.5, 0.25, 1.0], Geometry::default().columns, [0.0; 3]);
        ImageHeader { scalar, byte_order, ..ImageHeader::new(components, 2, 1, geometry) }
    }

    fn device() -> DeviceName {
        DeviceName::new("Image").unwrap()
    }

    /// The frame's pixels as they are stored.
    fn pixels(frame: &Frame<'_>) -> Vec<u8> {
        (0..frame.height()).flat_map(|y| frame.region_row(y).to_vec()).collect()
    }

    #[test]
    fn bytes_are_borrowed_and_colours_ordered() {
        let mut assembler = FrameAssembler::new(1 << 20, None);
        let grey = Image { header: header(ScalarType::Uint8, ByteOrder::Big, 1), pixels: &[7, 9] };
        let frame = assembler.frame(device(), &grey).unwrap();
        assert_eq!((frame.format(), frame.mm_per_pixel()), (PixelFormat::Gray8, Some([0.5, 0.25])));
        assert_eq!(pixels(&frame), [7, 9]);
        let rgba = [1, 2, 3, 4, 5, 6, 7, 8];
        let colour = Image { header: header(ScalarType::Uint8, ByteOrder::Big, 4), pixels: &rgba };
        assert_eq!(pixels(&assembler.frame(device(), &colour).unwrap()), [3, 2, 1, 4, 7, 6, 5, 8]);
    }

    /// Black, and a white that reveals the depth, for every type of more than 8 bits in both byte orders.
    #[test]
    fn wide_pixels_fill_sixteen_bits() {
        let numbers: [(ScalarType, f64, f64); 9] = [
            (ScalarType::Int8, -5.0, 127.0),
            (ScalarType::Int16, -5.0, 4095.0),
            (ScalarType::Uint16, 0.0, 65535.0),
            (ScalarType::Uint16, 0.0, 1023.0),
            (ScalarType::Int32, -70000.0, 255.0),
            (ScalarType::Uint32, 0.0, 4_294_967_295.0),
            (ScalarType::Float32, f64::NAN, 1.0),
            (ScalarType::Float64, f64::NEG_INFINITY, 255.0),
            (ScalarType::Float64, 0.0, 1e30),
        ];
        for (scalar, black, white) in numbers {
            for byte_order in [ByteOrder::Big, ByteOrder::Little] {
                let bytes: Vec<u8> =
                    [black, white].iter().flat_map(|value| encoded(*value, scalar, byte_order)).collect();
                let image = Image { header: header(scalar, byte_order, 1), pixels: &bytes };
                let mut assembler = FrameAssembler::new(1 << 20, None);
                let frame = assembler.frame(device(), &image).unwrap();
                assert_eq!(frame.format(), PixelFormat::Gray16Le);
                assert_eq!(pixels(&frame), [0, 0, 255, 255], "{scalar:?} {byte_order:?} {white}");
                let mut fixed = FrameAssembler::new(1 << 20, Some(white * 2.0));
                let half = pixels(&fixed.frame(device(), &image).unwrap());
                assert_eq!(u16::from_le_bytes([half[2], half[3]]), 32768, "{scalar:?}");
            }
        }
    }

    fn encoded(value: f64, scalar: ScalarType, byte_order: ByteOrder) -> Vec<u8> {
        let mut bytes = match scalar {
            ScalarType::Int8 => (value as i8).to_be_bytes().to_vec(),
            ScalarType::Uint8 => (value as u8).to_be_bytes().to_vec(),
            ScalarType::Int16 => (value as i16).to_be_bytes().to_vec(),
            ScalarType::Uint16 => (value as u16).to_be_bytes().to_vec(),
            ScalarType::Int32 => (value as i32).to_be_bytes().to_vec(),
            ScalarType::Uint32 => (value as u32).to_be_bytes().to_vec(),
            ScalarType::Float32 => (value as f32).to_be_bytes().to_vec(),
            ScalarType::Float64 => value.to_be_bytes().to_vec(),
        };
        if byte_order == ByteOrder::Little {
            bytes.reverse();
        }
        bytes
    }

    #[test]
    fn white_grows_and_never_falls() {
        let mut assembler = FrameAssembler::new(1 << 20, None);
        let mut level = |value: u16| {
            let bytes = [value.to_be_bytes(), [0, 0]].concat();
            let image = Image { header: header(ScalarType::Uint16, ByteOrder::Big, 1), pixels: &bytes };
            let pixels = pixels(&assembler.frame(device(), &image).unwrap());
            u16::from_le_bytes([pixels[0], pixels[1]])
        };
        assert_eq!([level(255), level(4095), level(255)], [65535, 65535, 4081]);
    }

    #[test]
    fn parts_come_to_their_place() {
        let mut assembler = FrameAssembler::new(1 << 20, None);
        let whole = ImageHeader::new(1, 3, 2, Geometry::default());
        let part = ImageHeader { part_offset: [1, 1, 0], part_size: [2, 1, 1], ..whole };
        let mut place = |header: ImageHeader, bytes: &[u8]| {
            pixels(&assembler.frame(device(), &Image { header, pixels: bytes }).unwrap())
        };
        assert_eq!(place(part, &[8, 9]), [0, 0, 0, 0, 8, 9]);
        let upper = ImageHeader { part_offset: [0; 3], part_size: [1, 2, 1], ..whole };
        assert_eq!(place(upper, &[1, 2]), [1, 0, 0, 2, 8, 9]);
        assert_eq!(place(whole, &[5; 6]), [5; 6]);
        assert_eq!(place(part, &[8, 9]), [5, 5, 5, 5, 8, 9]);
    }

    #[test]
    fn unusable_images_are_refused_before_memory_is_taken() {
        let mut assembler = FrameAssembler::new(1000, None);
        let huge = ImageHeader {
            size: [16384, 16384, 1],
            part_size: [1, 1, 1],
            ..ImageHeader::new(4, 1, 1, Geometry::default())
        };
        let error = assembler.frame(device(), &Image { header: huge, pixels: &[0; 4] }).unwrap_err();
        assert_eq!(error, ImageError::TooLarge { bytes: 1 << 30, limit: 1000 });
        assert_eq!(assembler.pixels.capacity(), 0);
        let volume = ImageHeader { size: [1, 1, 2], part_size: [1, 1, 2], ..huge };
        let error = assembler.frame(device(), &Image { header: volume, pixels: &[0; 8] }).unwrap_err();
        assert_eq!(error, ImageError::Volume(2));
        let vector = header(ScalarType::Float32, ByteOrder::Big, 3);
        assert!(assembler.frame(device(), &Image { header: vector, pixels: &[0; 24] }).is_err());
        let flat = ImageHeader {
            geometry: Geometry { columns: [[0.0; 3]; 3], centre: [0.0; 3] },
            ..header(ScalarType::Uint8, ByteOrder::Big, 1)
        };
        let frame = assembler.frame(device(), &Image { header: flat, pixels: &[0; 2] }).unwrap();
        assert_eq!(frame.mm_per_pixel(), None);
    }
}
