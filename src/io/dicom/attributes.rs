//! The attributes of a file that matter here, and where its pixels begin.
//!
//! dicom-rs reads a value by allocating what its length says. So its lazy reader is used: it yields each length before the
//! value, which is then checked, and skipped where nobody asks for it.

use super::DicomError;
use dicom_core::{DataElement, Tag, VR};
use dicom_dictionary_std::tags;
use dicom_encoding::TransferSyntaxIndex;
use dicom_object::InMemDicomObject;
use dicom_parser::StatefulDecode;
use dicom_parser::dataset::LazyDataToken;
use dicom_parser::dataset::lazy_read::LazyDataSetReader;
use dicom_transfer_syntax_registry::TransferSyntaxRegistry;
use std::io::{BufRead, Read, Seek, SeekFrom};

/// The longest value that is read: twice the longest lookup table.
pub const MAX_VALUE_BYTES: u32 = 256 << 10;

/// Sequences within sequences; real files have five or six.
const MAX_DEPTH: usize = 32;

/// Ultrasound regions in one picture.
const MAX_REGIONS: usize = 64;

/// Attributes of the whole file that are read. In the order of their tags.
const WANTED: &[Tag] = &[
    tags::SPECIFIC_CHARACTER_SET,
    tags::SOP_CLASS_UID,
    tags::SOP_INSTANCE_UID,
    // For a segmentation, which belongs to the same patient, study and series.
    tags::STUDY_DATE,
    tags::STUDY_TIME,
    tags::ACCESSION_NUMBER,
    tags::REFERRING_PHYSICIAN_NAME,
    tags::PATIENT_NAME,
    tags::PATIENT_ID,
    tags::PATIENT_BIRTH_DATE,
    tags::PATIENT_SEX,
    tags::SLICE_THICKNESS,
    tags::FRAME_TIME,
    tags::FRAME_TIME_VECTOR,
    tags::STUDY_INSTANCE_UID,
    tags::SERIES_INSTANCE_UID,
    tags::STUDY_ID,
    tags::IMAGE_POSITION_PATIENT,
    tags::IMAGE_ORIENTATION_PATIENT,
    tags::FRAME_OF_REFERENCE_UID,
    tags::SAMPLES_PER_PIXEL,
    tags::PHOTOMETRIC_INTERPRETATION,
    tags::PLANAR_CONFIGURATION,
    tags::NUMBER_OF_FRAMES,
    tags::ROWS,
    tags::COLUMNS,
    tags::PIXEL_SPACING,
    tags::BITS_ALLOCATED,
    tags::BITS_STORED,
    tags::HIGH_BIT,
    tags::PIXEL_REPRESENTATION,
    tags::WINDOW_CENTER,
    tags::WINDOW_WIDTH,
    tags::RESCALE_INTERCEPT,
    tags::RESCALE_SLOPE,
    tags::LOSSY_IMAGE_COMPRESSION,
    tags::LOSSY_IMAGE_COMPRESSION_RATIO,
    tags::LOSSY_IMAGE_COMPRESSION_METHOD,
    tags::RED_PALETTE_COLOR_LOOKUP_TABLE_DESCRIPTOR,
    tags::GREEN_PALETTE_COLOR_LOOKUP_TABLE_DESCRIPTOR,
    tags::BLUE_PALETTE_COLOR_LOOKUP_TABLE_DESCRIPTOR,
    tags::RED_PALETTE_COLOR_LOOKUP_TABLE_DATA,
    tags::GREEN_PALETTE_COLOR_LOOKUP_TABLE_DATA,
    tags::BLUE_PALETTE_COLOR_LOOKUP_TABLE_DATA,
];

/// Attributes of one ultrasound region that are read.
const WANTED_OF_REGION: &[Tag] = &[
    tags::REGION_SPATIAL_FORMAT,
    tags::REGION_DATA_TYPE,
    tags::REGION_LOCATION_MIN_X0,
    tags::REGION_LOCATION_MIN_Y0,
    tags::REGION_LOCATION_MAX_X1,
    tags::REGION_LOCATION_MAX_Y1,
    tags::PHYSICAL_UNITS_X_DIRECTION,
    tags::PHYSICAL_UNITS_Y_DIRECTION,
    tags::PHYSICAL_DELTA_X,
    tags::PHYSICAL_DELTA_Y,
];

/// What a file says, and where its pixels are.
pub(super) struct Attributes {
    pub transfer_syntax: String,
    pub root: InMemDicomObject,
    /// The items of Sequence of Ultrasound Regions.
    pub regions: Vec<InMemDicomObject>,
    pub pixel_data: PixelData,
}

/// Where the value of Pixel Data begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PixelData {
    /// As many bytes as it says; `words` where they are stored as 16-bit words.
    Native { offset: u64, bytes: u64, words: bool },
    /// Items, the first of which is the offset table.
    Encapsulated { offset: u64 },
}

enum Level {
    Sequence,
    Item,
}

impl Attributes {
    /// Reads up to Pixel Data. `source` stands anywhere, and is left anywhere.
    pub fn read<S: BufRead + Seek>(mut source: S) -> Result<Self, DicomError> {
        let end = source.seek(SeekFrom::End(0))?;
        let transfer_syntax = read_meta(&mut source, end)?;
        let begun = source.stream_position()?;
        let syntax = TransferSyntaxRegistry
            .get(&transfer_syntax)
            .filter(|syntax| !syntax.is_unsupported() || syntax.is_encapsulated_pixel_data())
            .ok_or_else(|| unsupported_syntax(&transfer_syntax))?;
        if syntax.uid().starts_with("1.2.840.10008.1.2.1.99") || syntax.uid().starts_with("1.2.840.10008.1.2.4.95") {
            return Err(unsupported_syntax(&transfer_syntax));
        }
        let damaged = |position, reason| DicomError::Damaged { position, reason };
        let mut reader = LazyDataSetReader::new_with_ts(source, syntax)
            .map_err(|_| damaged(begun, "it does not begin with attributes"))?;
        let mut read = Self {
            transfer_syntax,
            root: InMemDicomObject::new_empty(),
            regions: Vec::new(),
            pixel_data: PixelData::Encapsulated { offset: 0 },
        };
        let mut levels: Vec<Level> = Vec::new();
        // The open sequence on the first level.
        let mut open = None;
        let mut position = begun;
        loop {
            let token = match reader.advance() {
                None => return Err(DicomError::NoPixels),
                Some(token) => token.map_err(|_| damaged(position, "an attribute cannot be told from the next"))?,
            };
            let at_region = levels.len() == 2 && open == Some(tags::SEQUENCE_OF_ULTRASOUND_REGIONS);
            // The reader keeps its own account of levels, and does not expect ends that have no beginning.
            match token {
                LazyDataToken::ElementHeader(_) => {}
                LazyDataToken::SequenceStart { tag, .. } => {
                    if levels.is_empty() {
                        open = Some(tag);
                    }
                    levels.push(Level::Sequence);
                }
                LazyDataToken::PixelSequenceStart if levels.is_empty() => {
                    let offset = reader.into_decoder().position();
                    read.pixel_data = PixelData::Encapsulated { offset };
                    return Ok(read);
                }
                LazyDataToken::PixelSequenceStart => levels.push(Level::Sequence),
                LazyDataToken::ItemStart { .. } => {
                    if levels.len() == 1 && open == Some(tags::SEQUENCE_OF_ULTRASOUND_REGIONS) {
                        if read.regions.len() == MAX_REGIONS {
                            return Err(damaged(position, "it has more ultrasound regions than any picture"));
                        }
                        read.regions.push(InMemDicomObject::new_empty());
                    }
                    levels.push(Level::Item);
                }
                LazyDataToken::ItemEnd => match levels.pop() {
                    Some(Level::Item) => {}
                    _ => return Err(damaged(position, "an item ends that never began")),
                },
                LazyDataToken::SequenceEnd => match levels.pop() {
                    Some(Level::Sequence) => {}
                    _ => return Err(damaged(position, "a sequence ends that never began")),
                },
                LazyDataToken::LazyValue { header, decoder } => {
                    position = decoder.position();
                    let there = end.saturating_sub(position);
                    let bytes = u64::from(header.len.get().unwrap_or(u32::MAX));
                    if levels.is_empty() && header.tag == tags::PIXEL_DATA {
                        if bytes > there {
                            return Err(DicomError::CutShort { announced: bytes, actual: there });
                        }
                        let words = header.vr() == VR::OW;
                        read.pixel_data = PixelData::Native { offset: position, bytes, words };
                        return Ok(read);
                    }
                    if bytes > there {
                        return Err(damaged(position, "an attribute is longer than the file"));
                    }
                    let object = if levels.is_empty() && WANTED.contains(&header.tag) {
                        Some(&mut read.root)
                    } else if at_region && WANTED_OF_REGION.contains(&header.tag) {
                        read.regions.last_mut()
                    } else {
                        None
                    };
                    let token = LazyDataToken::LazyValue { header, decoder };
                    match object {
                        Some(object) if bytes <= u64::from(MAX_VALUE_BYTES) => {
                            let value = token
                                .into_value()
                                .map_err(|_| damaged(position, "an attribute's value is not of its kind"))?;
                            object.put(DataElement::new(header.tag, header.vr(), value));
                        }
                        Some(_) => return Err(damaged(position, "an attribute is longer than any of its kind")),
                        None => token.skip().map_err(|_| damaged(position, "an attribute is longer than the file"))?,
                    }
                }
                LazyDataToken::LazyItemValue { len, decoder } => {
                    position = decoder.position();
                    if u64::from(len) > end.saturating_sub(position) {
                        return Err(damaged(position, "an item is longer than the file"));
                    }
                    LazyDataToken::LazyItemValue { len, decoder }
                        .skip()
                        .map_err(|_| damaged(position, "an item is longer than the file"))?;
                }
                _ => return Err(damaged(position, "it holds what no DICOM file holds")),
            }
            if levels.len() > MAX_DEPTH {
                return Err(damaged(position, "sequences are nested deeper than any file's"));
            }
        }
    }
}

/// Reads the preamble and the file's own attributes, which are always explicit and little-endian. Leaves `source` behind
/// them; yields the transfer syntax.
fn read_meta<S: BufRead + Seek>(source: &mut S, end: u64) -> Result<String, DicomError> {
    source.seek(SeekFrom::Start(0))?;
    let mut start = [0; 132];
    source.read_exact(&mut start).map_err(|_| DicomError::NotDicom)?;
    if start[128..] != *b"DICM" {
        return Err(DicomError::NotDicom);
    }
    let mut transfer_syntax = None;
    loop {
        let position = source.stream_position()?;
        let damaged = |reason| DicomError::Damaged { position, reason };
        let mut head = [0; 8];
        if source.read_exact(&mut head).is_err() {
            return Err(damaged("it ends within its first attributes"));
        }
        let [g0, g1, e0, e1, vr0, vr1, l0, l1] = head;
        if u16::from_le_bytes([g0, g1]) != 2 {
            source.seek(SeekFrom::Start(position))?;
            break;
        }
        let length = if [*b"OB", *b"OW", *b"UN", *b"UT", *b"SQ"].contains(&[vr0, vr1]) {
            let mut length = [0; 4];
            source.read_exact(&mut length).map_err(|_| damaged("it ends within its first attributes"))?;
            u32::from_le_bytes(length)
        } else {
            u32::from(u16::from_le_bytes([l0, l1]))
        };
        let value = source.stream_position()?;
        if u64::from(length) > end.saturating_sub(value) {
            return Err(damaged("an attribute is longer than the file"));
        }
        if u16::from_le_bytes([e0, e1]) == tags::TRANSFER_SYNTAX_UID.element() {
            // A UID has 64 characters at the most.
            let mut uid = String::new();
            let read = source.take(u64::from(length.min(64))).read_to_string(&mut uid);
            read.map_err(|_| damaged("the transfer syntax is not text"))?;
            transfer_syntax = Some(uid.trim_end_matches(['\0', ' ']).to_string());
        }
        source.seek(SeekFrom::Start(value + u64::from(length)))?;
    }
    transfer_syntax.ok_or(DicomError::Missing("its transfer syntax"))
}

fn unsupported_syntax(uid: &str) -> DicomError {
    let known: String = uid.chars().filter(|c| c.is_ascii_digit() || *c == '.').collect();
    DicomError::Unsupported(format!("its transfer syntax is {known}"))
}
