//! A sequence of masks as MetaImage: what 3D Slicer's Sequences and Segmentations modules and PLUS open.

use super::MetaImageError;
use crate::io::source::FrameBuffer;
use crate::io::{WriteError, replace_file};
use crate::mask::Mask;
use flate2::{Compression, write::ZlibEncoder};
use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::Path;

/// Masks of one prompt, frame after frame, held compressed: some kilobytes a frame. A pixel of the lesion is 1, as label
/// maps have it.
pub struct MaskSequence {
    pixels: ZlibEncoder<Vec<u8>>,
    size: Option<[usize; 2]>,
    mm_per_pixel: Option<[f32; 2]>,
    frames: u64,
    /// The header's lines about single frames.
    frame_lines: String,
    /// One frame's pixels.
    labels: Vec<u8>,
}

impl Default for MaskSequence {
    fn default() -> Self {
        Self {
            pixels: ZlibEncoder::new(Vec::new(), Compression::default()),
            size: None,
            mm_per_pixel: None,
            frames: 0,
            frame_lines: String::new(),
            labels: Vec::new(),
        }
    }
}

/// What a result passes on even where patients must not be recognised: places, times, states.
const IMPERSONAL: [&str; 5] = ["Transform", "TransformStatus", "Timestamp", "ImageStatus", "FrameNumber"];

/// The same of whole sequences.
const IMPERSONAL_OF_ALL: [&str; 7] = [
    "AnatomicalOrientation",
    "CenterOfRotation",
    "Offset",
    "TransformMatrix",
    "UltrasoundImageOrientation",
    "UltrasoundImageType",
    "CustomFrameFields",
];

impl MaskSequence {
    /// Adds the mask of a frame, with what its source said of the frame; with `impersonal`, places, times and states of
    /// that alone.
    ///
    /// # Errors
    /// A mask of another size than the first.
    pub fn push(&mut self, mask: &Mask, frame: &FrameBuffer, impersonal: bool) -> Result<(), MetaImageError> {
        let pixels = mask.pixels();
        let size = [pixels.ncols(), pixels.nrows()];
        if *self.size.get_or_insert(size) != size {
            return Err(MetaImageError::Unsupported("the frames of one sequence differ in size".into()));
        }
        self.mm_per_pixel = frame.frame().ok().and_then(|frame| frame.mm_per_pixel());
        self.labels.clear();
        self.labels.extend(pixels.iter().map(|pixel| u8::from(*pixel != 0)));
        self.pixels.write_all(&self.labels)?;
        let mut line = |key: &str, value: &dyn std::fmt::Display| {
            // Writing to a string cannot fail.
            let _ = writeln!(self.frame_lines, "Seq_Frame{:04}_{key} = {value}", self.frames);
        };
        let mut timed = false;
        for (key, value) in &frame.fields {
            if !impersonal || IMPERSONAL.iter().any(|ending| key.ends_with(ending)) {
                timed |= key == "Timestamp";
                line(key, value);
            }
        }
        if let Some(seconds) = frame.timestamp_s.filter(|_| !timed) {
            line("Timestamp", &seconds);
        }
        if frame.fields.iter().all(|(key, _)| key != "ImageStatus") {
            line("ImageStatus", &if frame.valid { "OK" } else { "INVALID" });
        }
        self.frames += 1;
        Ok(())
    }

    /// Writes all frames. `fields` are those of the sequence the masks lie on; with `impersonal`, its geometry alone.
    pub fn write(mut self, path: &Path, fields: &[(String, String)], impersonal: bool) -> Result<(), WriteError> {
        let failed = |source| WriteError::Io { path: path.into(), source };
        self.pixels.flush().map_err(failed)?;
        let pixels = self.pixels.finish().map_err(failed)?;
        let [width, height] = self.size.ok_or_else(|| failed(io::Error::other("a sequence without frames")))?;
        let [x, y] = self.mm_per_pixel.unwrap_or([1.0; 2]);
        let mut header = format!(
            "ObjectType = Image\nNDims = 3\nDimSize = {width} {height} {}\nBinaryData = True\n\
             BinaryDataByteOrderMSB = False\nCompressedData = True\nCompressedDataSize = {}\nElementSpacing = {x} {y} 1\n\
             ElementNumberOfChannels = 1\nElementType = MET_UCHAR\n",
            self.frames,
            pixels.len(),
        );
        let mut defaults = vec![
            ("Offset", "0 0 0"),
            ("TransformMatrix", "1 0 0 0 1 0 0 0 1"),
            ("CenterOfRotation", "0 0 0"),
            ("Kinds", "domain domain list"),
            ("UltrasoundImageOrientation", "MF"),
            ("UltrasoundImageType", "BRIGHTNESS"),
        ];
        for (key, value) in fields {
            let passed = !impersonal || IMPERSONAL_OF_ALL.contains(&key.as_str());
            // A still has two numbers where a sequence has three.
            let geometry = ["Offset", "TransformMatrix", "CenterOfRotation", "Kinds"].contains(&key.as_str());
            let three = value.split_whitespace().count() >= 3;
            if passed && (!geometry || (three && value.split_whitespace().count() != 4)) {
                defaults.retain(|(name, _)| name != key);
                let _ = writeln!(header, "{key} = {value}");
            }
        }
        for (key, value) in defaults {
            let _ = writeln!(header, "{key} = {value}");
        }
        replace_file(path, |file| {
            file.write_all(header.as_bytes())?;
            file.write_all(self.frame_lines.as_bytes())?;
            file.write_all(b"ElementDataFile = LOCAL\n")?;
            file.write_all(&pixels)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::MetaImageSequence;
    use super::*;
    use crate::frame::PixelFormat;
    use crate::io::source::FrameSource;
    use ndarray::array;

    fn text(path: &Path) -> String {
        String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned()
    }

    #[test]
    fn masks_come_back_with_what_the_frames_said() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x_mask.seq.mha");
        let field = |key: &str, value: &str| (key.to_string(), value.to_string());
        let of_all = [field("UltrasoundImageOrientation", "UN"), field("Comment", "DOE^JANE"), field("Offset", "1 2")];
        let mut frame = FrameBuffer::default();
        for impersonal in [false, true] {
            let mut masks = MaskSequence::default();
            for index in 0..2u8 {
                frame.reset(PixelFormat::Gray8, 3, 1).unwrap();
                frame.set_mm_per_pixel([0.5, 0.25]).unwrap();
                frame.timestamp_s = Some(f64::from(index) + 0.5);
                frame.valid = index == 0;
                frame.fields = vec![field("ProbeToTrackerTransform", "1 0 0 1"), field("PatientName", "DOE^JANE")];
                masks.push(&Mask::from_pixels(array![[index, 1, 0]]), &frame, impersonal).unwrap();
            }
            masks.write(&path, &of_all, impersonal).unwrap();
            assert_eq!(text(&path).contains("DOE"), !impersonal);
            let mut sequence = MetaImageSequence::open(&path).unwrap();
            assert!(sequence.fields().contains(&field("UltrasoundImageOrientation", "UN")));
            assert!(sequence.fields().contains(&field("Offset", "0 0 0")));
            for (index, expected) in [[0, 1, 0], [1, 1, 0]].iter().enumerate() {
                assert!(sequence.read_frame(&mut frame).unwrap());
                assert_eq!(frame.pixels(), expected);
                assert_eq!((frame.timestamp_s, frame.valid), (Some(index as f64 + 0.5), index == 0));
                assert_eq!(frame.fields[0], field("ProbeToTrackerTransform", "1 0 0 1"));
                assert_eq!(frame.frame().unwrap().mm_per_pixel(), Some([0.5, 0.25]));
            }
            assert!(!sequence.read_frame(&mut frame).unwrap());
        }
    }

    #[test]
    fn frames_of_one_sequence_have_one_size() {
        let mut masks = MaskSequence::default();
        let frame = FrameBuffer::default();
        masks.push(&Mask::from_pixels(array![[1, 0]]), &frame, false).unwrap();
        assert!(masks.push(&Mask::from_pixels(array![[1]]), &frame, false).is_err());
    }
}
