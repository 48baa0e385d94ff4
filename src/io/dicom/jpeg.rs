//! JPEG frames: what their markers say, and decoding (ITU-T T.81).

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

#[cfg(test)]
mod tests {
    use super::*;
    use image::ExtendedColorType;
    use image::codecs::jpeg::JpegEncoder;

    fn noise(bytes: usize) -> Vec<u8> {
        (0..bytes as u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 21) as u8).collect()
    }

    #[test]
    fn damage_never_panics() {
        let mut whole = Vec::new();
        JpegEncoder::new(&mut whole).encode(&noise(16 * 16 * 3), 16, 16, ExtendedColorType::Rgb8).unwrap();
        for at in 0..whole.len() {
            for value in [0, 1, 0x7f, 0xd0, 0xff] {
                let mut changed = whole.clone();
                changed[at] = value;
                let _ = Header::read(&changed).is_some();
            }
        }
    }
}
