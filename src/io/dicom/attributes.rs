//! The attributes of a file that are used, and the position of its pixels.

use super::DicomError;
use super::dataset::{Encoding, PixelData, Walker, has_long_length, is_explicit, vr_of};
use super::values::Elements;
use crate::io::MAX_DECODED_BYTES;
use crate::io::source::Bytes;
use dicom_core::{Tag, VR};
use dicom_dictionary_std::{tags, uids};
use std::io::{BufRead, Cursor, Read, Seek, SeekFrom};

/// Retired, but still found in archives.
pub(super) const EXPLICIT_VR_BIG_ENDIAN: &str = "1.2.840.10008.1.2.2";

/// The attributes that are read, both of the file and of items of the sequences among them.
fn wanted(tag: Tag) -> Option<VR> {
    Some(match tag {
        tags::SPECIFIC_CHARACTER_SET => VR::CS,
        tags::SOP_CLASS_UID
        | tags::SOP_INSTANCE_UID
        | tags::STUDY_INSTANCE_UID
        | tags::SERIES_INSTANCE_UID
        | tags::FRAME_OF_REFERENCE_UID => VR::UI,
        // For objects that are derived from the file, and belong to the same patient, study and series.
        tags::STUDY_DATE | tags::PATIENT_BIRTH_DATE => VR::DA,
        tags::STUDY_TIME => VR::TM,
        tags::ACCESSION_NUMBER | tags::STUDY_ID => VR::SH,
        tags::REFERRING_PHYSICIAN_NAME | tags::PATIENT_NAME => VR::PN,
        tags::PATIENT_ID | tags::POSITION_REFERENCE_INDICATOR => VR::LO,
        tags::PATIENT_SEX => VR::CS,
        tags::LOSSY_IMAGE_COMPRESSION | tags::LOSSY_IMAGE_COMPRESSION_METHOD => VR::CS,
        tags::LOSSY_IMAGE_COMPRESSION_RATIO => VR::DS,
        tags::IMAGE_POSITION_PATIENT | tags::IMAGE_ORIENTATION_PATIENT | tags::SLICE_THICKNESS => VR::DS,
        tags::IMAGE_POSITION_VOLUME | tags::IMAGE_ORIENTATION_VOLUME => VR::FD,
        tags::FRAME_TIME | tags::FRAME_TIME_VECTOR => VR::DS,
        tags::SAMPLES_PER_PIXEL
        | tags::PLANAR_CONFIGURATION
        | tags::ROWS
        | tags::COLUMNS
        | tags::BITS_ALLOCATED
        | tags::BITS_STORED
        | tags::HIGH_BIT
        | tags::PIXEL_REPRESENTATION => VR::US,
        tags::PHOTOMETRIC_INTERPRETATION | tags::PRESENTATION_LUT_SHAPE | tags::VOILUT_FUNCTION => VR::CS,
        tags::NUMBER_OF_FRAMES => VR::IS,
        tags::PIXEL_SPACING
        | tags::WINDOW_CENTER
        | tags::WINDOW_WIDTH
        | tags::RESCALE_INTERCEPT
        | tags::RESCALE_SLOPE => VR::DS,
        tags::LUT_DESCRIPTOR
        | tags::RED_PALETTE_COLOR_LOOKUP_TABLE_DESCRIPTOR
        | tags::GREEN_PALETTE_COLOR_LOOKUP_TABLE_DESCRIPTOR
        | tags::BLUE_PALETTE_COLOR_LOOKUP_TABLE_DESCRIPTOR => VR::US,
        tags::LUT_DATA
        | tags::RED_PALETTE_COLOR_LOOKUP_TABLE_DATA
        | tags::GREEN_PALETTE_COLOR_LOOKUP_TABLE_DATA
        | tags::BLUE_PALETTE_COLOR_LOOKUP_TABLE_DATA
        | tags::SEGMENTED_RED_PALETTE_COLOR_LOOKUP_TABLE_DATA
        | tags::SEGMENTED_GREEN_PALETTE_COLOR_LOOKUP_TABLE_DATA
        | tags::SEGMENTED_BLUE_PALETTE_COLOR_LOOKUP_TABLE_DATA => VR::OW,
        tags::MODALITY_LUT_SEQUENCE | tags::VOILUT_SEQUENCE => VR::SQ,
        // For Enhanced US Volume and similar: what all frames share, and what each has of its own.
        tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE
        | tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE
        | tags::PIXEL_MEASURES_SEQUENCE
        | tags::PLANE_POSITION_SEQUENCE
        | tags::PLANE_ORIENTATION_SEQUENCE
        | tags::PLANE_POSITION_VOLUME_SEQUENCE
        | tags::PLANE_ORIENTATION_VOLUME_SEQUENCE
        | tags::PIXEL_VALUE_TRANSFORMATION_SEQUENCE
        | tags::FRAME_VOILUT_SEQUENCE => VR::SQ,
        tags::SEQUENCE_OF_ULTRASOUND_REGIONS => VR::SQ,
        tags::REGION_SPATIAL_FORMAT
        | tags::REGION_DATA_TYPE
        | tags::PHYSICAL_UNITS_X_DIRECTION
        | tags::PHYSICAL_UNITS_Y_DIRECTION => VR::US,
        tags::REGION_LOCATION_MIN_X0
        | tags::REGION_LOCATION_MIN_Y0
        | tags::REGION_LOCATION_MAX_X1
        | tags::REGION_LOCATION_MAX_Y1 => VR::UL,
        tags::PHYSICAL_DELTA_X | tags::PHYSICAL_DELTA_Y => VR::FD,
        _ => return None,
    })
}

/// The attributes of a file, and the position of its pixels.
pub(super) struct Attributes {
    pub transfer_syntax: String,
    pub root: Elements,
    pub pixel_data: PixelData,
    /// Repaired and omitted parts.
    pub notes: Vec<&'static str>,
}

/// Whether a file without a preamble begins with elements of DICOM: its own attributes, or those of an instance.
pub(crate) fn begins_with_elements(start: &[u8]) -> bool {
    let Some(head) = start.first_chunk::<8>() else { return false };
    let (group, element) = (u16::from_le_bytes([head[0], head[1]]), u16::from_le_bytes([head[2], head[3]]));
    let explicit = is_explicit(head, false) == Some(true);
    let short = u32::from_le_bytes([head[4], head[5], head[6], head[7]]) <= 64;
    match (group, element) {
        (2, 0..=2) => explicit,
        // The first elements that an instance can have, the UID of its class among them.
        (8, 0 | 1 | 5 | 6 | 8 | 0x12 | 0x13 | 0x14 | 0x16 | 0x18) => explicit || short,
        _ => false,
    }
}

impl Attributes {
    /// Reads up to Pixel Data. The position of `source` does not matter, before or after; where the file is compressed,
    /// `source` is replaced by its unpacked bytes.
    pub fn read(source: &mut Box<dyn Bytes>) -> Result<Self, DicomError> {
        let end = source.seek(SeekFrom::End(0))?;
        let meta = Meta::read(source, end)?;
        let mut notes = meta.notes;
        let mut begun = source.stream_position()?;
        let transfer_syntax = match meta.transfer_syntax {
            Some(uid) => uid,
            None => {
                notes.push("it does not name its transfer syntax; its attributes were read as they are");
                let mut first = [0; 8];
                source.read_exact(&mut first).map_err(|_| DicomError::NotDicom)?;
                let explicit = is_explicit(&first, false) == Some(true);
                let uid = if explicit { uids::EXPLICIT_VR_LITTLE_ENDIAN } else { uids::IMPLICIT_VR_LITTLE_ENDIAN };
                uid.to_string()
            }
        };
        let mut end = end;
        if transfer_syntax == uids::DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN {
            let unpacked = inflate(source, begun)?;
            (begun, end) = (0, unpacked.len() as u64);
            *source = Box::new(Cursor::new(unpacked));
        }
        let encoding = Encoding {
            explicit: transfer_syntax != uids::IMPLICIT_VR_LITTLE_ENDIAN,
            big_endian: transfer_syntax == EXPLICIT_VR_BIG_ENDIAN,
        };
        let walker = Walker::new(source.as_mut(), begun, end, wanted)?;
        let (root, pixel_data, mended) = walker.read(encoding)?;
        notes.extend(mended);
        Ok(Self { transfer_syntax, root, pixel_data, notes })
    }
}

/// Unpacks everything after `begun`.
fn inflate(source: &mut dyn Bytes, begun: u64) -> Result<Vec<u8>, DicomError> {
    source.seek(SeekFrom::Start(begun))?;
    let mut unpacked = Vec::new();
    let packed = flate2::bufread::DeflateDecoder::new(source);
    let damaged = |_| DicomError::Damaged { position: begun, reason: "its packed part cannot be unpacked" };
    packed.take(MAX_DECODED_BYTES + 1).read_to_end(&mut unpacked).map_err(damaged)?;
    if unpacked.len() as u64 > MAX_DECODED_BYTES {
        return Err(DicomError::Memory);
    }
    Ok(unpacked)
}

/// The file's own attributes, which are always explicit and little-endian.
struct Meta {
    transfer_syntax: Option<String>,
    notes: Vec<&'static str>,
}

impl Meta {
    /// Reads the preamble, where there is one, and the file's own attributes. Leaves `source` behind them.
    fn read<S: BufRead + Seek>(source: &mut S, end: u64) -> Result<Self, DicomError> {
        source.seek(SeekFrom::Start(0))?;
        let mut start = Vec::with_capacity(132);
        source.by_ref().take(132).read_to_end(&mut start)?;
        let mut meta = Self { transfer_syntax: None, notes: Vec::new() };
        if start.get(128..) != Some(b"DICM") {
            if !begins_with_elements(&start) {
                return Err(DicomError::NotDicom);
            }
            meta.notes.push("it has no preamble");
            source.seek(SeekFrom::Start(0))?;
        }
        loop {
            let position = source.stream_position()?;
            let damaged = |reason| DicomError::Damaged { position, reason };
            let mut head = [0; 8];
            if source.read_exact(&mut head).is_err() {
                return Err(damaged("it ends within its first attributes"));
            }
            let [g0, g1, e0, e1, v0, v1, l0, l1] = head;
            if u16::from_le_bytes([g0, g1]) != 2 {
                source.seek(SeekFrom::Start(position))?;
                return Ok(meta);
            }
            let length = match vr_of([v0, v1]) {
                Some(vr) if has_long_length(vr) => {
                    let mut length = [0; 4];
                    source.read_exact(&mut length).map_err(|_| damaged("it ends within its first attributes"))?;
                    u32::from_le_bytes(length)
                }
                Some(_) => u32::from(u16::from_le_bytes([l0, l1])),
                // Implicit, against the standard.
                None => u32::from_le_bytes([v0, v1, l0, l1]),
            };
            let value = source.stream_position()?;
            if u64::from(length) > end.saturating_sub(value) {
                return Err(damaged("an attribute is longer than the file"));
            }
            if u16::from_le_bytes([e0, e1]) == tags::TRANSFER_SYNTAX_UID.element() {
                // A UID has 64 characters at the most.
                let mut uid = String::new();
                let read = source.by_ref().take(u64::from(length.min(64))).read_to_string(&mut uid);
                read.map_err(|_| damaged("the transfer syntax is not text"))?;
                meta.transfer_syntax = Some(uid.trim_matches(['\0', ' ']).to_string()).filter(|uid| !uid.is_empty());
            }
            source.seek(SeekFrom::Start(value + u64::from(length)))?;
        }
    }
}
