//! Compressed frames, decoded to the last bit.
//!
//! The coded pictures show one pattern of numbers: 10 x 6, with a flat field for runs. JPEG-LS is CharLS's, JPEG 2000 is
//! OpenJPEG's, lossless JPEG is coded here.

use super::writer::*;
use super::{frames, pixels, refused};

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

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
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
    assert_eq!(of(&in_grey(), JPEG_LS, &bytes(LS_GREY)), pattern());
    assert_eq!(of(&deep(12), JPEG_LS, &bytes(LS_TWELVE)), shown(12));
    for coded in [LS_LINE, LS_SAMPLE] {
        assert_eq!(of(&in_colour("RGB"), JPEG_LS, &bytes(coded)), pattern_in_colour());
    }
    // Within the error that the encoder was allowed.
    let near = of(&in_grey(), JPEG_LS_NEAR, &bytes(LS_GREY_NEAR));
    assert!(near.iter().zip(pattern()).all(|(a, b)| a.abs_diff(b) <= 2), "{near:?}");
    assert_ne!(near, pattern());
    let near = of(&in_colour("RGB"), JPEG_LS_NEAR, &bytes(LS_NEAR_SAMPLE));
    assert!(near.iter().zip(pattern_in_colour()).all(|(a, b)| a.abs_diff(b) <= 2), "{near:?}");
}

#[test]
fn jpeg_2000() {
    assert_eq!(of(&in_grey(), JPEG_2000, &bytes(J2K_GREY)), pattern());
    assert_eq!(of(&deep(16), JPEG_2000, &bytes(J2K_SIXTEEN)), shown(12));
    for photometric in ["YBR_RCT", "RGB"] {
        assert_eq!(of(&in_colour(photometric), JPEG_2000, &bytes(J2K_RGB)), pattern_in_colour());
    }
    let lossy = of(&in_colour("YBR_ICT"), JPEG_2000_LOSSY, &bytes(J2K_ICT));
    // OpenJPEG's own decoder is as far off.
    assert!(lossy.iter().zip(pattern_in_colour()).all(|(a, b)| a.abs_diff(b) <= 4), "{lossy:?}");
    // Cut short, and alone: refused.
    let coded = bytes(J2K_GREY);
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
    // The process is told by the frame, not by the transfer syntax.
    assert_eq!(of(&in_grey(), JPEG, &lossless(&grey, 1, 8, 1)), pattern());
}

#[test]
fn frames_of_another_kind_than_described_are_refused() {
    for (syntax, coded) in
        [(JPEG_LS, bytes(LS_GREY)), (JPEG_2000, bytes(J2K_GREY)), (JPEG_LOSSLESS, lossless(&[1; 60], 1, 8, 1))]
    {
        refused(&grey(9, 6).encapsulated(syntax, &[], &[&coded]), "it is 10 x 6 pixels, not 9 x 6");
        refused(&in_colour("RGB").encapsulated(syntax, &[], &[&coded]), "not what the file describes");
    }
    refused(&in_grey().encapsulated(JPEG_LS, &[], &[&bytes(LS_TWELVE)]), "not what the file describes");
}

/// Whatever is cut or changed: an error, or a frame; never a panic, and a clip goes on.
#[test]
fn damage_never_panics() {
    let coded = [
        (in_grey(), JPEG_LS, bytes(LS_GREY)),
        (in_colour("RGB"), JPEG_LS, bytes(LS_SAMPLE)),
        (in_colour("RGB"), JPEG_2000, bytes(J2K_RGB)),
        (in_grey(), JPEG_2000, bytes(J2K_GREY)),
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
    // Six planes of one byte each: high and low of red, green and blue.
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

const LS_GREY: &str = "\
     ffd8fff7000b080006000a01011100ffda000801010000000080050014da94e951a1fc0000c0030d47700140053607800306157fd00003424001\
     40000dc293c44002800000c27bdf2f00050e1c204483e5a59e75c1a0ffd9";
const LS_GREY_NEAR: &str = "\
     ffd8fff7000b080006000a01011100ffda000801010002000083186eeeeea020424c18c3003020088ae8016e0c02f8081383000c1060410c0467\
     10842b88cc40ffd9";
const LS_LINE: &str = "\
     ffd8fff70011080006000a03011100021100031100ffda000c0301000200030000010080050014da94e951a1fe00c8e46e3500000188198c5bdb\
     506e4a4846444240fdf00000c0030d47700140053607800301e006018000000c4c0000018823920000007b003094a1a5369bd39c605444933f40\
     000d00c8931fa07d3cfaff2953800140000dc495c2d80c40000077782e851e0d947125576d213e1c37fe000aa0a06223856faf6f24700e3a049c\
     b484b6ecd9f9b541370a54286b50baeb920b2300a850451904c24860294524926b5092493200ffd9";
const LS_SAMPLE: &str = "\
     ffd8fff70011080006000a03011100021100031100ffda000c030100020003000002004b00180300031f0a582d09f96b097a6900000188e9a423\
     ed9c83e32bff5637df80000603c00003000c01854d8167296000003132ed86b001400000620d800a017529c90940440007c600018030a8880d3f\
     6024fd9c77fa00000a48003c5529c0b6d80050199b00003000000ee9470a40f5257050abb0c5d2ac8b9c270ac25c2f776dbbd9aee757e11fe000\
     a01cdaa4e4a0a8244dc059dd40609d70aaca84d46b21eb54199426114920822821c090053900ffd9";
const LS_NEAR_SAMPLE: &str = "\
     ffd8fff70011080006000a03011100021100031100ffda000c0301000200030002020052080404303a1225491aaf02abc5a92259e2d5a2580200\
     0002010200023081ca900057a180030c6000dc18a2830000001c0e02000204011c208db78b4d1514c9460008082ba71d60c1a180800000802995\
     bdd4020000006b0220c378e000046eb8000002d00062f46ef9fba2408a000f0180010c04e106184e1de18e119a633442f6571e7334ccd2241087\
     48ffd9";
const LS_TWELVE: &str = "\
     ffd8fff7000b0c0006000a01011100ffda00080101000000004d0017c005f3bab6d6cad75aab4d68800018000601be80e86002f800be7740e100\
     0600cf2dcf0fa00006080534002f8000183853e780a60005f00000000185e59eb3565af60017c344778a596a2d25a0b7ca89672cc5947700ffd9";
const J2K_GREY: &str = "\
     ff4fff51002900000000000a0000000600000000000000000000000a0000000600000000000000000001070101ff52000c000000010001040400\
     01ff5c00074040484850ff640025000143726561746564206279204f70656e4a5045472076657273696f6e20322e352e34ff90000a0000000000\
     570001ff93df809006cd45ea25b510e3f268ed9109e9f832f6d7c7da1d3f0108fc03401b21bed4158946ccbfb083fd09df1b23888082541a59d8\
     c902a17a245b51130da26fcd495a38cbe27786dfffd9";
const J2K_RGB: &str = "\
     ff4fff51002f00000000000a0000000600000000000000000000000a0000000600000000000000000003070101070101070101ff52000c000000\
     01010104040001ff5c00074040484850ff640025000143726561746564206279204f70656e4a5045472076657273696f6e20322e352e34ff9000\
     0a0000000000fb0001ff93cfb44012c28b48810204240a6b17f6dc3e57f7df80900345da73da5246c6d3eb693010686a0242f7cfb4480ba1848c\
     7197542a20bcc399ef323708a17bc3ea0f8fb4421f688004b5a0cfea8727179988001f46f2d713525693173130f124fca6a82f224dd201abeca7\
     e37190765d313aa9851f1617cfc0467e0293f31019c6da5ffe70e4369368321c267a658ccb1424cafa8b619ed3b562bd924dd8c7575682bb7f14\
     95fb30b0a1f35c28554d50283aef7fc7da213f0139f987800766dc906eca7561db917492e85b5b94265e27419f16a7518fb6463bbf436e7e5f01\
     7f27a525468ea61ead6a578a3a8c14dfffd9";
const J2K_ICT: &str = "\
     ff4fff51002f00000000000a0000000600000000000000000000000a0000000600000000000000000003070101070101070101ff52000c000000\
     01010104040000ff5c000b42482457d357d35762ff640025000143726561746564206279204f70656e4a5045472076657273696f6e20322e352e\
     34ff90000a0000000000eb0001ff93cfbc4412c288dae8dd5e5a9c29af6833bca39a2fcfa4780345da010c4aef34d1e7cbe4950dafc7d2400831\
     9d374133bee0f735dd778f17e667c1f30d87d8230fb04804a66df4fb30f8551bf2264d3412d075dc2a32b674a7d8ef8d16f40062210b6e667e8f\
     48af80d1c76c2118725d940fc3c3e91d0fb0461f48f019aed91cb924f20be1a8419c378114795426d379868faa7f5b61d2f9fececf1495fad13e\
     24a59bc011c0f39178e3c1f30e87d81f0fa47010619e18ba88940f3f490991be6c265e272c316305deff5578983e20cd27ad4b44a93c53cd07bb\
     aa9f56d0ffd9";
const J2K_SIXTEEN: &str = "\
     ff4fff51002900000000000a0000000600000000000000000000000a00000006000000000000000000010f0101ff52000c000000010001040400\
     01ff5c00074080888890ff640025000143726561746564206279204f70656e4a5045472076657273696f6e20322e352e34ff90000a0000000000\
     740001ff93dff890f806b61e71e3bcb0e5004ab6fbdd854c9785f3c00e2a104b27bcb6e4f29dff7fc07f22903fc0bc07f80e1b21bed4158946cc\
     bfb083ff06fed5115c42839f1b23888082541a59d8c8ff7aad971cf77c5a5fe6e9d57f130da26fcd495a43aa15b538f3c0ffd9";
