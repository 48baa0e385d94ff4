//! Samples as bytes, from any compression.

use super::{Element, Packing, Place};
use crate::io::source::Bytes;
use flate2::bufread::{MultiGzDecoder, ZlibDecoder};
use std::io::{self, BufRead, Read, SeekFrom, Take};

/// The longest number in text.
const MAX_NUMBER_BYTES: usize = 64;

type Source = Take<Box<dyn Bytes>>;

/// Reads samples in their order, from the first one on.
pub(super) enum Unpacked {
    Plain(Source),
    Zlib(Box<ZlibDecoder<Source>>),
    Gzip(Box<MultiGzDecoder<Source>>),
    Text(Source, Element),
}

impl Unpacked {
    /// Opens the samples. `element` is the type of numbers in text.
    pub fn open(mut source: Box<dyn Bytes>, place: &Place, element: Element) -> io::Result<Self> {
        source.seek(SeekFrom::Start(place.start))?;
        // gzip and zlib are distinguished by their first bytes: MetaImage's writers use both.
        let is_gzip = source.fill_buf()?.starts_with(&[0x1f, 0x8b]);
        let source = source.take(place.bytes);
        let mut unpacked = match place.packing {
            Packing::Plain => Self::Plain(source),
            Packing::Text => Self::Text(source, element),
            Packing::Compressed if is_gzip => Self::Gzip(Box::new(MultiGzDecoder::new(source))),
            Packing::Compressed => Self::Zlib(Box::new(ZlibDecoder::new(source))),
        };
        if place.skip_unpacked > 0 {
            let mut skipped = 0;
            let mut room = [0; 512];
            while skipped < place.skip_unpacked {
                let step = (place.skip_unpacked - skipped).min(room.len() as u64) as usize;
                unpacked.fill(&mut room[..step])?;
                skipped += step as u64;
            }
        }
        Ok(unpacked)
    }

    /// Returns the source.
    pub fn close(self) -> Box<dyn Bytes> {
        match self {
            Self::Plain(source) | Self::Text(source, _) => source,
            Self::Zlib(decoder) => decoder.into_inner(),
            Self::Gzip(decoder) => decoder.into_inner(),
        }
        .into_inner()
    }

    /// Fills `bytes` with samples; those from text come low byte first.
    pub fn fill(&mut self, bytes: &mut [u8]) -> io::Result<()> {
        match self {
            Self::Plain(source) => source.read_exact(bytes),
            Self::Zlib(decoder) => decoder.read_exact(bytes),
            Self::Gzip(decoder) => decoder.read_exact(bytes),
            Self::Text(source, element) => {
                for sample in bytes.chunks_exact_mut(element.bytes()) {
                    let number = next_number(source)?.ok_or(io::ErrorKind::UnexpectedEof)?;
                    if !element.store(number, sample) {
                        return Err(io::Error::other("a number is not of the announced type"));
                    }
                }
                Ok(())
            }
        }
    }

    /// Whether nothing is left.
    pub fn is_at_end(&mut self) -> io::Result<bool> {
        let mut one = [0; 1];
        let mut none_left = |source: &mut dyn Read| loop {
            match source.read(&mut one) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => return read.map(|bytes| bytes == 0),
            }
        };
        match self {
            Self::Plain(source) => none_left(source),
            Self::Zlib(decoder) => none_left(decoder),
            Self::Gzip(decoder) => none_left(decoder),
            Self::Text(source, _) => next_number(source).map(|number| number.is_none()),
        }
    }
}

/// The next number of text; `None` at its end.
fn next_number(source: &mut impl BufRead) -> io::Result<Option<f64>> {
    let mut token = Vec::new();
    loop {
        let buffer = source.fill_buf()?;
        let Some(byte) = buffer.first().copied() else { break };
        source.consume(1);
        match (byte.is_ascii_whitespace() || byte == 0, token.is_empty()) {
            (true, true) => {}
            (true, false) => break,
            (false, _) => token.push(byte),
        }
        if token.len() > MAX_NUMBER_BYTES {
            return Err(io::Error::other("a number is longer than any"));
        }
    }
    if token.is_empty() {
        return Ok(None);
    }
    let number = std::str::from_utf8(&token).ok().and_then(|text| text.parse().ok());
    number.map(Some).ok_or_else(|| io::Error::other("a number cannot be read"))
}
