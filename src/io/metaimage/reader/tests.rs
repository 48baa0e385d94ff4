use super::*;
use crate::io::metaimage::header::MAX_HEADER_BYTES;
use crate::io::raster::fixture::{frames, mutate};
use crate::io::source::{FrameBuffer, FrameSource};
use flate2::{Compression, write::ZlibEncoder};
use std::io::Write;
use std::path::PathBuf;

fn open(header: &str, pixels: &[u8]) -> Result<RasterSequence, SourceError> {
    let bytes = [header.as_bytes(), b"\nElementDataFile = LOCAL\n", pixels].concat();
    from_bytes(Path::new("x.mha"), bytes)
}

fn zlib(pixels: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(pixels).unwrap();
    encoder.finish().unwrap()
}

const TRACKED: &str = "ObjectType = Image\nNDims = 3\nDimSize = 3 2 2\nElementType = MET_UCHAR\r\n\
    UltrasoundImageOrientation = MFA\nElementSpacing = 0.5 0.25 1\n\
    Seq_Frame0000_Timestamp = 1.5\nSeq_Frame0000_ImageStatus = OK\n\
    Seq_Frame0001_ProbeToTrackerTransform = 1 0 0 0\nSeq_Frame0001_ImageStatus = INVALID";

#[test]
fn a_tracked_sequence_plain_and_compressed() {
    let pixels: Vec<u8> = (0..12).collect();
    let compressed = zlib(&pixels);
    let size = format!("{TRACKED}\nCompressedData = True\nCompressedDataSize = {}   ", compressed.len());
    let no_size = format!("{TRACKED}\nCompressedData = True");
    for (header, data) in [(TRACKED, &pixels), (&size, &compressed), (&no_size, &compressed)] {
        let sequence = open(header, data).unwrap();
        assert_eq!(sequence.fields(), [("UltrasoundImageOrientation".to_string(), "MFA".to_string())]);
        let found = frames(sequence).unwrap();
        assert_eq!((found[0].pixels(), found[1].pixels()), (&pixels[..6], &pixels[6..]));
        assert_eq!((found[0].timestamp_s, found[0].valid), (Some(1.5), true));
        assert_eq!((found[1].timestamp_s, found[1].valid), (None, false));
        assert_eq!(found[1].fields[0].0, "ProbeToTrackerTransform");
        assert_eq!(found[1].frame().unwrap().mm_per_pixel(), Some([0.5, 0.25]));
    }
}

#[test]
fn other_kinds_of_pixels() {
    let deep = "DimSize = 2 1\nElementType = MET_USHORT\nBinaryDataByteOrderMSB = True\nElementSpacing = 1 1";
    let found = frames(open(deep, &[1, 2, 0xff, 4]).unwrap()).unwrap();
    assert_eq!(found[0].pixels(), [2, 1, 4, 0xff]);
    assert_eq!(found[0].frame().unwrap().mm_per_pixel(), None);
    let colour = "DimSize = 1 1 1\nElementType = MET_UCHAR\nElementNumberOfChannels = 3";
    assert_eq!(frames(open(colour, &[1, 2, 3]).unwrap()).unwrap()[0].pixels(), [1, 2, 3]);
    let text = "Comment = any key may come first\nDimSize = 2 1 1 1\nElementType = MET_UCHAR\nBinaryData = False";
    assert_eq!(frames(open(text, b"7 8\n").unwrap()).unwrap()[0].pixels(), [7, 8]);
}

#[test]
fn a_comment_in_another_encoding_and_a_gzip_stream() {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(&[5, 6]).unwrap();
    let header = b"Comment = M\xfcller\nDimSize = 2 1\nElementType = MET_UCHAR\nCompressedData = True\nElementDataFile = LOCAL\n";
    let bytes = [&header[..], &gzip.finish().unwrap()].concat();
    assert!(crate::io::metaimage::starts_like_one(&bytes));
    let sequence = from_bytes(Path::new("x.mha"), bytes).unwrap();
    assert_eq!(sequence.fields(), [("Comment".to_string(), "M\u{fc}ller".to_string())]);
    assert_eq!(frames(sequence).unwrap()[0].pixels(), [5, 6]);
}

#[test]
fn geometry_and_orientation_are_read() {
    let header = "DimSize = 1 1 2\nElementType = MET_UCHAR\nElementSpacing = 0.3 0.2 1.5\nOffset = 1 2 3\n\
        TransformMatrix = 1 0 0 0 0 -1 0 1 0\nUltrasoundImageOrientation = UNA";
    let sequence = open(header, &[1, 2]).unwrap();
    let geometry = sequence.geometry();
    assert_eq!((geometry.spacing_mm, geometry.origin_mm), ([0.3, 0.2, 1.5], [1.0, 2.0, 3.0]));
    assert_eq!(geometry.directions, [[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]]);
    assert_eq!(frames(sequence).unwrap()[1].orientation, Orientation::MirroredVertically);
}

#[test]
fn pixels_in_a_file_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let header = folder.path().join("x.mhd");
    std::fs::write(folder.path().join("x.raw"), [9, 9, 1, 2]).unwrap();
    let write = |data: &str| {
        let text = format!("DimSize = 2 1\nElementType = MET_UCHAR\nHeaderSize = 2\nElementDataFile = {data}\n");
        std::fs::write(&header, text).unwrap();
    };
    write("x.raw");
    assert_eq!(frames(super::open(&header).unwrap()).unwrap()[0].pixels(), [1, 2]);
    for elsewhere in ["missing.raw", "../x.raw", "/etc/passwd", "LIST", "x%03d.raw"] {
        write(elsewhere);
        assert!(super::open(&header).is_err(), "{elsewhere}");
    }
}

#[test]
fn bad_files_are_errors() {
    let good = "DimSize = 2 2\nElementType = MET_UCHAR";
    let refused = |header: &str, pixels: &[u8], part: &str| {
        let error = open(header, pixels).and_then(frames).unwrap_err().to_string();
        assert!(error.contains(part) && error.lines().count() == 1, "`{part}` is not in: {error}");
    };
    refused(good, &[1; 3], "announces 4 bytes and 3 are there");
    refused("DimSize = 2 0\nElementType = MET_UCHAR", &[], "holds no pixels");
    refused("DimSize = 2 2 0\nElementType = MET_UCHAR", &[], "holds no pixels");
    refused("DimSize = 99999 2\nElementType = MET_UCHAR", &[], "99999 x 2 pixels, more than");
    refused("DimSize = 18446744073709551615 2\nElementType = MET_UCHAR", &[], "more than");
    refused("DimSize = 16384 16384 9223372036854775807\nElementType = MET_UCHAR", &[0; 9], "cut short");
    refused("DimSize = 16384 16384\nElementType = MET_UCHAR\nElementNumberOfChannels = 3", &[], "more than 512 MiB");
    refused("DimSize = 2 2\nElementType = MET_STRING", &[0; 16], "1 x MET_STRING");
    refused("DimSize = 2 2\nElementType = MET_UCHAR\nElementNumberOfChannels = 2", &[0; 8], "2 x MET_UCHAR");
    refused("DimSize = 2 2", &[0; 4], "ElementType is missing");
    refused("NDims = 3\nDimSize = 2 2\nElementType = MET_UCHAR", &[0; 4], "disagree");
    refused("DimSize = 2 2 2 2\nElementType = MET_UCHAR", &[0; 16], "four dimensions");
    refused("ElementType = MET_UCHAR", &[0; 4], "DimSize is missing");
    refused("nothing here", &[], "no `=`");
    refused(&format!("{good}\nBinaryData = False"), b"1 2 3", "cut short");
    refused(good, &[1; 7], "announces 4 bytes of pixels and 7 are there");
    refused(&format!("{good}\nCompressedData = maybe"), &[0; 4], "neither True nor False");
    refused(&format!("{good}\nElementSpacing = 0 1"), &[0; 4], "not a pixel size");
    refused(&format!("{good}\nElementSpacing = 1 x"), &[0; 4], "not a number");
    let zipped = zlib(&[1; 4]);
    let zip = |size: usize| format!("{good}\nCompressedData = True\nCompressedDataSize = {size}");
    refused(&zip(zipped.len() + 1), &zipped, "cut short");
    refused(&zip(zipped.len() - 6), &zipped, "bytes of pixels and");
    refused(&zip(zipped.len() - 6), &zipped[..zipped.len() - 6], "frame 1 of 1 is damaged");
    refused(&zip(4), &[1, 2, 3, 4], "frame 1 of 1 is damaged");
    // A decompression bomb: more than zlib can pack into so few bytes.
    refused("DimSize = 9999 9999 9999\nElementType = MET_UCHAR\nCompressedData = True", &zipped, "cut short");
    let endless = "x".repeat(1 << 17);
    refused(&format!("Comment = {endless}"), &[], "longer than any header");
    let unfinished = from_bytes(Path::new("x.mha"), b"DimSize = 2 2\n".to_vec());
    assert!(unfinished.err().unwrap().to_string().contains("ends before ElementDataFile"));
    const { assert!(MAX_HEADER_BYTES < 1 << 30) };
}

/// Every byte of a small file changed, one after the other, and every length cut: no panic, and no frame that is not
/// announced.
#[test]
fn mutations_never_panic() {
    let compressed = zlib(&[5; 12]);
    let header = format!("{TRACKED}\nCompressedData = True\nCompressedDataSize = {}", compressed.len());
    let file = [header.as_bytes(), b"\nElementDataFile = LOCAL\n", &compressed].concat();
    mutate(&file, &[0, b'9', b'=', b'\n', 0xff], |bytes| from_bytes(Path::new("x.mha"), bytes));
}

/// Real sequences of PLUS, where they are available.
#[test]
fn real_files() {
    let folder = std::env::var_os("CAUSALCLIPSEG_DATA")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data"), PathBuf::from)
        .join("plus");
    if !folder.is_dir() {
        println!("skipped: {} is not there; CAUSALCLIPSEG_DATA names the folder of the data", folder.display());
        return;
    }
    for (name, count, size) in [
        ("BkCurvilinearScanConvertedData.igs.mha", 1, [600, 400]),
        ("NwirePhantomFreehand.igs.mha", 97, [820, 616]),
        ("SegmentationTest_BKMedical_RandomStepperMotionData2_Trimmed.igs.mha", 6, [640, 480]),
    ] {
        let mut sequence = super::open(&folder.join(name)).unwrap();
        let orientation = ("UltrasoundImageOrientation".to_string(), "MFA".to_string());
        assert!(sequence.size() == size && sequence.fields().contains(&orientation), "{name}");
        assert_eq!(sequence.orientation(), Orientation::Upright, "{name}");
        let (mut buffer, mut frames, mut last) = (FrameBuffer::default(), 0, f64::NEG_INFINITY);
        while sequence.read_frame(&mut buffer).unwrap() {
            frames += 1;
            assert!(buffer.fields.iter().any(|(key, _)| key.ends_with("ToTrackerTransform")), "{name}");
            assert!(buffer.pixels().iter().any(|pixel| *pixel > 100), "{name}");
            if let Some(seconds) = buffer.timestamp_s {
                assert!(seconds > last, "{name}");
                last = seconds;
            }
        }
        assert_eq!(frames, count, "{name}");
    }
}
