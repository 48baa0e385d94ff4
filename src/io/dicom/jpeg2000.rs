//! JPEG 2000 frames (ITU-T T.800), decoded by `hayro-jpeg2000`, which has no unsafe code.

use super::jpeg::{check_samples, check_size};
use super::pixels::PixelLayout;
use hayro_jpeg2000::{DecodeSettings, DecoderContext, Image};

/// The most samples of one picture, all components together. The decoder needs some 16 bytes for each.
const MAX_SAMPLES: usize = 1 << 25;

/// The most tiles of one picture, since each needs memory of its own. Scanners write one, or a few hundred.
const MAX_TILES: u64 = 1 << 14;

/// The content of the first marker segment (T.800, A.5.1).
struct Size {
    /// The width of the picture.
    width: u32,
    height: u32,
    tiles: u64,
    bits: u32,
    signed: bool,
    components: usize,
    subsampled: bool,
}

impl Size {
    fn read(codestream: &[u8]) -> Option<Self> {
        let segment = codestream.strip_prefix(&[0xff, 0x4f, 0xff, 0x51])?;
        let word = |at: usize| segment.get(at..at + 4)?.first_chunk().map(|bytes| u32::from_be_bytes(*bytes));
        let [right, lower, left, upper, tile_width, tile_height, tile_left, tile_upper] =
            [word(4)?, word(8)?, word(12)?, word(16)?, word(20)?, word(24)?, word(28)?, word(32)?];
        let components = usize::from(u16::from_be_bytes(*segment.get(36..38)?.first_chunk()?));
        let each = segment.get(38..38 + 3 * components)?.as_chunks::<3>().0;
        let (first, ..) = each.first()?.split_first()?;
        let tiles = |end: u32, start: u32, size: u32| {
            let tiles = end.checked_sub(start)?.checked_add(size.checked_sub(1)?)? / size;
            Some(u64::from(tiles))
        };
        Some(Self {
            width: right.checked_sub(left)?,
            height: lower.checked_sub(upper)?,
            tiles: tiles(right, tile_left, tile_width)? * tiles(lower, tile_upper, tile_height)?,
            bits: each.iter().map(|[bits, ..]| u32::from(bits & 0x7f) + 1).max()?,
            signed: first & 0x80 != 0 || each.iter().any(|[bits, ..]| bits & 0x80 != first & 0x80),
            components,
            subsampled: each.iter().any(|[_, across, down]| (*across, *down) != (1, 1)),
        })
    }
}

/// Decodes into stored samples, pixel by pixel.
pub(super) fn decode(data: &[u8], layout: &PixelLayout, out: &mut Vec<u8>) -> Result<(), String> {
    let codestream = codestream(data).ok_or("it is not JPEG 2000")?;
    let size = Size::read(codestream).ok_or("its first marker is damaged")?;
    check_size([size.width as usize, size.height as usize], layout)?;
    check_samples(size.components, size.bits as usize, layout)?;
    if size.signed || size.subsampled {
        return Err("signed and subsampled JPEG 2000 is not supported".into());
    }
    if layout.width * layout.height * size.components > MAX_SAMPLES || size.tiles > MAX_TILES {
        return Err("decoding it takes too much memory".into());
    }
    let failed =
        |error: hayro_jpeg2000::DecodeError| error.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
    let image = Image::new(codestream, &DecodeSettings::default()).map_err(failed)?;
    let mut context = DecoderContext::default();
    let decoded = image.decode(&mut context).map_err(failed)?;
    let components = decoded.components();
    let pixels = layout.width * layout.height;
    if components.len() != size.components || components.iter().any(|component| component.samples().len() != pixels) {
        return Err("it holds another number of pixels".into());
    }
    out.clear();
    for pixel in 0..pixels {
        for component in components {
            let most = ((1u32 << size.bits) - 1) as f32;
            let value = component.samples()[pixel].round().clamp(0.0, most) as u16;
            if layout.bytes_per_sample == 2 {
                out.extend(value.to_le_bytes());
            } else {
                out.push(value as u8);
            }
        }
    }
    Ok(())
}

/// The codestream in `data`: DICOM has bare codestreams, but some files wrap them in a file format.
fn codestream(data: &[u8]) -> Option<&[u8]> {
    const START: &[u8] = &[0xff, 0x4f, 0xff, 0x51];
    if data.starts_with(START) {
        return Some(data);
    }
    let is_file = data.starts_with(b"\0\0\0\x0cjP  ");
    let start = data.windows(4).take(4096).position(|bytes| bytes == START).filter(|_| is_file)?;
    data.get(start..)
}

/// Whether all tile-parts are there, by their lengths.
pub(super) fn is_complete(data: &[u8]) -> bool {
    let Some(codestream) = codestream(data) else { return true };
    let mut at = 2;
    loop {
        let Some(&[marker0, marker, l0, l1, ref rest @ ..]) = codestream.get(at..) else {
            // Only the end marker is left, which may be missing.
            return at <= codestream.len();
        };
        if marker0 != 0xff {
            // Padding behind the end, or damage, which the decoder reports.
            return true;
        }
        at += match marker {
            0xd9 => return true,
            0x90 => {
                let Some(&[_, _, p0, p1, p2, p3, ..]) = rest.first_chunk::<8>() else { return false };
                match u32::from_be_bytes([p0, p1, p2, p3]) {
                    // Up to the end.
                    0 => return true,
                    length => (length as usize).max(12),
                }
            }
            _ => 2 + usize::from(u16::from_be_bytes([l0, l1])),
        };
    }
}
