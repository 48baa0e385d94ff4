//! DICOM files as ultrasound machines, archives and researchers write them: each kind with its correct result.
//!
//! The files are generated here, byte by byte. Where real and reported files are available beside the repository,
//! `cases.rs` reads them too.
#![expect(unreachable_pub, reason = "modules of one test program")]

mod cases;
mod codecs;
mod elements;
mod fragments;
mod names;
mod shades;
mod writer;

use causalclipseg::frame::{PixelFormat, Region};
use causalclipseg::io::dicom::DicomClip;
use causalclipseg::io::source::{FrameBuffer, FrameSource, SourceError};
use std::path::Path;

fn open(bytes: &[u8]) -> Result<DicomClip, SourceError> {
    DicomClip::from_bytes(Path::new("x.dcm"), bytes.to_vec())
}

/// All frames.
fn frames(bytes: &[u8]) -> Result<Vec<FrameBuffer>, SourceError> {
    let mut clip = open(bytes)?;
    let (mut frames, mut buffer) = (Vec::new(), FrameBuffer::default());
    while clip.read_frame(&mut buffer)? {
        frames.push(buffer.clone());
    }
    assert_eq!(clip.frame_count(), Some(frames.len()));
    Ok(frames)
}

/// The pixels of a file's only frame, 8 bits a sample.
fn pixels(bytes: &[u8]) -> Vec<u8> {
    let frames = frames(bytes).unwrap();
    assert_eq!(frames.len(), 1);
    assert!(frames[0].valid);
    in_eight_bits(&frames[0])
}

fn in_eight_bits(frame: &FrameBuffer) -> Vec<u8> {
    match frame.frame().unwrap().format() {
        PixelFormat::Gray16Le => frame
            .pixels()
            .as_chunks::<2>()
            .0
            .iter()
            .map(|pair| (u32::from(u16::from_le_bytes(*pair)) * 255 + 32_767).div_euclid(65_535) as u8)
            .collect(),
        _ => frame.pixels().to_vec(),
    }
}

fn scan(bytes: &[u8]) -> (Region, Option<[f32; 2]>) {
    let frames = frames(bytes).unwrap();
    let frame = frames[0].frame().unwrap();
    (frame.region(), frame.mm_per_pixel())
}

/// Asserts that the error is one line that contains `part`.
fn refused(bytes: &[u8], part: &str) {
    let error = frames(bytes).err().unwrap_or_else(|| panic!("read, and should be refused: {part}")).to_string();
    assert!(error.contains(part) && error.lines().count() == 1, "`{part}` is not in: {error}");
}

/// Asserts that the list of ignored items contains `part`.
fn says(bytes: &[u8], part: &str) {
    let clip = open(bytes).unwrap();
    let ignored = &clip.description().ignored;
    assert!(ignored.iter().any(|note| note.contains(part)), "`{part}` is not in {ignored:?}");
}
