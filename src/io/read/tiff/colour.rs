//! Converts a page's samples to grey or colour.

use crate::frame::{Orientation, PixelFormat};
use crate::io::levels::Levels;
use tiff::ColorType;
use tiff::decoder::DecodingResult;

/// Colours by index.
pub(super) struct Palette(Vec<[u8; 3]>);

impl Palette {
    /// From TIFF's ColorMap: all reds, all greens, all blues, in 16 bits.
    pub fn new(map: &[u16], indices: ColorType) -> Option<Self> {
        let count = map.len() / 3;
        if !(1..=16).contains(&indices.bit_depth()) || count < 1 << indices.bit_depth() {
            return None;
        }
        // Some writers leave colours in 8 bits.
        let shift = if map.iter().any(|level| *level > 255) { 8 } else { 0 };
        let colour = |index: usize| [0, 1, 2].map(|channel| (map[channel * count + index] >> shift) as u8);
        Some(Self((0..count).map(colour).collect()))
    }
}

/// How the samples of a page are converted.
pub(super) struct Page {
    pub width: usize,
    pub height: usize,
    pub orientation: Orientation,
    colour: Colour,
    bits: u8,
    /// Samples of a pixel, side by side or in planes.
    samples: usize,
    is_planar: bool,
}

enum Colour {
    Grey,
    Palette(Palette),
    Rgb,
    Cmyk,
    Ybr,
}

impl Page {
    /// # Errors
    /// The colours are not supported; the error names them.
    pub fn new(
        width: usize,
        height: usize,
        colour: ColorType,
        palette: Option<Palette>,
        planes: usize,
        orientation: Orientation,
    ) -> Result<Self, String> {
        let bits = colour.bit_depth();
        let (colour, samples) = match (colour, palette) {
            (ColorType::Gray(_), Some(palette)) => (Colour::Palette(palette), 1),
            (_, Some(_)) => return Err("a palette of several samples a pixel".into()),
            (ColorType::Gray(_), None) => (Colour::Grey, 1),
            // Grey, and the other samples of a pixel.
            (ColorType::GrayA(_), None) => (Colour::Grey, 2),
            (ColorType::Multiband { num_samples: 2, .. }, None) => (Colour::Grey, 2),
            (ColorType::RGB(_), None) => (Colour::Rgb, 3),
            (ColorType::RGBA(_), None) => (Colour::Rgb, 4),
            (ColorType::CMYK(8), None) => (Colour::Cmyk, 4),
            (ColorType::YCbCr(8), None) => (Colour::Ybr, 3),
            (other, None) => return Err(format!("its colours are {other:?}")),
        };
        if bits < 8 && samples > 1 {
            return Err(format!("{samples} samples of {bits} bits a pixel"));
        }
        Ok(Self { width, height, orientation, colour, bits, samples, is_planar: planes > 1 })
    }

    /// Whether samples are used unchanged: 8 bits or fewer without a sign, and indices.
    pub fn is_plain(&self, samples: &DecodingResult) -> bool {
        matches!(samples, DecodingResult::U8(_)) || matches!(self.colour, Colour::Palette(_))
    }

    /// # Errors
    /// There are fewer samples than the page has, or of an unexpected type.
    pub fn pixels(&self, samples: &DecodingResult, levels: Levels) -> Result<(Vec<u8>, PixelFormat), &'static str> {
        let area = self.width * self.height;
        let expanded;
        let plain = match samples {
            DecodingResult::U8(bytes) if self.bits < 8 => {
                expanded = self.expand(bytes);
                Some(&expanded[..])
            }
            DecodingResult::U8(bytes) => Some(&bytes[..]),
            _ => None,
        };
        if let Colour::Palette(Palette(colours)) = &self.colour {
            let mut pixels = Vec::with_capacity(3 * area);
            let mut index = |index: usize| pixels.extend(colours.get(index).copied().unwrap_or_default());
            match (plain, samples) {
                (Some(indices), _) => indices.iter().take(area).for_each(|at| index((*at).into())),
                (None, DecodingResult::U16(indices)) => indices.iter().take(area).for_each(|at| index((*at).into())),
                _ => return Err("its indices are not integers"),
            }
            return if pixels.len() == 3 * area { Ok((pixels, PixelFormat::Rgb8)) } else { Err("pixels are missing") };
        }
        if matches!(self.colour, Colour::Grey) && plain.is_none() {
            let mut values = Vec::with_capacity(2 * area);
            self.for_each_of(samples, area, 1, |sample| values.extend(levels.to_u16(sample).to_le_bytes()));
            return if values.len() == 2 * area {
                Ok((values, PixelFormat::Gray16Le))
            } else {
                Err("pixels are missing")
            };
        }
        let kept = match self.colour {
            Colour::Grey => 1,
            Colour::Cmyk => 4,
            _ => 3,
        };
        let mut values = Vec::with_capacity(kept * area);
        match plain {
            Some(bytes) if self.bits < 8 => {
                let white = f64::from((1u16 << self.bits) - 1);
                values.extend(bytes.iter().take(area).map(|level| (f64::from(*level) * 255.0 / white).round() as u8));
            }
            Some(bytes) => self.pick(bytes, area, kept, &mut values),
            None => self.for_each_of(samples, area, kept, |sample| values.push(levels.to_u8(sample))),
        }
        if values.len() != kept * area {
            return Err("pixels are missing");
        }
        match self.colour {
            Colour::Grey => Ok((values, PixelFormat::Gray8)),
            Colour::Cmyk => {
                let rgb =
                    |ink: &[u8]| [0, 1, 2].map(|at| (u16::from(255 - ink[at]) * u16::from(255 - ink[3]) / 255) as u8);
                Ok((values.chunks_exact(4).flat_map(rgb).collect(), PixelFormat::Rgb8))
            }
            Colour::Ybr => {
                for pixel in values.as_chunks_mut::<3>().0 {
                    *pixel = rgb_of_ybr(*pixel);
                }
                Ok((values, PixelFormat::Rgb8))
            }
            _ => Ok((values, PixelFormat::Rgb8)),
        }
    }

    /// Samples of fewer than 8 bits, one a byte. Rows begin at complete bytes.
    fn expand(&self, packed: &[u8]) -> Vec<u8> {
        let bits = usize::from(self.bits);
        let row_bytes = (self.width * bits).div_ceil(8).max(1);
        let mask = ((1u16 << bits) - 1) as u8;
        let sample = |row: &[u8], x: usize| row[x * bits / 8] >> (8 - bits - x * bits % 8) & mask;
        // Only widths of 1, 2 and 4 bits, which fit a byte, are possible.
        if !matches!(bits, 1 | 2 | 4) {
            return Vec::new();
        }
        packed.chunks_exact(row_bytes).flat_map(|row| (0..self.width).map(move |x| sample(row, x))).collect()
    }

    /// The first `kept` samples of every pixel.
    fn pick(&self, bytes: &[u8], area: usize, kept: usize, into: &mut Vec<u8>) {
        if self.is_planar {
            for at in 0..area {
                into.extend((0..kept).filter_map(|plane| bytes.get(plane * area + at)));
            }
        } else {
            into.extend(bytes.chunks_exact(self.samples).take(area).flat_map(|pixel| pixel.iter().take(kept)));
        }
    }

    /// As [`Self::pick`], for samples of any type.
    fn for_each_of(&self, samples: &DecodingResult, area: usize, kept: usize, mut each: impl FnMut(f64)) {
        let mut all = Vec::new();
        for_each_sample(samples, |sample| all.push(sample));
        if self.is_planar {
            for at in 0..area {
                (0..kept).filter_map(|plane| all.get(plane * area + at)).for_each(|sample| each(*sample));
            }
        } else {
            let pixels = all.chunks_exact(self.samples).take(area);
            pixels.flat_map(|pixel| pixel.iter().take(kept)).for_each(|sample| each(*sample));
        }
    }
}

/// JPEG's conversion: luma and two chromas, all of 0 to 255.
fn rgb_of_ybr([y, cb, cr]: [u8; 3]) -> [u8; 3] {
    let (y, cb, cr) = (f32::from(y), f32::from(cb) - 128.0, f32::from(cr) - 128.0);
    // A cast saturates.
    [y + 1.402 * cr, y - 0.344_136 * cb - 0.714_136 * cr, y + 1.772 * cb].map(|level| level.round() as u8)
}

pub(super) fn for_each_sample(samples: &DecodingResult, mut each: impl FnMut(f64)) {
    match samples {
        DecodingResult::U8(values) => values.iter().for_each(|value| each(f64::from(*value))),
        DecodingResult::U16(values) => values.iter().for_each(|value| each(f64::from(*value))),
        DecodingResult::U32(values) => values.iter().for_each(|value| each(f64::from(*value))),
        DecodingResult::U64(values) => values.iter().for_each(|value| each(*value as f64)),
        DecodingResult::I8(values) => values.iter().for_each(|value| each(f64::from(*value))),
        DecodingResult::I16(values) => values.iter().for_each(|value| each(f64::from(*value))),
        DecodingResult::I32(values) => values.iter().for_each(|value| each(f64::from(*value))),
        DecodingResult::I64(values) => values.iter().for_each(|value| each(*value as f64)),
        DecodingResult::F16(values) => values.iter().for_each(|value| each(value.to_f64())),
        DecodingResult::F32(values) => values.iter().for_each(|value| each(f64::from(*value))),
        DecodingResult::F64(values) => values.iter().for_each(|value| each(*value)),
    }
}
