//! DICOM SEG: masks that a viewer lays over their ultrasound source (PS3.3, A.51).
//!
//! There is one binary segment per prompt. Every frame refers to the frame of the source that it matches pixel by
//! pixel. The size of a pixel is written where it is known, and with it the plane's position where the source has a
//! frame of reference; most ultrasound files have none.

use super::derived::{
    self, Algorithm, Code, Deidentification, Header, MAX_LABEL, NoReference, new_uid, number, plain, sequence, text,
};
use super::geometry::{Planes, decimal, decimals};
use super::origin::SourceReference;
use crate::io::WriteError;
use crate::mask::Mask;
use dicom_core::{DataElement, PrimitiveValue, VR, dicom_value};
use dicom_dictionary_std::{tags, uids};
use dicom_object::InMemDicomObject;
use std::io;
use std::path::Path;

/// The most bytes that the masks of one file may take, at eight pixels a byte.
const MAX_PIXEL_BYTES: usize = 256 << 20;

/// The most characters of a segment's description, which has prompts that are too long for its label.
const MAX_DESCRIPTION: usize = 1024;

/// One mask, eight pixels a byte.
struct Frame {
    segment: u16,
    /// The frame's number in the source, from 1.
    number: u32,
    bits: Vec<u8>,
    empty: bool,
}

/// Masks of one DICOM file under any number of prompts, until they are written. They are stored with one bit a pixel.
pub struct Segmentation {
    source: SourceReference,
    algorithm: Algorithm,
    prompts: Vec<String>,
    size: Option<[usize; 2]>,
    mm_per_pixel: Option<[f32; 2]>,
    frames: Vec<Frame>,
    bytes: usize,
}

/// A written segmentation: what another object needs to refer to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrittenSegmentation {
    pub(super) instance_uid: String,
    pub(super) series_uid: String,
    /// The tracking UID of every prompt.
    pub(super) tracking_uids: Vec<String>,
    /// Segment and source frame of every frame, both from 1.
    frames: Vec<(u16, u32)>,
}

impl WrittenSegmentation {
    /// The segmentation's frame, from 1, with the finding of a prompt in a frame of the source, both from 0.
    pub(super) fn frame(&self, prompt: usize, frame: usize) -> Option<u32> {
        let wanted = (u16::try_from(prompt + 1).ok()?, u32::try_from(frame + 1).ok()?);
        let index = self.frames.binary_search(&wanted).ok()?;
        u32::try_from(index + 1).ok()
    }
}

/// Why masks cannot be written as a segmentation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages say it")]
pub enum SegmentationError {
    #[error("masks of different sizes cannot be written into one DICOM segmentation: write one for each size")]
    Size,
    #[error("the masks take more than {} MiB as a DICOM segmentation: cut the clip", MAX_PIXEL_BYTES >> 20)]
    TooLarge,
    #[error("segment {0} cannot be written into a DICOM segmentation: its prompt does not exist")]
    Prompt(usize),
    #[error(transparent)]
    Source(#[from] NoReference),
}

impl Segmentation {
    /// An empty segmentation. Segments have the prompts' numbers.
    pub fn new(source: SourceReference, algorithm: Algorithm, prompts: Vec<String>) -> Self {
        Self { source, algorithm, prompts, size: None, mm_per_pixel: None, frames: Vec::new(), bytes: 0 }
    }

    /// States the size of a pixel, `[x, y]`, where it is known.
    pub fn set_mm_per_pixel(&mut self, mm_per_pixel: Option<[f32; 2]>) {
        self.mm_per_pixel = mm_per_pixel;
    }

    /// Adds what prompt `prompt`, counted from 0, found in the source's frame `frame`, counted from 0.
    ///
    /// # Errors
    /// The mask has another size than the first, the prompt is not one of this segmentation's, or there are more masks
    /// than a file can hold.
    pub fn push(&mut self, prompt: usize, frame: usize, mask: &Mask) -> Result<(), SegmentationError> {
        self.source.check()?;
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
        // The standard allows to leave out empty frames; each segment keeps one, so that "looked for, not found" is
        // recorded.
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

    /// Writes the file. With a de-identification nothing in it identifies the patient, and its UIDs are replaced.
    ///
    /// # Errors
    /// The folder cannot be written to, or the segmentation has no mask.
    pub fn write(
        mut self,
        path: &Path,
        deidentification: Option<&Deidentification>,
    ) -> Result<WrittenSegmentation, WriteError> {
        self.frames.sort_by_key(|frame| (frame.segment, frame.number));
        let written = WrittenSegmentation {
            instance_uid: new_uid(),
            series_uid: new_uid(),
            tracking_uids: self.prompts.iter().map(|_| new_uid()).collect(),
            frames: self.frames.iter().map(|frame| (frame.segment, frame.number)).collect(),
        };
        let object = self.object(&written, deidentification).ok_or_else(|| WriteError::Io {
            path: path.into(),
            source: io::Error::other("a segmentation without masks"),
        })?;
        derived::write(object, path)?;
        Ok(written)
    }

    fn object(
        &self,
        written: &WrittenSegmentation,
        deidentification: Option<&Deidentification>,
    ) -> Option<InMemDicomObject> {
        let [width, height] = self.size?;
        let header = Header {
            sop_class: uids::SEGMENTATION_STORAGE,
            instance_uid: &written.instance_uid,
            series_uid: &written.series_uid,
            modality: "SEG",
            series_description: "Text-prompted segmentation, research use only",
            structured_content: false,
        };
        let mut object = header.object(&self.source, &self.algorithm, deidentification);
        for element in self.source.lossy_compression() {
            object.put(element);
        }
        if let Some(frame) = self.source.uid(tags::FRAME_OF_REFERENCE_UID, deidentification) {
            object.put(text(tags::FRAME_OF_REFERENCE_UID, VR::UI, frame));
            object.put(text(tags::POSITION_REFERENCE_INDICATOR, VR::LO, ""));
        }
        let mut put = |element: DataElement<InMemDicomObject>| {
            object.put(element);
        };
        let organization = new_uid();
        for (tag, vr, value) in [
            (tags::CONTENT_LABEL, VR::CS, "SEGMENTATION"),
            (tags::CONTENT_DESCRIPTION, VR::LO, "Lesions that sentences describe"),
            (tags::CONTENT_CREATOR_NAME, VR::PN, ""),
            (tags::PATIENT_ORIENTATION, VR::CS, ""),
            (tags::SEGMENTATION_TYPE, VR::CS, "BINARY"),
            (tags::PHOTOMETRIC_INTERPRETATION, VR::CS, "MONOCHROME2"),
            (tags::NUMBER_OF_FRAMES, VR::IS, &self.frames.len().to_string()),
        ] {
            put(text(tag, vr, value));
        }
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
            put(number(tag, value));
        }
        let segments = self.prompts.iter().zip(&written.tracking_uids).zip(1..);
        let impersonal = deidentification.is_some();
        let segments = segments.map(|((prompt, tracking), number)| self.segment(prompt, tracking, number, impersonal));
        let segments = segments.collect();
        put(sequence(tags::SEGMENT_SEQUENCE, segments));
        let of_dimension = |pointer, group, label| {
            InMemDicomObject::from_element_iter([
                text(tags::DIMENSION_ORGANIZATION_UID, VR::UI, organization.as_str()),
                DataElement::new(tags::DIMENSION_INDEX_POINTER, VR::AT, PrimitiveValue::from(pointer)),
                DataElement::new(tags::FUNCTIONAL_GROUP_POINTER, VR::AT, PrimitiveValue::from(group)),
                text(tags::DIMENSION_DESCRIPTION_LABEL, VR::LO, label),
            ])
        };
        let dimensions = vec![
            of_dimension(tags::REFERENCED_SEGMENT_NUMBER, tags::SEGMENT_IDENTIFICATION_SEQUENCE, "Segment"),
            of_dimension(tags::FRAME_ACQUISITION_NUMBER, tags::FRAME_CONTENT_SEQUENCE, "Frame of the source"),
        ];
        put(sequence(tags::DIMENSION_INDEX_SEQUENCE, dimensions));
        let organization = text(tags::DIMENSION_ORGANIZATION_UID, VR::UI, organization.as_str());
        put(sequence(tags::DIMENSION_ORGANIZATION_SEQUENCE, vec![InMemDicomObject::from_element_iter([organization])]));
        let series = self.source.series(tags::REFERENCED_INSTANCE_SEQUENCE, deidentification);
        put(sequence(tags::REFERENCED_SERIES_SEQUENCE, vec![series]));
        put(sequence(tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE, vec![self.shared()]));
        let frames = self.frames.iter().map(|frame| self.frame(frame, deidentification)).collect();
        put(sequence(tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE, frames));
        put(DataElement::new(tags::PIXEL_DATA, VR::OB, PrimitiveValue::from(self.packed(width * height))));
        Some(object)
    }

    /// The functional groups of all frames: size of a pixel, and orientation.
    fn shared(&self) -> InMemDicomObject {
        let mut shared = InMemDicomObject::new_empty();
        let Some([x, y]) = self.mm_per_pixel.map(|mm| mm.map(f64::from)) else { return shared };
        // The distance from row to row comes first.
        // Readers need a thickness too. Ultrasound files rarely state it, and then it is nominal: that of a cube as
        // high as a pixel.
        let planes = self.source.planes.as_ref();
        let thickness = planes.and_then(Planes::thickness_mm).unwrap_or(y);
        let measures = InMemDicomObject::from_element_iter([
            DataElement::new(tags::PIXEL_SPACING, VR::DS, decimals(&[y, x])),
            text(tags::SLICE_THICKNESS, VR::DS, decimal(thickness)),
        ]);
        if let Some(planes) = planes {
            shared.put(planes.orientation());
        }
        shared.put(sequence(tags::PIXEL_MEASURES_SEQUENCE, vec![measures]));
        shared
    }

    fn segment(&self, prompt: &str, tracking_uid: &str, number: u16, impersonal: bool) -> InMemDicomObject {
        let Algorithm { name, version } = &self.algorithm;
        let mut segment = InMemDicomObject::from_element_iter([
            derived::number(tags::SEGMENT_NUMBER, number),
            text(tags::SEGMENT_ALGORITHM_TYPE, VR::CS, "AUTOMATIC"),
            text(tags::TRACKING_UID, VR::UI, tracking_uid),
            CATEGORY.sequence(tags::SEGMENTED_PROPERTY_CATEGORY_CODE_SEQUENCE),
            LESION.sequence(tags::SEGMENTED_PROPERTY_TYPE_CODE_SEQUENCE),
        ]);
        let texts = [
            (tags::SEGMENT_LABEL, VR::LO, label(prompt, MAX_LABEL)),
            (tags::SEGMENT_DESCRIPTION, VR::ST, label(prompt, MAX_DESCRIPTION)),
            (tags::SEGMENT_ALGORITHM_NAME, VR::LO, plain(&format!("{name} {version}"), MAX_LABEL)),
            (tags::TRACKING_ID, VR::UT, tracking_id(number, prompt)),
        ];
        self.source.put_own_text(&mut segment, &texts, impersonal);
        segment
    }

    fn frame(&self, frame: &Frame, deidentification: Option<&Deidentification>) -> InMemDicomObject {
        let mut source = InMemDicomObject::from_element_iter(self.source.instance(deidentification));
        if self.source.frames > 1 {
            source.put(text(tags::REFERENCED_FRAME_NUMBER, VR::IS, frame.number.to_string()));
        }
        let purpose = Code::dcm("121322", "Source image for image processing operation");
        source.put(purpose.sequence(tags::PURPOSE_OF_REFERENCE_CODE_SEQUENCE));
        source.put(text(tags::SPATIAL_LOCATIONS_PRESERVED, VR::CS, "YES"));
        let derivation = InMemDicomObject::from_element_iter([
            sequence(tags::SOURCE_IMAGE_SEQUENCE, vec![source]),
            Code::dcm("113076", "Segmentation").sequence(tags::DERIVATION_CODE_SEQUENCE),
        ]);
        let segment = u32::from(frame.segment);
        let content = InMemDicomObject::from_element_iter([
            DataElement::new(
                tags::DIMENSION_INDEX_VALUES,
                VR::UL,
                PrimitiveValue::U32([segment, frame.number].into_iter().collect()),
            ),
            number(tags::FRAME_ACQUISITION_NUMBER, u16::try_from(frame.number).unwrap_or(u16::MAX)),
        ]);
        let identification =
            InMemDicomObject::from_element_iter([number(tags::REFERENCED_SEGMENT_NUMBER, frame.segment)]);
        let mut groups = InMemDicomObject::from_element_iter([
            sequence(tags::FRAME_CONTENT_SEQUENCE, vec![content]),
            sequence(tags::DERIVATION_IMAGE_SEQUENCE, vec![derivation]),
            sequence(tags::SEGMENT_IDENTIFICATION_SEQUENCE, vec![identification]),
        ]);
        let planes = self.source.planes.as_ref().filter(|_| self.mm_per_pixel.is_some());
        if let Some(position) = planes.and_then(|planes| planes.position(frame.number)) {
            groups.put(position);
        }
        groups
    }

    /// All frames bit after bit, the lowest bit first; a frame may begin within a byte.
    fn packed(&self, pixels: usize) -> Vec<u8> {
        let mut packed = vec![0u8; (self.frames.len() * pixels).div_ceil(8).next_multiple_of(2)];
        for (index, frame) in self.frames.iter().enumerate() {
            let (byte, shift) = (index * pixels / 8, index * pixels % 8);
            for (at, bits) in frame.bits.iter().enumerate() {
                packed[byte + at] |= bits << shift;
                // The bits that were shifted out; beyond the end there are only padding bits, which are zero.
                if shift > 0
                    && let Some(next) = packed.get_mut(byte + at + 1)
                {
                    *next |= bits >> (8 - shift);
                }
            }
        }
        packed
    }
}

/// The category of a segment. Its label says in words which kind of lesion it is.
pub(super) const CATEGORY: Code = Code::sct("49755003", "Morphologically Abnormal Structure");
pub(super) const LESION: Code = Code::sct("52988006", "Lesion");

/// The readable name of a finding. Prompts may be repeated, so it contains their number.
pub(super) fn tracking_id(number: u16, prompt: &str) -> String {
    format!("{number}: {}", label(prompt, MAX_DESCRIPTION))
}

fn label(prompt: &str, most: usize) -> String {
    let label = plain(prompt, most);
    // A label must not be empty, but a prompt may be.
    if label.is_empty() { "no prompt".into() } else { label }
}
