//! JPEG frames: fragments, markers, and missing data.

use super::writer::*;
use super::{frames, open, refused, says};
use image::ExtendedColorType;
use image::codecs::jpeg::JpegEncoder;

const SIDE: u16 = 24;

/// Noise, so that a scan has no blocks without bits.
fn noise(seed: u32) -> Vec<u8> {
    (0..3 * u32::from(SIDE) * u32::from(SIDE))
        .map(|at| ((at + seed * 7919).wrapping_mul(2_654_435_761) >> 22) as u8)
        .collect()
}

fn jpeg(seed: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    JpegEncoder::new_with_quality(&mut bytes, 90)
        .encode(&noise(seed), SIDE.into(), SIDE.into(), ExtendedColorType::Rgb8)
        .unwrap();
    bytes
}

fn clip(frames: &'static str) -> Picture {
    Picture { frames: Some(frames), ..colour("YBR_FULL_422", SIDE, SIDE) }
}

/// Asserts that the frames equal the contents of these JPEGs, in this order.
fn hold(file: &[u8], jpegs: &[&[u8]]) {
    let found = frames(file).unwrap();
    let one = |jpeg: &[u8]| frames(&clip("1").encapsulated(JPEG, &[], &[jpeg])).unwrap().remove(0);
    let expected: Vec<_> = jpegs.iter().map(|jpeg| one(jpeg)).collect();
    assert_eq!(found.len(), expected.len());
    for (index, (found, expected)) in found.iter().zip(&expected).enumerate() {
        assert!(found.pixels() == expected.pixels() && found.valid, "frame {index}");
    }
}

#[test]
fn frames_are_told_by_their_marks() {
    let [a, b, c] = [jpeg(1), jpeg(2), jpeg(3)];
    let all = [a.as_slice(), &b, &c];
    let halves: Vec<&[u8]> = all.iter().flat_map(|jpeg| [&jpeg[..300], &jpeg[300..]]).collect();
    hold(&clip("3").encapsulated(JPEG, &[], &all), &all);
    hold(&clip("3").encapsulated(JPEG, &[], &halves), &all);
    // Tables that are wrong.
    for table in [&[0, 4, 8][..], &[0, 0, 0], &[0], &[1 << 30, 0, 0]] {
        hold(&clip("3").encapsulated(JPEG, table, &halves), &all);
    }
    let lengths: Vec<u32> = halves.iter().map(|half| 8 + half.len().next_multiple_of(2) as u32).collect();
    let table = [0, lengths[0] + lengths[1], lengths[..4].iter().sum()];
    hold(&clip("3").encapsulated(JPEG, &table, &halves), &all);
    // More frames than announced, and fewer.
    for fragments in [&all[..], &halves] {
        let file = clip("2").encapsulated(JPEG, &[], fragments);
        hold(&file, &all[..2]);
        says(&file, "announces 2 frames and has 3");
        let file = clip("5").encapsulated(JPEG, &[], fragments);
        hold(&file, &all);
        says(&file, "announces 5 frames and has 3");
        hold(&clip("0").encapsulated(JPEG, &[], fragments), &all[..1]);
    }
    // One picture in three fragments, whatever its table says.
    for table in [&[][..], &[0]] {
        let file = clip("1").encapsulated(JPEG, table, &all);
        hold(&file, &all[..1]);
        says(&file, "announces 1 frames and has 3");
    }
    let open_ended = clip("3").encapsulated_open(JPEG, &[], &all);
    hold(&open_ended, &all);
    says(&open_ended, "delimiter after its pixels is missing");
    hold(&[&open_ended[..], &[0xfc, 0xff, 0xfc, 0xff, b'O', b'B', 0, 0, 0, 0, 0, 0]].concat(), &all);
    refused(&open_ended[..open_ended.len() - 9], "cut short");
    refused(&clip("3").encapsulated(JPEG, &[], &[]), "0 are there");
}

#[test]
fn a_frame_that_is_cut_short_is_flagged_and_a_picture_refused() {
    let [a, b] = [jpeg(1), jpeg(2)];
    let scan = b.windows(2).position(|pair| pair == [0xff, 0xda]).unwrap();
    let ended = |jpeg: &[u8]| [jpeg, &[0xff, 0xd9]].concat();
    let third = scan + (b.len() - scan) / 3;
    for cut in [b[..third].to_vec(), ended(&b[..third]), b[..b.len() - 12].to_vec(), ended(&b[..scan + 14])] {
        let found = frames(&clip("3").encapsulated(JPEG, &[], &[&a, &cut, &a])).unwrap();
        assert_eq!(found.iter().map(|frame| frame.valid).collect::<Vec<_>>(), [true, false, true]);
        assert_eq!(found[0].pixels(), found[2].pixels());
        refused(&clip("1").encapsulated(JPEG, &[], &[&cut]), "frame 1 of 1 is damaged");
    }
    // A frame that cannot be decoded at all becomes black and is flagged; a clip without any decodable frame is
    // refused.
    let broken = vec![0xff; 40];
    let found = frames(&clip("2").encapsulated(JPEG, &[], &[&broken, &a])).unwrap();
    assert_eq!((found[0].valid, found[1].valid), (false, true));
    assert!(found[0].pixels().iter().all(|value| *value == 0));
    refused(&clip("2").encapsulated(JPEG, &[], &[&broken, &broken]), "frame 2 of 2 is damaged");
    // The end marker alone may be missing.
    hold(&clip("1").encapsulated(JPEG, &[], &[&a[..a.len() - 2]]), &[&a]);
}

#[test]
fn unmarked_rgb_is_not_transformed() {
    // The encoder stores luma and chroma and adds a JFIF marker. Without the marker, and announced as RGB, the values
    // are kept.
    let marked = jpeg(4);
    assert_eq!(marked[2..4], [0xff, 0xe0]);
    let length = usize::from(u16::from_be_bytes([marked[4], marked[5]]));
    let unmarked = [&marked[..2], &marked[4 + length..]].concat();
    let adobe = |transform: u8| {
        [&marked[..2], b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0", &[transform], &marked[4 + length..]].concat()
    };
    let of = |photometric, jpeg: &[u8]| {
        frames(&colour(photometric, SIDE, SIDE).encapsulated(JPEG, &[], &[jpeg])).unwrap()[0].pixels().to_vec()
    };
    let transformed = of("YBR_FULL_422", &marked);
    let raw = of("RGB", &unmarked);
    assert_eq!(of("YBR_FULL_422", &unmarked), transformed);
    // Markers take precedence.
    assert_eq!(of("RGB", &marked), transformed);
    assert_eq!(of("RGB", &adobe(1)), transformed);
    assert_eq!(of("RGB", &adobe(0)), raw);
    // The stored values are luma and chroma of the picture.
    let pixels = noise(4);
    let luma = |rgb: &[u8]| 0.299 * f64::from(rgb[0]) + 0.587 * f64::from(rgb[1]) + 0.114 * f64::from(rgb[2]);
    let error = |found: &[u8]| {
        let pairs = found.as_chunks::<3>().0.iter().zip(pixels.as_chunks::<3>().0);
        pairs.map(|(found, pixel)| (f64::from(found[0]) - luma(pixel)).abs()).sum::<f64>() / f64::from(SIDE).powi(2)
    };
    assert!(error(&raw) < 12.0 && error(&transformed) > 30.0, "{} {}", error(&raw), error(&transformed));
}

#[test]
fn other_transfer_syntaxes_are_refused_by_name() {
    let mpeg = clip("1").encapsulated("1.2.840.10008.1.2.4.100", &[], &[&[0, 0, 1, 0xb3]]);
    refused(&mpeg, "its transfer syntax is 1.2.840.10008.1.2.4.100");
    // Big-endian pixels under a vendor's private syntax.
    refused(&grey(2, 1).native_as("1.2.840.113619.5.2", &[1, 2]), "1.2.840.113619.5.2");
    assert!(open(&clip("1").encapsulated(EXPLICIT, &[], &[&jpeg(1)])).is_err());
}
