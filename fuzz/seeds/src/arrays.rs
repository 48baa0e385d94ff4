//! Arrays of samples after a header: NRRD and NIfTI.

use super::{Files, HEIGHT, WIDTH};
use flate2::Compression;
use flate2::write::GzEncoder;
use std::io::Write;

fn ramp(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| (at % 251) as u8).collect()
}

fn gzip(bytes: &[u8]) -> Result<Vec<u8>, std::io::Error> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes)?;
    encoder.finish()
}

pub fn nrrd() -> Files {
    let area = usize::from(WIDTH * HEIGHT);
    let file = |lines: &str, pixels: &[u8]| [b"NRRD0005\n# a seed\n", lines.as_bytes(), b"\n\n", pixels].concat();
    let text: String = (0..area).map(|at| format!("{} ", at % 251)).collect();
    let plus = format!(
        "type: unsigned char\ndimension: 3\nspace: left-posterior-superior\nsizes: {WIDTH} {HEIGHT} 3\n\
         space directions: (0.1,0,0) (0,0.2,0) (0,0,1)\nkinds: domain domain list\nencoding: gzip\nspace origin: (0,0,0)\n\
         UltrasoundImageOrientation:=UN\nSeq_Frame0001_Timestamp:=1.5\nSeq_Frame0001_ImageStatus:=OK"
    );
    let slicer = format!(
        "type: short\ndimension: 4\nspace: right-anterior-superior\nsizes: 3 {WIDTH} {HEIGHT} 1\n\
         space directions: none (0.1,0,0) (0,0.2,0) (0,0,1)\nkinds: list domain domain domain\nendian: little\n\
         encoding: raw\nspace origin: (1,2,3)\nspace units: \"mm\" \"mm\" \"mm\""
    );
    let float = format!("type: float\ndimension: 2\nsizes: {WIDTH} {HEIGHT}\nendian: big\nspacings: 0.1 0.2\nbyte skip: -1");
    let rgb = format!("type: uint8\ndimension: 3\nsizes: 3 {WIDTH} {HEIGHT}\nkinds: RGB-color domain domain\nline skip: 1");
    let ascii = format!("type: uint8\ndimension: 2\nsizes: {WIDTH} {HEIGHT}\nencoding: ascii");
    let files = [
        ("plus", file(&plus, &gzip(&ramp(3 * area))?)),
        ("slicer", file(&slicer, &ramp(6 * area))),
        ("float", file(&float, &ramp(4 * area))),
        ("rgb", file(&rgb, &[b"\n".to_vec(), ramp(3 * area)].concat())),
        ("ascii", file(&ascii, text.as_bytes())),
    ];
    Ok(files.into_iter().map(|(name, bytes)| (name.to_string(), bytes)).collect())
}

pub fn nifti() -> Files {
    let area = usize::from(WIDTH * HEIGHT);
    let header = |frames: u16, datatype: i16, bits: i16| {
        let mut bytes = vec![0; 352];
        bytes[..4].copy_from_slice(&348i32.to_le_bytes());
        for (index, side) in [4, WIDTH, HEIGHT, 1, frames].iter().enumerate() {
            bytes[40 + 2 * index..42 + 2 * index].copy_from_slice(&side.to_le_bytes());
        }
        bytes[70..72].copy_from_slice(&datatype.to_le_bytes());
        bytes[72..74].copy_from_slice(&bits.to_le_bytes());
        bytes[108..112].copy_from_slice(&352f32.to_le_bytes());
        bytes[123] = 10;
        bytes[252] = 1;
        bytes[254] = 1;
        bytes[344..348].copy_from_slice(b"n+1\0");
        bytes
    };
    let file = |frames: u16, datatype, bits: i16| {
        [header(frames, datatype, bits), ramp(area * usize::from(frames) * bits as usize / 8)].concat()
    };
    let mut second = vec![0; 544];
    second[..4].copy_from_slice(&540i32.to_le_bytes());
    second[4..12].copy_from_slice(b"n+2\0\r\n\x1a\n");
    second[12..14].copy_from_slice(&2i16.to_le_bytes());
    second[14..16].copy_from_slice(&8i16.to_le_bytes());
    for (index, side) in [2, u64::from(WIDTH), u64::from(HEIGHT)].iter().enumerate() {
        second[16 + 8 * index..24 + 8 * index].copy_from_slice(&side.to_le_bytes());
    }
    second[168..176].copy_from_slice(&544i64.to_le_bytes());
    let files = [
        ("grey", file(1, 2, 8)),
        ("clip", file(3, 4, 16)),
        ("float", file(1, 16, 32)),
        ("rgb", file(1, 128, 24)),
        ("packed", gzip(&file(2, 512, 16))?),
        ("second", [second, ramp(area)].concat()),
    ];
    Ok(files.into_iter().map(|(name, bytes)| (name.to_string(), bytes)).collect())
}
