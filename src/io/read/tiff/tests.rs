use super::*;
use crate::frame::PixelFormat;
use std::io::Cursor;

/// Writes TIFF files, classic and big, in either byte order: uncompressed, one strip a page.
#[derive(Clone, Copy)]
struct Writer {
    big_endian: bool,
    is_big_tiff: bool,
}

const PLAIN: Writer = Writer { big_endian: false, is_big_tiff: false };

struct TestPage<'a> {
    size: [u32; 2],
    photometric: u32,
    bits: u32,
    samples: u32,
    /// 1 unsigned, 2 signed, 3 floats.
    format: u32,
    /// Tag, type (3 for 16 bits, 4 for 32), values.
    more: Vec<(u16, u16, Vec<u32>)>,
    pixels: &'a [u8],
}

fn grey<'a>(bits: u32, format: u32, pixels: &'a [u8]) -> TestPage<'a> {
    TestPage { size: [2, 1], photometric: 1, bits, samples: 1, format, more: Vec::new(), pixels }
}

impl Writer {
    fn number(&self, value: u64, bytes: usize) -> Vec<u8> {
        let mut number = value.to_le_bytes()[..bytes].to_vec();
        if self.big_endian {
            number.reverse();
        }
        number
    }

    fn write(&self, pages: &[TestPage<'_>]) -> Vec<u8> {
        let width = if self.is_big_tiff { 8 } else { 4 };
        let mut file = if self.big_endian { b"MM".to_vec() } else { b"II".to_vec() };
        file.extend(self.number(if self.is_big_tiff { 43 } else { 42 }, 2));
        if self.is_big_tiff {
            file.extend(self.number(8, 2));
            file.extend(self.number(0, 2));
        }
        let mut link = file.len();
        file.extend(self.number(0, width));
        for page in pages {
            let pixels_at = file.len();
            file.extend(page.pixels);
            file.resize(file.len().next_multiple_of(2), 0);
            let mut entries = vec![
                (256, 4, vec![page.size[0]]),
                (257, 4, vec![page.size[1]]),
                (258, 3, vec![page.bits; page.samples as usize]),
                (259, 3, vec![1]),
                (262, 3, vec![page.photometric]),
                (273, 4, vec![pixels_at as u32]),
                (277, 3, vec![page.samples]),
                (278, 4, vec![page.size[1]]),
                (279, 4, vec![page.pixels.len() as u32]),
                (339, 3, vec![page.format; page.samples as usize]),
            ];
            entries.extend(page.more.iter().cloned());
            entries.sort();
            let mut table = self.number(entries.len() as u64, if self.is_big_tiff { 8 } else { 2 });
            for (tag, kind, values) in &entries {
                let value: Vec<u8> = values
                    .iter()
                    .flat_map(|value| self.number((*value).into(), if *kind == 3 { 2 } else { 4 }))
                    .collect();
                table.extend(self.number((*tag).into(), 2));
                table.extend(self.number((*kind).into(), 2));
                table.extend(self.number(values.len() as u64, width));
                if value.len() <= width {
                    table.extend(&value);
                    table.resize(table.len() + width - value.len(), 0);
                } else {
                    table.extend(self.number(file.len() as u64, width));
                    file.extend(&value);
                }
            }
            let at = self.number(file.len() as u64, width);
            file[link..link + width].copy_from_slice(&at);
            file.extend(table);
            link = file.len();
            file.extend(self.number(0, width));
        }
        file
    }
}

fn pages(file: &[u8]) -> Result<Vec<FrameBuffer>, ReadError> {
    let mut pages = TiffPages::new(Path::new("x.tif"), Cursor::new(file))?;
    let (mut frames, mut buffer) = (Vec::new(), FrameBuffer::default());
    while pages.read_page(&mut buffer)? {
        frames.push(buffer.clone());
    }
    assert_eq!(pages.len(), frames.len());
    Ok(frames)
}

fn pixels(page: TestPage<'_>) -> Vec<u8> {
    pages(&PLAIN.write(&[page])).unwrap()[0].pixels().to_vec()
}

fn deep(samples: &[u16]) -> Vec<u8> {
    samples.iter().flat_map(|sample| sample.to_le_bytes()).collect()
}

#[test]
fn all_pages_in_classic_and_big_files_of_either_byte_order() {
    for big_endian in [false, true] {
        for is_big_tiff in [false, true] {
            let writer = Writer { big_endian, is_big_tiff };
            let palette: Vec<u32> = (0..768).map(|level| level % 256 * 257).collect();
            let indexed = TestPage { photometric: 3, more: vec![(320, 3, palette)], ..grey(8, 1, &[1, 3]) };
            let secondary = TestPage { more: vec![(254, 4, vec![1])], ..grey(8, 1, &[9, 9]) };
            let file = writer.write(&[grey(8, 1, &[1, 2]), indexed, secondary, grey(8, 1, &[5, 6])]);
            let found = pages(&file).unwrap();
            assert_eq!(found.len(), 3, "{big_endian} {is_big_tiff}");
            assert_eq!((found[0].pixels(), found[2].pixels()), (&[1, 2][..], &[5, 6][..]));
            assert_eq!(found[1].pixels(), [1, 1, 1, 3, 3, 3], "{big_endian} {is_big_tiff}");
        }
    }
}

#[test]
fn every_depth_of_grey() {
    assert_eq!(pixels(grey(1, 1, &[0b0100_0000])), [0, 255]);
    assert_eq!(pixels(grey(4, 1, &[0x3f])), [51, 255]);
    assert_eq!(pixels(TestPage { photometric: 0, ..grey(8, 1, &[0, 255]) }), [255, 0]);
    assert_eq!(pixels(grey(16, 1, &deep(&[2048, 4095]))), deep(&[32_776, 65_535]));
    assert_eq!(pixels(grey(16, 2, &deep(&[(-100i16) as u16, 100]))), deep(&[0, 65_535]));
    let floats = |values: [f32; 2]| values.map(f32::to_le_bytes).concat();
    assert_eq!(pixels(grey(32, 3, &floats([0.5, 1.0]))), deep(&[32_768, 65_535]));
    assert_eq!(pixels(grey(32, 3, &floats([0.0, 255.0]))), deep(&[0, 65_535]));
    assert_eq!(pixels(grey(64, 3, &[0.0f64, 0.5].map(f64::to_le_bytes).concat())), deep(&[0, 32_768]));
    assert_eq!(pixels(grey(32, 1, &[1000u32, 1023].map(u32::to_le_bytes).concat())), deep(&[64_062, 65_535]));
}

#[test]
fn all_pages_have_one_black_and_one_white() {
    let (dark, bright) = (deep(&[100, 200]), deep(&[0, 1023]));
    let found = pages(&PLAIN.write(&[grey(16, 1, &dark), grey(16, 1, &bright)])).unwrap();
    assert_eq!(found[0].pixels(), deep(&[6406, 12_812]));
    assert_eq!(found[1].pixels(), deep(&[0, 65_535]));
}

#[test]
fn colours_and_planes() {
    let rgb = |samples: u32, more: Vec<(u16, u16, Vec<u32>)>, pixels| TestPage {
        photometric: 2,
        samples,
        more,
        ..grey(8, 1, pixels)
    };
    assert_eq!(pixels(rgb(3, Vec::new(), &[1, 2, 3, 4, 5, 6])), [1, 2, 3, 4, 5, 6]);
    assert_eq!(pixels(rgb(4, vec![(338, 3, vec![2])], &[1, 2, 3, 9, 4, 5, 6, 0])), [1, 2, 3, 4, 5, 6]);
    let grey_and_more = TestPage { samples: 2, more: vec![(338, 3, vec![0])], ..grey(8, 1, &[1, 9, 2, 9]) };
    assert_eq!(pixels(grey_and_more), [1, 2]);
    let wide = deep(&[0, 1023, 512, 1023, 0, 0]);
    assert_eq!(pixels(TestPage { bits: 16, ..rgb(3, Vec::new(), &wide) }), [0, 255, 128, 255, 0, 0]);
}

#[test]
fn orientation_is_told_and_pixels_stay() {
    for orientation in Orientation::ALL {
        let page = TestPage { more: vec![(274, 3, vec![orientation.to_exif().into()])], ..grey(8, 1, &[1, 2]) };
        let found = pages(&PLAIN.write(&[page])).unwrap();
        assert_eq!((found[0].pixels(), found[0].orientation), (&[1, 2][..], orientation));
    }
    let unknown = TestPage { more: vec![(274, 3, vec![0])], ..grey(8, 1, &[1, 2]) };
    assert_eq!(pages(&PLAIN.write(&[unknown])).unwrap()[0].orientation, Orientation::Upright);
}

#[test]
fn one_picture_is_the_first_page() {
    let file = PLAIN.write(&[grey(8, 1, &[1, 2]), grey(8, 1, &[3, 4])]);
    let image = Image::from_bytes("x.tif", &file).unwrap();
    assert_eq!(image, Image::new(vec![1, 2], PixelFormat::Gray8, 2, 1).unwrap());
    let description =
        TiffPages::new(Path::new("x.tif"), Cursor::new(&file)).unwrap().decode_first().unwrap().description;
    assert_eq!((description.frames, description.pixels.as_str()), (Some(2), "8-bit grey"));
}

#[test]
fn bad_files_are_errors() {
    let file = PLAIN.write(&[grey(8, 1, &[1, 2]), grey(8, 1, &[3, 4])]);
    for length in [4, 7, 8, 11, 30] {
        assert!(pages(&file[..length]).is_err(), "{length}");
    }
    let short = TestPage { size: [2, 9], ..grey(8, 1, &[1, 2]) };
    let error = pages(&PLAIN.write(&[short])).unwrap_err().to_string();
    assert!(error.contains("damaged") && error.lines().count() == 1, "{error}");
    let large = TestPage { size: [99_999, 1], ..grey(8, 1, &[1, 2]) };
    assert!(matches!(pages(&PLAIN.write(&[large])), Err(ReadError::TooLarge { .. })));
    let no_palette = TestPage { photometric: 3, ..grey(8, 1, &[1, 2]) };
    assert!(pages(&PLAIN.write(&[no_palette])).unwrap_err().to_string().contains("palette"));
    // The last directory leads back to the first: two pages, or a refusal, but the walk must end.
    let mut circle = file.clone();
    let first = u32::from_le_bytes(circle[4..8].try_into().unwrap());
    let end = circle.len() - 4;
    circle[end..].copy_from_slice(&first.to_le_bytes());
    let _ = pages(&circle);
}

#[test]
fn mutations_never_panic() {
    let palette = vec![0x1234; 768];
    let indexed = TestPage { photometric: 3, more: vec![(320, 3, palette)], ..grey(8, 1, &[1, 3]) };
    let file = PLAIN.write(&[grey(16, 1, &[1, 2, 3, 4]), indexed]);
    let interesting = (0..400).chain(file.len() - 200..file.len());
    for at in interesting.filter(|at| *at < file.len()) {
        let _ = pages(&file[..at]);
        for value in [0, 1, 0xff, file[at] ^ 1] {
            let mut changed = file.clone();
            changed[at] = value;
            let _ = TiffPages::new(Path::new("x.tif"), Cursor::new(&changed)).map(|mut pages| {
                let mut buffer = FrameBuffer::default();
                for _ in 0..4 {
                    if !pages.read_page(&mut buffer).unwrap_or(false) {
                        break;
                    }
                }
            });
        }
    }
}
