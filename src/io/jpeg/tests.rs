use super::*;
use image::ExtendedColorType;
use image::codecs::jpeg::JpegEncoder;

fn jpeg(width: u32, height: u32, colour: ExtendedColorType, samples: usize) -> Vec<u8> {
    let mut state = 7u32;
    let pixels: Vec<u8> = (0..width as usize * height as usize * samples)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .collect();
    let mut bytes = Vec::new();
    JpegEncoder::new_with_quality(&mut bytes, 80).encode(&pixels, width, height, colour).unwrap();
    bytes
}

#[test]
fn whole_pictures_pass_with_and_without_their_end() {
    for (width, height) in [(1, 1), (8, 8), (9, 7), (64, 48), (33, 100)] {
        for (colour, samples) in [(ExtendedColorType::L8, 1), (ExtendedColorType::Rgb8, 3)] {
            let bytes = jpeg(width, height, colour, samples);
            assert_eq!(check_complete(&bytes), Ok(()), "{width} x {height}");
            assert_eq!(check_complete(&bytes[..bytes.len() - 2]), Ok(()), "{width} x {height} without its end");
        }
    }
}

#[test]
fn whatever_is_cut_off_is_missed() {
    let bytes = jpeg(64, 48, ExtendedColorType::Rgb8, 3);
    let scan = bytes.windows(2).position(|pair| pair == [0xff, 0xda]).unwrap() + 14;
    for length in scan..bytes.len() - 3 {
        let cut = &bytes[..length];
        assert!(matches!(check_complete(cut), Err(JpegFault::CutShort { .. })), "{length} of {}", bytes.len());
        // An end marker does not change that.
        let mended = [cut, &[0xff, 0xd9]].concat();
        assert!(check_complete(&mended).is_err(), "{length} of {}", bytes.len());
    }
    assert_eq!(check_complete(&bytes[..scan]), Err(JpegFault::CutShort { percent: 0 }));
    let half = scan + (bytes.len() - scan) / 2;
    let Err(JpegFault::CutShort { percent }) = check_complete(&bytes[..half]) else { panic!("half passes") };
    assert!((45..55).contains(&percent), "{percent}");
}

/// Baseline and progressive pictures, in colour with halved chroma and in grey, with restarts and without, as libjpeg
/// writes them: 24 x 24 pixels of noise.
const LIBJPEG: [(&str, &[u8]); 4] = [
    ("baseline 4:2:0", include_bytes!("../../../tests/golden/jpeg/baseline_420.jpg")),
    ("baseline with restarts", include_bytes!("../../../tests/golden/jpeg/baseline_restarts.jpg")),
    ("progressive 4:2:0", include_bytes!("../../../tests/golden/jpeg/progressive_420.jpg")),
    ("progressive grey", include_bytes!("../../../tests/golden/jpeg/progressive_grey.jpg")),
];

#[test]
fn libjpeg_writes_whole_pictures() {
    for (name, bytes) in LIBJPEG {
        assert_eq!(check_complete(bytes), Ok(()), "{name}");
        assert_eq!(check_complete(&bytes[..bytes.len() - 2]), Ok(()), "{name} without its end");
        let scan = bytes.windows(2).position(|pair| pair == [0xff, 0xda]).unwrap();
        for length in scan + 14..bytes.len() - 3 {
            assert!(check_complete(&bytes[..length]).is_err(), "{name}: {length} of {}", bytes.len());
        }
    }
}

#[test]
fn what_is_no_such_jpeg_is_left_to_the_decoder() {
    for bytes in [&b""[..], b"\xff", b"\xff\xd8", b"text", b"\xff\xd8\xff\xc3\0\x02", b"\xff\xd8\xff\xda\0\x02"] {
        assert_eq!(check_complete(bytes), Ok(()), "{bytes:?}");
    }
}

#[test]
fn mutations_never_panic() {
    for (_, bytes) in LIBJPEG {
        for at in 0..bytes.len() {
            for value in [0, 0xff, bytes[at] ^ 1, bytes[at] ^ 0x80] {
                let mut damaged = bytes.to_vec();
                damaged[at] = value;
                let _ = check_complete(&damaged);
            }
        }
    }
}
