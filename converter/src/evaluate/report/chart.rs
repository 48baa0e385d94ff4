//! Charts as inline SVG.

use super::markup::escape;
use std::fmt::Write;

const WIDTH: f64 = 460.0;
const HEIGHT: f64 = 220.0;
const LEFT: f64 = 46.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 34.0;
/// Okabe and Ito's palette, distinguishable with every common colour vision.
const COLOURS: [&str; 4] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7"];

/// A line of a chart: `[x, y]`, ascending by x.
pub struct Line<'a> {
    pub name: &'a str,
    pub points: Vec<[f64; 2]>,
}

/// Values and pixels along both axes.
struct Axes {
    x: [f64; 2],
    y: [f64; 2],
}

impl Axes {
    fn at(&self, [x, y]: [f64; 2]) -> [f64; 2] {
        let along = |value: f64, [low, high]: [f64; 2]| if high > low { (value - low) / (high - low) } else { 0.5 };
        [LEFT + along(x, self.x) * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - along(y, self.y) * (HEIGHT - TOP - BOTTOM)]
    }

    /// Grid lines, numbers, and the horizontal axis's name.
    fn draw(&self, svg: &mut String, label: &str) {
        const STEPS: usize = 5;
        for step in 0..=STEPS {
            let part = step as f64 / STEPS as f64;
            let [x, y] = [self.x, self.y].map(|[low, high]| low + part * (high - low));
            let [px, py] = self.at([x, y]);
            let (right, base) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
            let _ = write!(svg, r##"<path d="M{LEFT} {py:.1}H{right}" class="grid"/>"##);
            let _ = write!(
                svg,
                r##"<text x="{:.1}" y="{:.1}" text-anchor="end">{}</text>"##,
                LEFT - 6.0,
                py + 4.0,
                short(y)
            );
            let _ =
                write!(svg, r##"<text x="{px:.1}" y="{:.1}" text-anchor="middle">{}</text>"##, base + 15.0, short(x));
        }
        let middle = (LEFT + WIDTH - RIGHT) / 2.0;
        let _ = write!(
            svg,
            r##"<text x="{middle:.1}" y="{:.1}" text-anchor="middle">{}</text>"##,
            HEIGHT - 4.0,
            escape(label)
        );
    }
}

fn short(value: f64) -> String {
    let text = if value.abs() >= 10.0 { format!("{value:.0}") } else { format!("{value:.2}") };
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_string() } else { text }
}

fn begin(title: &str) -> String {
    format!(r##"<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{}">"##, escape(title))
}

/// Counts the `values`, 0 to 1, in each of twenty equal steps; 1 itself belongs to the last.
pub fn histogram(title: &str, label: &str, values: &[f64]) -> String {
    let counts = count(values);
    let highest = counts.iter().copied().max().unwrap_or(0).max(1) as f64;
    let axes = Axes { x: [0.0, 1.0], y: [0.0, highest] };
    let mut svg = begin(title);
    axes.draw(&mut svg, label);
    for (index, count) in counts.iter().enumerate() {
        let [left, top] = axes.at([index as f64 / counts.len() as f64, *count as f64]);
        let [right, base] = axes.at([(index + 1) as f64 / counts.len() as f64, 0.0]);
        let (width, height) = (right - left - 1.0, base - top);
        let _ = write!(
            svg,
            r##"<rect x="{left:.1}" y="{top:.1}" width="{width:.1}" height="{height:.1}" fill="{}"><title>{count}</title></rect>"##,
            COLOURS[0]
        );
    }
    svg + "</svg>"
}

fn count(values: &[f64]) -> [usize; 20] {
    let mut counts = [0; 20];
    for value in values.iter().filter(|value| value.is_finite()) {
        // Conversion from a float saturates at zero.
        counts[((value * counts.len() as f64) as usize).min(counts.len() - 1)] += 1;
    }
    counts
}

/// Lines over a common horizontal axis; `None` if no line has a point.
pub fn lines(title: &str, label: &str, lines: &[Line]) -> Option<String> {
    let points = || lines.iter().flat_map(|line| &line.points).filter(|point| point.iter().all(|v| v.is_finite()));
    points().next()?;
    let range = |axis: usize| {
        points().fold([f64::INFINITY, f64::NEG_INFINITY], |[low, high], p| [low.min(p[axis]), high.max(p[axis])])
    };
    let [low, high] = range(1);
    let axes = Axes { x: range(0), y: [low.min(0.0), high] };
    let mut svg = begin(title);
    axes.draw(&mut svg, label);
    for (number, (line, colour)) in lines.iter().zip(COLOURS.iter().cycle()).enumerate() {
        let at: Vec<[f64; 2]> =
            line.points.iter().filter(|p| p.iter().all(|v| v.is_finite())).map(|point| axes.at(*point)).collect();
        let path = at.iter().map(|[x, y]| format!("{x:.1},{y:.1}")).collect::<Vec<_>>().join(" ");
        let _ = write!(svg, r##"<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>"##);
        // A line of one point has no length.
        for [x, y] in at {
            let _ = write!(svg, r##"<circle cx="{x:.1}" cy="{y:.1}" r="2" fill="{colour}"/>"##);
        }
        let y = TOP + 12.0 + 15.0 * number as f64;
        let _ = write!(svg, r##"<text x="{}" y="{y}" style="fill:{colour}">{}</text>"##, LEFT + 8.0, escape(line.name));
    }
    Some(svg + "</svg>")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_counted_in_steps() {
        let counts = count(&[0.0, 0.049, 0.05, 0.999, 1.0, -3.0, f64::NAN, 7.0]);
        assert_eq!((counts[0], counts[1], counts[19]), (3, 1, 3));
        assert_eq!(counts.iter().sum::<usize>(), 7);
        assert_eq!(histogram("Dice", "Dice", &[]).matches("<rect").count(), 20);
    }

    #[test]
    fn lines_span_their_range() {
        let line = |points: &[[f64; 2]]| [Line { name: "a < b", points: points.to_vec() }];
        assert_eq!(lines("t", "epoch", &line(&[])), None);
        let svg = lines("t", "epoch", &line(&[[1.0, 0.0], [3.0, 2.0], [2.0, f64::NAN]])).unwrap();
        assert!(svg.contains(r#"points="46.0,186.0 448.0,12.0""#), "{svg}");
        assert!(svg.contains("a &lt; b"));
        assert!(!lines("t", "epoch", &line(&[[1.0, 1.0]])).unwrap().contains("NaN"));
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!([0.0, 0.2, 0.25, 3.0, 40.0].map(short), ["0", "0.2", "0.25", "3", "40"]);
    }
}
