//! The strip below the frame: each prompt beside its colour with its numbers, then model, threshold and the notice.

use super::canvas::{Canvas, heat_colour};
use super::text::{Typeface, printable, wrap};
use super::{COLOURS, Colour, Overlay};
use crate::mask::Measurements;

pub(super) const PAPER: Colour = [22, 24, 28];
const INK: Colour = [240, 240, 240];
const FAINT_INK: Colour = [176, 180, 186];

/// The most lines of a prompt in the legend, since a page of text would push the picture off the screen.
const MOST_PROMPT_LINES: usize = 4;

/// The separator: a line may break after it, not before.
const SEPARATOR: &str = "\u{a0}· ";

const NOTICE: &str = "RESEARCH USE ONLY";

enum Mark {
    None,
    Swatch(Colour),
    Heat,
}

struct Row {
    mark: Mark,
    text: String,
    colour: Colour,
    bold: bool,
    /// Whether a gap precedes the row.
    opens: bool,
}

pub(super) struct Legend {
    typeface: Typeface,
    rows: Vec<Row>,
}

pub(super) fn lay_out(overlay: &Overlay<'_>, width: usize) -> Legend {
    let mut legend = Legend { typeface: Typeface::for_width(width), rows: Vec::new() };
    let columns = width.saturating_sub(legend.indent() + legend.margin()) / legend.typeface.advance();
    for (finding, colour) in overlay.findings.iter().zip(COLOURS.iter().cycle()) {
        let prompt = wrap(&printable(finding.prompt), columns, MOST_PROMPT_LINES);
        legend.push(Mark::Swatch(*colour), prompt, INK, true);
        legend.extend(wrap(&numbers(finding.measurements), columns, usize::MAX), FAINT_INK);
    }
    if overlay.confounders.is_some() {
        legend.push(Mark::Heat, wrap("confounders, from none to all", columns, usize::MAX), INK, false);
    }
    let model =
        if overlay.model.is_empty() { String::new() } else { format!("{}{SEPARATOR}", printable(overlay.model)) };
    let footer =
        format!("{model}{}{SEPARATOR}{}", unbroken(&format!("threshold {:.2}", overlay.threshold)), unbroken(NOTICE));
    legend.push(Mark::None, wrap(&footer, columns, MOST_PROMPT_LINES), FAINT_INK, false);
    legend
}

impl Legend {
    fn push(&mut self, mark: Mark, lines: Vec<String>, colour: Colour, bold: bool) {
        let marks = std::iter::once(mark).chain(std::iter::repeat_with(|| Mark::None));
        for (index, (text, mark)) in lines.into_iter().zip(marks).enumerate() {
            self.rows.push(Row { mark, text, colour, bold, opens: index == 0 });
        }
    }

    fn extend(&mut self, lines: Vec<String>, colour: Colour) {
        self.rows.extend(lines.into_iter().map(|text| Row {
            mark: Mark::None,
            text,
            colour,
            bold: false,
            opens: false,
        }));
    }

    fn margin(&self) -> usize {
        self.typeface.height() * 2 / 3
    }

    fn swatch(&self) -> [usize; 2] {
        [self.typeface.height() * 2, self.typeface.height() * 2 / 3]
    }

    fn indent(&self) -> usize {
        2 * self.margin() + self.swatch()[0]
    }

    fn advance(&self, row: &Row) -> usize {
        let gap = if row.opens { self.typeface.height() / 2 } else { 0 };
        gap + self.typeface.height() * 9 / 8
    }

    /// The height in pixels.
    pub(crate) fn height(&self) -> usize {
        self.rows.iter().map(|row| self.advance(row)).sum::<usize>() + self.margin()
    }

    /// Draws the strip from row `top` of the canvas down.
    pub(crate) fn draw(&self, canvas: &mut Canvas, top: usize) {
        canvas.rectangle([0, top], [canvas.width(), self.height()], PAPER);
        let mut bottom = top;
        for row in &self.rows {
            bottom += self.advance(row);
            let y = bottom - self.typeface.height();
            self.draw_mark(canvas, &row.mark, y + self.typeface.height() / 6);
            self.typeface.write(canvas, [self.indent(), y], &row.text, row.colour, row.bold);
        }
    }

    fn draw_mark(&self, canvas: &mut Canvas, mark: &Mark, y: usize) {
        let [width, height] = self.swatch();
        match mark {
            Mark::None => {}
            Mark::Swatch(colour) => canvas.rectangle([self.margin(), y], [width, height], *colour),
            Mark::Heat => {
                for x in 0..width {
                    let colour = heat_colour(x as f32 / (width - 1).max(1) as f32);
                    canvas.rectangle([self.margin() + x, y], [1, height], colour);
                }
            }
        }
    }
}

fn numbers(measurements: &Measurements) -> String {
    if measurements.area_px == 0 {
        return "nothing found".into();
    }
    let area = match measurements.area_mm2 {
        Some(mm2) => format!("{mm2:.1} mm²"),
        None => format!("{} px", measurements.area_px),
    };
    let mut parts = vec![format!("area {area} ({})", percent(measurements.area_fraction))];
    if let (Some(long), Some(across)) = (measurements.longest_diameter, measurements.perpendicular_diameter) {
        parts.push(match (long.length_mm, across.length_mm) {
            (Some(long), Some(across)) => format!("{long:.1} × {across:.1} mm"),
            _ => format!("{:.0} × {:.0} px", long.length_px, across.length_px),
        });
    }
    if let Some(mean) = measurements.mean_probability {
        parts.push(format!("mean probability {mean:.2}"));
    }
    parts.iter().map(|part| unbroken(part)).collect::<Vec<_>>().join(SEPARATOR)
}

/// Keeps a number on one line with its label.
fn unbroken(text: &str) -> String {
    text.replace(' ', "\u{a0}")
}

fn percent(fraction: f64) -> String {
    if fraction < 0.001 { "< 0.1 %".into() } else { format!("{:.1} %", 100.0 * fraction) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mask::Mask;
    use ndarray::Array2;

    #[test]
    fn numbers_have_their_units() {
        let mask = Mask::from_pixels(Array2::ones((3, 4)));
        let measure = |mm| Measurements::of(&mask, &mask.contours(), None, mm).unwrap();
        // The diagonal of 3 x 4 is 5; the chord across it through a corner is 3 * 5 / 4.
        let numbers = |measurements: &Measurements| numbers(measurements).replace('\u{a0}', " ");
        assert_eq!(numbers(&measure(None)), "area 12 px (100.0 %) · 5 × 4 px");
        assert_eq!(numbers(&measure(Some([0.5; 2]))), "area 3.0 mm² (100.0 %) · 2.5 × 1.9 mm");
        assert_eq!(numbers(&Measurements::default()), "nothing found");
        assert_eq!(percent(0.0002), "< 0.1 %");
    }
}
