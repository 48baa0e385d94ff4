use super::*;
use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use std::io::{Cursor, Write};

fn raster(element: Element, channels: usize, frames: u64) -> Raster {
    Raster { width: 2, height: 1, frames, element, channels, big_endian: false, frames_first: false, scale: None }
}

fn read(raster: Raster, bytes: &[u8], place: Place) -> Result<Vec<Vec<u8>>, RasterError> {
    let mut reader = RasterReader::new(raster, Box::new(Cursor::new(bytes.to_vec())), place)?;
    let (mut frames, mut buffer) = (Vec::new(), FrameBuffer::default());
    while reader.read_frame(&mut buffer)? {
        frames.push(buffer.pixels().to_vec());
    }
    assert_eq!(reader.frames(), frames.len() as u64);
    Ok(frames)
}

fn plain(raster: Raster, bytes: &[u8]) -> Result<Vec<Vec<u8>>, RasterError> {
    read(raster, bytes, Place::new(0, Packing::Plain))
}

fn deep(samples: &[u16]) -> Vec<u8> {
    samples.iter().flat_map(|sample| sample.to_le_bytes()).collect()
}

#[test]
fn every_type_becomes_grey_or_colour() {
    assert_eq!(plain(raster(Element::U8, 1, 2), &[1, 2, 3, 4]).unwrap(), [[1, 2], [3, 4]]);
    assert_eq!(plain(raster(Element::U8, 3, 1), &[1, 2, 3, 4, 5, 6]).unwrap(), [[1, 2, 3, 4, 5, 6]]);
    assert_eq!(plain(raster(Element::U8, 4, 1), &[1, 2, 3, 9, 4, 5, 6, 0]).unwrap(), [[1, 2, 3, 4, 5, 6]]);
    // The second frame shows that white is 4095.
    let frames = plain(raster(Element::U16, 1, 2), &deep(&[0, 2047, 4095, 1])).unwrap();
    assert_eq!(frames, [deep(&[0, 32_759]), deep(&[65_535, 16])]);
    let big = Raster { big_endian: true, ..raster(Element::U16, 1, 1) };
    assert_eq!(plain(big, &[0xff, 0xff, 1, 2]).unwrap(), [deep(&[0xffff, 0x102])]);
    let signed: Vec<u8> = [-100i16, 100].iter().flat_map(|sample| sample.to_le_bytes()).collect();
    assert_eq!(plain(raster(Element::I16, 1, 1), &signed).unwrap(), [deep(&[0, 65_535])]);
    let floats: Vec<u8> = [0.5f32, 1.0].iter().flat_map(|sample| sample.to_le_bytes()).collect();
    assert_eq!(plain(raster(Element::F32, 1, 1), &floats).unwrap(), [deep(&[32_768, 65_535])]);
    assert_eq!(
        plain(raster(Element::U16, 3, 1), &deep(&[0, 1023, 512, 1023, 0, 0])).unwrap(),
        [[0, 255, 128, 255, 0, 0]]
    );
    let scaled = Raster { scale: Some([2.0, -10.0]), ..raster(Element::U8, 1, 1) };
    assert_eq!(plain(scaled, &[5, 105]).unwrap(), [deep(&[0, 51_400])]);
}

#[test]
fn packed_in_every_way() {
    let pixels = [1, 2, 3, 4];
    let mut zlib = ZlibEncoder::new(Vec::new(), Compression::default());
    zlib.write_all(&pixels).unwrap();
    let zlib = zlib.finish().unwrap();
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(&[&[9, 9][..], &pixels].concat()).unwrap();
    let gzip = gzip.finish().unwrap();
    let two = raster(Element::U8, 1, 2);
    let expected = [[1, 2], [3, 4]];
    assert_eq!(read(two.clone(), &zlib, Place::new(0, Packing::Compressed)).unwrap(), expected);
    let skipping = Place { skip_unpacked: 2, ..Place::new(0, Packing::Compressed) };
    assert_eq!(read(two.clone(), &gzip, skipping).unwrap(), expected);
    assert_eq!(read(two.clone(), b"1 2\n3\t 4\n", Place::new(0, Packing::Text)).unwrap(), expected);
    let text = read(raster(Element::F64, 1, 1), b"0.5 1e0", Place::new(0, Packing::Text)).unwrap();
    assert_eq!(text, [deep(&[32_768, 65_535])]);
    let back = Place { from_end: true, ..Place::new(0, Packing::Plain) };
    assert_eq!(read(two.clone(), &[7, 7, 7, 1, 2, 3, 4], back).unwrap(), expected);
    let list = Raster { frames_first: true, ..two };
    assert_eq!(read(list.clone(), &[1, 3, 2, 4], Place::new(0, Packing::Plain)).unwrap(), expected);
    assert_eq!(
        read(Raster { element: Element::U16, ..list }, &deep(&[1, 257, 2, 511]), Place::new(0, Packing::Plain))
            .unwrap()
            .len(),
        2
    );
}

#[test]
fn a_header_that_contradicts_the_data_is_refused() {
    let two = || raster(Element::U8, 1, 2);
    let message = |result: Result<Vec<Vec<u8>>, RasterError>| {
        let message = result.unwrap_err().to_string();
        assert_eq!(message.lines().count(), 1);
        message
    };
    assert!(message(plain(two(), &[1; 3])).contains("announces 4 bytes and 3 are there"));
    assert!(message(plain(two(), &[1; 7])).contains("announces 4 bytes of pixels and 7 are there"));
    // A line end, and a padded byte, are accepted.
    assert!(plain(two(), b"abcd\r\n").is_ok() && plain(two(), b"abcd\0").is_ok());
    assert!(matches!(plain(raster(Element::U8, 1, 0), &[]), Err(RasterError::Empty)));
    assert!(matches!(plain(Raster { width: 1 << 40, ..two() }, &[]), Err(RasterError::TooLarge { .. })));
    let huge = Raster { width: 16_384, height: 16_384, element: Element::F64, ..two() };
    assert!(matches!(plain(huge, &[]), Err(RasterError::Memory)));
    assert!(matches!(plain(Raster { frames: u64::MAX, ..two() }, &[1; 9]), Err(RasterError::CutShort { .. })));
    let mut zlib = ZlibEncoder::new(Vec::new(), Compression::default());
    zlib.write_all(&[1, 2, 3, 4, 5]).unwrap();
    let zlib = zlib.finish().unwrap();
    let compressed = Place::new(0, Packing::Compressed);
    assert!(message(read(two(), &zlib, compressed)).contains("more pixels are there than its 2 frames take"));
    assert!(message(read(raster(Element::U8, 1, 3), &zlib, compressed)).contains("frame 3 of 3 is damaged"));
    assert!(message(read(raster(Element::U8, 1, 1 << 40), &zlib, compressed)).contains("cut short"));
    assert!(message(read(two(), &zlib[2..], compressed)).contains("frame 1 of 2 is damaged"));
    let text = |text: &[u8]| message(read(two(), text, Place::new(0, Packing::Text)));
    assert!(text(b"1 2 3 ").contains("cut short"));
    assert!(text(b"1 2 3 4 5").contains("more pixels"));
    assert!(text(b"1 2 3 300").contains("not of the announced type"));
    assert!(text(b"1 2 3 four").contains("cannot be read"));
    assert!(text(&[b'1'; 100]).contains("longer than any"));
}
