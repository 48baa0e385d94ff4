//! The markers of a JPEG, the segments after them, and the contents of a frame header (ITU-T T.81, B.1 and B.2; T.87
//! uses the same).

/// Iterates over markers, each with the content of its segment. Markers without a segment are skipped, except for the
/// end of the picture, and so are bytes that are not a marker. Ends where the data do, or a segment is cut short.
pub(in crate::io) struct Segments<'a> {
    data: &'a [u8],
    at: usize,
}

impl<'a> Segments<'a> {
    /// `None` for data that do not begin as a JPEG does.
    pub fn new(data: &'a [u8]) -> Option<Self> {
        data.starts_with(&[0xff, 0xd8]).then_some(Self { data, at: 2 })
    }

    /// The byte behind the last segment.
    pub fn position(&self) -> usize {
        self.at
    }

    /// Continues at another byte: behind a scan, which is not a segment.
    pub fn resume_at(&mut self, position: usize) {
        self.at = position;
    }
}

impl<'a> Iterator for Segments<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match next_marker(self.data, &mut self.at)? {
                0xd0..=0xd8 => {}
                0xd9 => return Some((0xd9, &[])),
                marker => {
                    let length = usize::from(u16::from_be_bytes(*self.data.get(self.at..)?.first_chunk()?)).max(2);
                    let body = self.data.get(self.at + 2..self.at + length)?;
                    self.at += length;
                    return Some((marker, body));
                }
            }
        }
    }
}

/// The marker at or after `at`, which is then moved behind it. Bytes that are not a marker are skipped, as decoders do:
/// among them those below 0x80, which the data of a JPEG-LS scan contain behind 0xff. No segment has such a marker.
pub(super) fn next_marker(data: &[u8], at: &mut usize) -> Option<u8> {
    loop {
        let start = *at + data.get(*at..)?.iter().position(|byte| *byte == 0xff)?;
        let code = start + data.get(start..)?.iter().position(|byte| *byte != 0xff)?;
        *at = code + 1;
        match data.get(code) {
            Some(0..0x80) => {}
            Some(marker) => return Some(*marker),
            None => return None,
        }
    }
}

/// The process that a picture is coded with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::io) enum Process {
    /// DCT and Huffman codes, in one pass over the picture.
    Sequential,
    /// DCT and Huffman codes, in passes that refine each other.
    Progressive,
    /// Predictors and Huffman codes.
    Lossless,
    /// LOCO-I (T.87), a separate format behind JPEG's markers.
    Ls,
    /// Any other: hierarchical, arithmetic.
    Other,
}

impl Process {
    /// The process of a frame header's marker; `None` for any other marker.
    pub fn of(marker: u8) -> Option<Self> {
        match marker {
            0xc0 | 0xc1 => Some(Self::Sequential),
            0xc2 => Some(Self::Progressive),
            0xc3 => Some(Self::Lossless),
            0xf7 => Some(Self::Ls),
            0xc5..=0xc7 | 0xc9..=0xcb | 0xcd..=0xcf => Some(Self::Other),
            _ => None,
        }
    }
}

/// One colour of a frame header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::io) struct Sampling {
    pub id: u8,
    /// 1 to 4 each: the number of samples relative to the smallest.
    pub horizontal: usize,
    pub vertical: usize,
}

/// The frame header before the first scan. Sides may be zero; there is at least one colour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::io) struct FrameHeader {
    pub process: Process,
    /// Bits of a sample, which only DICOM needs.
    #[cfg_attr(not(feature = "dicom"), allow(dead_code, reason = "DICOM alone reads it"))]
    pub precision: u8,
    pub width: usize,
    pub height: usize,
    pub components: Vec<Sampling>,
}

impl FrameHeader {
    /// Reads a frame header; `None` where it is not valid.
    pub fn read(process: Process, body: &[u8]) -> Option<Self> {
        let &[precision, h0, h1, w0, w1, count, ref rest @ ..] = body else { return None };
        let listed = rest.as_chunks().0.iter().take(count.into());
        let components: Vec<Sampling> = listed
            .map(|[id, factors, _]| Sampling {
                id: *id,
                horizontal: usize::from(factors >> 4),
                vertical: usize::from(factors & 15),
            })
            .collect();
        let (height, width) = (u16::from_be_bytes([h0, h1]).into(), u16::from_be_bytes([w0, w1]).into());
        let usable = components.len() == usize::from(count)
            && components.iter().all(|of| (1..=4).contains(&of.horizontal) && (1..=4).contains(&of.vertical));
        (usable && count > 0).then_some(Self { process, precision, width, height, components })
    }
}
