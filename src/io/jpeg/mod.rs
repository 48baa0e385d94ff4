//! Whether a JPEG holds all of its picture. Decoders fill what is missing with grey and say nothing.
//!
//! The Huffman codes of every scan are read and counted against the blocks that the header announces; nothing is
//! transformed. A missing end marker alone is accepted: cameras and archives lose it, and no pixel is lost with it.

mod huffman;
mod scan;

use huffman::Table;
use scan::{Outcome, Scan};

/// What a JPEG lacks. Whoever read it knows its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum JpegFault {
    #[error("its data end after {percent} % of the picture")]
    CutShort { percent: u32 },
    #[error("its data are damaged after {percent} % of the picture")]
    Damaged { percent: u32 },
    #[error("its last scans are missing")]
    ScansMissing,
}

/// Of one colour: how many blocks lie in an MCU, and what of it the scans held so far.
#[derive(Clone, Debug)]
struct Component {
    id: u8,
    horizontal: usize,
    vertical: usize,
    /// Blocks that carry pixels, and the place for blocks of whole MCUs.
    blocks: [usize; 2],
    padded: [usize; 2],
    /// Of each block of a progressive picture, which coefficients are not zero, by their place in the zigzag.
    nonzero: Vec<u64>,
    /// By coefficient, how many low bits are still to come; `None` where nothing came yet.
    missing_bits: [Option<u8>; 64],
}

/// How samples are coded, all with Huffman codes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Coding {
    /// DCT, in one pass over the picture.
    #[default]
    Sequential,
    /// DCT, in passes that refine each other.
    Progressive,
    /// Differences to a prediction, sample by sample.
    Lossless,
}

#[derive(Debug, Default)]
struct Picture {
    coding: Coding,
    components: Vec<Component>,
    /// MCUs across and down, where a scan holds several components.
    mcus: [usize; 2],
}

/// The most blocks of which a progressive picture's coefficients are remembered: 16,384 pixels a side, in three colours.
const MAX_BLOCKS: usize = 3 * 2048 * 2048;

/// Checks that a JPEG's scans hold all blocks that its header announces: baseline, extended, progressive and lossless with
/// Huffman codes. What else `data` may be (arithmetic codes, JPEG-LS, a header that makes no sense) is left to the decoder
/// to refuse, and passes.
///
/// # Errors
/// Data that end, or cannot be decoded, before the last block.
pub fn check_complete(data: &[u8]) -> Result<(), JpegFault> {
    let mut picture = None;
    let mut tables: [[Option<Table>; 4]; 2] = Default::default();
    let mut restart_interval = 0;
    let mut at = 2;
    if !data.starts_with(&[0xff, 0xd8]) {
        return Ok(());
    }
    loop {
        let Some(marker) = next_marker(data, &mut at) else {
            // Without an end marker.
            return finish(picture.as_ref(), false);
        };
        let body = match marker {
            0xd9 => return finish(picture.as_ref(), true),
            0x01 | 0xd0..=0xd8 => continue,
            _ => match segment(data, &mut at) {
                Some(body) => body,
                // The file ends within a segment. Before the first scan the decoder says so.
                None => return finish(picture.as_ref(), false),
            },
        };
        match marker {
            0xc0..=0xc3 => {
                let coding = match marker {
                    0xc2 => Coding::Progressive,
                    0xc3 => Coding::Lossless,
                    _ => Coding::Sequential,
                };
                match Picture::read(body, coding) {
                    Some(read) => picture = Some(read),
                    None => return Ok(()),
                }
            }
            0xc5..=0xc7 | 0xc9..=0xcb | 0xcd..=0xcf => return Ok(()),
            0xc4 if Table::read_all(body, &mut tables).is_none() => return Ok(()),
            0xdd => restart_interval = body.first_chunk().map_or(0, |bytes| u16::from_be_bytes(*bytes)),
            0xda => {
                let Some(picture) = picture.as_mut() else { return Ok(()) };
                let Some(scan) = Scan::read(body, picture) else { return Ok(()) };
                match scan.run(data, at, picture, &tables, restart_interval) {
                    Outcome::Complete(end) => at = end,
                    Outcome::Unknown => return Ok(()),
                    Outcome::Fault(fault) => return Err(fault),
                }
            }
            _ => {}
        }
    }
}

/// The marker at or after `at`, which then lies behind it. Bytes that are no marker are skipped, as decoders do.
fn next_marker(data: &[u8], at: &mut usize) -> Option<u8> {
    loop {
        let start = *at + data.get(*at..)?.iter().position(|byte| *byte == 0xff)?;
        let code = start + data.get(start..)?.iter().position(|byte| *byte != 0xff)?;
        *at = code + 1;
        match data.get(code) {
            Some(0) => {}
            Some(marker) => return Some(*marker),
            None => return None,
        }
    }
}

/// The bytes of a segment behind its length.
fn segment<'a>(data: &'a [u8], at: &mut usize) -> Option<&'a [u8]> {
    let length = usize::from(u16::from_be_bytes(*data.get(*at..)?.first_chunk()?));
    let body = data.get(*at + 2..*at + length.max(2))?;
    *at += length.max(2);
    Some(body)
}

fn finish(picture: Option<&Picture>, ended: bool) -> Result<(), JpegFault> {
    let Some(picture) = picture else { return Ok(()) };
    let complete = picture.components.iter().all(|component| {
        let dc = component.missing_bits[0];
        match (ended, picture.coding == Coding::Progressive) {
            // A writer may leave out what it finds not worth sending; without the end nobody knows.
            (true, _) | (_, false) => dc.is_some(),
            (false, true) => {
                component.missing_bits[1].is_some()
                    && component.missing_bits.iter().all(|bits| matches!(bits, None | Some(0)))
            }
        }
    });
    if complete { Ok(()) } else { Err(JpegFault::ScansMissing) }
}

impl Picture {
    fn read(body: &[u8], coding: Coding) -> Option<Self> {
        let side = |at: usize| Some(usize::from(u16::from_be_bytes(*body.get(at..)?.first_chunk()?)));
        let (height, width) = (side(1)?, side(3)?);
        let count = usize::from(*body.get(5)?);
        let listed = body.get(6..6 + 3 * count)?;
        // A height of zero is told behind the first scan; nobody writes that.
        if width == 0 || height == 0 || !(1..=4).contains(&count) {
            return None;
        }
        let factors = |entry: &[u8]| [usize::from(entry[1] >> 4), usize::from(entry[1] & 15)];
        let most = |axis: usize| listed.chunks_exact(3).map(|entry| factors(entry)[axis]).max();
        let most = [most(0)?, most(1)?];
        if listed.chunks_exact(3).any(|entry| factors(entry).iter().any(|factor| !(1..=4).contains(factor))) {
            return None;
        }
        // Samples along a side of what is coded together.
        let block = if coding == Coding::Lossless { 1 } else { 8 };
        let mcus = [width.div_ceil(block * most[0]), height.div_ceil(block * most[1])];
        let component = |entry: &[u8]| {
            let [horizontal, vertical] = factors(entry);
            let across = (width * horizontal).div_ceil(most[0]).div_ceil(block);
            let down = (height * vertical).div_ceil(most[1]).div_ceil(block);
            let padded = [mcus[0] * horizontal, mcus[1] * vertical];
            Component {
                id: entry[0],
                horizontal,
                vertical,
                blocks: [across, down],
                padded,
                nonzero: Vec::new(),
                missing_bits: [None; 64],
            }
        };
        let mut components: Vec<Component> = listed.chunks_exact(3).map(component).collect();
        if coding == Coding::Progressive {
            let total: usize = components.iter().map(|component| component.padded[0] * component.padded[1]).sum();
            if total > MAX_BLOCKS {
                return None;
            }
            for component in &mut components {
                component.nonzero = vec![0; component.padded[0] * component.padded[1]];
            }
        }
        Some(Self { coding, components, mcus })
    }
}

#[cfg(test)]
mod tests;
