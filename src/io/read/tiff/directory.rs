//! A TIFF file's directories, one a page, which the decoder neither counts nor reads. Classic and BigTIFF, both byte
//! orders.

use std::collections::HashSet;
use std::io::{self, Read, Seek, SeekFrom};

const NEW_SUBFILE_TYPE: u16 = 254;
const SUBFILE_TYPE: u16 = 255;
const PHOTOMETRIC: u16 = 262;

const PALETTE: u16 = 3;

/// The most pages, and the most entries of a page.
const MAX_PAGES: usize = 100_000;
const MAX_ENTRIES: u64 = 4096;

/// The properties of one page that are known before it is decoded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Directory {
    /// The position of the two bytes that mark a palette, for a picture with a palette.
    pub palette_at: Option<u64>,
    /// Whether it is a smaller copy of another page, or a mask of it.
    pub is_secondary: bool,
}

/// All directories, in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Directories {
    pub pages: Vec<Directory>,
    pub big_endian: bool,
}

/// Whether a file's first bytes are TIFF's or BigTIFF's.
pub(in crate::io) fn starts_like_one(start: &[u8]) -> bool {
    [&b"II*\0"[..], b"MM\0*", b"II+\0", b"MM\0+"].iter().any(|magic| start.starts_with(magic))
}

struct Numbers<'a, R> {
    source: &'a mut R,
    big_endian: bool,
    is_big_tiff: bool,
}

impl<R: Read + Seek> Numbers<'_, R> {
    fn number<const N: usize>(&mut self) -> io::Result<u64> {
        let mut bytes = [0; N];
        self.source.read_exact(&mut bytes)?;
        if self.big_endian {
            bytes.reverse();
        }
        Ok(bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    /// An offset, or a count of values.
    fn wide(&mut self) -> io::Result<u64> {
        if self.is_big_tiff { self.number::<8>() } else { self.number::<4>() }
    }

    /// Reads the directory at `offset`; returns the offset of the next one, or 0.
    fn directory(&mut self, offset: u64) -> io::Result<(Directory, u64)> {
        self.source.seek(SeekFrom::Start(offset))?;
        let entries = if self.is_big_tiff { self.number::<8>()? } else { self.number::<2>()? };
        if entries > MAX_ENTRIES {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut directory = Directory::default();
        let mut at = offset + if self.is_big_tiff { 8 } else { 2 };
        let (entry_bytes, value_at) = if self.is_big_tiff { (20, 12) } else { (12, 8) };
        for _ in 0..entries {
            self.source.seek(SeekFrom::Start(at))?;
            let tag = self.number::<2>()? as u16;
            if [NEW_SUBFILE_TYPE, SUBFILE_TYPE, PHOTOMETRIC].contains(&tag) {
                let kind = self.number::<2>()?;
                self.wide()?;
                let value = if kind == 3 { self.number::<2>()? } else { self.number::<4>()? };
                match tag {
                    // Bit 0: of reduced resolution. Bit 2: a transparency mask.
                    NEW_SUBFILE_TYPE => directory.is_secondary |= value & 0b101 != 0,
                    SUBFILE_TYPE => directory.is_secondary |= value == 2,
                    _ if value == u64::from(PALETTE) && kind == 3 => directory.palette_at = Some(at + value_at),
                    _ => {}
                }
            }
            at += entry_bytes;
        }
        self.source.seek(SeekFrom::Start(at))?;
        Ok((directory, self.wide()?))
    }
}

impl Directories {
    /// Walks the file's directories. One that cannot be read ends the walk: the decoder reports why when it reaches it.
    ///
    /// # Errors
    /// The file, or its first directory, cannot be read.
    pub fn read(source: &mut (impl Read + Seek)) -> io::Result<Self> {
        source.rewind()?;
        let mut magic = [0; 4];
        source.read_exact(&mut magic)?;
        let big_endian = magic[0] == b'M';
        let is_big_tiff = magic.contains(&b'+');
        let mut numbers = Numbers { source, big_endian, is_big_tiff };
        if is_big_tiff {
            // The width of an offset, and nothing.
            numbers.number::<4>()?;
        }
        let mut offset = numbers.wide()?;
        let (mut pages, mut seen) = (Vec::new(), HashSet::new());
        while offset != 0 && pages.len() < MAX_PAGES && seen.insert(offset) {
            match numbers.directory(offset) {
                Ok((directory, next)) => {
                    pages.push(directory);
                    offset = next;
                }
                Err(error) if pages.is_empty() => return Err(error),
                Err(_) => break,
            }
        }
        Ok(Self { pages, big_endian })
    }

    /// The bytes to read instead of the file's, so that a decoder without palettes yields indices as grey.
    pub fn patches(&self) -> Vec<(u64, u8)> {
        /// The photometric interpretation of grey.
        const BLACK_IS_ZERO: u16 = 1;
        let bytes = if self.big_endian { BLACK_IS_ZERO.to_be_bytes() } else { BLACK_IS_ZERO.to_le_bytes() };
        let places = self.pages.iter().filter_map(|page| page.palette_at);
        places.flat_map(|at| [(at, bytes[0]), (at + 1, bytes[1])]).collect()
    }
}

/// A source in which some bytes are replaced.
pub(super) struct Patched<R> {
    source: R,
    at: u64,
    patches: Vec<(u64, u8)>,
}

impl<R: Read + Seek> Patched<R> {
    pub fn new(mut source: R, patches: Vec<(u64, u8)>) -> io::Result<Self> {
        source.rewind()?;
        Ok(Self { source, at: 0, patches })
    }
}

impl<R: Read> Read for Patched<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.source.read(buffer)?;
        for (at, byte) in &self.patches {
            let place = at.checked_sub(self.at).and_then(|place| usize::try_from(place).ok());
            if let Some(place) = place.filter(|place| *place < read) {
                buffer[place] = *byte;
            }
        }
        self.at += read as u64;
        Ok(read)
    }
}

impl<R: Seek> Seek for Patched<R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.at = self.source.seek(to)?;
        Ok(self.at)
    }
}
