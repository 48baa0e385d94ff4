//! The mark by which files that are written here are recognised: each names its writer in its first bytes.

use flate2::Crc;
use serde::Serialize;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// The writer's name.
pub(super) const WRITER: &str = "causalclipseg";

/// A key of a MetaImage header.
pub(super) const META_IMAGE_KEY: &str = "WrittenBy";

/// The bytes of a file that are read to find the mark.
const START_BYTES: u64 = 4096;

/// The end of a PNG's first chunk: behind the signature and the header.
const PNG_HEADER_BYTES: usize = 8 + 25;

/// JSON with the mark as its first key.
#[derive(Serialize)]
pub(super) struct Marked<'a, T> {
    written_by: &'static str,
    #[serde(flatten)]
    value: &'a T,
}

impl<'a, T> Marked<'a, T> {
    pub fn new(value: &'a T) -> Self {
        Self { written_by: WRITER, value }
    }
}

/// Whether a file is a result that was written here: a picture, JSON, MetaImage, NRRD or DICOM. `false` for unreadable
/// files.
pub fn is_own_result(path: &Path) -> bool {
    let mut start = Vec::new();
    let read = File::open(path).and_then(|file| file.take(START_BYTES).read_to_end(&mut start));
    read.is_ok() && is_marked(&start)
}

fn is_marked(start: &[u8]) -> bool {
    let holds = |part: &[u8]| start.windows(part.len()).any(|bytes| bytes == part);
    match start {
        [0x89, b'P', b'N', b'G', ..] => {
            start.get(PNG_HEADER_BYTES + 4..).is_some_and(|rest| rest.starts_with(&png_text()))
        }
        [b'{', ..] => {
            let text: Vec<u8> = start.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
            text.starts_with(format!("{{\"written_by\":\"{WRITER}\"").as_bytes())
        }
        [b'N', b'R', b'R', b'D', ..] => holds(nrrd_comment().as_bytes()),
        [b'O', b'b', b'j', b'e', b'c', b't', ..] => holds(format!("\n{META_IMAGE_KEY} = {WRITER}\n").as_bytes()),
        _ if start.get(128..132) == Some(b"DICM") => {
            // Manufacturer, explicit and little-endian, of even length.
            let value = format!("{WRITER}{}", if WRITER.len().is_multiple_of(2) { "" } else { " " });
            let element = [&[0x08, 0, 0x70, 0, b'L', b'O', value.len() as u8, 0], value.as_bytes()].concat();
            holds(&element)
        }
        _ => false,
    }
}

/// The second line of an NRRD file.
pub(super) fn nrrd_comment() -> String {
    format!("# Written by {WRITER}.\n")
}

/// Inserts the mark into a PNG file's bytes, behind the header, where readers expect text.
pub(super) fn mark_png(png: &mut Vec<u8>) {
    let text = png_text();
    let mut crc = Crc::new();
    crc.update(&text);
    // The length does not count the chunk's type.
    let mut chunk = (text.len() as u32 - 4).to_be_bytes().to_vec();
    chunk.extend(text);
    chunk.extend(crc.sum().to_be_bytes());
    let at = PNG_HEADER_BYTES.min(png.len());
    png.splice(at..at, chunk);
}

/// Type and content of a PNG's text chunk.
fn png_text() -> Vec<u8> {
    [b"tEXtSoftware\0", WRITER.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::super::{write_mask, write_result_json};
    use super::*;
    use crate::frame::PixelFormat;
    use crate::io::metaimage::{MaskSequence, MaskSource};
    use crate::io::nrrd::write_label_map;
    use crate::io::source::FrameBuffer;
    use crate::mask::Mask;
    use ndarray::array;

    #[test]
    fn results_are_known_by_their_mark() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let mask = Mask::from_pixels(array![[0, 1]]);
        write_mask(&path("x.png"), &mask).unwrap();
        write_result_json(&path("x.json"), &std::collections::BTreeMap::from([("a", 1)])).unwrap();
        let mut frame = FrameBuffer::default();
        frame.reset(PixelFormat::Gray8, 2, 1).unwrap();
        let mut masks = MaskSequence::default();
        masks.push(&mask, &frame, false).unwrap();
        masks.write(&path("x.mha"), &MaskSource::default()).unwrap();
        write_label_map(&path("x.nrrd"), &mut masks, &MaskSource::default()).unwrap();
        for name in ["x.png", "x.json", "x.mha", "x.nrrd"] {
            assert!(is_own_result(&path(name)), "{name}");
        }
        let text = std::fs::read_to_string(path("x.json")).unwrap();
        assert_eq!(text, "{\n  \"written_by\": \"causalclipseg\",\n  \"a\": 1\n}\n");
    }

    #[test]
    fn files_of_others_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        let mut other = Vec::new();
        let png = image::codecs::png::PngEncoder::new(&mut other);
        image::ImageEncoder::write_image(png, &[1], 1, 1, image::ExtendedColorType::L8).unwrap();
        for bytes in [
            &other[..],
            b"{\"input\": \"causalclipseg\"}",
            b"NRRD0005\n# causalclipseg\n",
            b"ObjectType = Image\nComment = causalclipseg\n",
            b"",
            b"causalclipseg",
        ] {
            std::fs::write(&path, bytes).unwrap();
            assert!(!is_own_result(&path), "{}", String::from_utf8_lossy(bytes));
        }
        assert!(!is_own_result(folder.path()) && !is_own_result(&folder.path().join("missing")));
    }

    /// A marked picture decodes to the same pixels as before.
    #[test]
    fn a_marked_picture_is_a_picture() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.png");
        write_mask(&path, &Mask::from_pixels(array![[0, 1], [1, 0]])).unwrap();
        let picture = image::open(&path).unwrap().into_luma8();
        assert_eq!(picture.into_raw(), [0, 255, 255, 0]);
    }
}
