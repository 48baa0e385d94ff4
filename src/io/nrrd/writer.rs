//! Writes masks as NRRD: a label map that 3D Slicer opens as a segmentation, or a sequence of them.

use crate::io::geometry::Geometry;
use crate::io::mark::nrrd_comment;
use crate::io::metaimage::{MaskSequence, MaskSource};
use crate::io::{WriteError, replace_file};
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

/// zlib's framing of the stream that gzip has too: two bytes before it, and a checksum of four after it.
const ZLIB_HEAD: usize = 2;
const ZLIB_TAIL: usize = 4;

/// gzip's header: no name, no time, any system.
const GZIP_HEAD: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];

/// Writes the masks of one prompt as NRRD, gzip, frames along the third axis: a pixel of the lesion is 1. For several
/// frames that are not a volume, the third axis is time, and has no length.
///
/// # Errors
/// The sequence is empty, or the file cannot be written.
pub fn write_label_map(path: &Path, masks: &mut MaskSequence, source: &MaskSource<'_>) -> Result<(), WriteError> {
    let labels = masks.labels(path)?;
    let [width, height] = labels.size;
    let Geometry { spacing_mm, directions, origin_mm } = labels.geometry(&source.geometry);
    let is_sequence = labels.frames > 1 && !source.is_volume;
    let vector = |parts: [f64; 3]| format!("({},{},{})", parts[0], parts[1], parts[2]);
    let mut steps = [0, 1, 2].map(|axis| vector(directions[axis].map(|part| part * spacing_mm[axis] + 0.0)));
    if is_sequence {
        steps[2] = "none".into();
    }
    let mut header = format!(
        "NRRD0005\n{}# A label map: 1 is lesion.\ntype: unsigned char\ndimension: 3\nspace: left-posterior-superior\n\
         sizes: {width} {height} {}\nspace directions: {}\nkinds: domain domain {}\nencoding: gzip\nspace origin: {}\n",
        nrrd_comment(),
        labels.frames,
        steps.join(" "),
        if is_sequence { "list" } else { "domain" },
        vector(origin_mm),
    );
    let of_frames = source.of_frames(&labels).iter().map(|(key, value)| (key.as_str(), value.as_str()));
    for (key, value) in source.passed_on().into_iter().chain(of_frames) {
        // Writing to a string cannot fail.
        let _ = writeln!(header, "{key}:={value}");
    }
    let deflated = labels.zlib.get(ZLIB_HEAD..labels.zlib.len().saturating_sub(ZLIB_TAIL)).unwrap_or_default();
    let pixels = width as u64 * height as u64 * labels.frames;
    replace_file(path, |file| {
        file.write_all(header.as_bytes())?;
        file.write_all(b"\n")?;
        file.write_all(&GZIP_HEAD)?;
        file.write_all(deflated)?;
        file.write_all(&labels.crc.to_le_bytes())?;
        // Modulo 2^32, as in gzip.
        file.write_all(&(pixels as u32).to_le_bytes())
    })
}

#[cfg(test)]
mod tests {
    use super::super::open;
    use super::*;
    use crate::frame::PixelFormat;
    use crate::io::source::{FrameBuffer, FrameSource};
    use crate::mask::Mask;
    use ndarray::array;

    #[test]
    fn label_maps_come_back_with_their_place_in_space() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x_mask.nrrd");
        let field = |key: &str, value: &str| (key.to_string(), value.to_string());
        let geometry = Geometry {
            spacing_mm: [0.3, 0.2, 1.5],
            directions: [[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]],
            origin_mm: [1.0, -2.5, 0.0],
        };
        for (is_volume, impersonal) in [(true, false), (false, true)] {
            let mut masks = MaskSequence::default();
            let mut frame = FrameBuffer::default();
            for index in 0..2u8 {
                frame.reset(PixelFormat::Gray8, 3, 1).unwrap();
                frame.set_mm_per_pixel([0.3, 0.2]).unwrap();
                frame.timestamp_s = Some(f64::from(index) + 0.5);
                frame.fields = vec![field("PatientName", "DOE^JANE")];
                masks.push(&Mask::from_pixels(array![[index, 1, 0]]), &frame, impersonal).unwrap();
            }
            let of_all = [field("UltrasoundImageOrientation", "UN"), field("Comment", "DOE^JANE")];
            let source = MaskSource { fields: &of_all, geometry, is_volume, impersonal };
            write_label_map(&path, &mut masks, &source).unwrap();
            let bytes = std::fs::read(&path).unwrap();
            assert_eq!(String::from_utf8_lossy(&bytes).contains("DOE"), !impersonal);
            let mut back = open(&path).unwrap();
            assert!(back.fields().contains(&field("UltrasoundImageOrientation", "UN")));
            let thickness = if is_volume { 1.5 } else { 1.0 };
            let found = back.geometry();
            for axis in 0..3 {
                let expected = [0.3, 0.2, thickness][axis];
                assert!((found.spacing_mm[axis] - expected).abs() < 1e-12, "{:?}", found.spacing_mm);
            }
            assert_eq!(found.directions[..2], geometry.directions[..2]);
            assert_eq!(found.origin_mm, geometry.origin_mm);
            for (index, expected) in [[0, 1, 0], [1, 1, 0]].iter().enumerate() {
                assert!(back.read_frame(&mut frame).unwrap());
                let seconds = (!is_volume).then_some(index as f64 + 0.5);
                assert_eq!((frame.pixels(), frame.timestamp_s), (&expected[..], seconds));
                assert_eq!(frame.frame().unwrap().mm_per_pixel(), Some([0.3, 0.2]));
            }
            assert!(!back.read_frame(&mut frame).unwrap());
        }
    }
}
