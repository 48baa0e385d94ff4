//! JPEG frames: reading their markers, and decoding (ITU-T T.81).

use super::pixels::PixelLayout;
use crate::io::jpeg::{FrameHeader, Process, Sampling, Segments};
use image::codecs::jpeg::JpegDecoder;
use image::{ColorType, ImageDecoder};
use std::borrow::Cow;
use std::io::Cursor;

/// The markers before the first scan.
pub(super) struct Header {
    pub frame: FrameHeader,
    /// Whether JFIF or Adobe marked how colours are coded.
    is_marked: bool,
}

impl Header {
    pub fn read(data: &[u8]) -> Option<Self> {
        let mut is_marked = false;
        for (marker, body) in Segments::new(data)? {
            match marker {
                0xe0 if body.starts_with(b"JFIF\0") => is_marked = true,
                0xee if body.starts_with(b"Adobe") && body.len() >= 12 => is_marked = true,
                0xda | 0xd9 => return None,
                _ => {
                    if let Some(process) = Process::of(marker) {
                        return Some(Self { frame: FrameHeader::read(process, body)?, is_marked });
                    }
                }
            }
        }
        None
    }

    /// Width and height in pixels.
    pub fn size(&self) -> [usize; 2] {
        [self.frame.width, self.frame.height]
    }

    pub fn component_count(&self) -> usize {
        self.frame.components.len()
    }

    /// Whether three unmarked components are red, green and blue: the file says so and none is subsampled, or their
    /// names do.
    fn is_unmarked_rgb(&self, rgb: bool) -> bool {
        let [first, second, third] = self.frame.components.as_slice() else { return false };
        let factors = |of: &Sampling| (of.horizontal, of.vertical);
        let even = [second, third].iter().all(|other| factors(other) == factors(first));
        let named = [first.id, second.id, third.id] == *b"RGB";
        !self.is_marked && (named || rgb && even)
    }
}

/// Decodes into grey or RGB; returns whether it was grey. Nothing is allocated for a picture with another size than
/// announced.
pub(super) fn decode(
    data: &[u8],
    header: Option<&Header>,
    layout: &PixelLayout,
    out: &mut Vec<u8>,
) -> Result<bool, String> {
    // As in Pydicom, DCMTK and GDCM: a JPEG without a mark of its own has the colours that the file states. Adobe's
    // mark states them itself.
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
    check_size(header.size(), layout)?;
    check_samples(header.component_count(), header.frame.precision.into(), layout)?;
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

/// Compares a coded picture's samples with the file's description.
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
