//! Reads any bytes as a compressed frame, in a file that is well formed. The first byte selects the frame's codec, the
//! second the file's description: JPEG, lossless JPEG, JPEG-LS, JPEG 2000, RLE; grey of 8 or 16 bits, colour; 10 x 6 or
//! 5 x 3 pixels.
#![no_main]

use causalclipseg::io::dicom::DicomClip;
use causalclipseg_fuzz::read_some;
use libfuzzer_sys::fuzz_target;
use std::path::Path;

const SYNTAXES: [&str; 5] = [
    "1.2.840.10008.1.2.4.50",
    "1.2.840.10008.1.2.4.70",
    "1.2.840.10008.1.2.4.80",
    "1.2.840.10008.1.2.4.90",
    "1.2.840.10008.1.2.5",
];

fn element(out: &mut Vec<u8>, tag: u32, vr: &[u8; 2], value: &[u8]) {
    out.extend(((tag >> 16) as u16).to_le_bytes());
    out.extend((tag as u16).to_le_bytes());
    out.extend(vr);
    out.extend((value.len() as u16).to_le_bytes());
    out.extend(value);
}

fuzz_target!(|bytes: &[u8]| {
    let &[syntax, kind, ref frame @ ..] = bytes else { return };
    let mut file = vec![0; 128];
    file.extend(b"DICM");
    let mut uid = SYNTAXES[usize::from(syntax) % SYNTAXES.len()].as_bytes().to_vec();
    uid.resize(uid.len().next_multiple_of(2), 0);
    element(&mut file, 0x0002_0010, b"UI", &uid);
    let (samples, bits, photometric) = match (kind & 0x7f) % 3 {
        0 => (1u16, 8u16, "MONOCHROME2 "),
        1 => (1, 16, "MONOCHROME2 "),
        _ => (3, 8, "RGB "),
    };
    let [width, height] = if kind & 0x80 == 0 { [10u16, 6] } else { [5, 3] };
    element(&mut file, 0x0028_0002, b"US", &samples.to_le_bytes());
    element(&mut file, 0x0028_0004, b"CS", photometric.as_bytes());
    for (tag, value) in [(0x0028_0010, height), (0x0028_0011, width), (0x0028_0100, bits), (0x0028_0101, bits)] {
        element(&mut file, tag, b"US", &value.to_le_bytes());
    }
    file.extend([0xe0, 0x7f, 0x10, 0, b'O', b'B', 0, 0, 0xff, 0xff, 0xff, 0xff]);
    file.extend([0xfe, 0xff, 0x00, 0xe0, 0, 0, 0, 0, 0xfe, 0xff, 0x00, 0xe0]);
    file.extend((frame.len() as u32).to_le_bytes());
    file.extend(frame);
    if let Ok(clip) = DicomClip::from_bytes(Path::new("x.dcm"), file) {
        read_some(clip);
    }
});
