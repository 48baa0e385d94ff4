//! Encodings of elements: UN, another encoding than announced, missing preambles and delimiters, regions.

use super::writer::*;
use super::{Region, open, pixels, refused, says, scan};
use std::io::Write;

const IMPLICIT_FORM: Form = Form { explicit: false, ..PLAIN };
const BIG_FORM: Form = Form { big_endian: true, ..PLAIN };
const SHADES: [u8; 12] = [0, 20, 40, 60, 80, 100, 120, 140, 160, 180, 200, 255];

fn picture(form: Form) -> Picture {
    Picture { form, ..grey(4, 3) }
}

#[test]
fn any_encoding_is_read_whatever_is_announced() {
    let unknown = Form { unknown: true, ..PLAIN };
    for (form, syntax) in [
        (PLAIN, EXPLICIT),
        (IMPLICIT_FORM, IMPLICIT),
        (BIG_FORM, BIG_ENDIAN),
        (unknown, EXPLICIT),
        (IMPLICIT_FORM, EXPLICIT),
        (PLAIN, IMPLICIT),
        (BIG_FORM, EXPLICIT),
    ] {
        let file = picture(form).native_as(syntax, &SHADES);
        assert_eq!(pixels(&file), SHADES, "{form:?} as {syntax}");
    }
    says(&picture(IMPLICIT_FORM).native(&SHADES), "not encoded as its transfer syntax says");
}

#[test]
fn preamble_and_header_may_be_missing() {
    let whole = picture(PLAIN).native(&SHADES);
    assert_eq!(pixels(&whole[132..]), SHADES);
    for form in [PLAIN, IMPLICIT_FORM] {
        let mut w = picture(form).attributes();
        w.raw(0x7fe0_0010, "OB", &SHADES);
        assert_eq!(pixels(&w.bytes), SHADES, "{form:?}");
        says(&w.bytes, "does not name its transfer syntax");
    }
    for text in [&b"This is text, and no DICOM."[..], &[8; 200], &[2, 0, 0, 0, 1, 1, 1, 1, 1]] {
        refused(text, "DICOM file");
    }
}

#[test]
fn deflated_files_are_unpacked() {
    let mut w = picture(PLAIN).attributes();
    w.raw(0x7fe0_0010, "OB", &SHADES);
    let mut packed = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
    packed.write_all(&w.bytes).unwrap();
    let packed = packed.finish().unwrap();
    let whole = file(DEFLATED, &packed);
    assert_eq!(pixels(&whole), SHADES);
    assert_eq!(open(&whole).unwrap().description().transfer_syntax, DEFLATED);
    refused(&whole[..whole.len() - 20], "cannot be unpacked");
    // Zeros that decompress to more than the limit of one frame.
    let mut bomb = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
    for _ in 0..513 {
        bomb.write_all(&vec![0; 1 << 20]).unwrap();
    }
    refused(&file(DEFLATED, &bomb.finish().unwrap()), "more than 512 MiB");
}

/// Regions in every encoding that a sequence can have.
#[test]
fn regions_are_read_however_they_are_written() {
    let explicit = region(PLAIN, [1, 0, 3, 1], 0.5);
    let implicit = region(IMPLICIT_FORM, [1, 0, 3, 1], 0.5);
    let with = |write: &dyn Fn(&mut Writer)| {
        let mut w = Writer::new(PLAIN);
        write(&mut w);
        Picture { before: w.bytes, ..picture(PLAIN) }.native(&SHADES)
    };
    // An item of another sequence, whatever it contains, is skipped.
    let private = |w: &mut Writer, inner: &[u8]| {
        w.head(0x0019_1001, "UN", UNDEFINED).item(UNDEFINED).bytes.extend(inner);
        w.item_end().sequence_end();
    };
    let files = [
        with(&|w| w.sequence(REGIONS, std::slice::from_ref(&explicit)).end()),
        with(&|w| {
            w.head(REGIONS, "SQ", UNDEFINED).item(UNDEFINED).bytes.extend(&explicit);
            w.item_end().sequence_end();
        }),
        // UN, of defined length or not; inside it implicit as in the standard, or explicit.
        with(&|w| {
            w.head(REGIONS, "UN", implicit.len() as u32 + 8).item(implicit.len() as u32).bytes.extend(&implicit);
        }),
        with(&|w| {
            w.head(REGIONS, "UN", UNDEFINED).item(UNDEFINED).bytes.extend(&implicit);
            w.item_end().sequence_end();
        }),
        with(&|w| {
            w.head(REGIONS, "UN", UNDEFINED).item(explicit.len() as u32).bytes.extend(&explicit);
            w.sequence_end();
        }),
        // The item's delimiter is missing; both are; one is superfluous.
        with(&|w| {
            w.head(REGIONS, "SQ", UNDEFINED).item(UNDEFINED).bytes.extend(&explicit);
            w.sequence_end();
        }),
        with(&|w| {
            w.head(REGIONS, "SQ", UNDEFINED).item(explicit.len() as u32).bytes.extend(&explicit);
        }),
        with(&|w| {
            w.sequence(REGIONS, std::slice::from_ref(&explicit)).item_end().sequence_end();
        }),
        with(&|w| {
            w.sequence(REGIONS, std::slice::from_ref(&explicit));
            private(w, &implicit);
        }),
        with(&|w| {
            w.sequence(REGIONS, std::slice::from_ref(&explicit));
            // Sequences within it, also as UN.
            let mut inner = Writer::new(IMPLICIT_FORM);
            private(&mut inner, &implicit);
            private(w, &inner.bytes);
        }),
    ];
    for (index, file) in files.iter().enumerate() {
        let expected = (Region { x: 1, y: 0, width: 3, height: 2 }, Some([0.5, 0.5]));
        assert_eq!(scan(file), expected, "file {index}");
        assert_eq!(pixels(file), SHADES, "file {index}");
    }
}

#[test]
fn regions_without_an_area_are_no_regions() {
    let with = |places: &[[u32; 4]]| {
        let items: Vec<Vec<u8>> = places.iter().map(|place| region(PLAIN, *place, 0.5)).collect();
        let mut w = Writer::new(PLAIN);
        w.sequence(REGIONS, &items);
        Picture { before: w.bytes, ..picture(PLAIN) }.native(&SHADES)
    };
    let whole = (Region::whole(4, 3), None);
    for place in [[0, 0, 0, 0], [1, 1, 1, 2], [4, 0, 9, 9], [3, 2, 1, 0]] {
        let file = with(&[place]);
        assert_eq!(scan(&file), whole, "{place:?}");
        says(&file, "were ignored");
    }
    assert_eq!(scan(&with(&[[0, 0, 0, 0], [0, 0, 2, 1]])).0, Region { x: 0, y: 0, width: 3, height: 2 });
    // Two of the same size: the first, and a note about the other.
    let biplane = with(&[[0, 0, 1, 2], [2, 0, 3, 2]]);
    assert_eq!(scan(&biplane).0, Region { x: 0, y: 0, width: 2, height: 3 });
    says(&biplane, "--region 2,0,2,3");
    assert_eq!(open(&biplane).unwrap().description().regions.len(), 2);
    assert!(open(&with(&[[0, 0, 1, 2], [0, 0, 1, 2]])).unwrap().description().ignored.is_empty());
}

#[test]
fn spacing_of_enhanced_files_is_in_their_groups() {
    let measures = |spacing: &str| {
        let mut w = Writer::new(PLAIN);
        w.text(0x0028_0030, "DS", spacing);
        let mut group = Writer::new(PLAIN);
        group.sequence(0x0028_9110, &[w.bytes]);
        group.bytes
    };
    let with = |tag: u32, groups: &[Vec<u8>]| {
        let mut w = Writer::new(PLAIN);
        w.sequence(tag, groups);
        Picture { after: w.bytes, frames: Some("2"), sop_class: "1.2.840.10008.5.1.4.1.1.6.2", ..picture(PLAIN) }
            .native(&[SHADES, SHADES].concat())
    };
    let shared = with(0x5200_9229, &[measures("0.3\\0.2")]);
    assert_eq!(scan(&shared).1, Some([0.2, 0.3]));
    assert!(open(&shared).unwrap().description().is_volume);
    assert_eq!(scan(&with(0x5200_9230, &[measures("0.3\\0.2"), measures("0.3\\0.2")])).1, Some([0.2, 0.3]));
    let differing = with(0x5200_9230, &[measures("0.3\\0.2"), measures("0.3\\0.4")]);
    assert_eq!(scan(&differing).1, None);
    says(&differing, "differ in the size of their pixels");
}

#[test]
fn pixels_of_another_length_than_described_are_refused() {
    let four = |photometric, samples| Picture { photometric, samples, ..grey(4, 4) };
    let deep = Picture { bits: [16, 12, 11], ..four("MONOCHROME2", 1) };
    for (picture, needed) in [
        (four("MONOCHROME2", 1), 16),
        (four("MONOCHROME1", 1), 16),
        (four("RGB", 3), 48),
        (four("YBR_FULL", 3), 48),
        (four("YBR_FULL_422", 3), 32),
        (deep, 32),
    ] {
        let read = |bytes: usize| super::frames(&picture.native(&vec![7; bytes]));
        let name = picture.photometric;
        assert!(read(needed).is_ok(), "{name}");
        // Padded to four bytes, as some programs do.
        assert!(read(needed + 1).is_ok() && read(needed + 3).is_ok(), "{name}");
        for surplus in [4, needed / 2 + 4, needed, 2 * needed] {
            refused(&picture.native(&vec![7; needed + surplus]), "contradicts itself");
        }
        for missing in [1, needed / 2, needed] {
            refused(&picture.native(&vec![7; needed - missing]), "are announced");
        }
    }
    // Two frames where one is announced are not padding.
    let clip = Picture { frames: Some("2"), ..grey(4, 4) };
    assert!(super::frames(&clip.native(&[7; 32])).is_ok());
    refused(&clip.native(&[7; 34]), "contradicts itself");
}

#[test]
fn three_bytes_a_pixel_are_not_halved() {
    let stored: Vec<u8> = (0..48).map(|at| (at * 5) as u8).collect();
    let full = pixels(&colour("YBR_FULL", 4, 4).native(&stored));
    let claimed = colour("YBR_FULL_422", 4, 4).native(&stored);
    assert_eq!(pixels(&claimed), full);
    says(&claimed, "three bytes a pixel");
    let planar = Picture { planar: 1, ..colour("YBR_FULL", 4, 4) };
    let claimed = Picture { photometric: "YBR_FULL_422", ..planar.clone() };
    assert_eq!(pixels(&claimed.native(&stored)), pixels(&planar.native(&stored)));
}

#[test]
fn odd_frames_of_big_endian_words() {
    // Three pixels a frame, in 16-bit words: the bytes of each are swapped, and a frame may begin within one.
    let mut w = Picture { form: BIG_FORM, frames: Some("2"), ..grey(3, 1) }.attributes();
    w.raw(0x7fe0_0010, "OW", &[2, 1, 4, 3, 6, 5]);
    let found = super::frames(&file(BIG_ENDIAN, &w.bytes)).unwrap();
    assert_eq!([found[0].pixels(), found[1].pixels()].concat(), [1, 2, 3, 4, 5, 6]);
    let mut w = Picture { form: BIG_FORM, ..grey(3, 1) }.attributes();
    w.raw(0x7fe0_0010, "OW", &[2, 1, 0, 3]);
    assert_eq!(pixels(&file(BIG_ENDIAN, &w.bytes)), [1, 2, 3]);
}
