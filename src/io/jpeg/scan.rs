//! One scan: which components and coefficients it has, and the walk over its blocks.

use super::huffman::{Bits, Stop, Table};
use super::markers::next_marker;
use super::{Coding, Component, JpegFault, Picture};

/// The content of a scan.
pub(super) enum Outcome {
    /// The scan is complete; the next marker is at or after this byte.
    Complete(usize),
    /// The scan cannot be read here; the decoder reports why.
    Unknown,
    Fault(JpegFault),
}

/// A scan's header.
pub(super) struct Scan {
    /// The component's position in the picture, and its tables for DC and AC.
    parts: Vec<(usize, [usize; 2])>,
    first: usize,
    last: usize,
    /// The missing bits of precision before this scan, and after it.
    before: u8,
    after: u8,
}

/// The tables of one component, where the scan needs them.
struct Tables<'a> {
    dc: Option<&'a Table>,
    ac: Option<&'a Table>,
}

impl Scan {
    pub fn read(body: &[u8], picture: &Picture) -> Option<Self> {
        let (count, rest) = body.split_first()?;
        let (listed, rest) = rest.split_at_checked(2 * usize::from(*count))?;
        let &[first, last, precision, ..] = rest else { return None };
        let part = |entry: &[u8]| {
            let place = picture.components.iter().position(|component| component.id == entry[0])?;
            Some((place, [usize::from(entry[1] >> 4), usize::from(entry[1] & 15)]))
        };
        let parts = listed.chunks_exact(2).map(part).collect::<Option<Vec<_>>>()?;
        // In a picture that is not progressive, all coefficients, whatever the header says.
        let (first, last, before, after) = match picture.coding {
            Coding::Progressive => (usize::from(first), usize::from(last), precision >> 4, precision & 15),
            Coding::Sequential => (0, 63, 0, 0),
            Coding::Lossless => (0, 0, 0, 0),
        };
        let usable = !parts.is_empty() && first <= last && last < 64 && after < 14;
        // DC alone, or AC of one component.
        let usable =
            usable && (picture.coding != Coding::Progressive || if first == 0 { last == 0 } else { parts.len() == 1 });
        usable.then_some(Self { parts, first, last, before, after })
    }

    pub fn run(
        &self,
        data: &[u8],
        at: usize,
        picture: &mut Picture,
        tables: &[[Option<Table>; 4]; 2],
        restart_interval: u16,
    ) -> Outcome {
        let refines = self.before > 0;
        let (needs_dc, needs_ac) = (self.first == 0 && !refines, self.last > 0);
        let mut of_parts = Vec::new();
        for (_, [dc, ac]) in &self.parts {
            let find = |class: usize, number: usize| tables[class].get(number).and_then(Option::as_ref);
            let found = Tables { dc: find(0, *dc), ac: find(1, *ac) };
            if (needs_dc && found.dc.is_none()) || (needs_ac && found.ac.is_none()) {
                return Outcome::Unknown;
            }
            of_parts.push(found);
        }
        let size = match &self.parts[..] {
            [(place, _)] => picture.components[*place].blocks,
            _ => picture.mcus,
        };
        let total = size[0] * size[1];
        let mut bits = Bits::new(data, at);
        let mut end_of_band = 0;
        for mcu in 0..total {
            if restart_interval > 0 && mcu > 0 && mcu % usize::from(restart_interval) == 0 {
                let mut at = bits.position();
                match next_marker(data, &mut at) {
                    Some(0xd0..=0xd7) => (bits, end_of_band) = (Bits::new(data, at), 0),
                    _ => return Outcome::Fault(JpegFault::CutShort { percent: percent(mcu, total) }),
                }
            }
            if let Err(stop) = self.mcu(&mut bits, picture, &of_parts, mcu, size[0], &mut end_of_band) {
                let percent = percent(mcu, total);
                return Outcome::Fault(match stop {
                    Stop::End => JpegFault::CutShort { percent },
                    Stop::NoCode => JpegFault::Damaged { percent },
                });
            }
        }
        for (place, _) in &self.parts {
            picture.components[*place].missing_bits[self.first..=self.last].fill(Some(self.after));
        }
        Outcome::Complete(bits.position())
    }

    fn mcu(
        &self,
        bits: &mut Bits<'_>,
        picture: &mut Picture,
        tables: &[Tables<'_>],
        mcu: usize,
        across: usize,
        end_of_band: &mut u32,
    ) -> Result<(), Stop> {
        let (x, y) = (mcu % across, mcu / across);
        let alone = self.parts.len() == 1;
        for ((place, _), tables) in self.parts.iter().zip(tables) {
            let component = &mut picture.components[*place];
            let (horizontal, vertical) = if alone { (1, 1) } else { (component.horizontal, component.vertical) };
            for row in y * vertical..(y + 1) * vertical {
                for column in x * horizontal..(x + 1) * horizontal {
                    match picture.coding {
                        Coding::Sequential => sequential_block(bits, tables)?,
                        Coding::Progressive => {
                            self.progressive_block(bits, component, [column, row], tables, end_of_band)?;
                        }
                        Coding::Lossless => difference(bits, tables)?,
                    }
                }
            }
        }
        Ok(())
    }

    fn progressive_block(
        &self,
        bits: &mut Bits<'_>,
        component: &mut Component,
        [column, row]: [usize; 2],
        tables: &Tables<'_>,
        end_of_band: &mut u32,
    ) -> Result<(), Stop> {
        if self.first == 0 {
            if self.before > 0 {
                return bits.take(1).map(drop);
            }
            return dc(bits, tables);
        }
        let at = row * component.padded[0] + column;
        let (Some(nonzero), Some(table)) = (component.nonzero.get_mut(at), tables.ac) else { return Err(Stop::NoCode) };
        if self.before > 0 {
            return self.refine(bits, nonzero, table, end_of_band);
        }
        if *end_of_band > 0 {
            *end_of_band -= 1;
            return Ok(());
        }
        let mut k = self.first;
        while k <= self.last {
            let symbol = bits.symbol(table)?;
            let (run, size) = (symbol >> 4, u32::from(symbol & 15));
            match (run, size) {
                (15, 0) => k += 16,
                (run, 0) => {
                    *end_of_band = (1 << run) - 1 + bits.take(u32::from(run))?;
                    return Ok(());
                }
                _ => {
                    k += usize::from(run);
                    if k > self.last {
                        return Err(Stop::NoCode);
                    }
                    bits.take(size)?;
                    *nonzero |= 1 << k;
                    k += 1;
                }
            }
        }
        Ok(())
    }

    /// Reads one more bit of every coefficient that is not zero, and the coefficients that become so.
    fn refine(&self, bits: &mut Bits<'_>, nonzero: &mut u64, table: &Table, end_of_band: &mut u32) -> Result<(), Stop> {
        let mut k = self.first;
        while *end_of_band == 0 && k <= self.last {
            let symbol = bits.symbol(table)?;
            let (mut run, size) = (symbol >> 4, symbol & 15);
            if size != 0 {
                bits.take(1)?;
            } else if run < 15 {
                *end_of_band = (1 << run) + bits.take(u32::from(run))?;
                break;
            }
            while k <= self.last {
                if *nonzero >> k & 1 == 1 {
                    bits.take(1)?;
                } else if run == 0 {
                    break;
                } else {
                    run -= 1;
                }
                k += 1;
            }
            if size != 0 && k <= self.last {
                *nonzero |= 1 << k;
            }
            k += 1;
        }
        if *end_of_band > 0 {
            for k in k..=self.last {
                if *nonzero >> k & 1 == 1 {
                    bits.take(1)?;
                }
            }
            *end_of_band -= 1;
        }
        Ok(())
    }
}

fn dc(bits: &mut Bits<'_>, tables: &Tables<'_>) -> Result<(), Stop> {
    let size = bits.symbol(tables.dc.ok_or(Stop::NoCode)?)?;
    if size > 16 {
        return Err(Stop::NoCode);
    }
    bits.take(u32::from(size)).map(drop)
}

/// Reads a lossless picture's difference between a sample and its prediction.
fn difference(bits: &mut Bits<'_>, tables: &Tables<'_>) -> Result<(), Stop> {
    match bits.symbol(tables.dc.ok_or(Stop::NoCode)?)? {
        // Sixteen means 32,768 and has no bits of its own.
        16 => Ok(()),
        size @ 0..16 => bits.take(u32::from(size)).map(drop),
        _ => Err(Stop::NoCode),
    }
}

fn sequential_block(bits: &mut Bits<'_>, tables: &Tables<'_>) -> Result<(), Stop> {
    dc(bits, tables)?;
    let table = tables.ac.ok_or(Stop::NoCode)?;
    let mut k = 1;
    while k < 64 {
        let symbol = bits.symbol(table)?;
        let (run, size) = (symbol >> 4, u32::from(symbol & 15));
        match (run, size) {
            (15, 0) => k += 16,
            (_, 0) => break,
            _ => {
                // A run beyond the last coefficient, which decoders ignore.
                k += usize::from(run) + 1;
                bits.take(size)?;
            }
        }
    }
    Ok(())
}

fn percent(done: usize, total: usize) -> u32 {
    (done as f64 / total.max(1) as f64 * 100.0) as u32
}
