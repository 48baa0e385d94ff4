//! The frames of a DICOM file, in their order.

use super::DicomError;
use super::attributes::{Attributes, PixelData};
use super::encapsulated::Fragments;
use super::geometry::Planes;
use super::origin::SourceReference;
use super::pixels::PixelLayout;
use super::values::{real, reals};
use super::{regions, rle};
use crate::frame::Region;
use crate::io::source::{Bytes, FrameBuffer, FrameSource, SourceError};
use dicom_dictionary_std::{tags, uids};
use dicom_object::InMemDicomObject;
use image::codecs::jpeg::JpegDecoder;
use image::{ColorType, ImageDecoder};
use std::fs::File;
use std::io::{BufReader, Cursor, Read, SeekFrom};
use std::path::{Path, PathBuf};

/// Retired, and still in archives.
const EXPLICIT_VR_BIG_ENDIAN: &str = "1.2.840.10008.1.2.2";

enum Coding {
    Native { offset: u64, swap: bool },
    Jpeg(Fragments),
    Rle(Fragments),
}

/// An ultrasound picture or clip. Frames are read as they are asked for; a clip takes the memory of one frame, stored and
/// decoded, and sixteen bytes a fragment.
pub struct DicomClip {
    path: PathBuf,
    source: Box<dyn Bytes>,
    reference: SourceReference,
    layout: PixelLayout,
    coding: Coding,
    region: Option<Region>,
    mm_per_pixel: Option<[f32; 2]>,
    /// From each frame to the next.
    frame_times: FrameTimes,
    next: u64,
    /// One frame as stored.
    stored: Vec<u8>,
    /// One frame's planes.
    unpacked: Vec<u8>,
}

/// When frames were taken, counted from the first.
enum FrameTimes {
    Unknown,
    Every(f64),
    /// Of every frame, in seconds.
    Listed(Vec<f64>),
}

impl DicomClip {
    /// Reads the attributes, and checks that the file can hold the pixels it announces.
    ///
    /// # Errors
    /// What is no DICOM, or damaged, or of a transfer syntax or kind of pixels that is not supported.
    pub fn open(path: &Path) -> Result<Self, SourceError> {
        let failed = |problem| SourceError::Dicom { path: path.into(), problem };
        let file = File::open(path).map_err(|error| failed(error.into()))?;
        Self::new(path, Box::new(BufReader::new(file))).map_err(failed)
    }

    /// The same from a file's bytes; `name` is what errors call it.
    pub fn from_bytes(name: &Path, bytes: Vec<u8>) -> Result<Self, SourceError> {
        Self::new(name, Box::new(Cursor::new(bytes)))
            .map_err(|problem| SourceError::Dicom { path: name.into(), problem })
    }

    fn new(path: &Path, mut source: Box<dyn Bytes>) -> Result<Self, DicomError> {
        let Attributes { transfer_syntax, root, regions, pixel_data } = Attributes::read(&mut source)?;
        let layout = PixelLayout::read(&root)?;
        let uid = transfer_syntax.as_str();
        let coding = match pixel_data {
            PixelData::Native { offset, bytes, words } => {
                let needed = (layout.frame_bytes() as u64).saturating_mul(layout.frames);
                if needed > bytes {
                    return Err(DicomError::CutShort { announced: needed, actual: bytes });
                }
                let big = uid == EXPLICIT_VR_BIG_ENDIAN;
                let swap = big && (words || layout.bytes_per_sample == 2);
                if swap && layout.frame_bytes() % 2 == 1 && layout.frames > 1 {
                    return Err(DicomError::Unsupported("its frames end within a word".into()));
                }
                Coding::Native { offset, swap }
            }
            PixelData::Encapsulated { offset } => {
                let mut find = || Fragments::find(&mut source, offset, layout.frames);
                match uid {
                    uids::JPEG_BASELINE8_BIT | uids::JPEG_EXTENDED12_BIT => Coding::Jpeg(find()?),
                    uids::RLE_LOSSLESS => Coding::Rle(find()?),
                    _ => {
                        let known: String = uid.chars().filter(|c| c.is_ascii_digit() || *c == '.').collect();
                        return Err(DicomError::Unsupported(format!("its transfer syntax is {known}")));
                    }
                }
            }
        };
        let scan = regions::scan(&regions, layout.width, layout.height);
        let mm_per_pixel = scan.and_then(|(_, mm)| mm).or_else(|| regions::pixel_spacing(&root));
        Ok(Self {
            path: path.into(),
            source,
            region: scan.map(|(region, _)| region),
            mm_per_pixel,
            frame_times: FrameTimes::read(&root),
            reference: SourceReference { planes: Planes::read(&root, layout.frames), root, frames: layout.frames },
            layout,
            coding,
            next: 0,
            stored: Vec::new(),
            unpacked: Vec::new(),
        })
    }

    /// For a segmentation of this file.
    pub fn reference(&self) -> &SourceReference {
        &self.reference
    }

    /// Whether this is one picture, not a clip.
    pub fn is_still(&self) -> bool {
        self.layout.frames == 1
    }

    fn fill(&mut self, into: &mut FrameBuffer) -> Result<(), DicomError> {
        let (frame, frames) = (self.next, self.layout.frames);
        let damaged = |reason: &str| DicomError::Frame { frame, frames, reason: reason.to_string() };
        let Self { source, layout, stored, unpacked, .. } = self;
        match &self.coding {
            Coding::Native { offset, swap } => {
                let bytes = layout.frame_bytes();
                source.seek(SeekFrom::Start(offset.saturating_add(frame.saturating_mul(bytes as u64))))?;
                stored.resize(bytes, 0);
                source.read_exact(stored)?;
                if *swap {
                    stored.as_chunks_mut().0.iter_mut().for_each(|pair: &mut [u8; 2]| pair.reverse());
                }
                layout.convert(stored, into).map_err(|error| damaged(&error.to_string()))
            }
            Coding::Rle(fragments) => {
                fragments.read(source, frame, stored)?;
                rle::decode(stored, layout.planes(), layout.width * layout.height, unpacked).map_err(damaged)?;
                layout.convert_planes(unpacked, into).map_err(|error| damaged(&error.to_string()))
            }
            Coding::Jpeg(fragments) => {
                fragments.read(source, frame, stored)?;
                let grey = decode_jpeg(stored, layout, unpacked).map_err(|reason| damaged(&reason))?;
                layout.convert_jpeg(grey, unpacked, into).map_err(damaged)
            }
        }
    }
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
        let frame = self.next;
        self.next = if filled.is_ok() { self.next + 1 } else { self.layout.frames };
        filled.map_err(|problem| SourceError::Dicom { path: self.path.clone(), problem })?;
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
    fn read(root: &InMemDicomObject) -> Self {
        let usable = |ms: &f64| ms.is_finite() && *ms >= 0.0;
        // Both are in milliseconds. The first of the list is zero: each says how long after the last one a frame came.
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

/// Decodes into grey or RGB; says whether it was grey. Nothing is allocated for a picture of another size than announced.
fn decode_jpeg(data: &[u8], layout: &PixelLayout, out: &mut Vec<u8>) -> Result<bool, String> {
    let one_line = |error: image::ImageError| error.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
    let decoder = JpegDecoder::new(Cursor::new(data)).map_err(one_line)?;
    let (width, height) = decoder.dimensions();
    if (width as usize, height as usize) != (layout.width, layout.height) {
        return Err(format!("it is {width} x {height} pixels, not {} x {}", layout.width, layout.height));
    }
    let (grey, bytes) = match decoder.color_type() {
        ColorType::L8 => (true, 1),
        ColorType::Rgb8 => (false, 3),
        _ => return Err("it has neither one nor three colours".into()),
    };
    out.clear();
    out.resize(layout.width * layout.height * bytes, 0);
    decoder.read_image(out).map_err(one_line)?;
    Ok(grey)
}
