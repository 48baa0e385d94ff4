//! Output of ultrasound machines as input of `segment`: clips, sequences, pipes, folders, and the matching results.

use super::desk::Desk;
use super::{causalclipseg, text};
use assert_cmd::Command;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

fn segment(desk: &Desk, input: &Path, formats: &str) -> Command {
    let mut command = causalclipseg();
    command.arg("segment").arg(input).arg("-m").arg(desk.bundle()).arg("-o").arg(desk.path("out"));
    command.args(["-p", "a bright mass", "--format", formats]);
    command
}

fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| name.to_string()).collect()
}

const SIDE: usize = 32;

/// Frames of 32 x 32: the first white on the left, the second black, the third like the second.
fn clip() -> Vec<u8> {
    let first = (0..SIDE * SIDE).map(|at| if at % SIDE < SIDE / 2 { 255 } else { 0 });
    first.chain(vec![0; 2 * SIDE * SIDE]).collect()
}

fn meta_image() -> Vec<u8> {
    let header = format!(
        "ObjectType = Image\nNDims = 3\nDimSize = {SIDE} {SIDE} 3\nElementType = MET_UCHAR\n\
         ElementSpacing = 0.5 0.5 1\nUltrasoundImageOrientation = UF\nComment = DOE^JANE\n\
         Seq_Frame0000_Timestamp = 4.5\nSeq_Frame0000_ProbeToTrackerTransform = 1 0 0 7\n\
         Seq_Frame0001_ImageStatus = INVALID\nElementDataFile = LOCAL\n"
    );
    [header.into_bytes(), clip()].concat()
}

#[test]
fn a_sequence_has_numbered_pictures_and_one_json() {
    let desk = Desk::new();
    let input = desk.write("scan.mha", meta_image());
    let output = segment(&desk, &input, "mask,overlay,json,mha").args(["-p", "dark"]).assert().success();
    let table = text(&output.get_output().stdout);
    assert!(table.contains("in 1 of 3 frames") && table.contains("frozen frame"), "{table}");
    let pictures = (1..=3)
        .flat_map(|frame| [1, 2].map(|prompt| format!("scan_f000{frame}_{prompt}")))
        .flat_map(|stem| [format!("{stem}_mask.png"), format!("{stem}_overlay.png")]);
    let whole = ["scan_1.json", "scan_2.json", "scan_1_mask.seq.mha", "scan_2_mask.seq.mha"].map(String::from);
    assert_eq!(desk.results(), pictures.chain(whole).collect());

    let json = desk.json("scan_1.json");
    assert_eq!((&json["input"], &json["prompt"]), (&input.to_str().unwrap().into(), &"a bright mass".into()));
    let frames = json["frames"].as_array().unwrap();
    assert_eq!(frames.len(), 3);
    assert_eq!((&frames[0]["frame"], &frames[0]["timestamp_s"]), (&1.into(), &4.5.into()));
    assert_eq!(frames[0]["area_px"], SIDE * SIDE / 2);
    assert_eq!(frames[0]["contours_mm"], serde_json::json!([[[0.0, 0.0], [8.0, 0.0], [8.0, 16.0], [0.0, 16.0]]]));
    assert_eq!(frames[0]["quality"]["area_px_at"][0], SIDE * SIDE / 2);
    assert!(frames[0]["quality"]["score"].as_f64().unwrap() > 0.9);
    assert_eq!(frames[0]["quality"]["flags"], serde_json::json!([]));
    assert_eq!(frames[1]["quality"]["flags"], serde_json::json!(["nothing_found", "blank_frame", "invalid_frame"]));
    assert_eq!(frames[2]["quality"]["flags"], serde_json::json!(["nothing_found", "blank_frame", "frozen_frame"]));

    let masks = String::from_utf8_lossy(&desk.result("scan_1_mask.seq.mha")).into_owned();
    for line in [
        "DimSize = 32 32 3",
        "ElementSpacing = 0.5 0.5 1",
        "UltrasoundImageOrientation = UF",
        "Seq_Frame0000_ProbeToTrackerTransform = 1 0 0 7",
        "Seq_Frame0001_ImageStatus = INVALID",
    ] {
        assert!(masks.lines().any(|other| other == line), "{line}");
    }
}

/// A result of one run is an input of the next: the masks are read as a sequence of as many frames.
#[test]
fn masks_are_sequences_again() {
    let desk = Desk::new();
    let input = desk.write("scan.mha", meta_image());
    segment(&desk, &input, "mha").assert().success();
    let masks = desk.path("masks.mha");
    fs::rename(desk.path("out/scan_mask.seq.mha"), &masks).unwrap();
    segment(&desk, &masks, "json").assert().success();
    assert_eq!(desk.json("masks.json")["frames"].as_array().unwrap().len(), 3);
}

#[test]
fn raw_frames_come_through_a_pipe() {
    let desk = Desk::new();
    let raw = ["--raw", "32x32:gray8@10"];
    segment(&desk, Path::new("-"), "mask,json").args(raw).write_stdin(clip()).assert().success();
    assert_eq!(
        desk.results(),
        names(&["stdin.json", "stdin_f0001_mask.png", "stdin_f0002_mask.png", "stdin_f0003_mask.png"])
    );
    assert_eq!(desk.json("stdin.json")["frames"][2]["timestamp_s"], 0.2);
    fs::remove_dir_all(desk.path("out")).unwrap();
    let mut short = segment(&desk, Path::new("-"), "json");
    desk.refused(short.args(raw).write_stdin(&clip()[..1500]), &["ends within a frame, 476 bytes of 1024"]);
    let mut empty = segment(&desk, Path::new("-"), "json");
    desk.refused(empty.args(raw).write_stdin(""), &["contains no frame"]);
    desk.refused(segment(&desk, Path::new("-"), "json").write_stdin(clip()), &["as in --raw 640x480:gray8"]);
    desk.refused(segment(&desk, &desk.write("x.mha", meta_image()), "json").args(raw), &["give `-` as the input"]);
}

#[test]
fn folders_are_their_files() {
    let desk = Desk::new();
    let folder = desk.path("in");
    fs::create_dir(&folder).unwrap();
    for name in ["b.png", "a.bmp"] {
        image::GrayImage::new(8, 8).save(folder.join(name)).unwrap();
    }
    fs::write(folder.join("c.mha"), meta_image()).unwrap();
    fs::write(folder.join("notes.txt"), "nothing").unwrap();
    segment(&desk, &folder, "json").assert().success();
    assert_eq!(desk.results(), names(&["a.json", "b.json", "c.json"]));
    let empty = desk.path("empty");
    fs::create_dir(&empty).unwrap();
    fs::remove_dir_all(desk.path("out")).unwrap();
    desk.refused(&mut segment(&desk, &empty, "json"), &["no picture in this folder"]);
}

#[test]
fn what_is_ignored_is_said_in_json() {
    let desk = Desk::new();
    for (frames, name) in [(1, "still.mha"), (2, "clip.mha")] {
        let header = format!(
            "NDims = 3\nDimSize = 2 1 {frames}\nElementType = MET_UCHAR\nElementNumberOfChannels = 4\nElementSpacing = 0.1 0.1 1\n\
             Kinds = domain domain list\nElementDataFile = LOCAL\n"
        );
        let file = [header.as_bytes(), &vec![7; 8 * frames]].concat();
        segment(&desk, &desk.write(name, file), "json").assert().success();
        let json = desk.json(&name.replace("mha", "json"));
        assert_eq!(json["ignored"], serde_json::json!(["the fourth channel, treated as transparency"]));
        assert!(frames == 1 || json["frames"][0].get("ignored").is_none());
        assert_eq!(json["written_by"], "causalclipseg");
    }
    segment(&desk, &desk.write("plain.mha", meta_image()), "json").assert().success();
    assert!(desk.json("plain.json").get("ignored").is_none_or(|ignored| !ignored.as_array().unwrap().is_empty()));
}

#[test]
fn a_region_limits_what_is_seen_and_shown() {
    let desk = Desk::new();
    let white = desk.path("white.png");
    image::GrayImage::from_pixel(64, 48, image::Luma([255])).save(&white).unwrap();
    let region = ["--region", "8,4,32,24", "--deidentify"];
    segment(&desk, &white, "mask,json,overlay").args(region).assert().success();
    let json = desk.json("0001.json");
    assert_eq!((&json["area_px"], &json["area_fraction"]), (&(32 * 24).into(), &1.0.into()));
    assert_eq!(json["bbox"], serde_json::json!([8, 4, 32, 24]));
    // The overlay is enlarged six times.
    let overlay = image::load_from_memory(&desk.result("0001_overlay.png")).unwrap().into_rgb8();
    assert_eq!(overlay.get_pixel(6 * 60, 6 * 40).0, [0; 3]);
    assert_ne!(overlay.get_pixel(6 * 20, 6 * 10).0, [0; 3]);
    fs::remove_dir_all(desk.path("out")).unwrap();
    desk.refused(segment(&desk, &white, "overlay").arg("--deidentify"), &["give --region"]);
    desk.refused(segment(&desk, &white, "mask").args(["--region", "60,4,8,8"]), &["leaves the 64 x 48 frame"]);
}

#[test]
fn bad_sequences_are_one_line() {
    let desk = Desk::new();
    let good = meta_image();
    let cut = desk.write("cut.mha", &good[..good.len() - 1]);
    desk.refused(&mut segment(&desk, &cut, "json"), &["cut.mha: the file is cut short"]);
    let huge =
        desk.write("huge.mha", b"NDims = 2\nDimSize = 99999 9\nElementType = MET_UCHAR\nElementDataFile = LOCAL\n");
    desk.refused(&mut segment(&desk, &huge, "json"), &["huge.mha: 99999 x 9 pixels"]);
}

#[cfg(feature = "dicom")]
mod dicom {
    use super::*;
    use dicom_core::value::DataSetSequence;
    use dicom_core::{DataElement, PrimitiveValue, VR};
    use dicom_dictionary_std::{tags, uids};
    use dicom_object::{FileMetaTableBuilder, InMemDicomObject};

    /// The three frames as ultrasound of Jane Doe, the scan in the left three quarters. Only `DOE` is the name.
    fn ultrasound() -> Vec<u8> {
        let mut object = InMemDicomObject::from_element_iter([
            DataElement::new(tags::SOP_CLASS_UID, VR::UI, uids::ULTRASOUND_MULTI_FRAME_IMAGE_STORAGE),
            DataElement::new(tags::SOP_INSTANCE_UID, VR::UI, "1.2.3.4"),
            DataElement::new(tags::STUDY_INSTANCE_UID, VR::UI, "1.2.3.1"),
            DataElement::new(tags::SERIES_INSTANCE_UID, VR::UI, "1.2.3.2"),
            DataElement::new(tags::PATIENT_NAME, VR::PN, "DOE^JANE"),
            DataElement::new(tags::PATIENT_ID, VR::LO, "DOE-4711"),
            DataElement::new(tags::PATIENT_BIRTH_DATE, VR::DA, "19610416"),
            DataElement::new(tags::ACCESSION_NUMBER, VR::SH, "DOE-1"),
            DataElement::new(tags::REFERRING_PHYSICIAN_NAME, VR::PN, "DOE^JOHN"),
            DataElement::new(tags::INSTITUTION_NAME, VR::LO, "DOE HOSPITAL"),
            DataElement::new(tags::PHOTOMETRIC_INTERPRETATION, VR::CS, "MONOCHROME2"),
            DataElement::new(tags::NUMBER_OF_FRAMES, VR::IS, "3"),
            DataElement::new(tags::FRAME_TIME, VR::DS, "40"),
        ]);
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
        let mut region = InMemDicomObject::from_element_iter([
            number(tags::REGION_SPATIAL_FORMAT, 1),
            number(tags::REGION_DATA_TYPE, 1),
            number(tags::PHYSICAL_UNITS_X_DIRECTION, 3),
            number(tags::PHYSICAL_UNITS_Y_DIRECTION, 3),
            DataElement::new(tags::PHYSICAL_DELTA_X, VR::FD, PrimitiveValue::from(0.05)),
            DataElement::new(tags::PHYSICAL_DELTA_Y, VR::FD, PrimitiveValue::from(0.05)),
        ]);
        for (tag, value) in [
            (tags::REGION_LOCATION_MIN_X0, 0u32),
            (tags::REGION_LOCATION_MIN_Y0, 0),
            (tags::REGION_LOCATION_MAX_X1, 23),
            (tags::REGION_LOCATION_MAX_Y1, 31),
        ] {
            region.put(DataElement::new(tag, VR::UL, PrimitiveValue::from(value)));
        }
        let regions = DataSetSequence::from(vec![region]);
        object.put(DataElement::new(tags::SEQUENCE_OF_ULTRASOUND_REGIONS, VR::SQ, regions));
        object.put(DataElement::new(tags::PIXEL_DATA, VR::OB, PrimitiveValue::from(clip())));
        let meta = FileMetaTableBuilder::new().transfer_syntax(uids::EXPLICIT_VR_LITTLE_ENDIAN);
        let mut bytes = Vec::new();
        object.with_meta(meta).unwrap().write_all(&mut bytes).unwrap();
        bytes
    }

    fn contains(bytes: &[u8], word: &str) -> bool {
        bytes.windows(word.len()).any(|window| window == word.as_bytes())
    }

    #[test]
    fn a_clip_is_measured_in_its_region() {
        let desk = Desk::new();
        let input = desk.write("clip.dcm", ultrasound());
        segment(&desk, &input, "json").assert().success();
        let json = desk.json("clip.json");
        let frame = &json["frames"][0];
        assert_eq!(frame["region"], serde_json::json!({"x": 0, "y": 0, "width": 24, "height": 32}));
        assert_eq!(frame["mm_per_pixel"], serde_json::json!([0.5, 0.5]));
        assert_eq!(json["frames"][2]["timestamp_s"], 0.08);
        // Two thirds of the region are white.
        let fraction = frame["area_fraction"].as_f64().unwrap();
        assert!((fraction - 2.0 / 3.0).abs() < 0.05, "{fraction}");
        // The user's option takes precedence.
        segment(&desk, &input, "json").args(["--mm-per-pixel", "2", "--region", "0,0,32,32"]).assert().success();
        let frame = &desk.json("clip.json")["frames"][0];
        assert_eq!((&frame["mm_per_pixel"][0], &frame["region"]["width"]), (&2.0.into(), &32.into()));
    }

    #[test]
    fn names_of_patients_stay_where_they_are() {
        let desk = Desk::new();
        let input = desk.write("clip.dcm", ultrasound());
        let all = "mask,prob,overlay,frame,json,mha,dicom-seg,dicom-sr";
        for deidentify in [false, true] {
            let _ = fs::remove_dir_all(desk.path("out"));
            let mut command = segment(&desk, &input, all);
            let output = command.args(["-vv"]).args(deidentify.then_some("--deidentify")).assert().success();
            let output = output.get_output();
            for (what, bytes) in [("stdout", &output.stdout), ("stderr", &output.stderr)] {
                assert!(!contains(bytes, "DOE") && !contains(bytes, "19610416"), "{what}");
            }
            assert_eq!(desk.results().len(), 3 * 4 + 4);
            for name in desk.results() {
                // The DICOM objects contain the patient's data, except with `--deidentify`.
                let expected = name.ends_with(".dcm") && !deidentify;
                for word in ["DOE", "19610416"] {
                    assert_eq!(contains(&desk.result(&name), word), expected, "{word} in {name}");
                }
                assert!(!contains(&desk.result(&name), "HOSPITAL"), "{name}");
            }
        }
        // The contents of a damaged file are not quoted.
        let mut bytes = ultrasound();
        bytes.truncate(bytes.len() - 2000);
        let cut = desk.write("cut.dcm", &bytes);
        let output = segment(&desk, &cut, "json").arg("-vv").assert().code(1);
        assert!(!contains(&output.get_output().stderr, "DOE"));
    }

    #[test]
    fn a_segmentation_lies_on_its_clip() {
        let desk = Desk::new();
        let input = desk.write("clip.dcm", ultrasound());
        segment(&desk, &input, "dicom-seg").args(["-p", "dark"]).assert().success();
        assert_eq!(desk.results(), names(&["clip_seg.dcm"]));
        let file = dicom_object::open_file(desk.path("out/clip_seg.dcm")).unwrap();
        let segments = file.element(tags::SEGMENT_SEQUENCE).unwrap().items().unwrap();
        let labels: Vec<_> =
            segments.iter().map(|s| s.element(tags::SEGMENT_LABEL).unwrap().to_str().unwrap().to_string()).collect();
        assert_eq!(labels, ["a bright mass", "dark"]);
        // One frame where it is bright, three where it is dark.
        assert_eq!(file.element(tags::NUMBER_OF_FRAMES).unwrap().to_int::<u32>().unwrap(), 4);
        fs::remove_dir_all(desk.path("out")).unwrap();
        let sequence = desk.write("scan.mha", meta_image());
        desk.refused(&mut segment(&desk, &sequence, "dicom-sr"), &["not a DICOM file", "DICOM SR needs one"]);
        desk.refused(&mut segment(&desk, &sequence, "dicom-seg"), &["not a DICOM file", "DICOM SEG needs one"]);
    }
}
