//! The data elements of a file, read leniently (DICOM PS3.5, 7 and 6.2.2).
//!
//! Scanners and archives write what libraries for well-formed files refuse: sequences as UN of undefined length,
//! implicit elements under an explicit header, delimiters that are missing or superfluous. So elements are parsed here.
//! Every length is compared with the end of its container before it is used; a value is read only on request.

use super::DicomError;
use super::values::{Elements, Value};
use dicom_core::{Tag, VR};
use dicom_dictionary_std::tags;
use std::io::{BufRead, Seek, SeekFrom};

/// The most levels of nested sequences; real files have five or six.
const MAX_DEPTH: usize = 32;

/// The most items that are kept of one sequence.
pub(super) const MAX_ITEMS: usize = 64;

/// The longest value that is read: twice the longest lookup table.
pub const MAX_VALUE_BYTES: u32 = 256 << 10;

/// The most bytes of all values that are kept of one file, together.
const MAX_KEPT_BYTES: usize = 16 << 20;

const ITEM: Tag = Tag(0xfffe, 0xe000);
const ITEM_END: Tag = Tag(0xfffe, 0xe00d);
const SEQUENCE_END: Tag = Tag(0xfffe, 0xe0dd);
const UNDEFINED: u32 = u32::MAX;

/// How elements are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Encoding {
    pub explicit: bool,
    pub big_endian: bool,
}

/// The position of Pixel Data's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PixelData {
    /// The stated number of bytes; `words` where they are stored as 16-bit words.
    Native { offset: u64, bytes: u64, words: bool },
    /// Items, the first of which is the offset table.
    Encapsulated { offset: u64 },
}

/// Which attributes are kept, with their VR in the standard, by which UN and implicit elements are read. SQ keeps a
/// sequence, and of its items the listed attributes too.
pub(super) type Wanted = fn(Tag) -> Option<VR>;

/// Walks a file's elements.
pub(super) struct Walker<'a, S: ?Sized> {
    source: &'a mut S,
    position: u64,
    end: u64,
    wanted: Wanted,
    kept: usize,
    /// Repaired and omitted parts.
    pub notes: Vec<&'static str>,
}

struct Head {
    tag: Tag,
    /// `None` where the element is implicit.
    vr: Option<VR>,
    length: u32,
}

/// The end of an item's elements.
#[derive(Clone, Copy)]
enum Until {
    /// Pixel Data.
    Pixels,
    Position(u64),
    Delimiter,
}

impl<'a, S: BufRead + Seek + ?Sized> Walker<'a, S> {
    /// Starts at `position`; `end` is the length of the file.
    pub fn new(source: &'a mut S, position: u64, end: u64, wanted: Wanted) -> Result<Self, DicomError> {
        source.seek(SeekFrom::Start(position))?;
        Ok(Self { source, position, end, wanted, kept: 0, notes: Vec::new() })
    }

    /// Reads up to Pixel Data. Corrects the encoding where the first element shows another.
    pub fn read(mut self, encoding: Encoding) -> Result<(Elements, PixelData, Vec<&'static str>), DicomError> {
        let encoding = self.recognise(encoding)?;
        let mut root = Elements::default();
        let pixels = self.elements(encoding, Until::Pixels, Some(&mut root), 0)?;
        Ok((root, pixels.ok_or(DicomError::NoPixels)?, self.notes))
    }

    fn damaged(&self, reason: &'static str) -> DicomError {
        DicomError::Damaged { position: self.position, reason }
    }

    fn note(&mut self, note: &'static str) {
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    /// The next bytes, without consuming them. Fewer at the end of the file.
    fn peek<const N: usize>(&mut self) -> Result<Option<[u8; N]>, DicomError> {
        let mut bytes = [0; N];
        if self.end.saturating_sub(self.position) < N as u64 {
            return Ok(None);
        }
        self.source.read_exact(&mut bytes)?;
        self.source.seek_relative(-(N as i64))?;
        Ok(Some(bytes))
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], DicomError> {
        let mut bytes = [0; N];
        if self.end.saturating_sub(self.position) < N as u64 {
            return Err(self.damaged("it ends within an attribute"));
        }
        self.source.read_exact(&mut bytes)?;
        self.position += N as u64;
        Ok(bytes)
    }

    /// Skips `bytes`, which were compared with the end before.
    fn skip(&mut self, bytes: u64) -> Result<(), DicomError> {
        self.source
            .seek_relative(i64::try_from(bytes).map_err(|_| self.damaged("an attribute is longer than the file"))?)?;
        self.position += bytes;
        Ok(())
    }

    fn recognise(&mut self, announced: Encoding) -> Result<Encoding, DicomError> {
        let Some(first) = self.peek::<8>()? else { return Ok(announced) };
        let mut encoding = announced;
        // Files begin with group 8; in the other byte order that would be group 2048.
        encoding.big_endian = match [first[0], first[1]] {
            [8, 0] => false,
            [0, 8] => true,
            _ => announced.big_endian,
        };
        encoding.explicit = is_explicit(&first, encoding.big_endian).unwrap_or(announced.explicit);
        if encoding != announced {
            self.note("its attributes are not encoded as its transfer syntax says; they were read as they are");
        }
        Ok(encoding)
    }

    fn head(&mut self, encoding: Encoding) -> Result<Head, DicomError> {
        let Encoding { explicit, big_endian } = encoding;
        let short = |bytes: [u8; 2]| if big_endian { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) };
        let long = |bytes: [u8; 4]| if big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) };
        let [g0, g1, e0, e1] = self.take::<4>()?;
        let tag = Tag(short([g0, g1]), short([e0, e1]));
        if !explicit || tag.0 == 0xfffe {
            return Ok(Head { tag, vr: None, length: long(self.take()?) });
        }
        let [v0, v1, l0, l1] = self.take::<4>()?;
        let Some(vr) = vr_of([v0, v1]) else {
            if !(v0.is_ascii_uppercase() && v1.is_ascii_uppercase()) {
                return Err(self.damaged("an attribute cannot be distinguished from the next"));
            }
            // New VRs have lengths of four bytes (PS3.5, 7.1.2).
            return Ok(Head { tag, vr: Some(VR::UN), length: long(self.take()?) });
        };
        let length = if has_long_length(vr) { long(self.take()?) } else { u32::from(short([l0, l1])) };
        Ok(Head { tag, vr: Some(vr), length })
    }

    /// Reads the elements of a file or an item. Returns the position of the pixels, for a file.
    fn elements(
        &mut self,
        encoding: Encoding,
        until: Until,
        mut into: Option<&mut Elements>,
        depth: usize,
    ) -> Result<Option<PixelData>, DicomError> {
        if depth > MAX_DEPTH {
            return Err(self.damaged("sequences are nested deeper than any file's"));
        }
        let limit = match until {
            Until::Position(position) => position,
            Until::Pixels | Until::Delimiter => self.end,
        };
        loop {
            if self.position >= limit {
                return match until {
                    Until::Pixels => Err(DicomError::NoPixels),
                    Until::Position(_) => Ok(None),
                    Until::Delimiter => {
                        self.note("a delimiter is missing");
                        Ok(None)
                    }
                };
            }
            if limit - self.position < 8 {
                return Err(self.damaged("it ends within an attribute"));
            }
            let start = self.position;
            let Head { tag, vr, length } = self.head(encoding)?;
            match (tag, until) {
                (ITEM_END, Until::Delimiter) => return Ok(None),
                (ITEM | SEQUENCE_END, Until::Delimiter) => {
                    self.note("a delimiter is missing");
                    self.back_to(start)?;
                    return Ok(None);
                }
                (ITEM_END | SEQUENCE_END, _) if length == 0 => {
                    self.note("a delimiter ends nothing");
                    continue;
                }
                (ITEM, _) => return Err(self.damaged("an item begins outside of a sequence")),
                (Tag(0xfffe, _), _) => return Err(self.damaged("it holds what no DICOM file holds")),
                _ => {}
            }
            let at_pixels = matches!(until, Until::Pixels) && tag == tags::PIXEL_DATA;
            let wanted = into.is_some().then(|| (self.wanted)(tag)).flatten();
            if length == UNDEFINED {
                if at_pixels {
                    return Ok(Some(PixelData::Encapsulated { offset: self.position }));
                }
                if matches!(vr, Some(VR::OB | VR::OW)) {
                    self.fragments(encoding.big_endian)?;
                    continue;
                }
            } else if u64::from(length) > limit.saturating_sub(self.position) {
                if at_pixels {
                    let actual = limit.saturating_sub(self.position);
                    return Err(DicomError::CutShort { announced: u64::from(length), actual });
                }
                return Err(self.damaged("an attribute is longer than the file or its item"));
            } else if at_pixels {
                let (offset, bytes) = (self.position, u64::from(length));
                // Without a VR, and by the standard's own, they are words.
                let words = !matches!(vr, Some(VR::OB | VR::UN));
                return Ok(Some(PixelData::Native { offset, bytes, words }));
            }
            let may_be_sequence = matches!(vr, None | Some(VR::SQ | VR::UN));
            if length == UNDEFINED || may_be_sequence && wanted == Some(VR::SQ) {
                let end = (length != UNDEFINED).then(|| self.position + u64::from(length));
                let unknown = vr == Some(VR::UN);
                let mut items = Vec::new();
                let keep = wanted == Some(VR::SQ);
                self.sequence(encoding, unknown, end, limit, keep.then_some(&mut items), depth + 1)?;
                if let Some(into) = into.as_deref_mut().filter(|_| keep) {
                    into.put_items(tag, items);
                }
                continue;
            }
            match (into.as_deref_mut(), wanted.filter(|vr| *vr != VR::SQ)) {
                (Some(into), Some(of_the_standard)) => {
                    if length > MAX_VALUE_BYTES || self.kept + length as usize > MAX_KEPT_BYTES {
                        self.note("an attribute is longer than any of its kind and was left out");
                        self.skip(u64::from(length))?;
                        continue;
                    }
                    let mut bytes = vec![0; length as usize];
                    self.source.read_exact(&mut bytes)?;
                    self.position += u64::from(length);
                    self.kept += bytes.len();
                    let unknown = vr == Some(VR::UN);
                    let vr = vr.filter(|vr| *vr != VR::UN).unwrap_or(of_the_standard);
                    // Elements hidden in UN come from an implicit file, which is little-endian.
                    into.put(tag, Value { vr, big_endian: encoding.big_endian && !unknown, bytes });
                }
                _ => self.skip(u64::from(length))?,
            }
        }
    }

    /// Reads items up to `end`, or to the sequence's delimiter. `limit` is the end of the sequence's container.
    fn sequence(
        &mut self,
        mut encoding: Encoding,
        unknown: bool,
        end: Option<u64>,
        limit: u64,
        mut into: Option<&mut Vec<Elements>>,
        depth: usize,
    ) -> Result<(), DicomError> {
        let last = end.unwrap_or(limit);
        if unknown {
            encoding = Encoding { explicit: false, big_endian: false };
        }
        loop {
            if last.saturating_sub(self.position) < 8 {
                if end.is_none() {
                    self.note("a delimiter is missing");
                }
                return self.skip(last.saturating_sub(self.position));
            }
            let start = self.position;
            if unknown && self.peek::<4>()? == Some([0xff, 0xfe, 0xe0, 0x00]) {
                encoding.big_endian = true;
            }
            let Head { tag, length, .. } = self.head(Encoding { explicit: false, ..encoding })?;
            match tag {
                ITEM => {}
                SEQUENCE_END => return end.map_or(Ok(()), |end| self.skip(end - self.position)),
                ITEM_END if length == 0 => continue,
                _ if end.is_none() => {
                    self.note("a delimiter is missing");
                    return self.back_to(start);
                }
                _ => return Err(self.damaged("a sequence holds what is not an item")),
            }
            let until = match length {
                UNDEFINED => Until::Delimiter,
                _ if u64::from(length) > last - self.position => {
                    return Err(self.damaged("an item is longer than its sequence"));
                }
                _ => Until::Position(self.position + u64::from(length)),
            };
            if unknown && let Some(first) = self.peek::<8>()? {
                // Implicit by the standard; some writers copied explicit elements.
                encoding.explicit = is_explicit(&first, encoding.big_endian).unwrap_or(false);
            }
            let keep = into.as_ref().is_some_and(|items| items.len() < MAX_ITEMS);
            if let (false, Until::Position(end)) = (keep, until) {
                self.skip(end - self.position)?;
                continue;
            }
            let mut item = Elements::default();
            self.elements(encoding, until, keep.then_some(&mut item), depth)?;
            if let Some(items) = into.as_deref_mut().filter(|_| keep) {
                items.push(item);
            }
        }
    }

    /// Skips compressed pixels that are not the file's own, such as those of an icon.
    fn fragments(&mut self, big_endian: bool) -> Result<(), DicomError> {
        loop {
            let Head { tag, length, .. } = self.head(Encoding { explicit: false, big_endian })?;
            match tag {
                ITEM if u64::from(length) <= self.end - self.position => self.skip(u64::from(length))?,
                SEQUENCE_END => return Ok(()),
                _ => return Err(self.damaged("compressed pixels are not in fragments")),
            }
        }
    }

    fn back_to(&mut self, position: u64) -> Result<(), DicomError> {
        self.source.seek(SeekFrom::Start(position))?;
        self.position = position;
        Ok(())
    }
}

/// Whether an element has its VR written, by its first bytes; `None` where it is a delimiter.
pub(super) fn is_explicit(head: &[u8; 8], big_endian: bool) -> Option<bool> {
    let [g0, g1, _, _, v0, v1, ..] = *head;
    let group = if big_endian { [g1, g0] } else { [g0, g1] };
    (group != [0xfe, 0xff]).then(|| vr_of([v0, v1]).is_some())
}

pub(super) fn vr_of(letters: [u8; 2]) -> Option<VR> {
    VR::from_binary(letters)
}

pub(super) fn has_long_length(vr: VR) -> bool {
    use VR::{OB, OD, OF, OL, OV, OW, SQ, SV, UC, UN, UR, UT, UV};
    matches!(vr, OB | OD | OF | OL | OV | OW | SQ | SV | UC | UN | UR | UT | UV)
}
