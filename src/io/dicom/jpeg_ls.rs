//! JPEG-LS (ITU-T T.87), lossless and near-lossless: LOCO-I's predictor, contexts, Golomb codes and runs.
//!
//! Implemented here because the only decoders for Rust are bindings of a C++ library, which a device's build would have
//! to compile.

use crate::io::jpeg::{FrameHeader, Process, Segments};

/// The number of contexts of gradients, by nine steps of each of three and without their sign (T.87, A.3.4).
const CONTEXTS: usize = 365;

/// The bits by which a run's length grows (T.87, A.2.1).
const RUN_BITS: [u32; 32] =
    [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 9, 10, 11, 12, 13, 14, 15];

/// The size of a picture, checked before anything is allocated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size {
    pub width: usize,
    pub height: usize,
    pub components: usize,
    /// Bits of a sample, 2 to 16.
    pub bits: u32,
}

/// Parameters of the coding (T.87, C.2.4.1.1).
#[derive(Clone, Copy, Debug)]
struct Coding {
    most: i32,
    near: i32,
    thresholds: [i32; 3],
    reset: i32,
}

/// The order of the components' samples in a scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Interleave {
    None,
    Line,
    Sample,
}

/// Decodes all scans into samples, pixel by pixel. `size` is the size that the file announces; a picture with another
/// one is refused.
pub(super) fn decode(data: &[u8], size: Size, out: &mut Vec<u16>) -> Result<(), &'static str> {
    const CUT: &str = "it is cut short";
    let Size { width, height, components, bits } = size;
    out.clear();
    out.resize(width * height * components, 0);
    let mut segments = Segments::new(data).ok_or(CUT)?;
    let mut seen = 0;
    let mut ids: Vec<u8> = Vec::new();
    let mut preset: Option<[i32; 5]> = None;
    while seen < components {
        let (marker, body) = segments.next().ok_or(CUT)?;
        match (marker, body) {
            (0xd9, _) => return Err(CUT),
            (0xf7, body) => {
                const OTHER: &str = "its size is not the one that the file describes";
                let header = FrameHeader::read(Process::Ls, body).ok_or(OTHER)?;
                let found = Size {
                    width: header.width,
                    height: header.height,
                    components: header.components.len(),
                    bits: header.precision.into(),
                };
                if found != size || !(2..=16).contains(&bits) {
                    return Err(OTHER);
                }
                ids = header.components.iter().map(|component| component.id).collect();
            }
            (0xf8, &[1, ref values @ ..]) => {
                let mut numbers = values.as_chunks().0.iter().map(|pair| i32::from(u16::from_be_bytes(*pair)));
                preset = Some([(); 5].map(|()| numbers.next().unwrap_or_default()));
            }
            (0xf8, _) => return Err("its kind of table is not supported"),
            (0xdd, body) if body.iter().any(|byte| *byte != 0) => return Err("restart intervals are not supported"),
            (0xe8, body) if body.starts_with(b"mrfx") && body.get(4).is_some_and(|kind| *kind != 0) => {
                return Err("its colour transform is not supported");
            }
            (0xda, &[count, ref rest @ ..]) => {
                let count = usize::from(count);
                let selected = rest.get(..2 * count).ok_or(CUT)?;
                let &[near, interleave, transform] = rest.get(2 * count..).ok_or(CUT)? else { return Err(CUT) };
                let first = ids
                    .iter()
                    .position(|id| selected.first() == Some(id))
                    .ok_or("a scan refers to an unknown component")?;
                let interleave = match (interleave, count) {
                    (0, 1) => Interleave::None,
                    (1, _) => Interleave::Line,
                    (2, _) => Interleave::Sample,
                    _ => return Err("its samples follow in an unknown order"),
                };
                if first + count > components || count == 0 || transform != 0 {
                    return Err("a scan refers to an unknown component");
                }
                let coding = Coding::new(preset, bits, near.into())?;
                let mut scan = Scan::new(data, segments.position(), coding);
                scan.decode(size, first, count, interleave, out).ok_or(CUT)?;
                segments.resume_at(scan.bits.at);
                seen += count;
            }
            _ => {}
        }
    }
    Ok(())
}

impl Coding {
    fn new(preset: Option<[i32; 5]>, bits: u32, near: i32) -> Result<Self, &'static str> {
        let [most, t1, t2, t3, reset] = preset.unwrap_or_default();
        let most = if most == 0 { (1 << bits) - 1 } else { most };
        if most > (1 << bits) - 1 || near > (most / 2).min(255) {
            return Err("its coding parameters contradict each other");
        }
        let within = |value: i32, least: i32| if value > most || value < least { least } else { value };
        // T.87, C.2.4.1.1.1.
        let defaults = if most >= 128 {
            let factor = (most.min(4095) + 128) / 256;
            [factor + 2 + 3 * near, 4 * factor + 3 + 5 * near, 17 * factor + 4 + 7 * near]
        } else {
            let factor = 256 / (most + 1);
            [(3 / factor).max(2) + 3 * near, (7 / factor).max(3) + 5 * near, (21 / factor).max(4) + 7 * near]
        };
        let first = if t1 == 0 { within(defaults[0], near + 1) } else { t1 };
        let second = if t2 == 0 { within(defaults[1], first) } else { t2 };
        let third = if t3 == 0 { within(defaults[2], second) } else { t3 };
        let reset = if reset == 0 { 64 } else { reset };
        if !(near < first && first <= second && second <= third && third <= most && reset >= 3) {
            return Err("its coding parameters contradict each other");
        }
        Ok(Self { most, near, thresholds: [first, second, third], reset })
    }
}

/// The state of one context.
#[derive(Clone, Copy)]
struct Context {
    /// Sum of the magnitudes of errors, and their number.
    a: i32,
    n: i32,
    /// Bias, and its correction.
    b: i32,
    c: i32,
}

/// The state of a context for the ends of runs: magnitudes of errors, their number, and the number below zero.
#[derive(Clone, Copy)]
struct RunContext {
    a: i32,
    n: i32,
    negative: i32,
}

struct Scan<'a> {
    bits: BitReader<'a>,
    coding: Coding,
    range: i32,
    /// Bits of an error, and of the longest code.
    error_bits: u32,
    limit: u32,
    contexts: Vec<Context>,
    runs: [RunContext; 2],
}

/// One component's line and the one above it. Index 0 is left of the picture, the last one right of it.
struct Lines {
    above: Vec<i32>,
    line: Vec<i32>,
    run_index: usize,
}

impl Lines {
    fn next(&mut self, width: usize) {
        std::mem::swap(&mut self.above, &mut self.line);
        // The sample left of a line is the one above its first pixel, and the sample right of the line above is that
        // line's last one.
        self.line[0] = self.above[1];
        self.above[width + 1] = self.above[width];
    }

    /// The neighbours: left, above, above left, above right.
    fn around(&self, x: usize) -> [i32; 4] {
        [self.line[x - 1], self.above[x], self.above[x - 1], self.above[x + 1]]
    }
}

impl<'a> Scan<'a> {
    fn new(data: &'a [u8], at: usize, coding: Coding) -> Self {
        let step = 2 * coding.near + 1;
        let range = (coding.most + 2 * coding.near) / step + 1;
        let bits_of = |values: i32| 32 - ((values - 1).max(0) as u32).leading_zeros();
        let sample_bits = bits_of(coding.most + 1).max(2);
        let a = ((range + 32) / 64).max(2);
        Self {
            bits: BitReader { data, at, buffer: 0, held: 0, after_ff: false },
            coding,
            range,
            error_bits: bits_of(range),
            limit: 2 * (sample_bits + sample_bits.max(8)),
            contexts: vec![Context { a, n: 1, b: 0, c: 0 }; CONTEXTS],
            runs: [RunContext { a, n: 1, negative: 0 }; 2],
        }
    }

    /// Decodes the scan; `None` where the bits end early.
    fn decode(
        &mut self,
        size: Size,
        first: usize,
        count: usize,
        interleave: Interleave,
        out: &mut [u16],
    ) -> Option<()> {
        let Size { width, height, components, .. } = size;
        let new = || Lines { above: vec![0; width + 2], line: vec![0; width + 2], run_index: 0 };
        let mut lines: Vec<Lines> = (0..count).map(|_| new()).collect();
        for row in out.chunks_exact_mut(width * components).take(height) {
            lines.iter_mut().for_each(|lines| lines.next(width));
            if interleave == Interleave::Sample && count > 1 {
                self.line_of_pixels(&mut lines, width)?;
            } else {
                for lines in &mut lines {
                    self.line(lines, width)?;
                }
            }
            for (index, lines) in lines.iter().enumerate() {
                let samples = row.iter_mut().skip(first + index).step_by(components);
                samples.zip(&lines.line[1..]).for_each(|(sample, value)| *sample = *value as u16);
            }
        }
        Some(())
    }

    fn line(&mut self, lines: &mut Lines, width: usize) -> Option<()> {
        let mut x = 1;
        while x <= width {
            let around = lines.around(x);
            let gradients = self.gradients(around);
            if gradients == [0; 3] {
                let left = around[0];
                let (length, ended) = self.run(&mut lines.run_index, width + 1 - x)?;
                lines.line[x..x + length].fill(left);
                x += length;
                if ended {
                    let above = lines.above[x];
                    lines.line[x] = self.run_end(left, above, lines.run_index, true)?;
                    lines.run_index = lines.run_index.saturating_sub(1);
                    x += 1;
                }
            } else {
                lines.line[x] = self.regular(around, gradients)?;
                x += 1;
            }
        }
        Some(())
    }

    /// Decodes a line of several components whose samples alternate: one run serves all of them.
    fn line_of_pixels(&mut self, lines: &mut [Lines], width: usize) -> Option<()> {
        let mut run_index = lines.first()?.run_index;
        let mut x = 1;
        while x <= width {
            if lines.iter().all(|lines| self.gradients(lines.around(x)) == [0; 3]) {
                let (length, ended) = self.run(&mut run_index, width + 1 - x)?;
                for lines in &mut *lines {
                    let left = lines.line[x - 1];
                    lines.line[x..x + length].fill(left);
                }
                x += length;
                if ended {
                    for lines in &mut *lines {
                        let (left, above) = (lines.line[x - 1], lines.above[x]);
                        lines.line[x] = self.run_end(left, above, run_index, false)?;
                    }
                    run_index = run_index.saturating_sub(1);
                    x += 1;
                }
            } else {
                for lines in &mut *lines {
                    let around = lines.around(x);
                    lines.line[x] = self.regular(around, self.gradients(around))?;
                }
                x += 1;
            }
        }
        lines.first_mut()?.run_index = run_index;
        Some(())
    }

    /// The three gradients in nine steps each (T.87, A.3.3).
    fn gradients(&self, [left, above, above_left, above_right]: [i32; 4]) -> [i32; 3] {
        let [t1, t2, t3] = self.coding.thresholds;
        let near = self.coding.near;
        [above_right - above, above - above_left, above_left - left].map(|d| {
            let size = match d.abs() {
                size if size <= near => 0,
                size if size < t1 => 1,
                size if size < t2 => 2,
                size if size < t3 => 3,
                _ => 4,
            };
            size * d.signum()
        })
    }

    fn regular(&mut self, [left, above, above_left, _]: [i32; 4], gradients: [i32; 3]) -> Option<i32> {
        let number = gradients[0] * 81 + gradients[1] * 9 + gradients[2];
        let sign = if number < 0 { -1 } else { 1 };
        let context = *self.contexts.get(number.unsigned_abs() as usize)?;
        let predicted = match above_left {
            corner if corner >= left.max(above) => left.min(above),
            corner if corner <= left.min(above) => left.max(above),
            corner => left + above - corner,
        };
        let predicted = (predicted + sign * context.c).clamp(0, self.coding.most);
        let k = golomb(context.n, context.a)?;
        let mapped = self.bits.golomb(k, self.limit, self.error_bits)?;
        let turned = self.coding.near == 0 && k == 0 && 2 * context.b <= -context.n;
        let error = match (mapped % 2 == 1, turned) {
            (true, true) => (mapped - 1) / 2,
            (false, true) => -(mapped / 2) - 1,
            (true, false) => -((mapped + 1) / 2),
            (false, false) => mapped / 2,
        };
        let step = 2 * self.coding.near + 1;
        let context = self.contexts.get_mut(number.unsigned_abs() as usize)?;
        context.b += error * step;
        context.a = context.a.saturating_add(error.abs());
        if context.n == self.coding.reset {
            context.a >>= 1;
            // As in T.87: rounded towards minus infinity.
            context.b >>= 1;
            context.n >>= 1;
        }
        context.n += 1;
        if context.b <= -context.n {
            context.b = (context.b + context.n).max(1 - context.n);
            context.c = (context.c - 1).max(-128);
        } else if context.b > 0 {
            context.b = (context.b - context.n).min(0);
            context.c = (context.c + 1).min(127);
        }
        Some(self.restore(predicted, sign * error))
    }

    /// How many pixels equal the one on the left, and whether a different one follows.
    fn run(&mut self, index: &mut usize, room: usize) -> Option<(usize, bool)> {
        let mut length = 0;
        while self.bits.bit()? == 1 {
            let whole = 1usize << RUN_BITS[*index];
            if whole <= room - length {
                length += whole;
                *index = (*index + 1).min(31);
            } else {
                // Cut off by the line's end, it does not count as one.
                length = room;
            }
            if length == room {
                return Some((length, false));
            }
        }
        length += self.bits.take(RUN_BITS[*index])? as usize;
        (length < room).then_some((length, true))
    }

    /// The pixel that ends a run (T.87, A.7.2). With `may_match`, a pixel whose neighbours are equal has a context of
    /// its own.
    fn run_end(&mut self, left: i32, above: i32, run_index: usize, may_match: bool) -> Option<i32> {
        let matches = may_match && (left - above).abs() <= self.coding.near;
        let kind = i32::from(matches);
        let context = self.runs[usize::from(matches)];
        let k = golomb(context.n, context.a + if matches { context.n >> 1 } else { 0 })?;
        let limit = self.limit.checked_sub(RUN_BITS[run_index] + 1)?;
        let mapped = self.bits.golomb(k, limit, self.error_bits)?;
        let sum = mapped + kind;
        let odd = sum % 2 == 1;
        let size = (sum + i32::from(odd)) / 2;
        let error = if (k != 0 || 2 * context.negative >= context.n) == odd { -size } else { size };
        let context = &mut self.runs[usize::from(matches)];
        if error < 0 {
            context.negative += 1;
        }
        context.a = context.a.saturating_add((mapped + 1 - kind) >> 1);
        if context.n == self.coding.reset {
            context.a >>= 1;
            context.n >>= 1;
            context.negative >>= 1;
        }
        context.n += 1;
        Some(if matches {
            self.restore(left, error)
        } else {
            self.restore(above, if left > above { -error } else { error })
        })
    }

    fn restore(&self, predicted: i32, error: i32) -> i32 {
        let Coding { most, near, .. } = self.coding;
        let step = 2 * near + 1;
        let mut value = predicted + error * step;
        if value < -near {
            value += self.range * step;
        } else if value > most + near {
            value -= self.range * step;
        }
        value.clamp(0, most)
    }
}

/// The parameter of a context's Golomb codes; `None` where damage made it larger than allowed.
fn golomb(n: i32, a: i32) -> Option<u32> {
    (0..20).find(|k| i64::from(n) << k >= i64::from(a))
}

/// The bits of a scan: after 0xff a byte carries only seven.
struct BitReader<'a> {
    data: &'a [u8],
    at: usize,
    buffer: u64,
    held: u32,
    after_ff: bool,
}

impl BitReader<'_> {
    fn fill(&mut self) {
        while self.held <= 48 {
            let Some(&byte) = self.data.get(self.at) else { return };
            if self.after_ff {
                if byte & 0x80 != 0 {
                    return;
                }
                self.buffer |= u64::from(byte) << (57 - self.held);
                self.held += 7;
            } else {
                // The first byte of a marker does not belong to the scan.
                if byte == 0xff && self.data.get(self.at + 1).is_none_or(|next| next & 0x80 != 0) {
                    return;
                }
                self.buffer |= u64::from(byte) << (56 - self.held);
                self.held += 8;
            }
            self.after_ff = byte == 0xff;
            self.at += 1;
        }
    }

    fn take(&mut self, count: u32) -> Option<u32> {
        if count == 0 {
            return Some(0);
        }
        if self.held < count {
            self.fill();
        }
        self.held = self.held.checked_sub(count)?;
        let value = self.buffer >> (64 - count);
        self.buffer <<= count;
        Some(value as u32)
    }

    fn bit(&mut self) -> Option<u32> {
        self.take(1)
    }

    /// A code of limited length (T.87, A.5.3).
    fn golomb(&mut self, k: u32, limit: u32, error_bits: u32) -> Option<i32> {
        let most = limit.checked_sub(error_bits + 1)?;
        let mut zeros = 0;
        while self.bit()? == 0 {
            zeros += 1;
            if zeros > most {
                return None;
            }
        }
        let value = if zeros < most { (zeros << k) | self.take(k)? } else { self.take(error_bits)? + 1 };
        i32::try_from(value).ok().filter(|value| *value < 1 << 20)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The picture of T.87, H.3: 4 x 4 pixels of 8 bits, and its code.
    const CODED: &[u8] = &[
        0xff, 0xd8, 0xff, 0xf7, 0x00, 0x0b, 0x08, 0x00, 0x04, 0x00, 0x04, 0x01, 0x01, 0x11, 0x00, 0xff, 0xda, 0x00,
        0x08, 0x01, 0x01, 0x00, 0x00, 0x00, 0x00, 0xc0, 0x00, 0x00, 0x6c, 0x80, 0x20, 0x8e, 0x01, 0xc0, 0x00, 0x00,
        0x57, 0x40, 0x00, 0x00, 0x6e, 0xe6, 0x00, 0x00, 0x01, 0xbc, 0x18, 0x00, 0x00, 0x05, 0xd8, 0x00, 0x00, 0x91,
        0x60, 0xff, 0xd9,
    ];
    const PICTURE: [u16; 16] = [0, 0, 90, 74, 68, 50, 43, 205, 64, 145, 145, 145, 100, 145, 145, 145];
    const SIZE: Size = Size { width: 4, height: 4, components: 1, bits: 8 };

    #[test]
    fn the_example_of_the_standard() {
        let mut out = Vec::new();
        decode(CODED, SIZE, &mut out).unwrap();
        assert_eq!(out, PICTURE);
    }

    #[test]
    fn damage_is_an_error_and_never_panics() {
        let mut out = Vec::new();
        for end in 0..CODED.len() - 3 {
            assert!(decode(&CODED[..end], SIZE, &mut out).is_err(), "{end}");
        }
        assert!(decode(CODED, Size { width: 5, ..SIZE }, &mut out).is_err());
        for at in 0..CODED.len() {
            for value in 0..=255 {
                let mut changed = CODED.to_vec();
                changed[at] = value;
                let _ = decode(&changed, SIZE, &mut out);
                assert_eq!(out.len(), 16);
            }
        }
    }
}
