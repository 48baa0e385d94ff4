//! The frames of a DICOM file, in their order.

use super::DicomError;
use super::attributes::{Attributes, EXPLICIT_VR_BIG_ENDIAN};
use super::dataset::PixelData;
use super::description::Description;
use super::encapsulated::Fragments;
use super::geometry::Planes;
use super::jpeg;
use super::origin::{Lossy, SourceReference, lossy_method};
use super::pixels::PixelLayout;
use super::values::{Elements, real, reals, text};
use super::{jpeg_ls, jpeg2000, regions, rle};
use crate::frame::Region;
use crate::io::jpeg::{Process, check_complete};
use crate::io::source::{Bytes, FrameBuffer, FrameSource, SourceError};
use dicom_dictionary_std::{tags, uids};
use std::fs::File;
use std::io::{BufReader, Cursor, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

enum Coding {
    Native {
        offset: u64,
        swap: bool,
    },
    /// JPEG, lossless JPEG, JPEG-LS, JPEG 2000: each frame says which.
    Jpeg(Fragments),
    Rle(Fragments),
}

/// Transfer syntaxes that are read, with their names.
const SYNTAXES: &[(&str, &str)] = &[
    (uids::IMPLICIT_VR_LITTLE_ENDIAN, "Implicit VR Little Endian"),
    (uids::EXPLICIT_VR_LITTLE_ENDIAN, "Explicit VR Little Endian"),
    (uids::DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN, "Deflated Explicit VR Little Endian"),
    (EXPLICIT_VR_BIG_ENDIAN, "Explicit VR Big Endian"),
    (uids::JPEG_BASELINE8_BIT, "JPEG Baseline"),
    (uids::JPEG_EXTENDED12_BIT, "JPEG Extended"),
    (uids::JPEG_LOSSLESS, "JPEG Lossless"),
    (uids::JPEG_LOSSLESS_SV1, "JPEG Lossless, first-order prediction"),
    (uids::JPEGLS_LOSSLESS, "JPEG-LS Lossless"),
    (uids::JPEGLS_NEAR_LOSSLESS, "JPEG-LS Near-Lossless"),
    (uids::JPEG2000_LOSSLESS, "JPEG 2000 Lossless"),
    (uids::JPEG2000, "JPEG 2000"),
    (uids::RLE_LOSSLESS, "RLE Lossless"),
];

/// UIDs of the transfer syntaxes that are read.
#[doc(hidden)]
pub fn transfer_syntaxes() -> impl Iterator<Item = &'static str> {
    SYNTAXES.iter().map(|(uid, _)| *uid)
}

/// The result of decoding a frame.
enum Decoded {
    Whole,
    /// Part of it is missing, and why.
    Partly(String),
}

/// An ultrasound picture or clip. Frames are read on demand; a clip needs the memory of one frame, stored and decoded,
/// and sixteen bytes a fragment.
pub struct DicomClip {
    path: PathBuf,
    source: Box<dyn Bytes>,
    reference: SourceReference,
    layout: PixelLayout,
    coding: Coding,
    region: Option<Region>,
    mm_per_pixel: Option<[f32; 2]>,
    /// Times from each frame to the next.
    frame_times: FrameTimes,
    description: Description,
    next: u64,
    /// Whether a frame was decoded.
    any: bool,
    /// One frame as stored.
    stored: Vec<u8>,
    /// One frame's planes.
    unpacked: Vec<u8>,
}

/// When frames were taken, relative to the first.
enum FrameTimes {
    Unknown,
    Every(f64),
    /// The time of every frame, in seconds.
    Listed(Vec<f64>),
}

impl DicomClip {
    /// Reads the attributes, and checks that the file can hold the pixels it announces.
    ///
    /// # Errors
    /// The file is not DICOM, is damaged, or has an unsupported transfer syntax or kind of pixels.
    pub fn open(path: &Path) -> Result<Self, SourceError> {
        let failed = |problem| SourceError::Dicom { path: path.into(), problem };
        let file = File::open(path).map_err(|error| failed(error.into()))?;
        Self::new(path, Box::new(BufReader::new(file))).map_err(failed)
    }

    /// As [`DicomClip::open`], from a file's bytes; `name` is its name in errors.
    pub fn from_bytes(name: &Path, bytes: Vec<u8>) -> Result<Self, SourceError> {
        Self::new(name, Box::new(Cursor::new(bytes)))
            .map_err(|problem| SourceError::Dicom { path: name.into(), problem })
    }

    fn new(path: &Path, mut source: Box<dyn Bytes>) -> Result<Self, DicomError> {
        let Attributes { transfer_syntax, root, pixel_data, notes } = Attributes::read(&mut source)?;
        let mut notes: Vec<String> = notes.into_iter().map(str::to_string).collect();
        let uid = transfer_syntax.as_str();
        let syntax = SYNTAXES.iter().find(|(known, _)| *known == uid);
        let unsupported = || {
            let known: String = uid.chars().filter(|c| c.is_ascii_digit() || *c == '.').take(64).collect();
            DicomError::Unsupported(format!("its transfer syntax is {known}"))
        };
        let (_, syntax_name) = syntax.ok_or_else(unsupported)?;
        let mut layout = PixelLayout::read(&root, &mut notes)?;
        let coding = match pixel_data {
            PixelData::Native { offset, bytes, words } => {
                layout.check_length(bytes, &mut notes)?;
                let swap = uid == EXPLICIT_VR_BIG_ENDIAN && (words || layout.bytes_per_sample == 2);
                Coding::Native { offset, swap }
            }
            PixelData::Encapsulated { offset } => {
                let mut find = |marked| Fragments::find(source.as_mut(), offset, layout.frames, marked, &mut notes);
                match uid {
                    uids::RLE_LOSSLESS => Coding::Rle(find(false)?),
                    _ if uid.starts_with("1.2.840.10008.1.2.4.") => Coding::Jpeg(find(true)?),
                    _ => return Err(unsupported()),
                }
            }
        };
        let mut lossy = Lossy { method: lossy_method(uid), ratio: 0.0 };
        if let Coding::Jpeg(fragments) | Coding::Rle(fragments) = &coding {
            layout.frames = fragments.frames();
            lossy.ratio = layout.interleaved_bytes() as f64 * layout.frames as f64 / fragments.bytes().max(1) as f64;
        }
        let regions = regions::read(&root, layout.width, layout.height, &mut notes);
        let scan = regions::scan(&regions, &mut notes);
        let region = scan.map(|region| region.place);
        let mm_per_pixel =
            scan.and_then(|region| region.mm_per_pixel).or_else(|| regions::pixel_spacing(&root, &mut notes));
        let sop_class = text(&root, tags::SOP_CLASS_UID).unwrap_or_default();
        let is_volume = sop_class == uids::ENHANCED_US_VOLUME_STORAGE;
        let frame_times = if is_volume {
            notes.push("its frames are slices of a volume; each is segmented separately, without a time".into());
            FrameTimes::Unknown
        } else {
            FrameTimes::read(&root)
        };
        for note in &notes {
            log::warn!("{}: {note}", path.display());
        }
        let description = Description {
            width: layout.width,
            height: layout.height,
            frames: layout.frames,
            is_volume,
            sop_class,
            transfer_syntax_name: Some(syntax_name),
            photometric_interpretation: layout.photometric.clone(),
            samples_per_pixel: layout.samples_per_pixel,
            bits_allocated: 8 * layout.bytes_per_sample as u32,
            bits_stored: layout.bits_stored,
            regions,
            region,
            mm_per_pixel,
            frame_time_ms: match &frame_times {
                FrameTimes::Every(seconds) => Some(seconds * 1e3),
                _ => None,
            },
            character_set: text(&root, tags::SPECIFIC_CHARACTER_SET).unwrap_or_default(),
            ignored: notes,
            transfer_syntax,
        };
        Ok(Self {
            path: path.into(),
            source,
            region,
            mm_per_pixel,
            frame_times,
            description,
            reference: SourceReference {
                planes: Planes::read(&root, layout.frames),
                root,
                frames: layout.frames,
                lossy,
            },
            layout,
            coding,
            next: 0,
            any: false,
            stored: Vec::new(),
            unpacked: Vec::new(),
        })
    }

    /// The description of the file.
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// The reference for a segmentation of this file.
    pub fn reference(&self) -> &SourceReference {
        &self.reference
    }

    /// Whether this is one picture, not a clip.
    pub fn is_still(&self) -> bool {
        self.layout.frames == 1
    }

    fn fill(&mut self, into: &mut FrameBuffer) -> Result<Decoded, DicomError> {
        let (frame, frames) = (self.next, self.layout.frames);
        let damaged = |reason: &str| DicomError::Frame { frame, frames, reason: reason.to_string() };
        let failed = |error: crate::frame::FrameError| damaged(&error.to_string());
        let Self { source, layout, stored, unpacked, .. } = self;
        match &self.coding {
            Coding::Native { offset, swap } => {
                let bytes = layout.frame_bytes();
                let start = offset.saturating_add(frame.saturating_mul(bytes as u64));
                if *swap {
                    // Complete words: a frame may begin within one and end within another, whose other byte is padding.
                    let before = (start - offset) % 2;
                    source.seek(SeekFrom::Start(start - before))?;
                    let words = (bytes + before as usize).next_multiple_of(2);
                    stored.clear();
                    source.by_ref().take(words as u64).read_to_end(stored)?;
                    if stored.len() < words {
                        return Err(damaged("its last word is missing"));
                    }
                    stored.as_chunks_mut().0.iter_mut().for_each(|pair: &mut [u8; 2]| pair.reverse());
                    stored.drain(..before as usize);
                    stored.truncate(bytes);
                } else {
                    source.seek(SeekFrom::Start(start))?;
                    stored.resize(bytes, 0);
                    source.read_exact(stored)?;
                }
                layout.convert(stored, into).map_err(failed)?;
            }
            Coding::Rle(fragments) => {
                fragments.read(source.as_mut(), frame, stored)?;
                rle::decode(stored, layout.planes(), layout.width * layout.height, unpacked).map_err(damaged)?;
                layout.convert_planes(unpacked, into).map_err(failed)?;
            }
            Coding::Jpeg(fragments) => {
                fragments.read(source.as_mut(), frame, stored)?;
                if stored.starts_with(&[0xff, 0xd8]) {
                    return decode_jpeg(stored, layout, unpacked, into).map_err(|reason| damaged(&reason));
                }
                jpeg2000::decode(stored, layout, unpacked).map_err(|reason| damaged(&reason))?;
                layout.convert_interleaved(unpacked, into).map_err(failed)?;
                if !jpeg2000::is_complete(stored) {
                    return Ok(Decoded::Partly("it is cut short".into()));
                }
            }
        }
        Ok(Decoded::Whole)
    }
}

/// Decodes any kind of JPEG except JPEG 2000, identified by its markers: some files name another kind in their transfer
/// syntax.
fn decode_jpeg(
    data: &[u8],
    layout: &mut PixelLayout,
    unpacked: &mut Vec<u8>,
    into: &mut FrameBuffer,
) -> Result<Decoded, String> {
    let header = jpeg::Header::read(data);
    let failed = |error: crate::frame::FrameError| error.to_string();
    match &header {
        Some(header) if header.frame.process == Process::Ls => {
            jpeg::check_size(header.size(), layout)?;
            jpeg::check_samples(header.component_count(), header.frame.precision.into(), layout)?;
            let size = jpeg_ls::Size {
                width: layout.width,
                height: layout.height,
                components: layout.samples_per_pixel,
                bits: header.frame.precision.into(),
            };
            let mut samples = Vec::new();
            jpeg_ls::decode(data, size, &mut samples)?;
            unpacked.clear();
            if layout.bytes_per_sample == 2 {
                unpacked.extend(samples.iter().flat_map(|sample| sample.to_le_bytes()));
            } else {
                unpacked.extend(samples.iter().map(|sample| *sample as u8));
            }
            layout.convert_interleaved(unpacked, into).map_err(failed)?;
            return Ok(Decoded::Whole);
        }
        Some(header) if header.frame.process == Process::Lossless => {
            jpeg::decode_lossless(data, header, layout, unpacked)?;
            layout.convert_interleaved(unpacked, into).map_err(failed)?;
        }
        _ => {
            let grey = jpeg::decode(data, header.as_ref(), layout, unpacked)?;
            layout.convert_jpeg(grey, unpacked, into)?;
        }
    }
    // Decoders silently fill missing parts with grey.
    Ok(check_complete(data).map_or_else(|fault| Decoded::Partly(fault.to_string()), |()| Decoded::Whole))
}

impl FrameSource for DicomClip {
    fn frame_count(&self) -> Option<usize> {
        usize::try_from(self.layout.frames).ok()
    }

    fn read_frame(&mut self, into: &mut FrameBuffer) -> Result<bool, SourceError> {
        if self.next >= self.layout.frames {
            return Ok(false);
        }
        let filled = self.fill(into);
        let (frame, frames) = (self.next, self.layout.frames);
        self.next += 1;
        let failed = |problem| SourceError::Dicom { path: self.path.clone(), problem };
        // A clip continues after a damaged frame, which is used as far as it could be decoded, and flagged. For a
        // single picture, and where no frame is better, this is an error.
        let missing = match filled {
            Ok(Decoded::Whole) => None,
            Ok(Decoded::Partly(reason)) => Some(reason),
            Err(DicomError::Frame { reason, .. }) if frames > 1 && (self.any || self.next < frames) => {
                self.layout.blank(into)?;
                Some(reason)
            }
            Err(problem) => {
                self.next = frames;
                return Err(failed(problem));
            }
        };
        match missing {
            Some(reason) if frames == 1 => return Err(failed(DicomError::Frame { frame, frames, reason })),
            Some(reason) => {
                log::warn!(
                    "{}: frame {} of {frames} is damaged ({reason}); it is flagged",
                    self.path.display(),
                    frame + 1
                );
                into.valid = false;
            }
            None => self.any = true,
        }
        if let Some(region) = self.region {
            into.set_region(region)?;
        }
        if let Some(mm_per_pixel) = self.mm_per_pixel {
            into.set_mm_per_pixel(mm_per_pixel)?;
        }
        into.timestamp_s = self.frame_times.of(frame);
        Ok(true)
    }
}

impl FrameTimes {
    fn read(root: &Elements) -> Self {
        let usable = |ms: &f64| ms.is_finite() && *ms >= 0.0;
        // Both are in milliseconds. The first of the list is zero: each is the time since the frame before.
        if let Some(steps) =
            reals(root, tags::FRAME_TIME_VECTOR).filter(|steps| steps.len() > 1 && steps.iter().all(usable))
        {
            let mut now = 0.0;
            return Self::Listed(
                steps
                    .iter()
                    .map(|ms| {
                        now += ms / 1e3;
                        now
                    })
                    .collect(),
            );
        }
        real(root, tags::FRAME_TIME).filter(|ms| *ms > 0.0).map_or(Self::Unknown, |ms| Self::Every(ms / 1e3))
    }

    fn of(&self, frame: u64) -> Option<f64> {
        match self {
            Self::Unknown => None,
            Self::Every(seconds) => Some(frame as f64 * seconds),
            Self::Listed(times) => usize::try_from(frame).ok().and_then(|frame| times.get(frame)).copied(),
        }
    }
}
