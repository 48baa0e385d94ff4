use super::*;
use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder, ImageFormat};

fn png(pixels: &[u8], width: u32, height: u32, colour: ExtendedColorType) -> Vec<u8> {
    let mut bytes = Vec::new();
    PngEncoder::new(&mut bytes).write_image(pixels, width, height, colour).unwrap();
    bytes
}

fn read(bytes: &[u8]) -> Result<Image, ReadError> {
    Image::from_bytes("scan.png", bytes)
}

/// The bytes of a PNG chunk, checksum included.
fn chunk(kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let body = [kind, data].concat();
    let mut crc = !0u32;
    for byte in &body {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { 0xedb8_8320 ^ (crc >> 1) } else { crc >> 1 };
        }
    }
    [&(data.len() as u32).to_be_bytes()[..], &body, &(!crc).to_be_bytes()].concat()
}

fn header(width: u32, height: u32, bits: u8, colour: u8) -> Vec<u8> {
    let data = [&width.to_be_bytes()[..], &height.to_be_bytes(), &[bits, colour, 0, 0, 0]].concat();
    [b"\x89PNG\r\n\x1a\n".to_vec(), chunk(b"IHDR", &data)].concat()
}

/// Stored, not compressed: `lines` with their filter bytes, as zlib.
fn stored(lines: &[u8]) -> Vec<u8> {
    let length = lines.len() as u16;
    let (mut a, mut b) = (1u32, 0u32);
    for byte in lines {
        a = (a + u32::from(*byte)) % 65_521;
        b = (b + a) % 65_521;
    }
    let block = [&[0x78, 1, 1][..], &length.to_le_bytes(), &(!length).to_le_bytes(), lines].concat();
    [block, ((b << 16) | a).to_be_bytes().to_vec()].concat()
}

#[test]
fn every_kind_of_pixel_arrives() {
    let cases: [(ExtendedColorType, &[u8], PixelFormat, &[u8]); 6] = [
        (ExtendedColorType::L8, &[1, 2], PixelFormat::Gray8, &[1, 2]),
        (ExtendedColorType::La8, &[1, 9, 2, 0], PixelFormat::Gray8, &[1, 2]),
        (ExtendedColorType::L16, &[1, 2, 3, 0xff], PixelFormat::Gray16Le, &[1, 2, 3, 0xff]),
        (ExtendedColorType::Rgb8, &[1, 2, 3, 4, 5, 6], PixelFormat::Rgb8, &[1, 2, 3, 4, 5, 6]),
        (ExtendedColorType::Rgba8, &[1, 2, 3, 0, 4, 5, 6, 9], PixelFormat::Rgb8, &[1, 2, 3, 4, 5, 6]),
        (ExtendedColorType::Rgb16, &[0; 12], PixelFormat::Rgb8, &[0; 6]),
    ];
    for (colour, written, format, pixels) in cases {
        let image = read(&png(written, 2, 1, colour)).unwrap();
        assert_eq!((image.format, &image.pixels[..]), (format, pixels), "{colour:?}");
        assert_eq!((image.frame().width(), image.frame().height()), (2, 1));
    }
}

#[test]
fn one_bit_and_palette_are_expanded() {
    let end = chunk(b"IEND", &[]);
    let one_bit = [header(3, 1, 1, 0), chunk(b"IDAT", &stored(&[0, 0b1010_0000])), end.clone()].concat();
    let image = read(&one_bit).unwrap();
    assert_eq!((image.format, image.pixels), (PixelFormat::Gray8, vec![255, 0, 255]));
    let palette = chunk(b"PLTE", &[9, 8, 7, 6, 5, 4]);
    let indexed = [header(2, 1, 8, 3), palette, chunk(b"IDAT", &stored(&[0, 1, 0])), end].concat();
    let image = read(&indexed).unwrap();
    assert_eq!((image.format, image.pixels), (PixelFormat::Rgb8, vec![6, 5, 4, 9, 8, 7]));
}

#[test]
fn the_content_tells_the_format() {
    let picture = DynamicImage::new_luma8(5, 4);
    for format in [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::Bmp, ImageFormat::Tiff] {
        let mut bytes = Cursor::new(Vec::new());
        picture.write_to(&mut bytes, format).unwrap();
        let image = Image::from_bytes("named.txt", bytes.get_ref()).unwrap();
        assert_eq!((image.width, image.height), (5, 4), "{format:?}");
        assert!(image.pixels.iter().all(|pixel| *pixel == 0), "{format:?}");
    }
}

#[test]
fn bad_files_say_what_to_do() {
    let whole = png(&[7; 64 * 64], 64, 64, ExtendedColorType::L8);
    let message = |bytes: &[u8]| {
        let message = read(bytes).unwrap_err().to_string();
        assert!(!message.contains('\n'), "{message}");
        message
    };
    assert_eq!(message(b""), "scan.png: the file is empty; copy it again from its source");
    let text = "scan.png: not an image that can be read, whatever its name says; give PNG, JPEG, BMP, TIFF, DICOM, \
        MetaImage, NRRD or NIfTI";
    assert_eq!(message(b"This is text.\nTwo lines."), text);
    assert_eq!(
        message(&[header(20_000, 20_000, 8, 0), chunk(b"IDAT", &[])].concat()),
        "scan.png: 20000 x 20000 pixels, more than 16384 a side; crop or shrink it first"
    );
    let rgb = [header(16_000, 16_000, 8, 2), chunk(b"IDAT", &[])].concat();
    assert_eq!(message(&rgb), "scan.png: decoding it takes more than 512 MiB of memory; crop or shrink it first");
    assert!(matches!(read(&header(0, 5, 8, 0)), Err(ReadError::Damaged { .. })));
    assert!(message(b"GIF89a\x01\x00\x01\x00").contains("a GIF file, which is not read; split it"));
    for length in [1, 8, 20, 40, whole.len() / 2, whole.len() - 14] {
        let error = read(&whole[..length]).unwrap_err();
        assert!(matches!(error, ReadError::Damaged { .. } | ReadError::Format(_)), "{length}: {error}");
    }
}

#[test]
fn a_flipped_byte_never_panics() {
    let picture = DynamicImage::new_rgb8(9, 7);
    for format in [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::Bmp, ImageFormat::Tiff] {
        let mut bytes = Cursor::new(Vec::new());
        picture.write_to(&mut bytes, format).unwrap();
        let bytes = bytes.into_inner();
        for position in 0..bytes.len().min(300) {
            let mut damaged = bytes.clone();
            damaged[position] ^= 0xff;
            let _ = read(&damaged);
        }
    }
}

#[test]
fn paths_that_are_no_files() {
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(Image::open(folder.path()), Err(ReadError::NotAFile(_))));
    let missing = Image::open(folder.path().join("none.png")).unwrap_err();
    assert!(missing.to_string().ends_with("none.png: no such file; check the path"), "{missing}");
    fs::write(folder.path().join("file"), b"").unwrap();
    assert!(matches!(Image::open(folder.path().join("file")), Err(ReadError::Empty(_))));
    assert!(Image::open(folder.path().join("file/below.png")).is_err());
}

/// 16-bit grey with few used bits is as bright as in 8 bits.
#[test]
fn deep_grey_is_scaled_to_what_is_there() {
    let samples: Vec<u8> = [0u16, 2048, 4095].iter().flat_map(|sample| sample.to_ne_bytes()).collect();
    let image = read(&png(&samples, 3, 1, ExtendedColorType::L16)).unwrap();
    assert_eq!(image.pixels, [0u16, 32_776, 65_535].map(u16::to_le_bytes).concat());
}

/// EXIF in a JPEG and in a PNG: the pixels stay as they are stored, and the frame states how they are turned.
#[test]
fn orientation_beside_the_pixels() {
    // A TIFF header, and one entry: Orientation.
    let exif =
        |number: u8| [&b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0"[..], &[number, 0, 0, 0, 0, 0, 0, 0]].concat();
    for orientation in Orientation::ALL {
        let exif = exif(orientation.to_exif());
        let mut jpeg = Cursor::new(Vec::new());
        DynamicImage::new_luma8(5, 4).write_to(&mut jpeg, ImageFormat::Jpeg).unwrap();
        let segment = [&b"\xff\xe1"[..], &(exif.len() as u16 + 8).to_be_bytes(), b"Exif\0\0", &exif].concat();
        let jpeg = jpeg.into_inner();
        let jpeg = [&jpeg[..2], &segment, &jpeg[2..]].concat();
        let plain = png(&[7; 20], 5, 4, ExtendedColorType::L8);
        let png = [&plain[..33], &chunk(b"eXIf", &exif), &plain[33..]].concat();
        for bytes in [jpeg, png] {
            let image = read(&bytes).unwrap();
            assert_eq!((image.width, image.height, image.orientation), (5, 4, orientation));
            assert_eq!(image.frame().orientation(), orientation);
        }
    }
}

#[test]
fn a_jpeg_that_is_not_all_there_is_refused() {
    let mut bytes = Cursor::new(Vec::new());
    DynamicImage::ImageLuma8(image::GrayImage::from_fn(64, 64, |x, y| image::Luma([(x * y) as u8])))
        .write_to(&mut bytes, ImageFormat::Jpeg)
        .unwrap();
    let bytes = bytes.into_inner();
    assert!(read(&bytes[..bytes.len() - 2]).is_ok());
    let error = read(&bytes[..bytes.len() * 4 / 5]).unwrap_err().to_string();
    assert!(error.contains("its data end after") && error.contains("copy it again"), "{error}");
}

/// A picture of an animation reports what it leaves out.
#[test]
fn animated_png() {
    let plain = png(&[7; 20], 5, 4, ExtendedColorType::L8);
    let animated = [&plain[..33], &chunk(b"acTL", &[0, 0, 0, 3, 0, 0, 0, 0]), &plain[33..]].concat();
    let decoded = decode(Path::new("x.png"), Cursor::new(animated)).unwrap();
    assert_eq!(decoded.image.pixels, [7; 20]);
    assert_eq!(decoded.description.ignored, ["3 pictures of its animation, except the first"]);
}
