//! Files that were read wrongly or refused before, where they are available beside the repository; each has one correct
//! result.
//!
//! With CAUSALCLIPSEG_REFERENCE, the folder that tests/interop/dicom_reference.py wrote, every frame is also compared
//! with pydicom's, within one grey level.

use super::{Region, in_eight_bits};
use causalclipseg::io::dicom::{Algorithm, DicomClip, Segmentation};
use causalclipseg::io::source::{FrameBuffer, FrameSource, Source};
use causalclipseg::mask::Mask;
use std::path::{Path, PathBuf};

/// The correct result for a file.
struct Answer {
    file: &'static str,
    /// Whether each frame is valid.
    valid: &'static [bool],
    shows: Shows,
    region: Option<[usize; 4]>,
    mm: Option<[f32; 2]>,
}

#[derive(Clone, Copy, PartialEq)]
enum Shows {
    /// The phantom in grey, inverted, or in colour, as in the plain files of each kind.
    Grey,
    Inverse,
    Colour,
    /// Only the reference defines the picture.
    Other,
}

const fn answer(file: &'static str, shows: Shows) -> Answer {
    Answer { file, valid: &[true], shows, region: None, mm: None }
}

const ANSWERS: &[Answer] = &[
    answer("frames0", Shows::Grey),
    answer("un_photometric", Shows::Colour),
    answer("ybr422_but_full_length", Shows::Other),
    answer("SC_jpeg_no_color_transform", Shows::Other),
    answer("jpeg_RGB_nomarker_ids123", Shows::Other),
    answer("cs_kor", Shows::Colour),
    answer("cs_turk", Shows::Colour),
    answer("un_pn", Shows::Colour),
    answer("un_studyuid", Shows::Colour),
    answer("no_preamble", Shows::Colour),
    answer("rgb_pixelrep1", Shows::Colour),
    answer("voi_lut", Shows::Inverse),
    answer("plut_inverse", Shows::Inverse),
    answer("pal_segmented", Shows::Colour),
    answer("mono16_8bit_values_nowindow", Shows::Grey),
    answer("mono_window_zero", Shows::Grey),
    answer("jpegll70", Shows::Grey),
    answer("jls80", Shows::Grey),
    answer("j2k90", Shows::Colour),
    answer("be_odd", Shows::Other),
    answer("region_max_zero", Shows::Colour),
    Answer { region: Some([20, 10, 120, 100]), mm: Some([0.1, 0.1]), ..answer("region_as_UN_defined", Shows::Colour) },
    Answer {
        region: Some([20, 10, 120, 100]),
        mm: Some([0.1, 0.1]),
        ..answer("region_as_UN_undefined", Shows::Colour)
    },
    Answer {
        region: Some([20, 10, 120, 100]),
        mm: Some([0.1, 0.1]),
        ..answer("undef_len_regions_missing_item_delim", Shows::Colour)
    },
    Answer { mm: Some([0.2, 0.3]), valid: &[true; 3], ..answer("enhanced_us_volume", Shows::Grey) },
    Answer { valid: &[true; 3], ..answer("jpeg3_nobot_2frag", Shows::Other) },
    Answer { valid: &[true; 2], ..answer("jpeg3_but_NumberOfFrames2_nobot", Shows::Other) },
    Answer { valid: &[true; 3], ..answer("jpeg3_missing_delim", Shows::Other) },
    Answer { valid: &[true, true, false], ..answer("jpeg3_last_frame_truncated", Shows::Other) },
];

fn folder() -> Option<PathBuf> {
    let folder = std::env::var_os("CAUSALCLIPSEG_CASES")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/cases"), PathBuf::from)
        .join("formats");
    if !folder.is_dir() {
        eprintln!("SKIPPED: {} is not there; CAUSALCLIPSEG_CASES names the folder of the cases", folder.display());
        return None;
    }
    Some(folder)
}

fn all_frames(path: &Path) -> Vec<FrameBuffer> {
    let mut source = Source::open(path).unwrap();
    let (mut frames, mut buffer) = (Vec::new(), FrameBuffer::default());
    while source.read_frame(&mut buffer).unwrap_or_else(|error| panic!("{error}")) {
        frames.push(buffer.clone());
    }
    frames
}

fn differ(a: &[u8], b: &[u8]) -> u8 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| a.abs_diff(*b)).max().unwrap_or(0)
}

#[test]
fn every_case_has_its_right_answer() {
    let Some(folder) = folder() else { return };
    let path = |name: &str| folder.join(name).with_extension("dcm");
    let plain_grey = in_eight_bits(&all_frames(&path("frames0"))[0]);
    let plain_colour = in_eight_bits(&all_frames(&path("rgb_pixelrep1"))[0]);
    let reference = std::env::var_os("CAUSALCLIPSEG_REFERENCE").map(PathBuf::from);
    for answer in ANSWERS {
        let name = answer.file;
        let frames = all_frames(&path(name));
        assert_eq!(frames.iter().map(|frame| frame.valid).collect::<Vec<_>>(), answer.valid, "{name}");
        let frame = frames[0].frame().unwrap();
        let [width, height] = [frame.width(), frame.height()];
        let region =
            answer.region.map_or(Region::whole(width, height), |[x, y, width, height]| Region { x, y, width, height });
        assert_eq!((frame.region(), frame.mm_per_pixel()), (region, answer.mm), "{name}");
        let found: Vec<Vec<u8>> = frames.iter().map(in_eight_bits).collect();
        let inverse: Vec<u8> = plain_grey.iter().map(|value| 255 - value).collect();
        match answer.shows {
            Shows::Grey => assert!(differ(&found[0], &plain_grey) <= 1, "{name}"),
            Shows::Inverse => assert!(differ(&found[0], &inverse) <= 1, "{name}"),
            Shows::Colour if name != "pal_segmented" && name != "j2k90" => {
                assert!(differ(&found[0], &plain_colour) <= 1, "{name}");
            }
            _ => {}
        }
        let Some(expected) =
            reference.as_ref().and_then(|folder| std::fs::read(folder.join(name).with_extension("raw")).ok())
        else {
            continue;
        };
        for (index, (found, expected)) in found.iter().zip(expected.chunks(found[0].len())).enumerate() {
            if frames[index].valid {
                let worst = differ(found, expected);
                // With halved chroma in a lossy JPEG, readers differ by up to three levels among themselves.
                let most = if name.starts_with("jpeg3") { 2 } else { 1 };
                assert!(worst <= most, "{name}, frame {index}: {worst} levels");
            }
        }
        println!("{name}: as the reference");
    }
    // Both regions are reported, and the one that is used.
    let biplane = DicomClip::open(&path("region_two_equal_biplane")).unwrap();
    assert_eq!(biplane.description().regions.len(), 2);
    assert!(biplane.description().ignored.iter().any(|note| note.contains("--region")), "{:?}", biplane.description());
    for note in
        [("jpeg3_but_NumberOfFrames2_nobot", "has 3"), ("region_max_zero", "ignored"), ("mono_window_zero", "window")]
    {
        let ignored = &DicomClip::open(&path(note.0)).unwrap().description().ignored.clone();
        assert!(ignored.iter().any(|said| said.contains(note.1)), "{note:?}: {ignored:?}");
    }
}

#[test]
fn names_and_numbers_arrive_in_the_segmentation() {
    let Some(folder) = folder() else { return };
    for (name, set, expected) in [
        (
            "cs_kor",
            "\\ISO 2022 IR 149",
            &b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf"[..],
        ),
        ("cs_turk", "ISO_IR 148", b"\xc7elik^\xdd\xf0\xfc\xfe\xf6"),
        ("un_pn", "ISO_IR 192", b"TEST^CASE"),
    ] {
        let clip = DicomClip::open(&folder.join(name).with_extension("dcm")).unwrap();
        let file = segmentation(&clip);
        let holds = |bytes: &[u8]| file.windows(bytes.len()).any(|part| part == bytes);
        assert!(holds(expected) && holds(set.as_bytes()), "{name}");
    }
    let source = std::fs::read(folder.join("un_studyuid.dcm")).unwrap();
    let at = source.windows(6).position(|head| head == [0x20, 0, 0x0d, 0, b'U', b'N']).unwrap();
    let length = source[at + 8] as usize;
    let uid = &source[at + 12..at + 12 + length];
    let file = segmentation(&DicomClip::open(&folder.join("un_studyuid.dcm")).unwrap());
    let written = [&[0x20, 0, 0x0d, 0, b'U', b'I', length as u8, 0], uid].concat();
    assert!(file.windows(written.len()).any(|part| part == written));
}

fn segmentation(clip: &DicomClip) -> Vec<u8> {
    let algorithm = Algorithm { name: "tiny".into(), version: "1".into() };
    let mut segmentation = Segmentation::new(clip.reference().clone(), algorithm, vec!["a mass".into()]);
    segmentation.push(0, 0, &Mask::from_pixels(ndarray::Array2::ones((120, 160)))).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("seg.dcm");
    segmentation.write(&path, None).unwrap();
    std::fs::read(path).unwrap()
}
