//! From stored values to grey levels: tables, windows, rescaling, palettes, bits.

use super::writer::*;
use super::{PixelFormat, frames, in_eight_bits, pixels, refused, says};

const STORED: [u8; 4] = [0, 10, 128, 255];

fn with(write: impl Fn(&mut Writer)) -> Picture {
    let mut w = Writer::new(PLAIN);
    write(&mut w);
    Picture { after: w.bytes, ..grey(4, 1) }
}

/// A table that inverts 8 bits: as words, or as bytes, two in each word.
fn table(bits: u16, packed: bool) -> Vec<u8> {
    let mut w = Writer::new(PLAIN);
    w.us(0x0028_3002, &[256, 0, bits]);
    let scale = if bits == 16 { 257 } else { 1 };
    if packed {
        w.raw(0x0028_3006, "OW", &(0..=255).rev().collect::<Vec<u8>>());
    } else {
        w.words(0x0028_3006, "US", &(0..=255).rev().map(|value| value * scale).collect::<Vec<u16>>());
    }
    w.bytes
}

#[test]
fn tables_and_shapes_invert() {
    let inverted = STORED.map(|value| 255 - value);
    for sequence in [0x0028_3010, 0x0028_3000] {
        for (bits, packed) in [(8, true), (8, false), (16, false)] {
            let file = with(|w| w.sequence(sequence, &[table(bits, packed)]).end()).native(&STORED);
            assert_eq!(pixels(&file), inverted, "{sequence:x} {bits} {packed}");
        }
    }
    let inverse = |w: &mut Writer| w.text(0x2050_0020, "CS", "INVERSE").end();
    assert_eq!(pixels(&with(inverse).native(&STORED)), inverted);
    // Both mean the same: MONOCHROME1 must have the shape INVERSE where it has one.
    let both = Picture { photometric: "MONOCHROME1", ..with(inverse) };
    assert_eq!(pixels(&both.native(&STORED)), inverted);
    // Both transforms, one after the other.
    let twice = with(|w| {
        w.sequence(0x0028_3000, &[table(8, false)]).sequence(0x0028_3010, &[table(8, false)]);
    });
    assert_eq!(pixels(&twice.native(&STORED)), STORED);
    let falling = with(|w| {
        w.text(0x0028_1052, "DS", "255").text(0x0028_1053, "DS", "-1");
    });
    assert_eq!(pixels(&falling.native(&STORED)), inverted);
}

#[test]
fn windows_apply_to_rescaled_values() {
    let windowed = |centre: &str, width: &str, function: Option<&str>| {
        with(|w| {
            w.text(0x0028_1050, "DS", centre).text(0x0028_1051, "DS", width);
            w.text(0x0028_1052, "DS", "-100").text(0x0028_1053, "DS", "2");
            if let Some(function) = function {
                w.text(0x0028_1056, "CS", function);
            }
        })
        .native(&[50, 100, 150, 255])
    };
    // Rescaled to 0, 100, 200, 410.
    assert_eq!(pixels(&windowed("100.5", "201", None)), [0, 128, 255, 255]);
    assert_eq!(pixels(&windowed("100", "200", Some("LINEAR_EXACT"))), [0, 128, 255, 255]);
    assert_eq!(pixels(&windowed("100", "200", Some("SIGMOID"))), [30, 128, 225, 254]);
    for (centre, width) in [("128", "0"), ("128", "-5"), ("x", "100"), ("128", "none")] {
        let file = with(|w| {
            w.text(0x0028_1050, "DS", centre).text(0x0028_1051, "DS", width);
        })
        .native(&STORED);
        assert_eq!(pixels(&file), STORED, "{centre} {width}");
        says(&file, "window is unusable");
    }
}

#[test]
fn sixteen_bits_are_scaled_to_what_is_there() {
    let deep = |bits, signed| Picture { bits: [16, bits, bits - 1], signed, ..grey(4, 1) };
    for (stored, bits, expected) in [
        ([0u16, 10, 128, 255], 16, [0, 10, 128, 255]),
        ([0, 1023, 512, 100], 16, [0, 255, 128, 25]),
        ([0, 4095, 2048, 100], 12, [0, 255, 128, 6]),
        ([0, 65_535, 32_768, 257], 16, [0, 255, 128, 1]),
        ([0, 0, 0, 0], 16, [0; 4]),
    ] {
        let found = frames(&deep(bits, 0).native_words(&stored)).unwrap();
        assert_eq!(found[0].frame().unwrap().format(), PixelFormat::Gray16Le);
        assert_eq!(in_eight_bits(&found[0]), expected, "{stored:?}");
    }
    // Signed: from zero where no value is below it, otherwise zero is in the middle.
    let words = |values: [i16; 4]| values.map(|value| value as u16);
    assert_eq!(pixels(&deep(16, 1).native_words(&words([0, 10, 128, 255]))), [0, 10, 128, 255]);
    assert_eq!(pixels(&deep(16, 1).native_words(&words([-128, 0, 64, 127]))), [0, 128, 192, 255]);
    assert_eq!(pixels(&deep(12, 1).native_words(&words([-2048, 0, 1024, 2047]))), [0, 128, 191, 255]);
    // With a window, a value below zero is below zero.
    let mut windowed = deep(16, 1);
    let mut w = Writer::new(PLAIN);
    w.text(0x0028_1050, "DS", "0.5").text(0x0028_1051, "DS", "201");
    windowed.after = w.bytes;
    assert_eq!(pixels(&windowed.native_words(&words([-300, -100, 0, 100]))), [0, 0, 128, 255]);
    // One scale for all frames, from the brightest.
    let clip = Picture { frames: Some("3"), ..deep(16, 0) };
    let found = frames(&clip.native_words(&[255, 0, 0, 0, 1023, 0, 0, 0, 255, 0, 0, 0])).unwrap();
    assert_eq!(found.iter().map(|frame| in_eight_bits(frame)[0]).collect::<Vec<_>>(), [255, 255, 64]);
}

#[test]
fn colours_of_sixteen_bits_and_signed_ones() {
    let deep = Picture { bits: [16, 16, 15], ..colour("RGB", 2, 1) };
    assert_eq!(pixels(&deep.native_words(&[0, 32_768, 65_535, 257, 0, 65_278])), [0, 128, 255, 1, 0, 254]);
    assert_eq!(pixels(&deep.native_words(&[1, 2, 3, 4, 5, 255])), [1, 2, 3, 4, 5, 255]);
    let planar = Picture { planar: 1, ..deep };
    assert_eq!(pixels(&planar.native_words(&[1, 4, 2, 5, 3, 255])), [1, 2, 3, 4, 5, 255]);
    let signed = Picture { signed: 1, ..colour("RGB", 2, 1) };
    assert_eq!(pixels(&signed.native(&[0, 128, 255, 1, 2, 3])), [0, 128, 255, 1, 2, 3]);
    says(&signed.native(&[0, 128, 255, 1, 2, 3]), "signed, which was ignored");
}

#[test]
fn the_high_bit_counts_where_it_can() {
    let wrong = Picture { bits: [8, 8, 15], ..grey(4, 1) };
    assert_eq!(pixels(&wrong.native(&STORED)), STORED);
    says(&wrong.native(&STORED), "High Bit");
    // Twelve bits at the upper end of sixteen.
    let upper = Picture { bits: [16, 12, 15], ..grey(4, 1) };
    assert_eq!(pixels(&upper.native_words(&[0, 0xfff0, 0x8005, 0x00f0])), [0, 255, 128, 1]);
}

#[test]
fn palettes_in_segments() {
    let palette = |bits: u16, write: &dyn Fn(&mut Writer, u32)| {
        let mut w = Writer::new(PLAIN);
        (1..=3).for_each(|channel| w.us(0x0028_1100 + channel, &[256, 0, bits]).end());
        (1..=3).for_each(|channel| write(&mut w, 0x0028_1220 + channel));
        Picture { photometric: "PALETTE COLOR", after: w.bytes, ..grey(4, 1) }.native(&STORED)
    };
    let expected: Vec<u8> = STORED.iter().flat_map(|value| [*value; 3]).collect();
    // One entry as it is, and 255 up to the last.
    let words = palette(16, &|w, tag| w.words(tag, "OW", &[0, 1, 0, 1, 255, 65_535]).end());
    assert_eq!(pixels(&words), expected);
    let bytes = palette(8, &|w, tag| w.raw(tag, "OW", &[0, 1, 0, 1, 255, 255]).end());
    assert_eq!(pixels(&bytes), expected);
    refused(&palette(16, &|w, tag| w.words(tag, "OW", &[0, 1, 0, 1, 9, 9]).end()), "the palette");
    // Values below zero are below zero in the table too.
    let mut w = Writer::new(PLAIN);
    (1..=3).for_each(|channel| w.words(0x0028_1100 + channel, "SS", &[3, 0xffff, 16]).end());
    (1..=3).for_each(|channel| w.words(0x0028_1200 + channel, "OW", &[0x100, 0x200, 0x300]).end());
    let signed = Picture { photometric: "PALETTE COLOR", after: w.bytes, signed: 1, ..grey(4, 1) };
    assert_eq!(pixels(&signed.native(&[0x80, 0xff, 0, 1])), [1, 1, 1, 1, 1, 1, 2, 2, 2, 3, 3, 3]);
}
