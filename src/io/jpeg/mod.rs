//! Checks that a JPEG has all of its picture. Decoders silently fill missing parts with grey.
//!
//! The Huffman codes of every scan are read and counted against the blocks that the header announces; nothing is
//! transformed. A missing end marker alone is accepted: cameras and archives lose it, and no pixel is lost with it.

mod huffman;
mod markers;
mod scan;

pub(super) use markers::{FrameHeader, Process, Sampling, Segments};

use huffman::Table;
use scan::{Outcome, Scan};

/// The data that a JPEG lacks. The caller knows its name.
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

/// One colour: the number of blocks in an MCU, and what the scans had of it so far.
#[derive(Clone, Debug)]
struct Component {
    id: u8,
    horizontal: usize,
    vertical: usize,
    /// The number of blocks with pixels, and the number with complete MCUs.
    blocks: [usize; 2],
    padded: [usize; 2],
    /// The coefficients of each block of a progressive picture that are not zero, by their position in the zigzag.
    nonzero: Vec<u64>,
    /// The number of low bits of each coefficient that are still missing; `None` where all are.
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
    /// MCUs across and down, where a scan has several components.
    mcus: [usize; 2],
}

/// The most blocks for which a progressive picture's coefficients are stored: 16,384 pixels a side, in three colours.
const MAX_BLOCKS: usize = 3 * 2048 * 2048;

/// Checks that a JPEG's scans have all blocks that its header announces: baseline, extended, progressive and lossless
/// with Huffman codes. Other data (arithmetic codes, JPEG-LS, an invalid header) pass and are left to the decoder to
/// refuse.
///
/// # Errors
/// The data end, or cannot be decoded, before the last block.
pub fn check_complete(data: &[u8]) -> Result<(), JpegFault> {
    let mut picture = None;
    let mut tables: [[Option<Table>; 4]; 2] = Default::default();
    let mut restart_interval = 0;
    let Some(mut segments) = Segments::new(data) else { return Ok(()) };
    while let Some((marker, body)) = segments.next() {
        if let Some(process) = Process::of(marker) {
            match FrameHeader::read(process, body).and_then(|header| Picture::new(&header)) {
                Some(described) => picture = Some(described),
                None => return Ok(()),
            }
        }
        match marker {
            0xd9 => return finish(picture.as_ref(), true),
            0xc4 if Table::read_all(body, &mut tables).is_none() => return Ok(()),
            0xdd => restart_interval = body.first_chunk().map_or(0, |bytes| u16::from_be_bytes(*bytes)),
            0xda => {
                let Some(picture) = picture.as_mut() else { return Ok(()) };
                let Some(scan) = Scan::read(body, picture) else { return Ok(()) };
                match scan.run(data, segments.position(), picture, &tables, restart_interval) {
                    Outcome::Complete(end) => segments.resume_at(end),
                    Outcome::Unknown => return Ok(()),
                    Outcome::Fault(fault) => return Err(fault),
                }
            }
            _ => {}
        }
    }
    // Without an end marker. Where the data end before the first scan, the decoder reports it.
    finish(picture.as_ref(), false)
}

fn finish(picture: Option<&Picture>, ended: bool) -> Result<(), JpegFault> {
    let Some(picture) = picture else { return Ok(()) };
    let complete = picture.components.iter().all(|component| {
        let dc = component.missing_bits[0];
        match (ended, picture.coding == Coding::Progressive) {
            // A writer may leave out the last scans; without the end marker that is unknown.
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
    /// `None` for data that are not coded with Huffman codes, or are not valid.
    fn new(header: &FrameHeader) -> Option<Self> {
        let coding = match header.process {
            Process::Sequential => Coding::Sequential,
            Process::Progressive => Coding::Progressive,
            Process::Lossless => Coding::Lossless,
            Process::Ls | Process::Other => return None,
        };
        let &FrameHeader { width, height, ref components, .. } = header;
        // A height of zero is given behind the first scan; no known writer does that.
        if width == 0 || height == 0 || components.len() > 4 {
            return None;
        }
        let most = [components.iter().map(|of| of.horizontal).max()?, components.iter().map(|of| of.vertical).max()?];
        // Samples along a side of what is coded together.
        let block = if coding == Coding::Lossless { 1 } else { 8 };
        let mcus = [width.div_ceil(block * most[0]), height.div_ceil(block * most[1])];
        let component = |of: &Sampling| {
            let &Sampling { id, horizontal, vertical } = of;
            let across = (width * horizontal).div_ceil(most[0]).div_ceil(block);
            let down = (height * vertical).div_ceil(most[1]).div_ceil(block);
            let padded = [mcus[0] * horizontal, mcus[1] * vertical];
            Component {
                id,
                horizontal,
                vertical,
                blocks: [across, down],
                padded,
                nonzero: Vec::new(),
                missing_bits: [None; 64],
            }
        };
        let mut components: Vec<Component> = components.iter().map(component).collect();
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
