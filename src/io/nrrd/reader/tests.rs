use super::*;
use crate::frame::Orientation;
use crate::io::raster::fixture::{frames, mutate};
use flate2::Compression;
use flate2::write::GzEncoder;
use std::io::Write;

fn open(header: &str, pixels: &[u8]) -> Result<RasterSequence, SourceError> {
    let bytes = [b"NRRD0004\n# written by a test\n", header.as_bytes(), b"\n\n", pixels].concat();
    from_bytes(Path::new("x.nrrd"), bytes)
}

fn pixels(header: &str, bytes: &[u8]) -> Vec<Vec<u8>> {
    frames(open(header, bytes).unwrap()).unwrap().iter().map(|frame| frame.pixels().to_vec()).collect()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

const GREY: &str = "type: unsigned char\ndimension: 2\nsizes: 2 1";

#[test]
fn a_tracked_sequence_as_plus_writes_it() {
    let header = "type: unsigned char\ndimension: 3\nspace: left-posterior-superior\nsizes: 2 1 2\n\
        space directions: (0.5,0,0) (0,0.25,0) (0,0,1)\nkinds: domain domain list\nencoding: gzip\nspace origin: (0,0,0)\n\
        UltrasoundImageOrientation:=UN\nSeq_Frame0000_Timestamp:=1.5\nSeq_Frame0001_ImageStatus:=INVALID\n\
        Seq_Frame0001_ProbeToTrackerTransform:=1 0 0 0: a colon";
    let sequence = open(header, &gzip(&[1, 2, 3, 4])).unwrap();
    assert_eq!(sequence.orientation(), Orientation::MirroredVertically);
    let found = frames(sequence).unwrap();
    assert_eq!((found[0].pixels(), found[1].pixels()), (&[1, 2][..], &[3, 4][..]));
    assert_eq!((found[0].timestamp_s, found[0].valid, found[1].valid), (Some(1.5), true, false));
    assert_eq!(found[1].fields[1].0, "ProbeToTrackerTransform");
    assert_eq!(found[1].frame().unwrap().mm_per_pixel(), Some([0.5, 0.25]));
    assert_eq!(found[1].orientation, Orientation::MirroredVertically);
}

#[test]
fn a_sequence_as_3d_slicer_writes_it() {
    let header = "type: unsigned char\ndimension: 4\nspace: right-anterior-superior\nsizes: 3 2 1 1\n\
        space directions: none (0.5,0,0) (0,-0.25,0) (0,0,2)\nkinds: list domain domain domain\nencoding: raw\n\
        space origin: (10,20,30)\nDataNodeClassName:=vtkMRMLScalarVolumeNode";
    let sequence = open(header, &[1, 3, 5, 2, 4, 6]).unwrap();
    let geometry = sequence.geometry();
    assert_eq!((geometry.spacing_mm, geometry.origin_mm), ([0.5, 0.25, 2.0], [-10.0, -20.0, 30.0]));
    assert_eq!(geometry.directions, [[-1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]);
    let found: Vec<Vec<u8>> = frames(sequence).unwrap().iter().map(|frame| frame.pixels().to_vec()).collect();
    assert_eq!(found, [[1, 2], [3, 4], [5, 6]]);
}

#[test]
fn types_and_encodings() {
    assert_eq!(pixels(GREY, &[7, 8]), [[7, 8]]);
    assert_eq!(pixels(&format!("{GREY}\nencoding: ascii"), b"7 8\n"), [[7, 8]]);
    assert_eq!(pixels(&format!("{GREY}\nEncoding: GZ\nbyte skip: 2"), &gzip(&[0, 0, 7, 8])), [[7, 8]]);
    assert_eq!(pixels(&format!("{GREY}\nline skip: 1\nbyteskip: 1"), &[1, 1, b'\n', 9, 7, 8]), [[7, 8]]);
    assert_eq!(pixels(&format!("{GREY}\nbyte skip: -1"), &[1, 1, 1, 7, 8]), [[7, 8]]);
    let deep = "type: uint16\ndimension: 2\nsizes: 2 1\nendian: big\nspacings: 0.1 0.2";
    assert_eq!(pixels(deep, &[0xff, 0xff, 1, 2]), [[0xff, 0xff, 2, 1]]);
    assert_eq!(frames(open(deep, &[0; 4]).unwrap()).unwrap()[0].frame().unwrap().mm_per_pixel(), Some([0.1, 0.2]));
    let colour = "type: uint8\ndimension: 3\nsizes: 3 2 1\nkinds: RGB-color domain domain";
    assert_eq!(pixels(colour, &[1, 2, 3, 4, 5, 6]), [[1, 2, 3, 4, 5, 6]]);
    let float = "type: float\ndimension: 2\nsizes: 2 1\nendian: little";
    let bytes: Vec<u8> = [0.0f32, 1.0].iter().flat_map(|sample| sample.to_le_bytes()).collect();
    assert_eq!(pixels(float, &bytes), [[0, 0, 0xff, 0xff]]);
}

#[test]
fn sizes_in_another_unit_are_not_millimetres() {
    let header = "type: uint8\ndimension: 2\nsizes: 2 1\nspace dimension: 2\nspace directions: (0.5,0) (0,0.5)\nspace units: \"cm\" \"cm\"";
    let sequence = open(header, &[1, 2]).unwrap();
    assert_eq!((sequence.description().mm_per_pixel, sequence.description().ignored.len()), (None, 1));
}

#[test]
fn pixels_in_a_file_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let header = folder.path().join("x.nhdr");
    std::fs::write(folder.path().join("x.raw"), [1, 2]).unwrap();
    let write =
        |data: &str| std::fs::write(&header, format!("NRRD0004\n{GREY}\nencoding: raw\ndata file: {data}\n")).unwrap();
    write("x.raw");
    assert_eq!(frames(super::open(&header).unwrap()).unwrap()[0].pixels(), [1, 2]);
    for elsewhere in ["missing.raw", "../x.raw", "/etc/passwd", "LIST", "x%03d.raw 1 3 1"] {
        write(elsewhere);
        assert!(super::open(&header).is_err(), "{elsewhere}");
    }
}

#[test]
fn bad_files_are_errors() {
    let refused = |header: &str, bytes: &[u8], part: &str| {
        let error = open(header, bytes).and_then(frames).unwrap_err().to_string();
        assert!(error.contains(part) && error.lines().count() == 1, "`{part}` is not in: {error}");
    };
    refused(GREY, &[1], "announces 2 bytes and 1 are there");
    refused(GREY, &[1; 9], "announces 2 bytes of pixels and 9 are there");
    refused("type: uint8\ndimension: 3\nsizes: 2 1", &[1, 2], "disagree");
    refused("type: uint8\ndimension: 2\nsizes: 2 x", &[1, 2], "not a number");
    refused("type: uint8", &[], "sizes is missing");
    refused("sizes: 2 1", &[], "type is missing");
    refused("type: block\nsizes: 2 1", &[], "of type block");
    refused(&format!("{GREY}\nencoding: bzip2"), &[], "its encoding is bzip2");
    refused(&format!("{GREY}\nencoding: hex"), b"0708", "its encoding is hex");
    refused(&format!("{GREY}\nendian: middle"), &[1, 2], "endian");
    refused(&format!("{GREY}\nspace directions: (a,b) (1,2)"), &[1, 2], "not a list of vectors");
    refused(&format!("{GREY}\ndata file: x.raw"), &[1, 2], "in another file");
    refused(&format!("{GREY}\nline skip: 9"), &[1, 2], "line skip");
    refused("type: uint8\nsizes: 2 5 4\nkinds: vector domain domain", &[0; 40], "2 samples");
    refused("type: uint8\nsizes: 5 4 2 9", &[0; 360], "volumes over time");
    refused("type: uint8\nsizes: 99999 1", &[0; 9], "more than");
    refused("type: uint8\nsizes: 0 1", &[0; 9], "no pixels");
    refused("nothing here", &[], "no `:`");
    let bytes = b"NRRD0004\ntype: uint8\nsizes: 2 1\n".to_vec();
    let unfinished = from_bytes(Path::new("x.nrrd"), bytes);
    assert!(unfinished.err().unwrap().to_string().contains("ends before the pixels"));
}

/// Every byte of a small file changed, one after the other, and every length cut: no panic, and no frame that is not
/// announced.
#[test]
fn mutations_never_panic() {
    let header = "type: uint16\ndimension: 4\nsizes: 3 2 1 1\nspace directions: none (1,0,0) (0,2,0) (0,0,1)\n\
        kinds: list domain domain domain\nencoding: gzip\nbyte skip: 1\nSeq_Frame0000_Timestamp:=1.5";
    let file = [b"NRRD0004\n", header.as_bytes(), b"\n\n", &gzip(&[7; 13])].concat();
    mutate(&file, &[0, b'9', b':', b'\n', 0xff], |bytes| from_bytes(Path::new("x.nrrd"), bytes));
}
