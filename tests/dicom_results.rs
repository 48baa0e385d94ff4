//! DICOM SR and SEG as a program writes them: the report's tree, and that it agrees with the segmentation beside it.

use causalclipseg::io::dicom::{Algorithm, Deidentification, DicomClip, MeasurementReport, ReportError, Segmentation};
use causalclipseg::mask::{Mask, Measurements};
use dicom_core::{DataElement, PrimitiveValue, Tag, VR};
use dicom_dictionary_std::{tags, uids};
use dicom_object::{FileMetaTableBuilder, InMemDicomObject};
use ndarray::{Array2, array};
use std::path::Path;

const AREA: &str = "Area";
const LONG_AXIS: &str = "Long Axis";
const SHORT_AXIS: &str = "Short Axis";
const FINDING: &str = "Finding";
const SEGMENTATION_FRAME: &str = "Referenced Segmentation Frame";
const SOURCE_OF_SEGMENTATION: &str = "Source image for segmentation";
const SOURCE_OF_MEASUREMENT: &str = "Source of Measurement";

const INSTANCE: &str = "1.2.3.4";
const MM: [f32; 2] = [0.5, 0.25];

/// A clip of three frames, 4 x 3 pixels.
fn clip() -> DicomClip {
    let mut object = InMemDicomObject::from_element_iter([
        DataElement::new(tags::SOP_CLASS_UID, VR::UI, uids::ULTRASOUND_MULTI_FRAME_IMAGE_STORAGE),
        DataElement::new(tags::SOP_INSTANCE_UID, VR::UI, INSTANCE),
        DataElement::new(tags::STUDY_INSTANCE_UID, VR::UI, "1.2.3.1"),
        DataElement::new(tags::SERIES_INSTANCE_UID, VR::UI, "1.2.3.2"),
        DataElement::new(tags::PATIENT_NAME, VR::PN, "DOE^JANE"),
        DataElement::new(tags::PHOTOMETRIC_INTERPRETATION, VR::CS, "MONOCHROME2"),
        DataElement::new(tags::NUMBER_OF_FRAMES, VR::IS, "3"),
    ]);
    for (tag, value) in [
        (tags::SAMPLES_PER_PIXEL, 1u16),
        (tags::ROWS, 3),
        (tags::COLUMNS, 4),
        (tags::BITS_ALLOCATED, 8),
        (tags::BITS_STORED, 8),
        (tags::HIGH_BIT, 7),
        (tags::PIXEL_REPRESENTATION, 0),
    ] {
        object.put(DataElement::new(tag, VR::US, PrimitiveValue::from(value)));
    }
    object.put(DataElement::new(tags::PIXEL_DATA, VR::OB, PrimitiveValue::from(vec![0u8; 36])));
    let mut bytes = Vec::new();
    let meta = FileMetaTableBuilder::new().transfer_syntax(uids::EXPLICIT_VR_LITTLE_ENDIAN);
    object.with_meta(meta).unwrap().write_all(&mut bytes).unwrap();
    DicomClip::from_bytes(Path::new("x.dcm"), bytes).unwrap()
}

/// The masks of two prompts: the first has two parts in the second frame and a hole in the third; the second is empty.
fn masks() -> [[Mask; 3]; 2] {
    let empty = || Mask::from_pixels(Array2::zeros((3, 4)));
    let parts = Mask::from_pixels(array![[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 0, 1]]);
    let ring = Mask::from_pixels(array![[1, 1, 1, 0], [1, 0, 1, 0], [1, 1, 1, 0]]);
    [[empty(), parts, ring], [empty(), empty(), empty()]]
}

fn algorithm() -> Algorithm {
    Algorithm { name: "tiny".into(), version: "0123".into() }
}

struct Written {
    report: InMemDicomObject,
    segmentation: InMemDicomObject,
    measured: Vec<Vec<Measurements>>,
}

fn written(with_segmentation: bool, deidentification: Option<&Deidentification>) -> Written {
    let clip = clip();
    let prompts = vec!["a dark ödem".to_string(), "a stone".to_string()];
    let mut segmentation = Segmentation::new(clip.reference().clone(), algorithm(), prompts.clone());
    segmentation.set_mm_per_pixel(Some(MM));
    let mut report = MeasurementReport::new(clip.reference().clone(), algorithm(), prompts);
    let mut measured = Vec::new();
    for (prompt, masks) in masks().iter().enumerate() {
        measured.push(Vec::new());
        for (frame, mask) in masks.iter().enumerate() {
            let contours = mask.contours();
            let found = Measurements::of(mask, &contours, None, Some(MM)).unwrap();
            segmentation.push(prompt, frame, mask).unwrap();
            report.push(prompt, frame, &found, &contours).unwrap();
            measured[prompt].push(found);
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let [seg_path, sr_path] = ["x_seg.dcm", "x_sr.dcm"].map(|name| folder.path().join(name));
    let reference = segmentation.write(&seg_path, deidentification).unwrap();
    report.write(&sr_path, with_segmentation.then_some(&reference), deidentification).unwrap();
    let open = |path| dicom_object::open_file(path).unwrap().into_inner();
    Written { report: open(&sr_path), segmentation: open(&seg_path), measured }
}

fn value(object: &InMemDicomObject, tag: Tag) -> String {
    object.element(tag).unwrap().to_str().unwrap().trim_end_matches([' ', '\0']).to_string()
}

fn items(object: &InMemDicomObject, tag: Tag) -> &[InMemDicomObject] {
    object.get(tag).and_then(|element| element.items()).unwrap_or_default()
}

fn name(item: &InMemDicomObject) -> String {
    items(item, tags::CONCEPT_NAME_CODE_SEQUENCE).first().map_or(String::new(), |name| value(name, tags::CODE_MEANING))
}

/// The children of this name.
fn children<'a>(item: &'a InMemDicomObject, wanted: &str) -> Vec<&'a InMemDicomObject> {
    items(item, tags::CONTENT_SEQUENCE).iter().filter(|child| name(child) == wanted).collect()
}

fn groups(report: &InMemDicomObject) -> Vec<&InMemDicomObject> {
    let [measurements] = children(report, "Imaging Measurements")[..] else { panic!("one container") };
    children(measurements, "Measurement Group")
}

fn number(group: &InMemDicomObject, wanted: &str) -> Option<(f64, String)> {
    let measured = &items(children(group, wanted).first()?, tags::MEASURED_VALUE_SEQUENCE)[0];
    let unit = &items(measured, tags::MEASUREMENT_UNITS_CODE_SEQUENCE)[0];
    assert_eq!(value(unit, tags::CODING_SCHEME_DESIGNATOR), "UCUM");
    let exact = measured.element(tags::FLOATING_POINT_VALUE).unwrap().to_float64().unwrap();
    let decimal: f64 = value(measured, tags::NUMERIC_VALUE).parse().unwrap();
    assert!((decimal - exact).abs() <= 1e-9 * exact, "{decimal} {exact}");
    Some((exact, value(unit, tags::CODE_VALUE)))
}

fn template(item: &InMemDicomObject) -> String {
    value(&items(item, tags::CONTENT_TEMPLATE_SEQUENCE)[0], tags::TEMPLATE_IDENTIFIER)
}

/// SOP instance and frame that an image item refers to.
fn refers_to(item: &InMemDicomObject) -> (String, Option<usize>) {
    let instance = &items(item, tags::REFERENCED_SOP_SEQUENCE)[0];
    // A frame of a segmentation belongs to one segment.
    assert!(instance.get(tags::REFERENCED_SEGMENT_NUMBER).is_none());
    let frame = instance.get(tags::REFERENCED_FRAME_NUMBER).map(|frame| frame.to_int().unwrap());
    (value(instance, tags::REFERENCED_SOP_INSTANCE_UID), frame)
}

#[test]
fn every_finding_of_every_frame_is_a_group() {
    let Written { report, segmentation, measured } = written(true, None);
    assert_eq!((value(&report, tags::VALUE_TYPE), template(&report)), ("CONTAINER".into(), "1500".into()));
    assert_eq!(name(&report), "Imaging Measurement Report");
    let groups = groups(&report);
    let templates: Vec<String> = groups.iter().map(|group| template(group)).collect();
    assert_eq!(templates, ["1410", "1410", "1501"]);
    // Frames 2 and 3 of the clip are 1 and 2 of the segmentation, which omits the empty one.
    for (index, frame) in [1usize, 2].into_iter().enumerate() {
        let (group, expected) = (groups[index], &measured[0][frame]);
        assert_eq!(number(group, AREA), Some((expected.area_mm2.unwrap(), "mm2".into())));
        for (code, diameter) in [(LONG_AXIS, expected.longest_diameter), (SHORT_AXIS, expected.perpendicular_diameter)]
        {
            assert_eq!(number(group, code), Some((diameter.unwrap().length_mm.unwrap(), "mm".into())));
            let line = children(children(group, code)[0], SOURCE_OF_MEASUREMENT)[0];
            let ends = line.element(tags::GRAPHIC_DATA).unwrap().to_multi_float32().unwrap();
            let expected: Vec<f32> = diameter.unwrap().ends.iter().flatten().map(|at| *at as f32).collect();
            assert_eq!(ends, expected);
            let on = refers_to(&items(line, tags::CONTENT_SEQUENCE)[0]);
            assert_eq!(on, (INSTANCE.into(), Some(frame + 1)));
        }
        let [source] = children(group, SOURCE_OF_SEGMENTATION)[..] else { panic!("one source") };
        assert_eq!(refers_to(source), (INSTANCE.into(), Some(frame + 1)));
        let [mask] = children(group, SEGMENTATION_FRAME)[..] else { panic!("one mask") };
        let instance = value(&segmentation, tags::SOP_INSTANCE_UID);
        assert_eq!(refers_to(mask), (instance, Some(index + 1)));
        let findings: Vec<String> = children(group, FINDING).iter().map(|item| value(item, tags::VALUE_TYPE)).collect();
        assert_eq!(findings, ["CODE", "TEXT"]);
        assert_eq!(value(children(group, FINDING)[1], tags::TEXT_VALUE), "a dark ödem");
    }
    // The prompt that was not found.
    assert_eq!(number(groups[2], AREA), Some((0.0, "mm2".into())));
    assert_eq!(number(groups[2], LONG_AXIS), None);
    let [presence] = children(groups[2], "Presence of property")[..] else { panic!("said to be absent") };
    assert_eq!(value(&items(presence, tags::CONCEPT_CODE_SEQUENCE)[0], tags::CODE_MEANING), "Absent");

    // The same tracking identifier in all frames of a prompt and in the segmentation.
    let segments = items(&segmentation, tags::SEGMENT_SEQUENCE);
    for (group, segment) in groups.iter().zip([0usize, 0, 1]) {
        let tracked = |code| children(group, code)[0];
        assert_eq!(
            value(tracked("Tracking Unique Identifier"), tags::UID),
            value(&segments[segment], tags::TRACKING_UID)
        );
        assert_eq!(
            value(tracked("Tracking Identifier"), tags::TEXT_VALUE),
            value(&segments[segment], tags::TRACKING_ID)
        );
    }
    assert_ne!(value(&segments[0], tags::TRACKING_UID), value(&segments[1], tags::TRACKING_UID));
    // Everything that is referred to is listed as evidence.
    let [evidence] = items(&report, tags::CURRENT_REQUESTED_PROCEDURE_EVIDENCE_SEQUENCE) else { panic!("one study") };
    assert_eq!(value(evidence, tags::STUDY_INSTANCE_UID), "1.2.3.1");
    let series = items(evidence, tags::REFERENCED_SERIES_SEQUENCE);
    let series: Vec<String> = series.iter().map(|series| value(series, tags::SERIES_INSTANCE_UID)).collect();
    assert_eq!(series, ["1.2.3.2".to_string(), value(&segmentation, tags::SERIES_INSTANCE_UID)]);
    assert_eq!(value(&report, tags::PATIENT_NAME), "DOE^JANE");
}

#[test]
fn without_a_segmentation_areas_have_outlines() {
    let Written { report, .. } = written(false, None);
    let groups = groups(&report);
    assert!(groups.iter().all(|group| template(group) == "1501"));
    let outlines = |group| children(children(group, AREA)[0], SOURCE_OF_MEASUREMENT);
    let points = |item: &InMemDicomObject| item.element(tags::GRAPHIC_DATA).unwrap().to_multi_float32().unwrap();
    assert_eq!(outlines(groups[0]).len(), 2);
    assert_eq!(points(outlines(groups[0])[0]), [0., 0., 2., 0., 2., 2., 0., 2., 0., 0.]);
    // A ring has a border on either side.
    assert_eq!(outlines(groups[1]).len(), 2);
    assert!(children(groups[0], SEGMENTATION_FRAME).is_empty());
    let series = items(
        &items(&report, tags::CURRENT_REQUESTED_PROCEDURE_EVIDENCE_SEQUENCE)[0],
        tags::REFERENCED_SERIES_SEQUENCE,
    );
    assert_eq!(series.len(), 1);
}

#[test]
fn pixels_are_not_millimetres() {
    let mask = &masks()[0][1];
    let contours = mask.contours();
    let found = Measurements::of(mask, &contours, None, None).unwrap();
    let mut report = MeasurementReport::new(clip().reference().clone(), algorithm(), vec!["a".into()]);
    assert_eq!(report.push(0, 1, &found, &contours), Err(ReportError::Millimetres));
    let found = Measurements::of(mask, &contours, None, Some(MM)).unwrap();
    assert_eq!(report.push(1, 1, &found, &contours), Err(ReportError::Prompt(1)));
}

#[test]
fn deidentified_references_hold_among_results() {
    let deidentification = Deidentification::new().unwrap();
    let Written { report, segmentation, .. } = written(true, Some(&deidentification));
    let study = value(&report, tags::STUDY_INSTANCE_UID);
    assert!(study.starts_with("2.25."), "{study}");
    for object in [&report, &segmentation] {
        assert_eq!(value(object, tags::STUDY_INSTANCE_UID), study);
        assert_eq!(value(object, tags::PATIENT_NAME), "");
        assert_eq!(value(object, tags::PATIENT_IDENTITY_REMOVED), "YES");
        assert_eq!(value(object, tags::CONTENT_DATE), "20000101");
        assert!(object.get(tags::SERIES_DATE).is_none() && object.get(tags::SERIES_DESCRIPTION).is_none());
        let codes = items(object, tags::DEIDENTIFICATION_METHOD_CODE_SEQUENCE);
        assert_eq!(value(&codes[0], tags::CODE_VALUE), "113100");
    }
    let group = groups(&report)[0];
    let source = refers_to(children(group, SOURCE_OF_SEGMENTATION)[0]).0;
    assert!(source.starts_with("2.25.") && source != study, "{source}");
    let mask = refers_to(children(group, SEGMENTATION_FRAME)[0]).0;
    assert_eq!(mask, value(&segmentation, tags::SOP_INSTANCE_UID));
    let referenced = &items(&segmentation, tags::REFERENCED_SERIES_SEQUENCE)[0];
    let instance = &items(referenced, tags::REFERENCED_INSTANCE_SEQUENCE)[0];
    assert_eq!(value(instance, tags::REFERENCED_SOP_INSTANCE_UID), source);
    let [evidence] = items(&report, tags::CURRENT_REQUESTED_PROCEDURE_EVIDENCE_SEQUENCE) else { panic!("one study") };
    assert_eq!(value(evidence, tags::STUDY_INSTANCE_UID), study);
    let series = value(&items(evidence, tags::REFERENCED_SERIES_SEQUENCE)[0], tags::SERIES_INSTANCE_UID);
    assert_eq!(value(referenced, tags::SERIES_INSTANCE_UID), series);
    // Another run replaces them with others.
    let other = written(true, Some(&Deidentification::new().unwrap()));
    assert_ne!(value(&other.report, tags::STUDY_INSTANCE_UID), study);
}
