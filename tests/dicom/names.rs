//! Names and numbers of patients, copied to segmentation and report byte for byte, in every character set of the
//! standard.

use super::open;
use super::writer::*;
use causalclipseg::io::dicom::{Algorithm, Deidentification, MeasurementReport, Segmentation};
use causalclipseg::mask::{Mask, Measurements};
use ndarray::array;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Defined terms of Specific Character Set (PS3.3, C.12.1.1.2): single-byte and multi-byte, with and without code extensions.
const SETS: &[&str] = &[
    "",
    "ISO_IR 100",
    "ISO_IR 101",
    "ISO_IR 109",
    "ISO_IR 110",
    "ISO_IR 144",
    "ISO_IR 127",
    "ISO_IR 126",
    "ISO_IR 138",
    "ISO_IR 148",
    "ISO_IR 203",
    "ISO_IR 13",
    "ISO_IR 166",
    "ISO_IR 192",
    "GB18030",
    "GBK",
    "\\ISO 2022 IR 100",
    "\\ISO 2022 IR 101",
    "\\ISO 2022 IR 109",
    "\\ISO 2022 IR 110",
    "\\ISO 2022 IR 144",
    "\\ISO 2022 IR 127",
    "\\ISO 2022 IR 126",
    "\\ISO 2022 IR 138",
    "\\ISO 2022 IR 148",
    "\\ISO 2022 IR 203",
    "\\ISO 2022 IR 166",
    "ISO 2022 IR 13\\ISO 2022 IR 87",
    "\\ISO 2022 IR 87",
    "\\ISO 2022 IR 87\\ISO 2022 IR 159",
    "\\ISO 2022 IR 149",
    "\\ISO 2022 IR 58",
    "ISO 2022 IR 6\\ISO 2022 IR 100\\ISO 2022 IR 144",
];

/// The standard's own examples (PS3.5, annexes H to K), and others.
const EXAMPLES: &[(&str, &[u8])] = &[
    ("ISO_IR 100", b"Buc^J\xe9r\xf4me"),
    ("ISO_IR 144", b"\xbb\xee\xda\x63\x65\xdc\xd1\x79\x70\xd3"),
    ("ISO_IR 126", b"\xc4\xe9\xef\xed\xf5\xf3\xe9\xef\xf2"),
    ("ISO_IR 148", b"\xc7elik^\xdd\xf0\xfc\xfe\xf6"),
    ("\\ISO 2022 IR 87", b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B"),
    (
        "ISO 2022 IR 13\\ISO 2022 IR 87",
        b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3=\x1b$B;3ED\x1b(J^\x1b$BB@O:\x1b(J=\x1b$B$d$^$@\x1b(J^\x1b$B$?$m$&\x1b(J",
    ),
    (
        "\\ISO 2022 IR 149",
        b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf",
    ),
    ("\\ISO 2022 IR 58", b"Zhang^XiaoDong=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab="),
    ("GB18030", b"Wang^XiaoDong=\xcd\xf5^\xd0\xa1\xb6\xab="),
    ("ISO_IR 192", "Wang^XiaoDong=\u{738b}^\u{5c0f}\u{6771}=".as_bytes()),
];

/// The copied attributes, with their VRs.
const COPIED: &[(u32, &str)] = &[
    (0x0008_0020, "DA"),
    (0x0008_0030, "TM"),
    (0x0008_0050, "SH"),
    (0x0008_0090, "PN"),
    (0x0010_0010, "PN"),
    (0x0010_0020, "LO"),
    (0x0010_0030, "DA"),
    (0x0010_0040, "CS"),
    (0x0020_0010, "SH"),
];

/// The segmentation and the report of a file with these values.
fn through(set: &str, values: &[(u32, &str, Vec<u8>)], form: Form, prompt: &str, impersonal: bool) -> [Vec<u8>; 2] {
    let element = |w: &mut Writer, wanted: &dyn Fn(u32) -> bool| {
        for (tag, vr, value) in values.iter().filter(|(tag, ..)| wanted(*tag)) {
            w.raw(*tag, vr, value);
        }
    };
    let mut before = Writer::new(form);
    if !set.is_empty() {
        before.text(0x0008_0005, "CS", set);
    }
    element(&mut before, &|tag| tag < 0x0020_0000);
    let mut picture = Picture { form, before: before.bytes, ..grey(2, 2) };
    let mut after = Writer::new(form);
    element(&mut after, &|tag| tag >= 0x0020_0000);
    picture.before.extend(after.bytes);
    let mut w = picture.attributes();
    w.raw(0x7fe0_0010, "OB", &[1, 2, 3, 4]);
    let syntax = if !form.explicit {
        IMPLICIT
    } else if form.big_endian {
        BIG_ENDIAN
    } else {
        EXPLICIT
    };
    let clip = open(&file(syntax, &w.bytes)).unwrap();
    let algorithm = Algorithm { name: "tiny".into(), version: "1".into() };
    let mask = Mask::from_pixels(array![[1, 0], [0, 1]]);
    let contours = mask.contours();
    let measured = Measurements::of(&mask, &contours, None, Some([0.1, 0.1])).unwrap();
    let mut segmentation = Segmentation::new(clip.reference().clone(), algorithm.clone(), vec![prompt.into()]);
    segmentation.push(0, 0, &mask).unwrap();
    let mut report = MeasurementReport::new(clip.reference().clone(), algorithm, vec![prompt.into()]);
    report.push(0, 0, &measured, &contours).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let paths = ["seg.dcm", "sr.dcm"].map(|name| folder.path().join(name));
    let deidentification = impersonal.then(|| Deidentification::new().unwrap());
    let written = segmentation.write(&paths[0], deidentification.as_ref()).unwrap();
    report.write(&paths[1], Some(&written), deidentification.as_ref()).unwrap();
    paths.map(|path| std::fs::read(path).unwrap())
}

/// The value of the first element with this tag and VR in an explicit little-endian file.
fn value<'a>(file: &'a [u8], tag: u32, vr: &str) -> Option<&'a [u8]> {
    let mut head = [((tag >> 16) as u16).to_le_bytes(), (tag as u16).to_le_bytes()].concat();
    head.extend(vr.as_bytes());
    let at = file.windows(6).position(|bytes| bytes == head)? + 6;
    let length = usize::from(u16::from_le_bytes([file[at], file[at + 1]]));
    file.get(at + 2..at + 2 + length)
}

fn even(value: &[u8]) -> Vec<u8> {
    let mut value = value.to_vec();
    if value.len() % 2 == 1 {
        value.push(b' ');
    }
    value
}

/// The set that a copy has to name: the source's, or UTF-8 where the text is the same in it.
fn set_of_copy(file: &[u8]) -> String {
    value(file, 0x0008_0005, "CS").map(|set| String::from_utf8_lossy(set).trim().to_string()).unwrap_or_default()
}

#[test]
fn the_standards_examples_arrive() {
    for (set, name) in EXAMPLES {
        for form in [
            PLAIN,
            Form { explicit: false, ..PLAIN },
            Form { unknown: true, ..PLAIN },
            Form { big_endian: true, ..PLAIN },
        ] {
            let values = [(0x0010_0010, "PN", even(name))];
            let files = through(set, &values, form, "a dark \u{f6}dema", false);
            for file in &files {
                assert_eq!(value(file, 0x0010_0010, "PN"), Some(even(name).as_slice()), "{set} {form:?}");
                assert_eq!(set_of_copy(file), *set, "{form:?}");
                assert_eq!(value(file, 0x0020_000d, "UI"), Some(&b"1.2.3.1\0"[..]));
            }
            let [file, _] = files;
            // The prompt is in UTF-8; its item says so where the file does not.
            let label = value(&file, 0x0062_0005, "LO").unwrap();
            assert_eq!(String::from_utf8_lossy(label).trim(), "a dark \u{f6}dema");
            let sets = file.windows(10).filter(|bytes| bytes == b"ISO_IR 192").count();
            assert_eq!(sets, 1, "{set}");
        }
    }
}

/// Any bytes that a set allows, in every attribute that is copied: the same bytes, in the same set.
#[test]
fn any_text_in_any_set_is_copied_unchanged() {
    let mut random = ChaCha8Rng::seed_from_u64(21);
    for round in 0..6 {
        for set in SETS {
            let mut values = Vec::new();
            for (tag, vr) in COPIED {
                let length = random.random_range(0..40usize);
                let text: Vec<u8> = (0..length).map(|_| byte(&mut random, round)).collect();
                values.push((*tag, *vr, even(&text)));
            }
            let plain = values.iter().all(|(.., text)| text.iter().all(|byte| byte.is_ascii() && *byte != 0x1b));
            for file in through(set, &values, PLAIN, "a mass", false) {
                for (tag, vr, text) in &values {
                    assert_eq!(value(&file, *tag, vr), Some(text.as_slice()), "{set} {tag:08x}");
                }
                let found = set_of_copy(&file);
                if plain && !set.contains("IR 13") {
                    assert_eq!(found, "ISO_IR 192", "{set}");
                } else {
                    assert_eq!(found, set.trim(), "{set}");
                }
            }
        }
    }
}

/// ASCII text in every fourth round; otherwise the upper half and escapes as well.
fn byte(random: &mut impl Rng, round: u32) -> u8 {
    match random.random_range(0..20u32) {
        0 if !round.is_multiple_of(4) => 0x1b,
        1..=9 if !round.is_multiple_of(4) => random.random_range(0xa0..=0xff),
        _ => random.random_range(0x20..=0x7e),
    }
}

/// An implicit file can have text that is too long for any element of an explicit file.
#[test]
fn text_that_is_longer_than_any_is_left_out() {
    let values = [(0x0010_0010, "PN", vec![b'x'; 70_000]), (0x0010_0020, "LO", b"4711".to_vec())];
    for file in through("", &values, Form { explicit: false, ..PLAIN }, "a mass", false) {
        assert_eq!(value(&file, 0x0010_0010, "PN"), Some(&b""[..]));
        assert_eq!(value(&file, 0x0010_0020, "LO"), Some(&b"4711"[..]));
    }
}

#[test]
fn nothing_of_it_is_left_without_names() {
    for (set, name) in EXAMPLES {
        let values = [(0x0010_0010, "PN", even(name)), (0x0010_0020, "LO", b"PATIENT 4711".to_vec())];
        for file in through(set, &values, PLAIN, "a dark \u{f6}dema", true) {
            assert_eq!(value(&file, 0x0010_0010, "PN"), Some(&b""[..]));
            assert!(!file.windows(7).any(|bytes| bytes == b"PATIENT"));
            assert_eq!(set_of_copy(&file), "ISO_IR 192");
        }
    }
}

#[test]
fn lossy_compression_is_said_for_good() {
    let said = |elements: &dyn Fn(&mut Writer)| {
        let mut w = Writer::new(PLAIN);
        elements(&mut w);
        let clip = open(&Picture { after: w.bytes, ..grey(2, 2) }.native(&[1, 2, 3, 4])).unwrap();
        write(&clip)
    };
    let plain = said(&|_| {});
    assert_eq!(value(&plain, 0x0028_2110, "CS"), Some(&b"00"[..]));
    assert_eq!(value(&plain, 0x0028_2112, "DS"), None);
    let lossy = said(&|w| {
        w.text(0x0028_2110, "CS", "01").text(0x0028_2112, "DS", "7.5").text(0x0028_2114, "CS", "ISO_10918_1");
    });
    assert_eq!(value(&lossy, 0x0028_2110, "CS"), Some(&b"01"[..]));
    assert_eq!(value(&lossy, 0x0028_2112, "DS"), Some(&b"7.5 "[..]));
    assert_eq!(value(&lossy, 0x0028_2114, "CS"), Some(&b"ISO_10918_1 "[..]));
    // A file that lacks the attribute.
    let mut jpeg = Vec::new();
    image::codecs::jpeg::JpegEncoder::new(&mut jpeg).encode(&[9; 64], 8, 8, image::ExtendedColorType::L8).unwrap();
    let lossy = write(&open(&grey(8, 8).encapsulated(JPEG, &[], &[&jpeg])).unwrap());
    assert_eq!(value(&lossy, 0x0028_2110, "CS"), Some(&b"01"[..]));
    assert_eq!(value(&lossy, 0x0028_2114, "CS"), Some(&b"ISO_10918_1 "[..]));
    assert!(value(&lossy, 0x0028_2112, "DS").is_some());
}

fn write(clip: &causalclipseg::io::dicom::DicomClip) -> Vec<u8> {
    let algorithm = Algorithm { name: "tiny".into(), version: "1".into() };
    let mut segmentation = Segmentation::new(clip.reference().clone(), algorithm, vec!["a".into()]);
    segmentation.push(0, 0, &Mask::from_pixels(array![[1]])).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("seg.dcm");
    segmentation.write(&path, None).unwrap();
    std::fs::read(path).unwrap()
}
