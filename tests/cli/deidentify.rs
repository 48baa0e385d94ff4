//! `segment --deidentify`: an identifier in every attribute of a file and in its pixels, and none in the results.

use super::causalclipseg;
use super::desk::Desk;
use dicom_core::dictionary::{DataDictionary, DataDictionaryEntry, VirtualVr};
use dicom_core::value::DataSetSequence;
use dicom_core::{DataElement, PrimitiveValue, Tag, VR};
use dicom_dictionary_std::{StandardDataDictionary, tags, uids};
use dicom_object::{FileMetaTableBuilder, InMemDicomObject};
use std::fs;
use std::path::{Path, PathBuf};

const SIDE: usize = 32;
/// The scan is the left three quarters.
const SCAN: usize = 24;

const WORD: &str = "DOEPLANT";
/// The planted identifiers, by kind of attribute. Each is long enough not to appear by chance.
const PLANTED: [&str; 6] = [WORD, "19610416", "040506.471147", "47114711", "4711.4711", "1.2.826.0.4711."];

/// Attributes that decide how the file is read.
const KEPT: &[Tag] = &[
    tags::SPECIFIC_CHARACTER_SET,
    tags::SOP_CLASS_UID,
    tags::NUMBER_OF_FRAMES,
    tags::FRAME_TIME,
    tags::FRAME_TIME_VECTOR,
    tags::PHOTOMETRIC_INTERPRETATION,
    tags::PRESENTATION_LUT_SHAPE,
    tags::WINDOW_CENTER,
    tags::WINDOW_WIDTH,
    tags::RESCALE_INTERCEPT,
    tags::RESCALE_SLOPE,
    tags::MODALITY_LUT_SEQUENCE,
    tags::VOILUT_SEQUENCE,
    tags::LOSSY_IMAGE_COMPRESSION,
    // A number that is copied into a segmentation; the method beside it is text.
    tags::LOSSY_IMAGE_COMPRESSION_RATIO,
    tags::SEQUENCE_OF_ULTRASOUND_REGIONS,
];

fn planted(tag: Tag, vr: VR) -> Option<PrimitiveValue> {
    let text = match vr {
        VR::AE | VR::CS | VR::LO | VR::LT | VR::PN | VR::SH | VR::ST | VR::UC | VR::UR | VR::UT => WORD.to_string(),
        VR::DA => "19610416".into(),
        VR::DT => "19610416040506".into(),
        VR::TM => "040506.471147".into(),
        VR::IS => "47114711".into(),
        VR::DS => "4711.4711".into(),
        VR::UI => format!("1.2.826.0.4711.{}.{}", tag.group(), tag.element()),
        VR::OB | VR::UN => return Some(PrimitiveValue::from(WORD.as_bytes().to_vec())),
        _ => return None,
    };
    Some(PrimitiveValue::from(text))
}

/// Nested attributes: a sequence in a sequence, private ones beside them.
fn nested(depth: usize) -> InMemDicomObject {
    let mut item = InMemDicomObject::new_empty();
    for (tag, vr) in [
        (tags::PATIENT_NAME, VR::PN),
        (tags::PATIENT_ID, VR::LO),
        (tags::STUDY_INSTANCE_UID, VR::UI),
        (tags::SOP_INSTANCE_UID, VR::UI),
        (tags::REFERENCED_SOP_INSTANCE_UID, VR::UI),
        (tags::STUDY_DATE, VR::DA),
        (Tag(0x0009, 0x0010), VR::LO),
        (Tag(0x0009, 0x1001), VR::UN),
    ] {
        item.put(DataElement::new(tag, vr, planted(tag, vr).unwrap()));
    }
    if depth > 0 {
        let inner = DataSetSequence::from(vec![nested(depth - 1)]);
        item.put(DataElement::new(tags::REFERENCED_IMAGE_SEQUENCE, VR::SQ, inner));
    }
    item
}

/// Every attribute of the dictionary that can hold text, a number in text, a date or a UID, and private ones.
fn plant_everywhere(object: &mut InMemDicomObject) -> usize {
    let before = object.iter().count();
    // All even groups of the standard that a data set may contain, and the first of the repeating ones.
    let groups =
        (0x0008..0x0090).step_by(2).chain([0x0100, 0x0400, 0x2000, 0x2010, 0x2020, 0x2030, 0x2040, 0x2050, 0x2100]);
    let groups =
        groups.chain([0x2110, 0x2120, 0x2130, 0x2200, 0x3002, 0x3004, 0x3006, 0x3008, 0x300a, 0x300c, 0x300e, 0x3010]);
    let groups = groups.chain([0x4000, 0x4008, 0x4010, 0x5000, 0x5400, 0x5600, 0x6000]);
    for group in groups {
        for element in 0x0001..=0xffff {
            let tag = Tag(group, element);
            let Some(entry) = StandardDataDictionary.by_tag(tag).filter(|_| !KEPT.contains(&tag)) else { continue };
            let VirtualVr::Exact(vr) = entry.vr() else { continue };
            if vr == VR::SQ {
                object.put(DataElement::new(tag, VR::SQ, DataSetSequence::from(vec![nested(2)])));
            } else if let Some(value) = planted(tag, vr) {
                object.put(DataElement::new(tag, vr, value));
            }
        }
    }
    for group in [0x0009, 0x0011, 0x0029, 0x7fe1] {
        for (element, vr) in [(0x0010, VR::LO), (0x1001, VR::PN), (0x1002, VR::UN), (0x1003, VR::UI), (0x1004, VR::DA)]
        {
            let tag = Tag(group, element);
            object.put(DataElement::new(tag, vr, planted(tag, vr).unwrap()));
        }
        object.put(DataElement::new(Tag(group, 0x1005), VR::SQ, DataSetSequence::from(vec![nested(2)])));
    }
    object.iter().count() - before
}

/// Three frames, white in the left half of the scan; beside the scan, `burned_in` as pixels.
fn clip(burned_in: &[u8; SIDE - SCAN]) -> InMemDicomObject {
    let mut object = InMemDicomObject::new_empty();
    let count = plant_everywhere(&mut object);
    assert!(count > 3000, "only {count} attributes");
    for (tag, vr, value) in [
        (tags::SPECIFIC_CHARACTER_SET, VR::CS, "ISO_IR 100"),
        (tags::SOP_CLASS_UID, VR::UI, uids::ULTRASOUND_MULTI_FRAME_IMAGE_STORAGE),
        (tags::PHOTOMETRIC_INTERPRETATION, VR::CS, "MONOCHROME2"),
        (tags::NUMBER_OF_FRAMES, VR::IS, "3"),
        (tags::FRAME_TIME, VR::DS, "40"),
        (tags::LOSSY_IMAGE_COMPRESSION, VR::CS, "01"),
        (tags::LOSSY_IMAGE_COMPRESSION_RATIO, VR::DS, "7.5"),
    ] {
        object.put(DataElement::new(tag, vr, value));
    }
    let number = |tag, value: u16| DataElement::new(tag, VR::US, PrimitiveValue::from(value));
    for (tag, value) in [
        (tags::SAMPLES_PER_PIXEL, 1),
        (tags::ROWS, SIDE as u16),
        (tags::COLUMNS, SIDE as u16),
        (tags::BITS_ALLOCATED, 8),
        (tags::BITS_STORED, 8),
        (tags::HIGH_BIT, 7),
        (tags::PIXEL_REPRESENTATION, 0),
    ] {
        object.put(number(tag, value));
    }
    let mut region = nested(1);
    for (tag, value) in [
        (tags::REGION_SPATIAL_FORMAT, 1),
        (tags::REGION_DATA_TYPE, 1),
        (tags::PHYSICAL_UNITS_X_DIRECTION, 3),
        (tags::PHYSICAL_UNITS_Y_DIRECTION, 3),
    ] {
        region.put(number(tag, value));
    }
    for (tag, value) in [
        (tags::REGION_LOCATION_MIN_X0, 0),
        (tags::REGION_LOCATION_MIN_Y0, 0),
        (tags::REGION_LOCATION_MAX_X1, SCAN as u32 - 1),
        (tags::REGION_LOCATION_MAX_Y1, SIDE as u32 - 1),
    ] {
        region.put(DataElement::new(tag, VR::UL, PrimitiveValue::from(value)));
    }
    for tag in [tags::PHYSICAL_DELTA_X, tags::PHYSICAL_DELTA_Y] {
        region.put(DataElement::new(tag, VR::FD, PrimitiveValue::from(0.05)));
    }
    object.put(DataElement::new(tags::SEQUENCE_OF_ULTRASOUND_REGIONS, VR::SQ, DataSetSequence::from(vec![region])));
    let row = [vec![255; SIDE / 2], vec![0; SCAN - SIDE / 2], burned_in.to_vec()].concat();
    object.put(DataElement::new(tags::PIXEL_DATA, VR::OB, PrimitiveValue::from(row.repeat(3 * SIDE))));
    object
}

fn write(path: &Path, object: InMemDicomObject) {
    let meta = FileMetaTableBuilder::new()
        .transfer_syntax(uids::EXPLICIT_VR_LITTLE_ENDIAN)
        .source_application_entity_title(WORD);
    object.with_meta(meta).unwrap().write_to_file(path).unwrap();
}

/// Every result by name, after a run over one file.
fn results(desk: &Desk, input: &Path, deidentify: bool) -> Vec<(String, Vec<u8>)> {
    let out = desk.path("out");
    let _ = fs::remove_dir_all(&out);
    let mut command = causalclipseg();
    command.arg("segment").arg(input).arg("-m").arg(desk.bundle()).arg("-o").arg(&out);
    command.args(["-p", "a bright mass", "--format", "mask,prob,overlay,frame,json,mha,dicom-seg,dicom-sr", "-vv"]);
    let output = command.args(deidentify.then_some("--deidentify")).assert().success();
    let log = output.get_output().stderr.clone();
    let files = desk.results().into_iter().map(|name| (name.clone(), desk.result(&name)));
    let mut all: Vec<_> = files.collect();
    // The input path is shown in the terminal only; the rest of the output is searched too.
    let told = String::from_utf8_lossy(&log).replace(input.to_str().unwrap(), "");
    all.push(("log".into(), told.into_bytes()));
    all
}

fn found_in(results: &[(String, Vec<u8>)]) -> Vec<(&str, &str)> {
    let holds = |bytes: &[u8], word: &str| bytes.windows(word.len()).any(|window| window == word.as_bytes());
    let pairs = results.iter().flat_map(|result| PLANTED.map(|word| (result, word)));
    let found = pairs.filter(|((name, bytes), word)| name.contains(word) || holds(bytes, word));
    found.map(|((name, _), word)| (name.as_str(), word)).collect()
}

fn planted_file(desk: &Desk, burned_in: &[u8; SIDE - SCAN]) -> PathBuf {
    let folder = desk.path(WORD);
    fs::create_dir_all(&folder).unwrap();
    let path = folder.join("DOEPLANT_19610416.dcm");
    write(&path, clip(burned_in));
    path
}

#[test]
fn no_identifier_of_any_attribute_is_written() {
    let desk = Desk::new();
    let input = planted_file(&desk, WORD.as_bytes().try_into().unwrap());
    // The search finds identifiers where they are present.
    let identified = results(&desk, &input, false);
    for name in ["DOEPLANT_19610416_seg.dcm", "DOEPLANT_19610416_sr.dcm"] {
        for word in [WORD, "19610416", "040506.471147", "1.2.826.0.4711."] {
            assert!(found_in(&identified).contains(&(name, word)), "{word} is not in {name}");
        }
    }
    let anonymous = results(&desk, &input, true);
    assert_eq!(found_in(&anonymous), []);
    let names: Vec<&str> =
        anonymous.iter().map(|(name, _)| name.as_str()).filter(|name| !name.contains("_f0")).collect();
    assert_eq!(names, ["0001.json", "0001_mask.seq.mha", "0001_seg.dcm", "0001_sr.dcm", "log"]);
    assert_eq!(desk.json("0001.json")["input"], "0001");

    // The report refers to the segmentation, and both to one source with one new number.
    let [seg, sr] =
        ["0001_seg.dcm", "0001_sr.dcm"].map(|name| dicom_object::open_file(desk.path("out").join(name)).unwrap());
    let uid = |tag| seg.element(tag).unwrap().to_str().unwrap().trim_end_matches('\0').to_string();
    assert_eq!(
        uid(tags::STUDY_INSTANCE_UID),
        sr.element(tags::STUDY_INSTANCE_UID).unwrap().to_str().unwrap().trim_end_matches('\0')
    );
    let mut bytes = Vec::new();
    sr.write_all(&mut bytes).unwrap();
    let referenced = uid(tags::SOP_INSTANCE_UID);
    assert!(bytes.windows(referenced.len()).any(|window| window == referenced.as_bytes()));
}

#[test]
fn what_is_burned_in_beside_the_scan_is_not_written() {
    let desk = Desk::new();
    let blank = results(&desk, &planted_file(&desk, &[0; SIDE - SCAN]), true);
    let burned_in = results(&desk, &planted_file(&desk, WORD.as_bytes().try_into().unwrap()), true);
    let pictures = |results: &[(String, Vec<u8>)]| -> Vec<(String, Vec<u8>)> {
        results.iter().filter(|(name, _)| name.ends_with(".png") || name.ends_with(".mha")).cloned().collect()
    };
    assert_eq!(pictures(&burned_in).len(), 3 * 4 + 1);
    assert!(pictures(&burned_in) == pictures(&blank));
    // Without the flag it appears.
    let shown = results(&desk, &planted_file(&desk, WORD.as_bytes().try_into().unwrap()), false);
    let frame = shown.iter().find(|(name, _)| name.ends_with("_f0001_frame.png")).unwrap();
    let frame = image::load_from_memory(&frame.1).unwrap().into_luma8();
    assert_eq!(frame.as_raw()[SCAN..SIDE], *WORD.as_bytes());
}
