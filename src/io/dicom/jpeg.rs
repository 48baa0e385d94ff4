//! JPEG frames: what their markers say, whether all of a scan is there, and decoding (ITU-T T.81).

use super::pixels::PixelLayout;
use image::codecs::jpeg::JpegDecoder;
use image::{ColorType, ImageDecoder};
use std::borrow::Cow;
use std::io::Cursor;

/// The process that a frame is coded with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Process {
    /// DCT and Huffman codes, in one pass over the picture.
    Sequential,
    /// Predictors and Huffman codes.
    Lossless,
    /// LOCO-I (T.87), a format of its own behind JPEG's markers.
    Ls,
    /// Any other: progressive, arithmetic.
    Other,
}

#[derive(Clone, Copy, Debug)]
struct Component {
    id: u8,
    h: usize,
    v: usize,
}

/// What stands before the first scan.
pub(super) struct Header {
    pub process: Process,
    pub precision: u8,
    pub width: usize,
    pub height: usize,
    components: Vec<Component>,
    /// Whether JFIF or Adobe marked how colours are coded.
    marked: bool,
}

/// Segments of a JPEG, one after the other: marker, and what it holds.
struct Segments<'a> {
    data: &'a [u8],
    at: usize,
}

impl<'a> Segments<'a> {
    fn new(data: &'a [u8]) -> Option<Self> {
        data.starts_with(&[0xff, 0xd8]).then_some(Self { data, at: 2 })
    }
}

impl<'a> Iterator for Segments<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        // Fill bytes may precede a marker; what is no marker is passed over, as after a scan.
        let marker = loop {
            let start = self.at + self.data.get(self.at..)?.iter().position(|byte| *byte == 0xff)?;
            let marker = *self.data.get(start + 1)?;
            self.at = start + if marker == 0xff { 1 } else { 2 };
            if !matches!(marker, 0x00 | 0xff | 0xd0..=0xd7 | 0x01) {
                break marker;
            }
        };
        if matches!(marker, 0xd8 | 0xd9) {
            return Some((marker, &[]));
        }
        let length = self.data.get(self.at..self.at + 2)?;
        let length = usize::from(u16::from_be_bytes([length[0], length[1]])).max(2);
        let body = self.data.get(self.at + 2..self.at + length)?;
        self.at += length;
        Some((marker, body))
    }
}

fn frame_header(marker: u8, body: &[u8]) -> Option<Header> {
    let process = match marker {
        0xc0 | 0xc1 => Process::Sequential,
        0xc3 => Process::Lossless,
        0xf7 => Process::Ls,
        0xc2 | 0xc5..=0xc7 | 0xc9..=0xcb | 0xcd..=0xcf => Process::Other,
        _ => return None,
    };
    let &[precision, h0, h1, w0, w1, count, ref rest @ ..] = body else { return None };
    let components: Vec<Component> = rest
        .as_chunks()
        .0
        .iter()
        .take(count.into())
        .map(|[id, sampling, _]| Component { id: *id, h: usize::from(sampling >> 4), v: usize::from(sampling & 15) })
        .collect();
    let (height, width) = (u16::from_be_bytes([h0, h1]).into(), u16::from_be_bytes([w0, w1]).into());
    let usable = components.len() == usize::from(count)
        && components.iter().all(|c| (1..=4).contains(&c.h) && (1..=4).contains(&c.v));
    (usable && count > 0).then_some(Header { process, precision, width, height, components, marked: false })
}

impl Header {
    pub fn read(data: &[u8]) -> Option<Self> {
        let mut marked = false;
        for (marker, body) in Segments::new(data)? {
            match marker {
                0xe0 if body.starts_with(b"JFIF\0") => marked = true,
                0xee if body.starts_with(b"Adobe") && body.len() >= 12 => marked = true,
                0xda | 0xd9 => return None,
                _ => {
                    if let Some(header) = frame_header(marker, body) {
                        return Some(Self { marked, ..header });
                    }
                }
            }
        }
        None
    }

    pub fn component_count(&self) -> usize {
        self.components.len()
    }

    /// Whether three unmarked components are red, green and blue: the file says so and none is halved, or their names do.
    fn is_unmarked_rgb(&self, rgb: bool) -> bool {
        let [first, second, third] = self.components.as_slice() else { return false };
        let even = [second, third].iter().all(|other| (other.h, other.v) == (first.h, first.v));
        let named = [first.id, second.id, third.id] == *b"RGB";
        !self.marked && (named || rgb && even)
    }
}

/// Decodes into grey or RGB; says whether it was grey. Nothing is allocated for a picture of another size than announced.
pub(super) fn decode(
    data: &[u8],
    header: Option<&Header>,
    layout: &PixelLayout,
    out: &mut Vec<u8>,
) -> Result<bool, String> {
    // Pydicom, DCMTK and GDCM agree: without a mark of its own, such a JPEG holds what the file says. Adobe's mark says it.
    let data = match header.filter(|header| header.is_unmarked_rgb(layout.is_rgb())) {
        Some(_) => Cow::Owned([&data[..2], b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0\0", &data[2..]].concat()),
        None => Cow::Borrowed(data),
    };
    let one_line = |error: image::ImageError| error.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
    let decoder = JpegDecoder::new(Cursor::new(data.as_ref())).map_err(one_line)?;
    let (width, height) = decoder.dimensions();
    check_size([width as usize, height as usize], layout)?;
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

pub(super) fn check_size([width, height]: [usize; 2], layout: &PixelLayout) -> Result<(), String> {
    if [width, height] != [layout.width, layout.height] {
        return Err(format!("it is {width} x {height} pixels, not {} x {}", layout.width, layout.height));
    }
    Ok(())
}

/// Decodes lossless JPEG into stored samples, pixel by pixel.
pub(super) fn decode_lossless(
    data: &[u8],
    header: &Header,
    layout: &PixelLayout,
    out: &mut Vec<u8>,
) -> Result<(), String> {
    check_size([header.width, header.height], layout)?;
    check_samples(header.component_count(), header.precision.into(), layout)?;
    let one_line = |error: jpeg_decoder::Error| error.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
    let mut decoder = jpeg_decoder::Decoder::new(data);
    decoder.set_color_transform(jpeg_decoder::ColorTransform::None);
    decoder.set_max_decoding_buffer_size(2 * layout.interleaved_bytes().max(1));
    let decoded = decoder.decode().map_err(one_line)?;
    let info = decoder.info().ok_or("it has no picture")?;
    check_size([info.width.into(), info.height.into()], layout)?;
    let samples = layout.width * layout.height * layout.samples_per_pixel;
    out.clear();
    match (decoded.len() / samples.max(1), layout.bytes_per_sample) {
        (1, 1) => out.extend(&decoded),
        (1, _) => out.extend(decoded.iter().flat_map(|value| [*value, 0])),
        (2, 2) => {
            out.extend(decoded.as_chunks().0.iter().flat_map(|pair| u16::from_ne_bytes(*pair).to_le_bytes()));
        }
        _ => return Err("its samples are not those that the file describes".into()),
    }
    if out.len() == layout.interleaved_bytes() { Ok(()) } else { Err("it holds another number of pixels".into()) }
}

/// Holds a coded picture's samples against what the file describes.
pub(super) fn check_samples(components: usize, bits: usize, layout: &PixelLayout) -> Result<(), String> {
    if components != layout.samples_per_pixel || bits > 8 * layout.bytes_per_sample || bits == 0 {
        return Err(format!(
            "it has {components} x {bits} bits a pixel, which is not what the file describes ({} x {})",
            layout.samples_per_pixel, layout.bits_stored
        ));
    }
    Ok(())
}

/// A Huffman code (T.81, annex C), decoded nine bits at a time.
#[derive(Default)]
struct Huffman {
    /// Length and symbol by the next nine bits; length 0 where a code is longer.
    short: Vec<(u8, u8)>,
    /// By length: the largest code, or -1; and what to add to a code for its place among the symbols.
    most: [i32; 17],
    place: [i32; 17],
    symbols: Vec<u8>,
}

const SHORT_BITS: usize = 9;

impl Huffman {
    fn new(counts: &[u8; 16], symbols: &[u8]) -> Self {
        let mut table =
            Self { short: vec![(0, 0); 1 << SHORT_BITS], most: [-1; 17], place: [0; 17], symbols: symbols.to_vec() };
        let (mut code, mut index) = (0i32, 0i32);
        for length in 1..=16usize {
            let count = i32::from(counts[length - 1]);
            table.place[length] = index - code;
            if count > 0 {
                table.most[length] = code + count - 1;
            }
            if length <= SHORT_BITS {
                for offset in 0..count {
                    let symbol = symbols.get((index + offset) as usize).copied().unwrap_or_default();
                    let first = ((code + offset) as usize) << (SHORT_BITS - length);
                    let slots = table.short.iter_mut().skip(first).take(1 << (SHORT_BITS - length));
                    slots.for_each(|slot| *slot = (length as u8, symbol));
                }
            }
            index += count;
            code = (code + count) << 1;
        }
        table
    }

    fn decode(&self, bits: &mut BitReader) -> Option<u8> {
        let next = bits.peek();
        let (length, symbol) = *self.short.get((next >> (32 - SHORT_BITS)) as usize)?;
        if length > 0 {
            bits.take(length.into())?;
            return Some(symbol);
        }
        for length in SHORT_BITS + 1..=16 {
            let code = (next >> (32 - length)) as i32;
            if code <= self.most[length] {
                bits.take(length as u32)?;
                return self.symbols.get((code + self.place[length]) as usize).copied();
            }
        }
        None
    }
}

/// The bits of one entropy-coded segment, up to a marker or the end.
struct BitReader<'a> {
    data: &'a [u8],
    at: usize,
    buffer: u64,
    held: u32,
}

impl<'a> BitReader<'a> {
    fn new(data: &'a [u8], at: usize) -> Self {
        Self { data, at, buffer: 0, held: 0 }
    }

    fn fill(&mut self) {
        while self.held <= 56 {
            let (byte, used) = match (self.data.get(self.at), self.data.get(self.at + 1)) {
                (Some(0xff), Some(0x00)) => (0xff, 2),
                (Some(0xff) | None, _) => return,
                (Some(byte), _) => (*byte, 1),
            };
            self.at += used;
            self.buffer |= u64::from(byte) << (56 - self.held);
            self.held += 8;
        }
    }

    /// The next 32 bits; ones where there are none left.
    fn peek(&mut self) -> u32 {
        if self.held < 32 {
            self.fill();
        }
        let missing = 64u32.saturating_sub(self.held);
        let filled = if missing >= 64 { u64::MAX } else { self.buffer | ((1u64 << missing) - 1) };
        (filled >> 32) as u32
    }

    /// `None` where fewer are left.
    fn take(&mut self, count: u32) -> Option<()> {
        if self.held < count {
            self.fill();
        }
        self.held = self.held.checked_sub(count)?;
        self.buffer = if count < 64 { self.buffer << count } else { 0 };
        Some(())
    }

    /// Passes over a restart marker, and the bits that fill the byte before it.
    fn restart(&mut self) -> Option<()> {
        // What is held was read ahead; a marker stops that, so it begins right here.
        if self.held >= 8 {
            return None;
        }
        let start = self.at;
        while self.data.get(self.at + 1) == Some(&0xff) {
            self.at += 1;
        }
        match (self.data.get(self.at), self.data.get(self.at + 1)) {
            (Some(0xff), Some(0xd0..=0xd7)) => *self = Self::new(self.data, self.at + 2),
            _ => {
                self.at = start;
                return None;
            }
        }
        Some(())
    }
}

/// Whether the scans hold all of the picture: the end marker may be missing, the last block may not. Processes that this does
/// not know pass. Nothing is reconstructed: only the lengths of codes matter.
pub(super) fn is_complete(data: &[u8]) -> bool {
    scans(data).unwrap_or(true)
}

/// `None` where the process is another one, or a table is missing that a decoder may know.
fn scans(data: &[u8]) -> Option<bool> {
    let mut segments = Segments::new(data)?;
    let mut tables: [[Option<Huffman>; 4]; 2] = Default::default();
    let mut header: Option<Header> = None;
    let mut interval = 0usize;
    let mut seen = 0usize;
    while let Some((marker, body)) = segments.next() {
        match marker {
            0xc4 => define_tables(body, &mut tables)?,
            0xdd => interval = usize::from(u16::from_be_bytes(*body.first_chunk()?)),
            0xd9 => break,
            0xda => {
                let header = header.as_ref()?;
                let count = usize::from(*body.first()?);
                let selected = body.get(1..1 + 2 * count)?.as_chunks::<2>().0;
                let mut scan = Vec::new();
                for [id, selectors] in selected {
                    let component = *header.components.iter().find(|component| component.id == *id)?;
                    let table = |class: usize, index: u8| tables[class].get(usize::from(index))?.as_ref();
                    let first = table(0, selectors >> 4)?;
                    let rest =
                        if header.process == Process::Sequential { Some(table(1, selectors & 15)?) } else { None };
                    scan.push((component, first, rest));
                }
                let mut bits = BitReader::new(data, segments.at);
                if scan_is_complete(header, &scan, interval, &mut bits).is_none() {
                    return Some(false);
                }
                seen += count;
                segments.at = bits.at;
            }
            _ => {
                if let Some(found) = frame_header(marker, body) {
                    if !matches!(found.process, Process::Sequential | Process::Lossless) || found.height == 0 {
                        return None;
                    }
                    header = Some(found);
                }
            }
        }
    }
    Some(seen >= header?.components.len())
}

fn define_tables(mut body: &[u8], tables: &mut [[Option<Huffman>; 4]; 2]) -> Option<()> {
    while let &[kind, ref rest @ ..] = body {
        let counts: &[u8; 16] = rest.first_chunk()?;
        let total = counts.iter().map(|count| usize::from(*count)).sum::<usize>();
        let symbols = rest.get(16..16 + total)?;
        *tables.get_mut(usize::from(kind >> 4))?.get_mut(usize::from(kind & 15))? = Some(Huffman::new(counts, symbols));
        body = rest.get(16 + total..)?;
    }
    Some(())
}

/// `None` where the bits end before the blocks do, or make no code.
fn scan_is_complete(
    header: &Header,
    scan: &[(Component, &Huffman, Option<&Huffman>)],
    interval: usize,
    bits: &mut BitReader,
) -> Option<()> {
    let most = |of: fn(&Component) -> usize| header.components.iter().map(of).max().unwrap_or(1);
    let (h_most, v_most) = (most(|component| component.h), most(|component| component.v));
    let unit = if header.process == Process::Lossless { 1 } else { 8 };
    // A scan of one component has only the blocks that the picture needs.
    let (across, down) = match scan {
        [(component, ..)] => (
            (header.width * component.h).div_ceil(h_most).div_ceil(unit),
            (header.height * component.v).div_ceil(v_most).div_ceil(unit),
        ),
        _ => (header.width.div_ceil(unit * h_most), header.height.div_ceil(unit * v_most)),
    };
    for index in 0..across * down {
        if interval > 0 && index > 0 && index % interval == 0 {
            bits.restart()?;
        }
        for (component, first, rest) in scan {
            let blocks = if scan.len() == 1 { 1 } else { component.h * component.v };
            for _ in 0..blocks {
                let category = first.decode(bits)?;
                // Sixteen stands for 32,768 and has no bits of its own.
                bits.take(if category < 16 { category.into() } else { 0 })?;
                let Some(rest) = rest else { continue };
                let mut place = 1;
                while place < 64 {
                    let symbol = rest.decode(bits)?;
                    let (run, category) = (symbol >> 4, symbol & 15);
                    match (run, category) {
                        (15, 0) => place += 16,
                        (_, 0) => break,
                        _ => {
                            bits.take(category.into())?;
                            place += usize::from(run) + 1;
                        }
                    }
                }
            }
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::ExtendedColorType;
    use image::codecs::jpeg::JpegEncoder;

    fn noise(bytes: usize) -> Vec<u8> {
        (0..bytes as u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 21) as u8).collect()
    }

    #[test]
    fn a_scan_is_complete_or_not() {
        for (colour, samples) in [(ExtendedColorType::L8, 1), (ExtendedColorType::Rgb8, 3)] {
            let mut whole = Vec::new();
            JpegEncoder::new_with_quality(&mut whole, 90).encode(&noise(37 * 21 * samples), 37, 21, colour).unwrap();
            assert!(is_complete(&whole));
            // Without the end marker; with padding.
            assert!(is_complete(&whole[..whole.len() - 2]));
            assert!(is_complete(&[&whole[..], &[0]].concat()));
            let scan = whole.windows(2).position(|pair| pair == [0xff, 0xda]).unwrap();
            for end in scan + 20..whole.len() - 3 {
                assert!(!is_complete(&whole[..end]), "{end} of {}", whole.len());
                assert!(!is_complete(&[&whole[..end], &[0xff, 0xd9]].concat()), "{end} of {}", whole.len());
            }
        }
    }

    #[test]
    fn damage_never_panics() {
        let mut whole = Vec::new();
        JpegEncoder::new(&mut whole).encode(&noise(16 * 16 * 3), 16, 16, ExtendedColorType::Rgb8).unwrap();
        for at in 0..whole.len() {
            for value in [0, 1, 0x7f, 0xd0, 0xff] {
                let mut changed = whole.clone();
                changed[at] = value;
                let _ = is_complete(&changed);
                let _ = Header::read(&changed).is_some();
            }
        }
    }
}
