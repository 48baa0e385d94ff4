//! Huffman tables, and the bits of a scan.

/// A table indexed by the next sixteen bits: the code's length in the high byte, its symbol in the low one; 0 where no
/// code begins so.
pub(super) struct Table(Vec<u16>);

impl Table {
    /// Reads a segment's tables into `tables[class][number]`. `None` where it is not a list of tables.
    pub fn read_all(mut body: &[u8], tables: &mut [[Option<Self>; 4]; 2]) -> Option<()> {
        while let Some((head, rest)) = body.split_first() {
            let (counts, rest) = rest.split_first_chunk::<16>()?;
            let total: usize = counts.iter().map(|count| usize::from(*count)).sum();
            let (symbols, rest) = rest.split_at_checked(total)?;
            *tables.get_mut(usize::from(head >> 4))?.get_mut(usize::from(head & 15))? =
                Some(Self::new(counts, symbols)?);
            body = rest;
        }
        Some(())
    }

    fn new(counts: &[u8; 16], symbols: &[u8]) -> Option<Self> {
        let mut entries = vec![0; 1 << 16];
        let mut symbols = symbols.iter();
        let mut start = 0;
        for (length, count) in (1u16..).zip(counts) {
            let span = 1usize << (16 - length);
            for symbol in symbols.by_ref().take(usize::from(*count)) {
                entries.get_mut(start..start + span)?.fill(length << 8 | u16::from(*symbol));
                start += span;
            }
        }
        Some(Self(entries))
    }
}

/// Why there were no bits, or no symbol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// The data end, or a marker follows.
    End,
    /// The bits are not a code of the table.
    NoCode,
}

/// The bits of a scan, up to the next marker.
pub(super) struct Bits<'a> {
    data: &'a [u8],
    /// The position of the first byte that is not in `held` yet.
    at: usize,
    held: u64,
    count: u32,
}

impl<'a> Bits<'a> {
    pub fn new(data: &'a [u8], at: usize) -> Self {
        Self { data, at, held: 0, count: 0 }
    }

    fn fill(&mut self) {
        while self.count <= 48 {
            let byte = match (self.data.get(self.at), self.data.get(self.at + 1)) {
                (Some(0xff), Some(0)) => {
                    self.at += 2;
                    0xff
                }
                (Some(0xff), _) | (None, _) => return,
                (Some(byte), _) => {
                    self.at += 1;
                    *byte
                }
            };
            self.held = self.held << 8 | u64::from(byte);
            self.count += 8;
        }
    }

    pub fn take(&mut self, count: u32) -> Result<u32, Stop> {
        if self.count < count {
            self.fill();
        }
        self.count = self.count.checked_sub(count).ok_or(Stop::End)?;
        Ok((self.held >> self.count) as u32 & ((1 << count) - 1))
    }

    pub fn symbol(&mut self, table: &Table) -> Result<u8, Stop> {
        if self.count < 16 {
            self.fill();
        }
        // The next bits, followed by zeros where the data end.
        let next = if self.count >= 16 { self.held >> (self.count - 16) } else { self.held << (16 - self.count) };
        let entry = table.0.get(usize::from(next as u16)).copied().unwrap_or(0);
        let length = u32::from(entry >> 8);
        if length == 0 {
            return Err(if self.count < 16 { Stop::End } else { Stop::NoCode });
        }
        self.count = self.count.checked_sub(length).ok_or(Stop::End)?;
        Ok(entry as u8)
    }

    /// The earliest position of the next marker: unused bits are padding, or surplus.
    pub fn position(&self) -> usize {
        self.at
    }
}
