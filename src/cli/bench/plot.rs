//! Draws latencies: for each configuration a histogram and a timeline, as SVG.

use super::row::Row;
use std::fmt::Write;

const WIDTH: f64 = 1000.0;
const ROW_HEIGHT: f64 = 240.0;
const TOP: f64 = 40.0;
const PLOT_HEIGHT: f64 = 150.0;
const HISTOGRAM_LEFT: f64 = 60.0;
const HISTOGRAM_WIDTH: f64 = 340.0;
const TIMELINE_LEFT: f64 = 470.0;
const TIMELINE_WIDTH: f64 = 500.0;
const BINS: usize = 40;
const STYLE: &str = "text{font:12px sans-serif;fill:#222}.title{font-weight:bold}.axis{stroke:#888;fill:none}\
                     .bar{fill:#4878a8}.dot{fill:#4878a8}.p50{stroke:#2a8a3a}.p99{stroke:#c03030}\
                     .deadline{stroke:#b07000;stroke-dasharray:6 3}.round{stroke:#ddd}";

/// The complete picture.
pub(super) fn svg(rows: &[Row]) -> String {
    let height = ROW_HEIGHT * rows.len() as f64 + 10.0;
    let mut svg = String::new();
    svg.push_str(&format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\">\n\
         <style>{STYLE}</style>\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    ));
    for (index, row) in rows.iter().enumerate() {
        // Writing to a string cannot fail.
        let _ = writeln!(svg, "<g transform=\"translate(0 {})\">", index as f64 * ROW_HEIGHT);
        panel(&mut svg, row);
        svg.push_str("</g>\n");
    }
    svg.push_str("</svg>\n");
    svg
}

/// A mapping from latencies to positions on an axis.
struct Scale {
    low: f64,
    high: f64,
}

impl Scale {
    fn of(row: &Row) -> Self {
        let (min, max) = (row.latency_ms.min, row.latency_ms.max);
        let margin = ((max - min) * 0.05).max(max * 0.005).max(1e-6);
        Self { low: (min - margin).max(0.0), high: max + margin }
    }

    fn share(&self, ms: f64) -> f64 {
        ((ms - self.low) / (self.high - self.low)).clamp(0.0, 1.0)
    }
}

fn panel(svg: &mut String, row: &Row) {
    let scale = Scale::of(row);
    let _ = writeln!(svg, "<text class=\"title\" x=\"{HISTOGRAM_LEFT}\" y=\"22\">{}</text>", escaped(&row.label()));
    histogram(svg, row, &scale);
    timeline(svg, row, &scale);
}

fn histogram(svg: &mut String, row: &Row, scale: &Scale) {
    let mut bins = [0usize; BINS];
    for ms in row.samples_ms.iter().flatten() {
        let bin = ((scale.share(*ms) * BINS as f64) as usize).min(BINS - 1);
        if let Some(count) = bins.get_mut(bin) {
            *count += 1;
        }
    }
    let most = bins.iter().copied().max().unwrap_or(0).max(1);
    let step = HISTOGRAM_WIDTH / BINS as f64;
    for (bin, count) in bins.into_iter().enumerate().filter(|(_, count)| *count > 0) {
        let height = PLOT_HEIGHT * count as f64 / most as f64;
        let (x, y) = (HISTOGRAM_LEFT + bin as f64 * step, TOP + PLOT_HEIGHT - height);
        let _ = writeln!(
            svg,
            "<rect class=\"bar\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{height:.1}\"/>",
            step - 1.0
        );
    }
    frame(svg, HISTOGRAM_LEFT, HISTOGRAM_WIDTH);
    let below = TOP + PLOT_HEIGHT + 16.0;
    text(svg, HISTOGRAM_LEFT, below, "start", &format!("{:.2} ms", scale.low));
    text(svg, HISTOGRAM_LEFT + HISTOGRAM_WIDTH, below, "end", &format!("{:.2} ms", scale.high));
    text(svg, HISTOGRAM_LEFT - 6.0, TOP + 10.0, "end", &most.to_string());
    for (class, ms) in marks(row) {
        let x = HISTOGRAM_LEFT + HISTOGRAM_WIDTH * scale.share(ms);
        line(svg, class, [x, TOP], [x, TOP + PLOT_HEIGHT]);
    }
    let figures = format!("p50 {:.2} ms (green), p99 {:.2} ms (red)", row.latency_ms.p50, row.latency_ms.p99);
    text(svg, HISTOGRAM_LEFT, below + 18.0, "start", &figures);
}

fn timeline(svg: &mut String, row: &Row, scale: &Scale) {
    let frames: usize = row.samples_ms.iter().map(Vec::len).sum();
    let step = TIMELINE_WIDTH / frames.max(1) as f64;
    let mut number = 0usize;
    for round in &row.samples_ms {
        if number > 0 {
            let x = TIMELINE_LEFT + number as f64 * step;
            line(svg, "round", [x, TOP], [x, TOP + PLOT_HEIGHT]);
        }
        for ms in round {
            let x = TIMELINE_LEFT + (number as f64 + 0.5) * step;
            let y = TOP + PLOT_HEIGHT * (1.0 - scale.share(*ms));
            let _ = writeln!(svg, "<circle class=\"dot\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"1.5\"/>");
            number += 1;
        }
    }
    frame(svg, TIMELINE_LEFT, TIMELINE_WIDTH);
    text(svg, TIMELINE_LEFT - 6.0, TOP + 10.0, "end", &format!("{:.1}", scale.high));
    text(svg, TIMELINE_LEFT - 6.0, TOP + PLOT_HEIGHT, "end", &format!("{:.1}", scale.low));
    let rounds = row.samples_ms.len();
    let caption = format!("{} frames in {rounds} {}", row.runs, super::configuration::plural(rounds, "round"));
    text(svg, TIMELINE_LEFT, TOP + PLOT_HEIGHT + 16.0, "start", &caption);
    for (class, ms) in marks(row) {
        let y = TOP + PLOT_HEIGHT * (1.0 - scale.share(ms));
        line(svg, class, [TIMELINE_LEFT, y], [TIMELINE_LEFT + TIMELINE_WIDTH, y]);
    }
}

/// Lines to draw across both plots. A deadline outside the measured range would lie on the border and mislead.
fn marks(row: &Row) -> Vec<(&'static str, f64)> {
    let mut marks = vec![("p50", row.latency_ms.p50), ("p99", row.latency_ms.p99)];
    let inside = row.deadline_ms.filter(|ms| (row.latency_ms.min..=row.latency_ms.max).contains(ms));
    marks.extend(inside.map(|ms| ("deadline", ms)));
    marks
}

fn frame(svg: &mut String, left: f64, width: f64) {
    let _ = writeln!(svg, "<rect class=\"axis\" x=\"{left}\" y=\"{TOP}\" width=\"{width}\" height=\"{PLOT_HEIGHT}\"/>");
}

fn line(svg: &mut String, class: &str, [x1, y1]: [f64; 2], [x2, y2]: [f64; 2]) {
    let _ = writeln!(svg, "<line class=\"{class}\" x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"/>");
}

fn text(svg: &mut String, x: f64, y: f64, anchor: &str, content: &str) {
    let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{content}</text>");
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::super::row::example::row;
    use super::*;

    #[test]
    fn every_sample_is_a_dot_and_every_count_a_bar() {
        let mut row = row(&[&[10.0, 11.0, 12.0, 30.0], &[10.5, 11.5]]);
        row.model = "a<b>&c".into();
        row.deadline_ms = Some(20.0);
        let svg = svg(&[row.clone(), row]);
        assert_eq!(svg.matches("<circle").count(), 12);
        assert!(svg.matches("class=\"bar\"").count() >= 8, "{svg}");
        assert!(svg.contains("a&lt;b&gt;&amp;c") && svg.contains("untrained"));
        assert_eq!(svg.matches("class=\"deadline\"").count(), 4);
        assert_eq!(svg.matches("<g ").count(), svg.matches("</g>").count());
        assert!(!svg.contains("NaN") && !svg.contains("inf"));
    }

    #[test]
    fn equal_latencies_can_be_drawn() {
        let svg = svg(&[row(&[&[5.0, 5.0]])]);
        assert!(!svg.contains("NaN") && svg.matches("class=\"bar\"").count() == 1);
        assert!(!super::svg(&[]).contains("NaN"));
    }
}
