//! DICOM SEG: masks that a viewer lays over the ultrasound they came from (PS3.3, A.51).
//!
//! One binary segment a prompt. Every frame names the frame of the source that it lies on, pixel on pixel, so none needs a
//! place in the patient, which ultrasound does not have, nor a size of its pixels, which the source's regions give.

use super::origin::{PATIENT_AND_STUDY, SourceReference};
use super::values::text;
use crate::bundle::Sha256;
use crate::io::{WriteError, replace_file};
use crate::mask::Mask;
use dicom_core::value::DataSetSequence;
use dicom_core::{DataElement, PrimitiveValue, Tag, VR, dicom_value};
use dicom_dictionary_std::{tags, uids};
use dicom_object::{FileMetaTableBuilder, InMemDicomObject};
use std::io;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// The most bytes that the masks of one file may take, at eight pixels a byte.
const MAX_PIXEL_BYTES: usize = 256 << 20;

/// What a segment may be called, in characters; the rest of a longer prompt is in its description.
const MAX_LABEL: usize = 64;
const MAX_DESCRIPTION: usize = 1024;

/// What made the masks.
#[derive(Clone, Debug)]
pub struct Algorithm {
    /// Of the model.
    pub name: String,
    /// Whatever tells it from another of its name.
    pub version: String,
}

/// One mask, eight pixels a byte.
struct Frame {
    segment: u16,
    /// In the source, from 1.
    number: u32,
    bits: Vec<u8>,
    empty: bool,
}

/// Masks of one DICOM file under any number of prompts, until they are written. Holds them at one bit a pixel.
pub struct Segmentation {
    source: SourceReference,
    algorithm: Algorithm,
    prompts: Vec<String>,
    size: Option<[usize; 2]>,
    frames: Vec<Frame>,
    bytes: usize,
}

/// Why masks do not go into a segmentation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SegmentationError {
    #[error("masks of different sizes do not go into one DICOM segmentation: write one for each size")]
    Size,
    #[error("the masks take more than {} MiB as a DICOM segmentation: cut the clip", MAX_PIXEL_BYTES >> 20)]
    TooLarge,
    #[error("segment {0} does not go into a DICOM segmentation: there is no such prompt")]
    Prompt(usize),
}

impl Segmentation {
    /// An empty one. Segments have the prompts' numbers.
    pub fn new(source: SourceReference, algorithm: Algorithm, prompts: Vec<String>) -> Self {
        Self { source, algorithm, prompts, size: None, frames: Vec::new(), bytes: 0 }
    }

    /// Adds what prompt `prompt`, counted from 0, found in the source's frame `frame`, counted from 0.
    ///
    /// # Errors
    /// A mask of another size than the first; a prompt that is none of this segmentation's; more than a file can hold.
    pub fn push(&mut self, prompt: usize, frame: usize, mask: &Mask) -> Result<(), SegmentationError> {
        let segment = u16::try_from(prompt + 1).ok().filter(|_| prompt < self.prompts.len());
        let segment = segment.ok_or(SegmentationError::Prompt(prompt))?;
        let number = u32::try_from(frame + 1).map_err(|_| SegmentationError::TooLarge)?;
        let pixels = mask.pixels();
        let size = [pixels.ncols(), pixels.nrows()];
        if *self.size.get_or_insert(size) != size {
            return Err(SegmentationError::Size);
        }
        let mut bits = vec![0u8; pixels.len().div_ceil(8)];
        let mut empty = true;
        for (index, _) in pixels.iter().enumerate().filter(|(_, pixel)| **pixel != 0) {
            bits[index / 8] |= 1 << (index % 8);
            empty = false;
        }
        // The standard lets empty frames out; each segment keeps one, so that "looked for, not found" can be told.
        let known = self.frames.iter().rposition(|known| known.segment == segment);
        match known {
            Some(_) if empty => return Ok(()),
            Some(index) if self.frames[index].empty => {
                let only = self.frames.remove(index);
                self.bytes -= only.bits.len();
            }
            _ => {}
        }
        self.bytes += bits.len();
        if self.bytes > MAX_PIXEL_BYTES {
            return Err(SegmentationError::TooLarge);
        }
        self.frames.push(Frame { segment, number, bits, empty });
        Ok(())
    }

    /// Writes the file. With `impersonal` nothing in it names the patient; it still names the source by its numbers, or it
    /// would lie on nothing.
    ///
    /// # Errors
    /// A folder that cannot be written to; a segmentation without a single mask.
    pub fn write(mut self, path: &Path, impersonal: bool) -> Result<(), WriteError> {
        self.frames.sort_by_key(|frame| (frame.segment, frame.number));
        let failed = |source| WriteError::Io { path: path.into(), source };
        let object = self.object(impersonal).ok_or_else(|| failed(io::Error::other("a segmentation without masks")))?;
        let meta = FileMetaTableBuilder::new().transfer_syntax(uids::EXPLICIT_VR_LITTLE_ENDIAN);
        let file = object.with_meta(meta).map_err(|error| failed(io::Error::other(error)))?;
        // The library writes in small pieces, and keeps an error's kind to itself: the file is written at once.
        let mut bytes = Vec::new();
        file.write_all(&mut bytes).map_err(|error| failed(io::Error::other(error)))?;
        replace_file(path, |file| io::Write::write_all(file, &bytes))
    }

    fn object(&self, impersonal: bool) -> Option<InMemDicomObject> {
        let [width, height] = self.size?;
        let mut object = self.of_the_source(impersonal);
        let mut put = |element: DataElement<InMemDicomObject>| {
            object.put(element);
        };
        let (date, time) = now();
        let uid = |role: &str| self.uid(role, &date, &time);
        let own = |text: &str| self.source.own_text(text, impersonal);
        let organization = uid("dimensions");
        for (tag, value) in [
            (tags::SOP_CLASS_UID, uids::SEGMENTATION_STORAGE),
            (tags::SOP_INSTANCE_UID, &uid("instance")),
            (tags::SERIES_INSTANCE_UID, &uid("series")),
        ] {
            put(DataElement::new(tag, VR::UI, value));
        }
        for (tag, vr, value) in [
            (tags::MODALITY, VR::CS, "SEG"),
            (tags::SERIES_NUMBER, VR::IS, "1"),
            (tags::SERIES_DESCRIPTION, VR::LO, "Text-prompted segmentation, research use only"),
            (tags::INSTANCE_NUMBER, VR::IS, "1"),
            (tags::TIMEZONE_OFFSET_FROM_UTC, VR::SH, "+0000"),
            (tags::CONTENT_DATE, VR::DA, &date),
            (tags::CONTENT_TIME, VR::TM, &time),
            (tags::SERIES_DATE, VR::DA, &date),
            (tags::SERIES_TIME, VR::TM, &time),
            (tags::MANUFACTURER, VR::LO, "causalclipseg"),
            (tags::MANUFACTURER_MODEL_NAME, VR::LO, &own(&plain(&self.algorithm.name, MAX_LABEL))),
            (tags::DEVICE_SERIAL_NUMBER, VR::LO, "none"),
            (tags::SOFTWARE_VERSIONS, VR::LO, env!("CARGO_PKG_VERSION")),
            (tags::CONTENT_LABEL, VR::CS, "SEGMENTATION"),
            (tags::CONTENT_DESCRIPTION, VR::LO, "Lesions that sentences describe"),
            (tags::CONTENT_CREATOR_NAME, VR::PN, ""),
            (tags::PATIENT_ORIENTATION, VR::CS, ""),
            (tags::SEGMENTATION_TYPE, VR::CS, "BINARY"),
            (tags::PHOTOMETRIC_INTERPRETATION, VR::CS, "MONOCHROME2"),
            (tags::NUMBER_OF_FRAMES, VR::IS, &self.frames.len().to_string()),
        ] {
            put(DataElement::new(tag, vr, value));
        }
        self.source.lossy_compression().into_iter().for_each(&mut put);
        put(DataElement::new(tags::IMAGE_TYPE, VR::CS, dicom_value!(Strs, ["DERIVED", "PRIMARY"])));
        for (tag, value) in [
            (tags::SAMPLES_PER_PIXEL, 1),
            (tags::ROWS, u16::try_from(height).ok()?),
            (tags::COLUMNS, u16::try_from(width).ok()?),
            (tags::BITS_ALLOCATED, 1),
            (tags::BITS_STORED, 1),
            (tags::HIGH_BIT, 0),
            (tags::PIXEL_REPRESENTATION, 0),
        ] {
            put(DataElement::new(tag, VR::US, PrimitiveValue::from(value)));
        }
        let segments =
            self.prompts.iter().zip(1u16..).map(|(prompt, number)| self.segment(prompt, number, impersonal)).collect();
        put(sequence(tags::SEGMENT_SEQUENCE, segments));
        let of_dimension = |pointer, group, label| {
            InMemDicomObject::from_element_iter([
                DataElement::new(tags::DIMENSION_ORGANIZATION_UID, VR::UI, organization.as_str()),
                DataElement::new(tags::DIMENSION_INDEX_POINTER, VR::AT, PrimitiveValue::from(pointer)),
                DataElement::new(tags::FUNCTIONAL_GROUP_POINTER, VR::AT, PrimitiveValue::from(group)),
                DataElement::new(tags::DIMENSION_DESCRIPTION_LABEL, VR::LO, label),
            ])
        };
        let dimensions = vec![
            of_dimension(tags::REFERENCED_SEGMENT_NUMBER, tags::SEGMENT_IDENTIFICATION_SEQUENCE, "Segment"),
            of_dimension(tags::FRAME_ACQUISITION_NUMBER, tags::FRAME_CONTENT_SEQUENCE, "Frame of the source"),
        ];
        put(sequence(tags::DIMENSION_INDEX_SEQUENCE, dimensions));
        let organization = DataElement::new(tags::DIMENSION_ORGANIZATION_UID, VR::UI, organization.as_str());
        put(sequence(tags::DIMENSION_ORGANIZATION_SEQUENCE, vec![InMemDicomObject::from_element_iter([organization])]));
        put(sequence(tags::REFERENCED_SERIES_SEQUENCE, vec![self.series()]));
        put(sequence(tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE, vec![InMemDicomObject::new_empty()]));
        let frames = self.frames.iter().map(|frame| self.frame(frame)).collect();
        put(sequence(tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE, frames));
        put(DataElement::new(tags::PIXEL_DATA, VR::OB, PrimitiveValue::from(self.packed(width * height))));
        Some(object)
    }

    /// Patient and study, as the source has them.
    fn of_the_source(&self, impersonal: bool) -> InMemDicomObject {
        let mut object = InMemDicomObject::new_empty();
        if let Some(set) = self.source.character_set(impersonal) {
            object.put(set);
        }
        for (tag, vr) in PATIENT_AND_STUDY {
            object.put(if impersonal { DataElement::empty(tag, vr) } else { self.source.copy(tag, vr) });
        }
        object.put(self.source.copy(tags::STUDY_INSTANCE_UID, VR::UI));
        if let Some(frame) = text(&self.source.root, tags::FRAME_OF_REFERENCE_UID) {
            object.put(DataElement::new(tags::FRAME_OF_REFERENCE_UID, VR::UI, frame));
            object.put(DataElement::new(tags::POSITION_REFERENCE_INDICATOR, VR::LO, ""));
        }
        if impersonal {
            object.put(DataElement::new(tags::PATIENT_IDENTITY_REMOVED, VR::CS, "YES"));
            let method = "patient and study attributes left empty";
            object.put(DataElement::new(tags::DEIDENTIFICATION_METHOD, VR::LO, method));
        }
        object
    }

    fn segment(&self, prompt: &str, number: u16, impersonal: bool) -> InMemDicomObject {
        let mut segment = InMemDicomObject::from_element_iter([
            DataElement::new(tags::SEGMENT_NUMBER, VR::US, PrimitiveValue::from(number)),
            DataElement::new(tags::SEGMENT_ALGORITHM_TYPE, VR::CS, "AUTOMATIC"),
            sequence(
                tags::SEGMENTED_PROPERTY_CATEGORY_CODE_SEQUENCE,
                vec![code("49755003", "SCT", "Morphologically Abnormal Structure")],
            ),
            sequence(tags::SEGMENTED_PROPERTY_TYPE_CODE_SEQUENCE, vec![code("52988006", "SCT", "Lesion")]),
        ]);
        let algorithm = plain(&format!("{} {}", self.algorithm.name, self.algorithm.version), MAX_LABEL);
        let texts = [
            (tags::SEGMENT_LABEL, VR::LO, plain(prompt, MAX_LABEL)),
            (tags::SEGMENT_DESCRIPTION, VR::ST, plain(prompt, MAX_DESCRIPTION)),
            (tags::SEGMENT_ALGORITHM_NAME, VR::LO, algorithm),
        ];
        self.source.put_own_text(&mut segment, &texts, impersonal);
        segment
    }

    fn instance(&self) -> [DataElement<InMemDicomObject>; 2] {
        [
            (tags::REFERENCED_SOP_CLASS_UID, tags::SOP_CLASS_UID),
            (tags::REFERENCED_SOP_INSTANCE_UID, tags::SOP_INSTANCE_UID),
        ]
        .map(|(tag, of)| DataElement::new(tag, VR::UI, text(&self.source.root, of).unwrap_or_default()))
    }

    fn series(&self) -> InMemDicomObject {
        let uid = text(&self.source.root, tags::SERIES_INSTANCE_UID).unwrap_or_default();
        InMemDicomObject::from_element_iter([
            DataElement::new(tags::SERIES_INSTANCE_UID, VR::UI, uid),
            sequence(tags::REFERENCED_INSTANCE_SEQUENCE, vec![InMemDicomObject::from_element_iter(self.instance())]),
        ])
    }

    fn frame(&self, frame: &Frame) -> InMemDicomObject {
        let mut source = InMemDicomObject::from_element_iter(self.instance());
        if self.source.frames > 1 {
            let number = DataElement::new(tags::REFERENCED_FRAME_NUMBER, VR::IS, frame.number.to_string());
            source.put(number);
        }
        let purpose = code("121322", "DCM", "Source image for image processing operation");
        source.put(sequence(tags::PURPOSE_OF_REFERENCE_CODE_SEQUENCE, vec![purpose]));
        let spatial = DataElement::new(tags::SPATIAL_LOCATIONS_PRESERVED, VR::CS, "YES");
        source.put(spatial);
        let derivation = InMemDicomObject::from_element_iter([
            sequence(tags::SOURCE_IMAGE_SEQUENCE, vec![source]),
            sequence(tags::DERIVATION_CODE_SEQUENCE, vec![code("113076", "DCM", "Segmentation")]),
        ]);
        let segment = u32::from(frame.segment);
        let content = InMemDicomObject::from_element_iter([
            DataElement::new(
                tags::DIMENSION_INDEX_VALUES,
                VR::UL,
                PrimitiveValue::U32([segment, frame.number].into_iter().collect()),
            ),
            DataElement::new(
                tags::FRAME_ACQUISITION_NUMBER,
                VR::US,
                PrimitiveValue::from(u16::try_from(frame.number).unwrap_or(u16::MAX)),
            ),
        ]);
        let identification = InMemDicomObject::from_element_iter([DataElement::new(
            tags::REFERENCED_SEGMENT_NUMBER,
            VR::US,
            PrimitiveValue::from(frame.segment),
        )]);
        InMemDicomObject::from_element_iter([
            sequence(tags::FRAME_CONTENT_SEQUENCE, vec![content]),
            sequence(tags::DERIVATION_IMAGE_SEQUENCE, vec![derivation]),
            sequence(tags::SEGMENT_IDENTIFICATION_SEQUENCE, vec![identification]),
        ])
    }

    /// All frames bit behind bit, the lowest bit first; a frame may begin within a byte.
    fn packed(&self, pixels: usize) -> Vec<u8> {
        let mut packed = vec![0u8; (self.frames.len() * pixels).div_ceil(8).next_multiple_of(2)];
        for (index, frame) in self.frames.iter().enumerate() {
            let (byte, shift) = (index * pixels / 8, index * pixels % 8);
            for (at, bits) in frame.bits.iter().enumerate() {
                packed[byte + at] |= bits << shift;
                // What was shifted out; beyond the end there are only padding bits, which are zero.
                if shift > 0
                    && let Some(next) = packed.get_mut(byte + at + 1)
                {
                    *next |= bits >> (8 - shift);
                }
            }
        }
        packed
    }

    /// A number that nobody else has: from the contents and the clock, in the form that needs no registration (PS3.5, B.2).
    fn uid(&self, role: &str, date: &str, time: &str) -> String {
        let mut all = format!(
            "{role} {date} {time} {} {:?} {:?} {:?} {}",
            std::process::id(),
            self.instance().map(|element| element.to_str().map(|uid| uid.to_string()).unwrap_or_default()),
            self.algorithm,
            self.prompts,
            SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos(),
        )
        .into_bytes();
        self.frames.iter().for_each(|frame| all.extend(&frame.bits));
        let digest = Sha256::of(&all).0;
        let number = digest.iter().take(16).fold(0u128, |number, byte| (number << 8) | u128::from(*byte));
        // The version and variant of a UUID of our own making.
        let number = number & !(0xf << 76) & !(0b11 << 62) | (8 << 76) | (0b10 << 62);
        format!("2.25.{number}")
    }
}

fn sequence(tag: Tag, items: Vec<InMemDicomObject>) -> DataElement<InMemDicomObject> {
    DataElement::new(tag, VR::SQ, DataSetSequence::from(items))
}

fn code(value: &str, scheme: &str, meaning: &str) -> InMemDicomObject {
    InMemDicomObject::from_element_iter([
        DataElement::new(tags::CODE_VALUE, VR::SH, value),
        DataElement::new(tags::CODING_SCHEME_DESIGNATOR, VR::SH, scheme),
        DataElement::new(tags::CODE_MEANING, VR::LO, meaning),
    ])
}

/// One line without the backslash, which parts values, of at most `most` characters.
fn plain(text: &str, most: usize) -> String {
    let words: Vec<&str> =
        text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|w| !w.is_empty()).collect();
    let line: String = words.join(" ").chars().map(|c| if c == '\\' { '/' } else { c }).collect();
    if line.chars().count() <= most { line } else { line.chars().take(most - 1).chain(['\u{2026}']).collect() }
}

/// Date and time in Greenwich, as DICOM writes them.
fn now() -> (String, String) {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let [year, month, day] = civil(seconds / 86_400);
    let of_day = seconds % 86_400;
    (format!("{year:04}{month:02}{day:02}"), format!("{:02}{:02}{:02}", of_day / 3600, of_day / 60 % 60, of_day % 60))
}

/// Year, month and day of a number of days after 1970-01-01. Years are counted from March, so that the leap day is a
/// year's last; 400 of them have 146,097 days.
fn civil(days: u64) -> [u64; 3] {
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    [era * 400 + year + next, month, day]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_dates() {
        assert_eq!(civil(0), [1970, 1, 1]);
        assert_eq!(civil(11_016), [2000, 2, 29]);
        assert_eq!(civil(11_017), [2000, 3, 1]);
        assert_eq!(civil(20_453), [2025, 12, 31]);
    }

    #[test]
    fn labels_are_plain_lines() {
        assert_eq!(plain(" a\\b\n c\0", 64), "a/b c");
        assert_eq!(plain("abcdef", 4), "abc\u{2026}");
        assert_eq!(plain("äöüß", 4), "äöüß");
    }
}
