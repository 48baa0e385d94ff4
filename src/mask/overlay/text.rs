//! Text from embedded-graphics' built-in fonts (Latin-1), magnified with smooth edges for large pictures.

use super::Colour;
use super::canvas::Canvas;
use embedded_graphics::Pixel;
use embedded_graphics::mono_font::{MonoFont, MonoTextStyle, iso_8859_1 as fonts};
use embedded_graphics::pixelcolor::BinaryColor;
use embedded_graphics::prelude::{DrawTarget, Drawable, OriginDimensions, Point, Size};
use embedded_graphics::text::{Baseline, Text};
use std::convert::Infallible;

/// A built-in font and its magnification.
#[derive(Clone, Copy)]
pub(super) struct Typeface {
    font: &'static MonoFont<'static>,
    bold: &'static MonoFont<'static>,
    zoom: usize,
}

impl Typeface {
    /// A typeface that is readable on a picture of this width when the picture fills a screen.
    pub(crate) fn for_width(width: usize) -> Self {
        let (font, bold, zoom) = match width {
            // The bold face of this size is not legible.
            0..480 => (&fonts::FONT_6X13, &fonts::FONT_6X13, 1),
            480..720 => (&fonts::FONT_8X13, &fonts::FONT_8X13_BOLD, 1),
            720..960 => (&fonts::FONT_9X15, &fonts::FONT_9X15_BOLD, 1),
            960..1280 => (&fonts::FONT_9X18, &fonts::FONT_9X18_BOLD, 1),
            _ => (&fonts::FONT_9X18, &fonts::FONT_9X18_BOLD, width.div_ceil(1280)),
        };
        Self { font, bold, zoom }
    }

    /// The width of one character and the gap after it, in pixels.
    pub(crate) fn advance(&self) -> usize {
        (self.font.character_size.width + self.font.character_spacing) as usize * self.zoom
    }

    /// The height in pixels.
    pub(crate) fn height(&self) -> usize {
        self.font.character_size.height as usize * self.zoom
    }

    /// Writes one line; parts outside the canvas are cut off. `(x, y)` is its upper left corner.
    pub(crate) fn write(&self, canvas: &mut Canvas, [x, y]: [usize; 2], line: &str, colour: Colour, bold: bool) {
        let mut bitmap = Bitmap::new(self.advance() / self.zoom * line.chars().count(), self.height() / self.zoom);
        let style = MonoTextStyle::new(if bold { self.bold } else { self.font }, BinaryColor::On);
        let Ok(_) = Text::with_baseline(line, Point::zero(), style, Baseline::Top).draw(&mut bitmap);
        let width = (bitmap.width * self.zoom).min(canvas.width().saturating_sub(x));
        for v in 0..bitmap.height * self.zoom {
            for u in 0..width {
                let cover = bitmap.magnified(u, v, self.zoom);
                if cover > 0.0 {
                    canvas.blend(x + u, y + v, colour, cover);
                }
            }
        }
    }
}

/// Replaces what the fonts cannot show: control characters become spaces, typographic marks their plain equivalents,
/// the rest `?`.
pub(super) fn printable(text: &str) -> String {
    text.chars()
        .map(|character| match character {
            ' '..='~' | '\u{a1}'..='\u{ac}' | '\u{ae}'..='\u{ff}' => character,
            '\u{2018}' | '\u{2019}' => '\'',
            '\u{201c}' | '\u{201d}' => '"',
            '\u{2010}'..='\u{2015}' => '-',
            other if other.is_control() || other.is_whitespace() => ' ',
            _ => '?',
        })
        .collect()
}

/// Breaks text at spaces (not at no-break spaces) into lines of at most `columns` characters (at least one); longer
/// words are broken. Text of more than `most` lines ends in an ellipsis.
pub(super) fn wrap(text: &str, columns: usize, most: usize) -> Vec<String> {
    let columns = columns.max(1);
    let mut lines = vec![Vec::new()];
    'words: for word in text.split(' ').filter(|word| !word.is_empty()) {
        let mut word: &[char] = &word.chars().collect::<Vec<_>>();
        while !word.is_empty() {
            if lines.len() > most {
                break 'words;
            }
            let Some(line) = lines.last_mut() else { break 'words };
            let gap = usize::from(!line.is_empty());
            if line.len() + gap + word.len() <= columns {
                line.extend(std::iter::repeat_n(' ', gap).chain(word.iter().copied()));
                break;
            }
            if line.is_empty() {
                let (head, tail) = word.split_at(columns);
                line.extend(head);
                word = tail;
            }
            lines.push(Vec::new());
        }
    }
    if lines.len() > most {
        lines.truncate(most);
        if let Some(last) = lines.last_mut() {
            last.truncate(columns.saturating_sub(4));
            last.extend(" ...".chars());
        }
    }
    lines.into_iter().map(String::from_iter).collect()
}

struct Bitmap {
    width: usize,
    height: usize,
    on: Vec<bool>,
}

impl Bitmap {
    fn new(width: usize, height: usize) -> Self {
        Self { width, height, on: vec![false; width * height] }
    }

    fn at(&self, x: isize, y: isize) -> f32 {
        let inside = x >= 0 && y >= 0 && (x as usize) < self.width && (y as usize) < self.height;
        f32::from(u8::from(inside && self.on[y as usize * self.width + x as usize]))
    }

    /// The coverage of a pixel of the magnified bitmap: interpolated, then sharpened back to an edge one pixel wide,
    /// which smooths the steps.
    fn magnified(&self, x: usize, y: usize, zoom: usize) -> f32 {
        if zoom == 1 {
            return self.at(x as isize, y as isize);
        }
        let place = |at: usize| (at as f32 + 0.5) / zoom as f32 - 0.5;
        let (sx, sy) = (place(x), place(y));
        let (left, upper) = (sx.floor(), sy.floor());
        let (fx, fy) = (sx - left, sy - upper);
        let (left, upper) = (left as isize, upper as isize);
        let above = self.at(left, upper) * (1.0 - fx) + self.at(left + 1, upper) * fx;
        let below = self.at(left, upper + 1) * (1.0 - fx) + self.at(left + 1, upper + 1) * fx;
        ((above * (1.0 - fy) + below * fy - 0.5) * zoom as f32 + 0.5).clamp(0.0, 1.0)
    }
}

impl OriginDimensions for Bitmap {
    fn size(&self) -> Size {
        Size::new(self.width as u32, self.height as u32)
    }
}

impl DrawTarget for Bitmap {
    type Color = BinaryColor;
    type Error = Infallible;

    fn draw_iter<I: IntoIterator<Item = Pixel<BinaryColor>>>(&mut self, pixels: I) -> Result<(), Infallible> {
        for Pixel(point, colour) in pixels {
            let (Ok(x), Ok(y)) = (usize::try_from(point.x), usize::try_from(point.y)) else { continue };
            if x < self.width && y < self.height {
                self.on[y * self.width + x] = colour.is_on();
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_wrap() {
        assert_eq!(wrap("one two three", 7, 9), ["one two", "three"]);
        assert_eq!(wrap("abcdefgh ij", 3, 9), ["abc", "def", "gh", "ij"]);
        assert_eq!(wrap("  ", 3, 9), [""]);
        assert_eq!(wrap("a b c d e f g", 5, 2), ["a b c", "d ..."]);
        assert_eq!(wrap("abc", 0, 9), ["a", "b", "c"]);
    }

    #[test]
    fn only_what_the_fonts_hold_is_left() {
        assert_eq!(
            printable("a\u{a0}mass\t5 mm² \u{2013} \u{201c}Zyste\u{201d} \u{75c5}\u{1f600}"),
            "a mass 5 mm² - \"Zyste\" ??"
        );
    }

    #[test]
    fn characters_leave_ink() {
        for (width, zoom) in [(100, 1), (600, 1), (800, 1), (1000, 1), (2000, 2), (16_384, 13)] {
            let typeface = Typeface::for_width(width);
            assert_eq!(typeface.zoom, zoom);
            let ink = |line: &str| {
                let mut canvas = Canvas::new(4 * typeface.advance(), typeface.height());
                typeface.write(&mut canvas, [0, 0], line, [255; 3], false);
                canvas.into_image().pixels().map(|pixel| u64::from(pixel.0[0])).sum::<u64>()
            };
            assert!(ink("I") > 0 && ink("W") > ink("I") && ink("WW") == 2 * ink("W"), "{width}");
            assert!(ink("²") > 0 && ink(" ") == 0);
        }
    }
}
