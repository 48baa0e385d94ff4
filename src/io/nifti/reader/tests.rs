use super::*;
use crate::io::raster::fixture::{frames, mutate};
use flate2::Compression;
use flate2::write::GzEncoder;
use std::io::Write;

/// A header of version 1, low byte first, of grey bytes.
fn header(sides: &[i16], datatype: i16, bits: i16) -> Vec<u8> {
    let mut bytes = vec![0; 352];
    let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
    put(0, &348i32.to_le_bytes());
    put(40, &(sides.len() as i16).to_le_bytes());
    for (index, side) in sides.iter().enumerate() {
        put(42 + 2 * index, &side.to_le_bytes());
    }
    put(70, &datatype.to_le_bytes());
    put(72, &bits.to_le_bytes());
    for (index, size) in [1.0f32, 0.25, 0.5, 2.0, 40.0].iter().enumerate() {
        put(76 + 4 * index, &size.to_le_bytes());
    }
    put(108, &352f32.to_le_bytes());
    // Millimetres and milliseconds.
    put(123, &[2 | 16]);
    put(344, b"n+1\0");
    bytes
}

fn open(header: &[u8], pixels: &[u8]) -> Result<RasterSequence, SourceError> {
    from_bytes(Path::new("x.nii"), [header, pixels].concat())
}

#[test]
fn a_clip_plain_and_packed() {
    let clip = header(&[2, 1, 1, 3], 2, 8);
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(&[&clip[..], &[1, 2, 3, 4, 5, 6]].concat()).unwrap();
    for sequence in [open(&clip, &[1, 2, 3, 4, 5, 6]).unwrap(), open(&gzip.finish().unwrap(), &[]).unwrap()] {
        assert!(!sequence.is_still());
        let found = frames(sequence).unwrap();
        assert_eq!((found[0].pixels(), found[2].pixels()), (&[1, 2][..], &[5, 6][..]));
        assert_eq!(found[2].timestamp_s, Some(0.08));
        assert_eq!(found[2].frame().unwrap().mm_per_pixel(), Some([0.25, 0.5]));
    }
}

#[test]
fn kinds_of_pixels() {
    let read = |header: &[u8], pixels: &[u8]| frames(open(header, pixels).unwrap()).unwrap()[0].pixels().to_vec();
    assert_eq!(read(&header(&[2, 1], 128, 24), &[1, 2, 3, 4, 5, 6]), [1, 2, 3, 4, 5, 6]);
    assert_eq!(read(&header(&[1, 1, 1], 2304, 32), &[1, 2, 3, 4]), [1, 2, 3]);
    assert_eq!(read(&header(&[2, 1], 512, 16), &[0, 0, 0xff, 0x0f]), [0, 0, 0xff, 0xff]);
    let floats: Vec<u8> = [0.0f32, 1.0].iter().flat_map(|sample| sample.to_le_bytes()).collect();
    assert_eq!(read(&header(&[2, 1], 16, 32), &floats), [0, 0, 0xff, 0xff]);
    // Stored 0 and 100 mean 0 and 1.
    let mut scaled = header(&[2, 1], 2, 8);
    scaled[112..116].copy_from_slice(&0.01f32.to_le_bytes());
    assert_eq!(read(&scaled, &[0, 100]), [0, 0, 0xff, 0xff]);
}

#[test]
fn both_byte_orders_and_versions() {
    let mut big = vec![0; 352];
    big[..4].copy_from_slice(&348i32.to_be_bytes());
    for (at, value) in [(40, 2i16), (42, 2), (44, 1), (70, 512), (72, 16)] {
        big[at..at + 2].copy_from_slice(&value.to_be_bytes());
    }
    big[108..112].copy_from_slice(&352f32.to_be_bytes());
    big[344..348].copy_from_slice(b"n+1\0");
    assert_eq!(frames(open(&big, &[0xff, 0xff, 1, 2]).unwrap()).unwrap()[0].pixels(), [0xff, 0xff, 2, 1]);
    let mut second = vec![0; 544];
    second[..4].copy_from_slice(&540i32.to_le_bytes());
    second[4..12].copy_from_slice(b"n+2\0\r\n\x1a\n");
    second[12..14].copy_from_slice(&2i16.to_le_bytes());
    second[14..16].copy_from_slice(&8i16.to_le_bytes());
    for (index, value) in [3i64, 2, 1, 2].iter().enumerate() {
        second[16 + 8 * index..24 + 8 * index].copy_from_slice(&value.to_le_bytes());
    }
    for (index, value) in [1.0f64, 0.1, 0.2, 1.5].iter().enumerate() {
        second[104 + 8 * index..112 + 8 * index].copy_from_slice(&value.to_le_bytes());
    }
    second[168..176].copy_from_slice(&544i64.to_le_bytes());
    let volume = open(&second, &[1, 2, 3, 4]).unwrap();
    assert_eq!((volume.description().format, volume.description().slice_spacing_mm), ("NIfTI-2".into(), Some(1.5)));
    assert_eq!(volume.geometry().spacing_mm, [0.1, 0.2, 1.5]);
    assert_eq!(frames(volume).unwrap()[1].pixels(), [3, 4]);
}

/// Directions are patient coordinates to the left and to the back, where NIfTI's point to the right and to the front.
#[test]
fn geometry_by_either_transform() {
    let mut by_matrix = header(&[1, 1, 1], 2, 8);
    by_matrix[254] = 1;
    for (at, value) in [(280, 0.25f32), (300, -0.5), (320, 2.0), (292, 10.0), (308, -20.0), (324, 30.0)] {
        by_matrix[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }
    let mut by_quaternion = header(&[1, 1, 1], 2, 8);
    by_quaternion[252] = 1;
    // Half a turn about the first axis: the second and the third point the other way.
    for (at, value) in [(256, 1.0f32), (268, 10.0), (272, -20.0), (276, 30.0)] {
        by_quaternion[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }
    for (header, third) in [(by_matrix, 1.0), (by_quaternion, -1.0)] {
        let sequence = open(&header, &[0]).unwrap();
        let geometry = sequence.geometry();
        assert_eq!(geometry.directions, [[-1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, third]]);
        assert_eq!((geometry.spacing_mm, geometry.origin_mm), ([0.25, 0.5, 2.0], [-10.0, 20.0, 30.0]));
    }
}

#[test]
fn header_and_image_in_two_files() {
    let folder = tempfile::tempdir().unwrap();
    let mut pair = header(&[2, 1], 2, 8);
    pair[108..112].fill(0);
    pair[344..348].copy_from_slice(b"ni1\0");
    let path = folder.path().join("x.hdr");
    std::fs::write(&path, &pair[..348]).unwrap();
    assert!(super::open(&path).err().unwrap().to_string().contains("not beside the header"));
    std::fs::write(folder.path().join("x.img"), [1, 2]).unwrap();
    assert_eq!(frames(super::open(&path).unwrap()).unwrap()[0].pixels(), [1, 2]);
}

#[test]
fn bad_files_are_errors() {
    let refused = |header: &[u8], bytes: &[u8], part: &str| {
        let error = open(header, bytes).and_then(frames).unwrap_err().to_string();
        assert!(error.contains(part) && error.lines().count() == 1, "`{part}` is not in: {error}");
    };
    refused(&header(&[2, 1], 2, 8), &[1], "announces 2 bytes and 1 are there");
    refused(&header(&[2, 1], 2, 8), &[1; 9], "announces 2 bytes of pixels and 9 are there");
    refused(&header(&[2, 1, 2, 2], 2, 8), &[1; 8], "volumes over time");
    refused(&header(&[2, 1, 1, 1, 3], 2, 8), &[1; 6], "vectors of 3");
    refused(&header(&[2, 1], 32, 64), &[1; 16], "data type 32");
    refused(&header(&[2, 1], 2, 16), &[1; 2], "disagree");
    refused(&header(&[2, -1], 2, 8), &[1; 2], "below zero");
    refused(&header(&[2, 0], 2, 8), &[1; 2], "no pixels");
    refused(&header(&[], 2, 8), &[1; 2], "number of dimensions");
    refused(&[0; 348], &[], "not NIfTI");
    let mut within = header(&[2, 1], 2, 8);
    within[108..112].copy_from_slice(&12f32.to_le_bytes());
    refused(&within, &[1; 2], "within the header");
}

#[test]
fn mutations_never_panic() {
    let file = [header(&[2, 1, 1, 3], 4, 16), vec![7; 12]].concat();
    mutate(&file, &[0, 1, 0x7f, 0xff], |bytes| from_bytes(Path::new("x.nii"), bytes));
}
