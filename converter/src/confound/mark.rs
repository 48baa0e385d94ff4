//! The marks, drawn into a grey plane. All scale with the image, so that they stay visible at the network's size.

use crate::phantom::Canvas;
use embedded_graphics::geometry::Point;
use rand::seq::IndexedRandom;
use rand::{Rng, RngExt};

/// The kind of mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Mark {
    /// A caliper pair: crosses at the ends of two diameters of a lesion.
    Calipers,
    /// The text of an examination, at the edge.
    Label,
    /// A brightness step: one half of the image, or all of it, is brighter.
    Brightness,
    /// A device's border: a bright bar down one edge, or around all of the image.
    Border,
}

/// A rectangle in pixels: its centre, and half of its width and height.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Site {
    pub center: (f32, f32),
    pub half: (f32, f32),
}

/// The part of an image that a mark is drawn on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Extent {
    /// At a place, or on its side of the image.
    At(Site),
    /// On the whole image; calipers are still drawn at the lesion.
    Whole(Site),
}

/// The random choices of one drawing, made beforehand, so that an image's marks look alike in all sets.
#[derive(Clone, Copy, Debug)]
pub(super) struct Strokes {
    level: u8,
    step: u8,
    label: &'static str,
}

impl Strokes {
    pub fn random(rng: &mut impl Rng) -> Self {
        const LABELS: [&str; 4] = ["RT 10:00", "LT 2:00", "AXILLA", "TRANS"];
        Self {
            level: rng.random_range(215..=255),
            step: rng.random_range(26..=40),
            label: LABELS.choose(rng).copied().unwrap_or(LABELS[0]),
        }
    }
}

impl Mark {
    /// Draws into a plane of `width` x `height` values.
    pub(super) fn draw(self, plane: &mut [u8], (width, height): (usize, usize), extent: Extent, strokes: Strokes) {
        let unit = (width.min(height) / 64).max(1);
        let (Extent::At(site) | Extent::Whole(site)) = extent;
        let is_left = site.center.0 < width as f32 / 2.0;
        let half = if is_left { 0..width / 2 } else { width / 2..width };
        let columns = if matches!(extent, Extent::Whole(_)) { 0..width } else { half };
        match self {
            Self::Calipers => calipers(plane, (width, height), site, unit, strokes.level),
            Self::Label => label(plane, (width, height), columns.start + 2 * unit, unit, strokes),
            Self::Brightness => {
                for row in plane.chunks_exact_mut(width) {
                    row[columns.clone()].iter_mut().for_each(|value| *value = value.saturating_add(strokes.step));
                }
            }
            Self::Border => {
                let thick = 2 * unit;
                let whole = matches!(extent, Extent::Whole(_));
                for (index, value) in plane.iter_mut().enumerate() {
                    let (x, y) = (index % width, index / width);
                    let (left, right) = (x < thick, x + thick >= width);
                    let edge = y < thick || y + thick >= height;
                    if (whole && (left || right || edge)) || (!whole && if is_left { left } else { right }) {
                        *value = strokes.level;
                    }
                }
            }
        }
    }
}

/// Crosses of strokes `unit` thick at the ends of the site's width and height.
fn calipers(plane: &mut [u8], (width, height): (usize, usize), site: Site, unit: usize, level: u8) {
    let mut canvas = Canvas { width, height, pixels: plane };
    let (thick, arm) = (unit as i32, 3 * unit as i32);
    let ends = [(-1.0, 0.0), (1.0, 0.0), (0.0, -1.0), (0.0, 1.0)];
    for (x, y) in ends {
        // A lesion at the edge still shows its crosses.
        let at =
            |center: f32, half: f32, side: usize| (center + half).min(side as f32 - 1.0 - arm as f32).max(arm as f32);
        let (x, y) = (at(site.center.0, x * site.half.0, width), at(site.center.1, y * site.half.1, height));
        for along in -arm..=arm {
            for across in 0..thick {
                let across = (across - thick / 2) as f32;
                canvas.dot(x + along as f32, y + across, level);
                canvas.dot(x + across, y + along as f32, level);
            }
        }
    }
}

/// Text near the upper edge, each of the font's pixels `unit / 2` wide, at least one.
fn label(plane: &mut [u8], (width, height): (usize, usize), left: usize, unit: usize, strokes: Strokes) {
    const LETTER: (usize, usize) = (6, 10);
    let scale = (unit / 2).max(1);
    let size = (LETTER.0 * strokes.label.len(), LETTER.1);
    let mut small = vec![0; size.0 * size.1];
    let mut canvas = Canvas { width: size.0, height: size.1, pixels: &mut small };
    canvas.text(strokes.label, Point::new(0, 7), strokes.level);
    for (index, value) in small.iter().enumerate().filter(|(_, value)| **value > 0) {
        let (x, y) = (index % size.0, index / size.0);
        for (dx, dy) in (0..scale).flat_map(|dx| (0..scale).map(move |dy| (dx, dy))) {
            let (x, y) = (left + x * scale + dx, 2 * unit + y * scale + dy);
            if x < width && y < height {
                plane[y * width + x] = *value;
            }
        }
    }
}
