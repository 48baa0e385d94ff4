//! Readers and writer against generated files, and against real ones where they are available.

use super::*;
use crate::frame::{PixelFormat, Region};
use crate::io::source::{FrameBuffer, FrameSource, SourceError};
use crate::mask::Mask;
use dicom_core::value::{DataSetSequence, PixelFragmentSequence};
use dicom_core::{DataElement, PrimitiveValue, Tag, VR, dicom_value};
use dicom_dictionary_std::{tags, uids};
use dicom_object::{FileMetaTableBuilder, InMemDicomObject};
use image::codecs::jpeg::JpegEncoder;
use ndarray::{Array2, array};
use std::path::{Path, PathBuf};

const NAME: &str = "DOE^JANE";

/// A picture of `width` x `height`, with a patient.
fn picture(photometric: &str, samples: u16, width: u16, height: u16) -> InMemDicomObject {
    let mut object = InMemDicomObject::from_element_iter([
        DataElement::new(tags::SOP_CLASS_UID, VR::UI, uids::ULTRASOUND_MULTI_FRAME_IMAGE_STORAGE),
        DataElement::new(tags::SOP_INSTANCE_UID, VR::UI, "1.2.3.4"),
        DataElement::new(tags::STUDY_INSTANCE_UID, VR::UI, "1.2.3.1"),
        DataElement::new(tags::SERIES_INSTANCE_UID, VR::UI, "1.2.3.2"),
        DataElement::new(tags::PATIENT_NAME, VR::PN, NAME),
        DataElement::new(tags::PATIENT_ID, VR::LO, "4711"),
        DataElement::new(tags::PHOTOMETRIC_INTERPRETATION, VR::CS, photometric),
    ]);
    for (tag, value) in [
        (tags::SAMPLES_PER_PIXEL, samples),
        (tags::ROWS, height),
        (tags::COLUMNS, width),
        (tags::BITS_ALLOCATED, 8),
        (tags::BITS_STORED, 8),
        (tags::HIGH_BIT, 7),
        (tags::PIXEL_REPRESENTATION, 0),
    ] {
        object.put(number(tag, value));
    }
    object
}

fn number(tag: Tag, value: u16) -> DataElement<InMemDicomObject> {
    DataElement::new(tag, VR::US, PrimitiveValue::from(value))
}

fn deep(object: &mut InMemDicomObject, stored: u16) {
    object.put(number(tags::BITS_ALLOCATED, 16));
    object.put(number(tags::BITS_STORED, stored));
    object.put(number(tags::HIGH_BIT, stored - 1));
}

fn bytes(object: InMemDicomObject, syntax: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    object.with_meta(FileMetaTableBuilder::new().transfer_syntax(syntax)).unwrap().write_all(&mut bytes).unwrap();
    bytes
}

fn native(mut object: InMemDicomObject, pixels: &[u8]) -> Vec<u8> {
    object.put(DataElement::new(tags::PIXEL_DATA, VR::OB, PrimitiveValue::from(pixels.to_vec())));
    bytes(object, uids::EXPLICIT_VR_LITTLE_ENDIAN)
}

fn encapsulated(mut object: InMemDicomObject, syntax: &str, table: &[u32], fragments: &[&[u8]]) -> Vec<u8> {
    // Fragments have even lengths.
    let fragments = fragments.iter().map(|fragment| {
        let mut fragment = fragment.to_vec();
        fragment.resize(fragment.len().next_multiple_of(2), 0);
        fragment
    });
    let pixels = PixelFragmentSequence::new(table.to_vec(), fragments.collect::<Vec<_>>());
    object.put(DataElement::new(tags::PIXEL_DATA, VR::OB, pixels));
    bytes(object, syntax)
}

fn frames(bytes: Vec<u8>) -> Result<Vec<FrameBuffer>, SourceError> {
    let mut clip = DicomClip::from_bytes(Path::new("x.dcm"), bytes)?;
    let (mut frames, mut buffer) = (Vec::new(), FrameBuffer::default());
    while clip.read_frame(&mut buffer)? {
        frames.push(buffer.clone());
    }
    assert_eq!(clip.frame_count(), Some(frames.len()));
    Ok(frames)
}

fn pixels(bytes: Vec<u8>) -> (PixelFormat, Vec<u8>) {
    let frames = frames(bytes).unwrap();
    (frames[0].frame().unwrap().format(), frames[0].pixels().to_vec())
}

#[test]
fn every_kind_of_pixel_arrives() {
    let grey = |bytes| (PixelFormat::Gray8, bytes);
    let rgb = |bytes| (PixelFormat::Rgb8, bytes);
    assert_eq!(pixels(native(picture("MONOCHROME2", 1, 2, 1), &[1, 200])), grey(vec![1, 200]));
    assert_eq!(pixels(native(picture("MONOCHROME1", 1, 2, 1), &[1, 200])), grey(vec![254, 55]));
    assert_eq!(pixels(native(picture("RGB", 3, 2, 1), &[1, 2, 3, 4, 5, 6])), rgb(vec![1, 2, 3, 4, 5, 6]));
    let mut planar = picture("RGB", 3, 2, 1);
    planar.put(number(tags::PLANAR_CONFIGURATION, 1));
    assert_eq!(pixels(native(planar, &[1, 4, 2, 5, 3, 6])), rgb(vec![1, 2, 3, 4, 5, 6]));
    // Pure red is Y 76, Cb 85, Cr 255.
    let red = pixels(native(picture("YBR_FULL", 3, 1, 1), &[76, 85, 255])).1;
    assert!(red[0] > 250 && red[1] < 3 && red[2] < 3, "{red:?}");
    // The third pixel of the odd row has a chroma of its own.
    let half = pixels(native(picture("YBR_FULL_422", 3, 3, 1), &[10, 20, 128, 128, 30, 40, 128, 128]));
    assert_eq!(half, rgb(vec![10, 10, 10, 20, 20, 20, 30, 30, 30]));
    let mut twelve = picture("MONOCHROME2", 1, 2, 1);
    deep(&mut twelve, 12);
    // The unused bits do not belong to the value.
    let samples = [0x0fffu16, 0xf800].map(u16::to_le_bytes).concat();
    let spread = [65_535u16, 32_776].map(u16::to_le_bytes).concat();
    assert_eq!(pixels(native(twelve, &samples)), (PixelFormat::Gray16Le, spread));
    let mut windowed = picture("MONOCHROME2", 1, 3, 1);
    windowed.put(DataElement::new(tags::WINDOW_CENTER, VR::DS, "101"));
    windowed.put(DataElement::new(tags::WINDOW_WIDTH, VR::DS, "101"));
    assert_eq!(pixels(native(windowed, &[50, 100, 151])), grey(vec![0, 126, 255]));
}

#[test]
fn palettes_are_looked_up() {
    let mut object = picture("PALETTE COLOR", 1, 3, 1);
    for (descriptor, data, shift) in [
        (tags::RED_PALETTE_COLOR_LOOKUP_TABLE_DESCRIPTOR, tags::RED_PALETTE_COLOR_LOOKUP_TABLE_DATA, 0),
        (tags::GREEN_PALETTE_COLOR_LOOKUP_TABLE_DESCRIPTOR, tags::GREEN_PALETTE_COLOR_LOOKUP_TABLE_DATA, 1),
        (tags::BLUE_PALETTE_COLOR_LOOKUP_TABLE_DESCRIPTOR, tags::BLUE_PALETTE_COLOR_LOOKUP_TABLE_DATA, 2),
    ] {
        object.put(DataElement::new(descriptor, VR::US, dicom_value!(U16, [2, 10, 16])));
        let table = [0x1100u16 << shift, 0x2200 << shift];
        object.put(DataElement::new(data, VR::OW, PrimitiveValue::U16(table.into_iter().collect())));
    }
    // Below the first entry, the first; beyond the last, the last.
    let expected = vec![0x11, 0x22, 0x44, 0x22, 0x44, 0x88, 0x22, 0x44, 0x88];
    assert_eq!(pixels(native(object.clone(), &[3, 11, 99])), (PixelFormat::Rgb8, expected));
    object.remove_element(tags::BLUE_PALETTE_COLOR_LOOKUP_TABLE_DATA);
    assert!(frames(native(object, &[0, 0, 0])).unwrap_err().to_string().contains("lacks its palette"));
}

#[test]
fn other_transfer_syntaxes() {
    let with = |vr, value| {
        let mut object = picture("MONOCHROME2", 1, 2, 1);
        deep(&mut object, 16);
        object.put(DataElement::new(tags::PIXEL_DATA, vr, value));
        object
    };
    let samples = || PrimitiveValue::U16([0x8102, 0xf304].into_iter().collect());
    let big_endian = "1.2.840.10008.1.2.2";
    for syntax in [uids::IMPLICIT_VR_LITTLE_ENDIAN, uids::EXPLICIT_VR_LITTLE_ENDIAN, big_endian] {
        assert_eq!(pixels(bytes(with(VR::OW, samples()), syntax)).1, [2, 0x81, 4, 0xf3], "{syntax}");
    }
    let packed =
        [[1u32, 64].iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<_>>(), vec![0; 56], vec![255, 7]].concat();
    let rle = encapsulated(picture("MONOCHROME2", 1, 2, 1), uids::RLE_LOSSLESS, &[], &[&packed]);
    assert_eq!(pixels(rle).1, [7, 7]);
    let mut jpeg = Vec::new();
    let colours: Vec<u8> = [200, 60, 40].repeat(64);
    JpegEncoder::new_with_quality(&mut jpeg, 100).encode(&colours, 8, 8, image::ExtendedColorType::Rgb8).unwrap();
    let file = encapsulated(picture("YBR_FULL_422", 3, 8, 8), uids::JPEG_BASELINE8_BIT, &[], &[&jpeg]);
    let decoded = pixels(file).1;
    assert!(decoded.iter().zip(&colours).all(|(a, b)| a.abs_diff(*b) < 4), "{decoded:?}");
    // Two frames in three fragments, which the table separates.
    let mut clip = picture("YBR_FULL_422", 3, 8, 8);
    clip.put(DataElement::new(tags::NUMBER_OF_FRAMES, VR::IS, "2"));
    let (head, tail) = jpeg.split_at(100);
    let second = (8 + head.len() + 8 + tail.len().next_multiple_of(2)) as u32;
    let parts = [head, tail, &jpeg];
    let found = frames(encapsulated(clip.clone(), uids::JPEG_BASELINE8_BIT, &[0, second], &parts)).unwrap();
    assert_eq!((found.len(), found[0].pixels()), (2, found[1].pixels()));
    // Without a table that fits, their markers separate them.
    for table in [&[][..], &[0, 4], &[0, 0]] {
        let found = frames(encapsulated(clip.clone(), uids::JPEG_BASELINE8_BIT, table, &parts)).unwrap();
        assert_eq!((found.len(), found[0].pixels()), (2, found[1].pixels()), "{table:?}");
    }
}

fn region(format: u16, place: [u32; 4], mm: Option<f64>) -> InMemDicomObject {
    let [x0, y0, x1, y1] = place;
    let mut object = InMemDicomObject::from_element_iter([
        number(tags::REGION_SPATIAL_FORMAT, format),
        number(tags::REGION_DATA_TYPE, 1),
    ]);
    for (tag, value) in [
        (tags::REGION_LOCATION_MIN_X0, x0),
        (tags::REGION_LOCATION_MIN_Y0, y0),
        (tags::REGION_LOCATION_MAX_X1, x1),
        (tags::REGION_LOCATION_MAX_Y1, y1),
    ] {
        object.put(DataElement::new(tag, VR::UL, PrimitiveValue::from(value)));
    }
    object.put(number(tags::PHYSICAL_UNITS_X_DIRECTION, if mm.is_some() { 3 } else { 4 }));
    object.put(number(tags::PHYSICAL_UNITS_Y_DIRECTION, 3));
    let cm = mm.unwrap_or(1.0) / 10.0;
    object.put(DataElement::new(tags::PHYSICAL_DELTA_X, VR::FD, PrimitiveValue::from(cm)));
    object.put(DataElement::new(tags::PHYSICAL_DELTA_Y, VR::FD, PrimitiveValue::from(-2.0 * cm)));
    object
}

#[test]
fn the_scan_is_the_largest_region_of_tissue() {
    let read = |regions: Vec<InMemDicomObject>, spacing: bool| {
        let mut object = picture("MONOCHROME2", 1, 10, 8);
        object.put(DataElement::new(tags::SEQUENCE_OF_ULTRASOUND_REGIONS, VR::SQ, DataSetSequence::from(regions)));
        if spacing {
            object.put(DataElement::new(tags::PIXEL_SPACING, VR::DS, dicom_value!(Strs, ["0.5", "0.25"])));
        }
        let frames = frames(native(object, &[0; 80])).unwrap();
        let frame = frames[0].frame().unwrap();
        (frame.region(), frame.mm_per_pixel())
    };
    // A trace is larger, but not a scan. The last column lies outside, as some machines write it.
    let regions = vec![
        region(3, [0, 0, 9, 7], Some(1.0)),
        region(1, [1, 1, 2, 2], Some(1.0)),
        region(1, [2, 3, 10, 6], Some(0.5)),
    ];
    assert_eq!(read(regions, true), (Region { x: 2, y: 3, width: 8, height: 4 }, Some([0.5, 1.0])));
    let outside = vec![region(1, [10, 0, 12, 5], Some(0.5)), region(1, [5, 5, 4, 6], None)];
    assert_eq!(read(outside, true), (Region::whole(10, 8), Some([0.25, 0.5])));
    // Seconds are not a length.
    let timed = vec![region(1, [0, 0, 4, 4], None)];
    assert_eq!(read(timed, false), (Region { x: 0, y: 0, width: 5, height: 5 }, None));
}

#[test]
fn frames_have_their_times() {
    let clip = |time: DataElement<InMemDicomObject>| {
        let mut object = picture("MONOCHROME2", 1, 1, 1);
        object.put(DataElement::new(tags::NUMBER_OF_FRAMES, VR::IS, "3"));
        object.put(time);
        let frames = frames(native(object, &[1, 2, 3])).unwrap();
        assert_eq!(frames.iter().map(|frame| frame.pixels()[0]).collect::<Vec<_>>(), [1, 2, 3]);
        frames.iter().map(|frame| frame.timestamp_s).collect::<Vec<_>>()
    };
    let even = clip(DataElement::new(tags::FRAME_TIME, VR::DS, "250"));
    assert_eq!(even, [Some(0.0), Some(0.25), Some(0.5)]);
    let uneven = clip(DataElement::new(tags::FRAME_TIME_VECTOR, VR::DS, dicom_value!(Strs, ["0", "500", "250"])));
    assert_eq!(uneven, [Some(0.0), Some(0.5), Some(0.75)]);
    assert_eq!(clip(DataElement::new(tags::FRAME_TIME, VR::DS, "0")), [None; 3]);
}

fn refused(bytes: Vec<u8>, part: &str) {
    let error = frames(bytes).unwrap_err().to_string();
    assert!(error.contains(part) && error.lines().count() == 1, "`{part}` is not in: {error}");
    assert!(!error.contains("DOE") && !error.contains("4711"), "{error}");
}

#[test]
fn bad_files_are_errors_without_names() {
    let good = || picture("MONOCHROME2", 1, 2, 2);
    let with = |element: DataElement<InMemDicomObject>| {
        let mut object = good();
        object.put(element);
        native(object, &[0; 4])
    };
    let without = |tag: Tag| {
        let mut object = good();
        object.remove_element(tag);
        native(object, &[0; 4])
    };
    refused(vec![0; 500], "not a DICOM file");
    refused(vec![], "not a DICOM file");
    refused(bytes(good(), uids::EXPLICIT_VR_LITTLE_ENDIAN), "holds no pixels");
    refused(with(number(tags::ROWS, 3)), "6 bytes are announced and 4 are there");
    refused(with(number(tags::ROWS, 0)), "its height");
    refused(with(number(tags::COLUMNS, 20_000)), "20000 x 2 pixels, more than");
    refused(without(tags::COLUMNS), "lacks its width");
    refused(without(tags::PHOTOMETRIC_INTERPRETATION), "lacks its colours");
    refused(with(DataElement::new(tags::NUMBER_OF_FRAMES, VR::IS, "-3")), "the number of frames");
    refused(with(DataElement::new(tags::NUMBER_OF_FRAMES, VR::IS, "999999999999")), "are announced");
    refused(with(number(tags::BITS_ALLOCATED, 32)), "8 of 32 bits");
    refused(with(number(tags::SAMPLES_PER_PIXEL, 4)), "its colours are 4 x 8 bits MONOCHROME2");
    refused(with(DataElement::new(tags::PHOTOMETRIC_INTERPRETATION, VR::CS, "HSV")), "HSV");
    let mut huge = picture("RGB", 3, 16_384, 16_384);
    huge.put(number(tags::PLANAR_CONFIGURATION, 0));
    refused(native(huge, &[0; 4]), "more than 512 MiB");
    refused(encapsulated(good(), uids::MPEG2MPML, &[], &[&[1, 2]]), "its transfer syntax is 1.2.840.10008.1.2.4.100");
    refused(encapsulated(good(), uids::JPEG2000_LOSSLESS, &[], &[&[1, 2]]), "frame 1 of 1 is damaged");
    refused(encapsulated(good(), uids::JPEG_BASELINE8_BIT, &[], &[&[1, 2]]), "frame 1 of 1 is damaged");
    refused(encapsulated(good(), uids::RLE_LOSSLESS, &[], &[&[1, 2]]), "frame 1 of 1 is damaged");
    refused(encapsulated(good(), uids::RLE_LOSSLESS, &[], &[]), "announced and 0 are there");
    let mut jpeg = Vec::new();
    JpegEncoder::new(&mut jpeg).encode(&[0; 64], 8, 8, image::ExtendedColorType::L8).unwrap();
    refused(encapsulated(good(), uids::JPEG_BASELINE8_BIT, &[], &[&jpeg]), "it is 8 x 8 pixels, not 2 x 2");
    refused(native(good(), &[0; 4])[..400].to_vec(), "the DICOM file");
    // A value with a stated length of four gigabytes.
    let mut long = native(good(), &[0; 4]);
    let at = long.windows(2).rposition(|pair| pair == b"OB").unwrap();
    long[at + 4..at + 8].copy_from_slice(&[0xfe, 0xff, 0xff, 0xff]);
    refused(long, "4294967294 bytes are announced");
}

#[test]
fn ends_that_never_began() {
    let good = native(picture("MONOCHROME2", 1, 2, 2), &[0; 4]);
    let at = good.windows(4).position(|tag| tag == [0xe0, 0x7f, 0x10, 0x00]).unwrap();
    let item_end = [0xfe, 0xff, 0x0d, 0xe0, 0, 0, 0, 0];
    let item = [0xfe, 0xff, 0x00, 0xe0, 0xff, 0xff, 0xff, 0xff];
    let stray = [&good[..at], &item_end, &item, &good[at..]].concat();
    refused(stray, "an item begins outside of a sequence");
}

/// Every byte of small files changed, one after the other, and every length cut: no panic, whatever the result.
#[test]
fn mutations_never_panic() {
    let mut object = picture("MONOCHROME2", 1, 2, 2);
    let regions = vec![region(1, [0, 0, 1, 1], Some(0.5))];
    object.put(DataElement::new(tags::SEQUENCE_OF_ULTRASOUND_REGIONS, VR::SQ, DataSetSequence::from(regions)));
    let packed = [vec![1, 0, 0, 0, 64, 0, 0, 0], vec![0; 56], vec![253, 7]].concat();
    for file in
        [native(object.clone(), &[1, 2, 3, 4]), encapsulated(object.clone(), uids::RLE_LOSSLESS, &[0], &[&packed])]
    {
        let run = |bytes: Vec<u8>| {
            let Ok(mut clip) = DicomClip::from_bytes(Path::new("x.dcm"), bytes) else { return };
            let mut buffer = FrameBuffer::default();
            for _ in 0..8 {
                if !clip.read_frame(&mut buffer).unwrap_or(false) {
                    break;
                }
            }
        };
        for at in 128..file.len() {
            run(file[..at].to_vec());
            for value in [0, 1, 0x7f, 0xff, file[at] ^ 1, file[at] ^ 0x20] {
                let mut changed = file.clone();
                changed[at] = value;
                run(changed);
            }
            // The marks of items, which the reader counts.
            for mark in [[0xfe, 0xff, 0x00, 0xe0], [0xfe, 0xff, 0x0d, 0xe0], [0xfe, 0xff, 0xdd, 0xe0]] {
                if let Some(place) = file.clone().get_mut(at..at + 4) {
                    let mut changed = file.clone();
                    place.copy_from_slice(&mark);
                    changed[at..at + 4].copy_from_slice(&mark);
                    run(changed);
                }
            }
        }
    }
}

fn opened(bytes: Vec<u8>) -> DicomClip {
    DicomClip::from_bytes(Path::new("x.dcm"), bytes).unwrap()
}

fn read_back(path: &Path) -> dicom_object::DefaultDicomObject {
    dicom_object::open_file(path).unwrap()
}

#[test]
fn segmentations_hold_the_masks_bit_by_bit() {
    let mut object = picture("MONOCHROME2", 1, 3, 3);
    object.put(DataElement::new(tags::NUMBER_OF_FRAMES, VR::IS, "3"));
    let clip = opened(native(object, &[0; 27]));
    let algorithm = Algorithm { name: "tiny".into(), version: "0123".into() };
    let prompts = vec!["a dark \u{e4}dema".to_string(), "x".repeat(70)];
    let masks = [
        Mask::from_pixels(array![[1, 0, 0], [0, 1, 0], [0, 0, 1]]),
        Mask::from_pixels(Array2::zeros((3, 3))),
        Mask::from_pixels(array![[1, 1, 1], [0, 0, 0], [1, 1, 0]]),
    ];
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x_seg.dcm");
    let deidentification = Deidentification::new().unwrap();
    for deidentification in [None, Some(&deidentification)] {
        let mut segmentation = Segmentation::new(clip.reference().clone(), algorithm.clone(), prompts.clone());
        for (frame, mask) in masks.iter().enumerate() {
            segmentation.push(0, frame, mask).unwrap();
            segmentation.push(1, frame, &masks[1]).unwrap();
        }
        assert_eq!(segmentation.push(2, 0, &masks[0]), Err(SegmentationError::Prompt(2)));
        let other = Mask::from_pixels(array![[1]]);
        assert_eq!(segmentation.push(0, 0, &other), Err(SegmentationError::Size));
        segmentation.write(&path, deidentification).unwrap();
        let file = read_back(&path);
        let text = |tag: Tag| file.element(tag).unwrap().to_str().unwrap().trim().to_string();
        assert_eq!(text(tags::PATIENT_NAME), if deidentification.is_some() { "" } else { NAME });
        assert_eq!(text(tags::STUDY_INSTANCE_UID) == "1.2.3.1", deidentification.is_none());
        assert_ne!(text(tags::SERIES_INSTANCE_UID), "1.2.3.2");
        // Two of the first segment that are not empty, and one empty one of the second.
        assert_eq!(text(tags::NUMBER_OF_FRAMES), "3");
        let bits = file.element(tags::PIXEL_DATA).unwrap().to_bytes().unwrap();
        let bit = |index: usize| bits[index / 8] >> (index % 8) & 1;
        let unpacked: Vec<u8> = (0..27).map(bit).collect();
        assert_eq!(unpacked, [[1, 0, 0, 0, 1, 0, 0, 0, 1], [1, 1, 1, 0, 0, 0, 1, 1, 0], [0; 9]].concat());
        let segments = file.element(tags::SEGMENT_SEQUENCE).unwrap().items().unwrap();
        let label = |index: usize| segments[index].element(tags::SEGMENT_LABEL).unwrap().to_str().unwrap().to_string();
        assert_eq!(label(0), prompts[0]);
        assert_eq!(label(1).chars().count(), 64);
    }
}

#[test]
fn segmentations_say_how_large_pixels_are_and_where() {
    let mut object = picture("MONOCHROME2", 1, 1, 1);
    for (tag, vr, value) in [
        (tags::FRAME_OF_REFERENCE_UID, VR::UI, "1.2.3.9"),
        (tags::IMAGE_POSITION_PATIENT, VR::DS, r"1\2\-3.5"),
        (tags::IMAGE_ORIENTATION_PATIENT, VR::DS, r"0\1\0\0\0\-1"),
        (tags::LOSSY_IMAGE_COMPRESSION, VR::CS, "01"),
        (tags::LOSSY_IMAGE_COMPRESSION_RATIO, VR::DS, "7.5"),
        (tags::LOSSY_IMAGE_COMPRESSION_METHOD, VR::CS, "ISO_10918_1"),
    ] {
        let values = value.split('\\').map(str::to_string).collect();
        object.put(DataElement::new(tag, vr, PrimitiveValue::Strs(values)));
    }
    let clip = opened(native(object, &[0]));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x_seg.dcm");
    let written = |mm_per_pixel, deidentification: Option<&Deidentification>| {
        let algorithm = Algorithm { name: "tiny".into(), version: String::new() };
        let mut segmentation = Segmentation::new(clip.reference().clone(), algorithm, vec![String::new()]);
        segmentation.set_mm_per_pixel(mm_per_pixel);
        segmentation.push(0, 0, &Mask::from_pixels(array![[1]])).unwrap();
        segmentation.write(&path, deidentification).unwrap();
        read_back(&path).into_inner()
    };
    let groups = |file: &InMemDicomObject, tag| file.element(tag).unwrap().items().unwrap()[0].clone();
    let text = |object: &InMemDicomObject, tag| object.element(tag).unwrap().to_str().unwrap().trim_end().to_string();
    let file = written(Some([0.5, 0.25]), None);
    let shared = groups(&file, tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE);
    let measures = groups(&shared, tags::PIXEL_MEASURES_SEQUENCE);
    assert_eq!(text(&measures, tags::PIXEL_SPACING), r"0.25\0.5");
    assert_eq!(text(&measures, tags::SLICE_THICKNESS), "0.25");
    let orientation = groups(&shared, tags::PLANE_ORIENTATION_SEQUENCE);
    assert_eq!(text(&orientation, tags::IMAGE_ORIENTATION_PATIENT), r"0\1\0\0\0\-1");
    let frame = groups(&file, tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE);
    let position = groups(&frame, tags::PLANE_POSITION_SEQUENCE);
    assert_eq!(text(&position, tags::IMAGE_POSITION_PATIENT), r"1\2\-3.5");
    assert_eq!(text(&file, tags::LOSSY_IMAGE_COMPRESSION), "01");
    assert_eq!(text(&file, tags::LOSSY_IMAGE_COMPRESSION_RATIO), "7.5");
    assert_eq!(text(&file, tags::LOSSY_IMAGE_COMPRESSION_METHOD), "ISO_10918_1");
    assert_eq!(text(&groups(&file, tags::SEGMENT_SEQUENCE), tags::SEGMENT_LABEL), "no prompt");
    // A position is useless without the size of a pixel.
    let file = written(None, None);
    let shared = groups(&file, tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE);
    assert_eq!(shared.iter().count(), 0);
    let deidentified = written(None, Some(&Deidentification::new().unwrap()));
    assert_eq!(text(&file, tags::FRAME_OF_REFERENCE_UID).trim_end_matches('\0'), "1.2.3.9");
    assert!(text(&deidentified, tags::FRAME_OF_REFERENCE_UID).starts_with("2.25."));
}

/// A segmentation without a reference to its source would have no meaning.
#[test]
fn a_source_without_a_number_is_refused() {
    let mut object = picture("MONOCHROME2", 1, 1, 1);
    object.put(DataElement::new(tags::SOP_INSTANCE_UID, VR::UI, ""));
    let clip = opened(native(object, &[0]));
    let algorithm = Algorithm { name: "tiny".into(), version: String::new() };
    let mut segmentation = Segmentation::new(clip.reference().clone(), algorithm, vec!["a".into()]);
    let error = segmentation.push(0, 0, &Mask::from_pixels(array![[1]])).unwrap_err();
    assert!(error.to_string().contains("no SOP Instance UID"), "{error}");
}

#[test]
fn no_two_segmentations_have_one_number() {
    let clip = opened(native(picture("MONOCHROME2", 1, 1, 1), &[0]));
    let folder = tempfile::tempdir().unwrap();
    let numbers = ["a", "b"].map(|name| {
        let algorithm = Algorithm { name: "tiny".into(), version: String::new() };
        let mut segmentation = Segmentation::new(clip.reference().clone(), algorithm, vec!["a".into()]);
        segmentation.push(0, 0, &Mask::from_pixels(array![[1]])).unwrap();
        let path = folder.path().join(name);
        segmentation.write(&path, None).unwrap();
        let number = read_back(&path).element(tags::SOP_INSTANCE_UID).unwrap().to_str().unwrap().to_string();
        assert!(number.starts_with("2.25.") && number.len() <= 64, "{number}");
        number
    });
    assert_ne!(numbers[0], numbers[1]);
}

/// Real files of three kinds, where they are available.
#[test]
fn real_files() {
    let folder = std::env::var_os("CAUSALCLIPSEG_DATA")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data"), PathBuf::from)
        .join("dicom");
    if !folder.is_dir() {
        println!("skipped: {} is not there; CAUSALCLIPSEG_DATA names the folder of the data", folder.display());
        return;
    }
    for (name, count, size, with_mm) in [
        ("examples_palette.dcm", 1, [800, 350], true),
        ("examples_rgb_color.dcm", 1, [320, 240], false),
        ("examples_ybr_color.dcm", 30, [320, 240], true),
    ] {
        let found = frames(std::fs::read(folder.join(name)).unwrap()).unwrap();
        let frame = found[0].frame().unwrap();
        assert_eq!((found.len(), [frame.width(), frame.height()]), (count, size), "{name}");
        assert_eq!(frame.mm_per_pixel().is_some(), with_mm, "{name}");
        assert_eq!(frame.region() != Region::whole(size[0], size[1]), with_mm, "{name}");
        // A picture, not a uniform area.
        let pixels = found[0].pixels();
        assert!(pixels.iter().any(|p| *p > 150) && pixels.iter().any(|p| *p < 20), "{name}");
    }
}
