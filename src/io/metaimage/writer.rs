//! Writes a sequence of masks as MetaImage, which 3D Slicer's Sequences and Segmentations modules and PLUS open.

use super::MetaImageError;
use crate::io::geometry::Geometry;
use crate::io::mark::{META_IMAGE_KEY, WRITER};
use crate::io::source::FrameBuffer;
use crate::io::{WriteError, replace_file};
use crate::mask::Mask;
use flate2::{Compression, Crc, write::ZlibEncoder};
use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::Path;

/// Masks of one prompt, frame after frame, stored compressed: some kilobytes a frame. A pixel of the lesion is 1, as in
/// label maps.
pub struct MaskSequence {
    pixels: ZlibEncoder<Vec<u8>>,
    size: Option<[usize; 2]>,
    mm_per_pixel: Option<[f32; 2]>,
    frames: u64,
    /// The fields of single frames, as `key, value` with the frame's number in the key.
    frame_fields: Vec<(String, String)>,
    /// The checksum of all pixels, for gzip.
    crc: Crc,
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
            frame_fields: Vec::new(),
            crc: Crc::new(),
            labels: Vec::new(),
        }
    }
}

/// The keys that a result passes on even where patients must not be identified: positions, times, states.
const IMPERSONAL: [&str; 5] = ["Transform", "TransformStatus", "Timestamp", "ImageStatus", "FrameNumber"];

/// The same for complete sequences.
const IMPERSONAL_OF_ALL: [&str; 4] =
    ["AnatomicalOrientation", "UltrasoundImageOrientation", "UltrasoundImageType", "CustomFrameFields"];

impl MaskSequence {
    /// Adds the mask of a frame, with the source's fields of the frame; with `impersonal`, only positions, times and
    /// states.
    ///
    /// # Errors
    /// The mask has another size than the first.
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
        self.crc.update(&self.labels);
        let mut line = |key: &str, value: &dyn std::fmt::Display| {
            self.frame_fields.push((format!("Seq_Frame{:04}_{key}", self.frames), value.to_string()));
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

    /// Writes all frames as MetaImage. A pixel's size is the last frame's, everything else is the source's.
    pub fn write(&mut self, path: &Path, source: &MaskSource<'_>) -> Result<(), WriteError> {
        let labels = self.labels(path)?;
        let [width, height] = labels.size;
        let Geometry { spacing_mm, directions, origin_mm } = labels.geometry(&source.geometry);
        let mut header = format!(
            "ObjectType = Image\nNDims = 3\nDimSize = {width} {height} {}\nBinaryData = True\n\
             BinaryDataByteOrderMSB = False\nCompressedData = True\nCompressedDataSize = {}\nElementSpacing = {}\n\
             ElementNumberOfChannels = 1\nElementType = MET_UCHAR\nOffset = {}\nTransformMatrix = {}\n\
             CenterOfRotation = 0 0 0\n{META_IMAGE_KEY} = {WRITER}\n",
            labels.frames,
            labels.zlib.len(),
            numbers(&spacing_mm),
            numbers(&origin_mm),
            numbers(directions.as_flattened()),
        );
        let kinds = if source.is_volume { "domain domain domain" } else { "domain domain list" };
        for (key, value) in source.passed_on().into_iter().chain([("Kinds", kinds)]) {
            // Writing to a string cannot fail.
            let _ = writeln!(header, "{key} = {value}");
        }
        replace_file(path, |file| {
            file.write_all(header.as_bytes())?;
            for (key, value) in source.of_frames(&labels) {
                writeln!(file, "{key} = {value}")?;
            }
            file.write_all(b"ElementDataFile = LOCAL\n")?;
            file.write_all(labels.zlib)
        })
    }

    /// The stored masks, for a file of any format.
    pub(in crate::io) fn labels(&mut self, path: &Path) -> Result<Labels<'_>, WriteError> {
        let failed = |source| WriteError::Io { path: path.into(), source };
        self.pixels.try_finish().map_err(failed)?;
        let size = self.size.ok_or_else(|| failed(io::Error::other("a sequence without frames")))?;
        Ok(Labels {
            zlib: self.pixels.get_ref(),
            crc: self.crc.sum(),
            size,
            frames: self.frames,
            mm_per_pixel: self.mm_per_pixel,
            frame_fields: &self.frame_fields,
        })
    }
}

/// The source of masks: the parts of it that go into the files with the masks.
#[derive(Clone, Copy, Debug, Default)]
pub struct MaskSource<'a> {
    /// The source's fields of all frames, as `key, value`.
    pub fields: &'a [(String, String)],
    /// The position of the pixels: spacing, directions, origin.
    pub geometry: Geometry,
    /// Whether frames are the slices of a volume, not successive pictures in time.
    pub is_volume: bool,
    /// Whether to pass on only those of `fields` that say nothing about a person.
    pub impersonal: bool,
}

impl<'a> MaskSource<'a> {
    /// The source's fields that may be passed on, and PLUS's own. The writer states the kinds of the axes.
    pub(in crate::io) fn passed_on(&self) -> Vec<(&'a str, &'a str)> {
        let passed = |key: &str| {
            !["Kinds", META_IMAGE_KEY].contains(&key) && (!self.impersonal || IMPERSONAL_OF_ALL.contains(&key))
        };
        let mut fields: Vec<_> = self.fields.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        fields.retain(|(key, _)| passed(key));
        // A volume is not an ultrasound picture: it has no upper side.
        let own = [("UltrasoundImageOrientation", "MF"), ("UltrasoundImageType", "BRIGHTNESS")];
        for (key, value) in own.into_iter().filter(|_| !self.is_volume) {
            if fields.iter().all(|(other, _)| *other != key) {
                fields.push((key, value));
            }
        }
        fields
    }

    /// The fields of single frames; empty for slices.
    pub(in crate::io) fn of_frames<'b>(&self, labels: &Labels<'b>) -> &'b [(String, String)] {
        if self.is_volume { &[] } else { labels.frame_fields }
    }
}

/// All frames of a [`MaskSequence`].
pub(in crate::io) struct Labels<'a> {
    /// Pixels, one byte each.
    pub zlib: &'a [u8],
    /// The CRC-32 of the pixels.
    pub crc: u32,
    pub size: [usize; 2],
    pub frames: u64,
    mm_per_pixel: Option<[f32; 2]>,
    /// The fields, `key, value`, with the frame's number in the key.
    pub frame_fields: &'a [(String, String)],
}

impl Labels<'_> {
    /// The source's geometry with the frames' pixel size.
    pub fn geometry(&self, source: &Geometry) -> Geometry {
        let mut geometry = *source;
        if let Some(mm) = self.mm_per_pixel {
            for (spacing, mm) in geometry.spacing_mm.iter_mut().zip(mm) {
                // The frames' size has fewer digits than the source's.
                if *spacing as f32 != mm {
                    // As written in decimals, 0.1 and not 0.10000000149.
                    *spacing = mm.to_string().parse().unwrap_or(f64::from(mm));
                }
            }
        }
        geometry
    }
}

/// Numbers separated by spaces.
pub(in crate::io) fn numbers(numbers: &[f64]) -> String {
    numbers.iter().map(|number| number.to_string()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::super::open;
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
        let of_all = [field("UltrasoundImageOrientation", "UN"), field("Comment", "DOE^JANE")];
        let geometry = Geometry {
            spacing_mm: [9.0, 9.0, 1.5],
            directions: [[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]],
            origin_mm: [1.0, 2.5, 0.0],
        };
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
            let source = MaskSource { fields: &of_all, geometry, is_volume: false, impersonal };
            masks.write(&path, &source).unwrap();
            assert_eq!(text(&path).contains("DOE"), !impersonal);
            let mut sequence = open(&path).unwrap();
            assert!(sequence.fields().contains(&field("UltrasoundImageOrientation", "UN")));
            // The pixels' size is the frames'; everything else is the source's.
            let expected = Geometry { spacing_mm: [0.5, 0.25, 1.5], ..geometry };
            assert_eq!(*sequence.geometry(), expected);
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
