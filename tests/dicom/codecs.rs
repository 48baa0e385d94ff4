//! Compressed frames, decoded exactly.
//!
//! The coded pictures show one pattern of numbers: 10 x 6, with a flat field for runs. CharLS wrote the JPEG-LS files,
//! OpenJPEG the JPEG 2000 files; lossless JPEG is encoded here. The first two are in tests/golden, where fuzzing takes
//! its seeds from too.

use super::writer::*;
use super::{frames, pixels, refused};
use std::path::Path;

const WIDTH: usize = 10;
const HEIGHT: usize = 6;

fn pattern() -> Vec<u8> {
    let at = |x: usize, y: usize| {
        if (1..4).contains(&y) && (2..8).contains(&x) { 90 } else { ((x * 23 + y * 37) % 256) as u8 }
    };
    (0..HEIGHT).flat_map(|y| (0..WIDTH).map(move |x| at(x, y))).collect()
}

fn pattern_in_colour() -> Vec<u8> {
    pattern().into_iter().flat_map(|value| [value, (u32::from(value) * 3 % 256) as u8, 255 - value]).collect()
}

/// A coded picture of the reference files.
fn stored(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/codecs").join(name)).unwrap()
}

fn in_grey() -> Picture {
    grey(WIDTH as u16, HEIGHT as u16)
}

fn deep(bits: u16) -> Picture {
    Picture { bits: [16, bits, bits - 1], ..in_grey() }
}

fn in_colour(photometric: &'static str) -> Picture {
    colour(photometric, WIDTH as u16, HEIGHT as u16)
}

fn of(picture: &Picture, syntax: &str, coded: &[u8]) -> Vec<u8> {
    pixels(&picture.encapsulated(syntax, &[], &[coded]))
}

/// Values of `pattern` times 16 and 7, as a frame shows 12 bits.
fn twelve_bits() -> Vec<u16> {
    pattern().into_iter().map(|value| u16::from(value) * 16 + 7).collect()
}

fn shown(bits: u32) -> Vec<u8> {
    let most = (1u32 << bits) - 1;
    let sixteen = |value: u16| (u32::from(value) * 65_535 + most / 2) / most;
    twelve_bits().into_iter().map(|value| ((sixteen(value) * 255 + 32_767) / 65_535) as u8).collect()
}

#[test]
fn jpeg_ls() {
    assert_eq!(of(&in_grey(), JPEG_LS, &stored("grey.jls")), pattern());
    assert_eq!(of(&deep(12), JPEG_LS, &stored("grey12.jls")), shown(12));
    for name in ["rgb_by_line.jls", "rgb_by_sample.jls"] {
        assert_eq!(of(&in_colour("RGB"), JPEG_LS, &stored(name)), pattern_in_colour());
    }
    // Within the error that the encoder was allowed.
    let near = of(&in_grey(), JPEG_LS_NEAR, &stored("grey_near.jls"));
    assert!(near.iter().zip(pattern()).all(|(a, b)| a.abs_diff(b) <= 2), "{near:?}");
    assert_ne!(near, pattern());
    let near = of(&in_colour("RGB"), JPEG_LS_NEAR, &stored("rgb_near.jls"));
    assert!(near.iter().zip(pattern_in_colour()).all(|(a, b)| a.abs_diff(b) <= 2), "{near:?}");
}

#[test]
fn jpeg_2000() {
    assert_eq!(of(&in_grey(), JPEG_2000, &stored("grey.j2k")), pattern());
    assert_eq!(of(&deep(16), JPEG_2000, &stored("grey16.j2k")), shown(12));
    for photometric in ["YBR_RCT", "RGB"] {
        assert_eq!(of(&in_colour(photometric), JPEG_2000, &stored("rgb.j2k")), pattern_in_colour());
    }
    let lossy = of(&in_colour("YBR_ICT"), JPEG_2000_LOSSY, &stored("rgb_lossy.j2k"));
    // OpenJPEG's own decoder has an error of the same size.
    assert!(lossy.iter().zip(pattern_in_colour()).all(|(a, b)| a.abs_diff(b) <= 4), "{lossy:?}");
    // Truncated, and alone: refused.
    let coded = stored("grey.j2k");
    refused(&in_grey().encapsulated(JPEG_2000, &[], &[&coded[..150]]), "frame 1 of 1 is damaged");
    assert_eq!(of(&in_grey(), JPEG_2000, &coded[..coded.len() - 2]), pattern());
}

#[test]
fn lossless_jpeg() {
    let grey: Vec<u16> = pattern().into_iter().map(u16::from).collect();
    let colour: Vec<u16> = pattern_in_colour().into_iter().map(u16::from).collect();
    for predictor in 1..=7 {
        let coded = lossless(&grey, 1, 8, predictor);
        assert_eq!(of(&in_grey(), JPEG_LOSSLESS, &coded), pattern(), "predictor {predictor}");
        assert_eq!(of(&in_colour("RGB"), JPEG_LOSSLESS, &lossless(&colour, 3, 8, predictor)), pattern_in_colour());
        assert_eq!(of(&deep(12), "1.2.840.10008.1.2.4.57", &lossless(&twelve_bits(), 1, 12, predictor)), shown(12));
    }
    for (picture, name, shown) in [
        (in_grey(), "grey.ljpg", pattern()),
        (in_colour("RGB"), "rgb.ljpg", pattern_in_colour()),
        (deep(12), "grey12.ljpg", shown(12)),
    ] {
        assert_eq!(of(&picture, JPEG_LOSSLESS, &stored(name)), shown, "{name}");
    }
    // The frame determines the process, not the transfer syntax.
    assert_eq!(of(&in_grey(), JPEG, &lossless(&grey, 1, 8, 1)), pattern());
}

#[test]
fn frames_of_another_kind_than_described_are_refused() {
    for (syntax, coded) in
        [(JPEG_LS, stored("grey.jls")), (JPEG_2000, stored("grey.j2k")), (JPEG_LOSSLESS, lossless(&[1; 60], 1, 8, 1))]
    {
        refused(&grey(9, 6).encapsulated(syntax, &[], &[&coded]), "it is 10 x 6 pixels, not 9 x 6");
        refused(&in_colour("RGB").encapsulated(syntax, &[], &[&coded]), "not what the file describes");
    }
    refused(&in_grey().encapsulated(JPEG_LS, &[], &[&stored("grey12.jls")]), "not what the file describes");
}

/// Truncated or changed data yields an error or a frame, never a panic, and the clip continues.
#[test]
fn damage_never_panics() {
    let coded = [
        (in_grey(), JPEG_LS, stored("grey.jls")),
        (in_colour("RGB"), JPEG_LS, stored("rgb_by_sample.jls")),
        (in_colour("RGB"), JPEG_2000, stored("rgb.j2k")),
        (in_grey(), JPEG_2000, stored("grey.j2k")),
        (in_grey(), JPEG_LOSSLESS, lossless(&[100; 60], 1, 8, 4)),
    ];
    for (picture, syntax, coded) in coded {
        for end in (0..coded.len()).step_by(3) {
            let clip = Picture { frames: Some("2"), ..picture.clone() };
            let found = frames(&clip.encapsulated(syntax, &[], &[&coded, &coded[..end]])).unwrap();
            assert!(found[0].valid && found.len() == 2);
        }
        for at in 0..coded.len() {
            for value in [0, 0x7f, 0xff, coded[at] ^ 1] {
                let mut changed = coded.clone();
                changed[at] = value;
                let _ = frames(&picture.encapsulated(syntax, &[], &[&changed]));
            }
        }
    }
}

#[test]
fn rle_of_sixteen_bits_in_colour() {
    // Six planes of one byte each: high and low bytes of red, green and blue.
    let planes: Vec<u8> = [0x12, 0x34, 0x56, 0x78, 0xff, 0xff].iter().flat_map(|byte| [0, *byte]).collect();
    let head = [6, 64, 66, 68, 70, 72, 74].into_iter().chain([0; 9]).flat_map(u32::to_le_bytes);
    let coded: Vec<u8> = head.chain(planes).collect();
    let picture = Picture { bits: [16, 16, 15], ..colour("RGB", 1, 1) };
    assert_eq!(of(&picture, RLE, &coded), [0x12, 0x56, 0xff]);
}

/// Lossless JPEG (T.81, annex H), all components in one scan, one Huffman code of five bits for each size of a difference.
fn lossless(samples: &[u16], components: usize, bits: u32, predictor: u8) -> Vec<u8> {
    let mut out = vec![0xff, 0xd8, 0xff, 0xc3];
    out.extend((8 + 3 * components as u16).to_be_bytes());
    out.push(bits as u8);
    out.extend([(HEIGHT as u16).to_be_bytes(), (WIDTH as u16).to_be_bytes()].concat());
    out.push(components as u8);
    (1..=components as u8).for_each(|id| out.extend([id, 0x11, 0]));
    out.extend([0xff, 0xc4, 0, 19 + 17, 0]);
    out.extend([0, 0, 0, 0, 17, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    out.extend(0..17u8);
    out.extend([0xff, 0xda, 0, 6 + 2 * components as u8, components as u8]);
    (1..=components as u8).for_each(|id| out.extend([id, 0]));
    out.extend([predictor, 0, 0]);
    let (mut buffer, mut held) = (0u64, 0u32);
    let mut put = |value: u32, count: u32, out: &mut Vec<u8>| {
        buffer = buffer << count | u64::from(value);
        held += count;
        while held >= 8 {
            held -= 8;
            let byte = (buffer >> held) as u8;
            out.push(byte);
            if byte == 0xff {
                out.push(0);
            }
        }
    };
    for index in 0..WIDTH * HEIGHT {
        let (x, y) = (index % WIDTH, index / WIDTH);
        for component in 0..components {
            let at = |x: usize, y: usize| i32::from(samples[(y * WIDTH + x) * components + component]);
            let predicted = match (x, y) {
                (0, 0) => 1 << (bits - 1),
                (_, 0) => at(x - 1, 0),
                (0, _) => at(0, y - 1),
                _ => {
                    let (a, b, c) = (at(x - 1, y), at(x, y - 1), at(x - 1, y - 1));
                    match predictor {
                        1 => a,
                        2 => b,
                        3 => c,
                        4 => a + b - c,
                        5 => a + ((b - c) >> 1),
                        6 => b + ((a - c) >> 1),
                        _ => (a + b) / 2,
                    }
                }
            };
            let difference = at(x, y) - predicted;
            let size = 32 - difference.unsigned_abs().leading_zeros();
            put(size, 5, &mut out);
            if size > 0 {
                let value = if difference < 0 { difference - 1 + (1 << size) } else { difference };
                put(value as u32, size, &mut out);
            }
        }
    }
    put(0x7f, 7, &mut out);
    out.extend([0xff, 0xd9]);
    out
}
