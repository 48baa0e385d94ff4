//! Annotations that scanners and people burn into images: calipers, measurements, labels, a depth scale.
//!
//! A network may learn to look for calipers instead of lesions, so phantoms have them at random: on any lesion, not
//! only on the one that the prompt names.

use super::geometry::Geometry;
use super::lesion::Lesion;
use super::noise::between;
use embedded_graphics::{
    Pixel,
    draw_target::DrawTarget,
    geometry::{OriginDimensions, Point, Size},
    mono_font::{MonoTextStyle, ascii::FONT_6X10},
    pixelcolor::{Gray8, GrayColor},
    prelude::Drawable,
    text::Text,
};
use rand::seq::IndexedRandom;
use rand::{Rng, RngExt};
use std::convert::Infallible;

const LABELS: [&str; 8] = ["BREAST", "RT BREAST", "LT BREAST", "RT 10:00", "LT 2:00", "AXILLA RT", "TRANS", "LONG"];

/// Draws a random choice of annotations into the image.
pub fn draw(pixels: &mut [u8], geometry: &Geometry, lesions: &[Lesion], rng: &mut impl Rng) {
    let mut canvas = Canvas { width: geometry.width, height: geometry.height, pixels };
    let level = between(170.0, 255.0, rng) as u8;
    let (width, height) = (canvas.width as i32, canvas.height as i32);
    if rng.random_bool(0.35)
        && let Some(lesion) = lesions.choose(rng)
    {
        measure(&mut canvas, lesion, height, level, rng);
    }
    if rng.random_bool(0.4)
        && let Some(label) = LABELS.choose(rng)
    {
        let room = (width - 6 * label.len() as i32 - 8).max(1);
        canvas.text(label, Point::new(4 + rng.random_range(0..room), height - 6), level);
    }
    if rng.random_bool(0.3) {
        depth_scale(&mut canvas, level);
    }
}

/// Draws a cross at both ends of one or two diameters, dots between, and the lengths in a corner.
fn measure(canvas: &mut Canvas, lesion: &Lesion, height: i32, level: u8, rng: &mut impl Rng) {
    /// The depth of a phantom in centimetres, about.
    const DEPTH_CM: f32 = 4.0;
    let diameters = if rng.random_bool(0.5) { 2 } else { 1 };
    let dotted = rng.random_bool(0.7);
    for diameter in 0..diameters {
        let radius = if diameter == 0 { lesion.radii.0 } else { lesion.radii.1 };
        let angle = lesion.rotation_radians + diameter as f32 * std::f32::consts::FRAC_PI_2 + between(-0.1, 0.1, rng);
        let (dx, dy) = (radius * angle.cos(), radius * angle.sin());
        for sign in [-1.0, 1.0] {
            canvas.cross(lesion.center.0 + sign * dx, lesion.center.1 + sign * dy, level);
        }
        if dotted {
            let dots = (radius / 3.0) as i32;
            for dot in -dots..=dots {
                let part = dot as f32 / dots.max(1) as f32;
                canvas.dot(lesion.center.0 + part * dx, lesion.center.1 + part * dy, level);
            }
        }
        let centimetres = 2.0 * radius / height as f32 * DEPTH_CM;
        let text = format!("{} D {centimetres:.2} cm", diameter + 1);
        canvas.text(&text, Point::new(4, height - 20 - 11 * (diameters - 1 - diameter)), level);
    }
}

/// Draws ticks along the right edge, every fifth longer.
fn depth_scale(canvas: &mut Canvas, level: u8) {
    let (width, height) = (canvas.width as f32, canvas.height as f32);
    for tick in 1..20 {
        let length = if tick % 5 == 0 { 6 } else { 3 };
        for offset in 0..length {
            canvas.dot(width - 2.0 - offset as f32, tick as f32 / 20.0 * height, level);
        }
    }
}

/// A grey image to draw annotations into, row by row.
pub(crate) struct Canvas<'a> {
    pub width: usize,
    pub height: usize,
    pub pixels: &'a mut [u8],
}

impl Canvas<'_> {
    pub fn dot(&mut self, x: f32, y: f32, level: u8) {
        let (x, y) = (x.round(), y.round());
        if x >= 0.0 && y >= 0.0 && x < self.width as f32 && y < self.height as f32 {
            self.pixels[y as usize * self.width + x as usize] = level;
        }
    }

    pub fn cross(&mut self, x: f32, y: f32, level: u8) {
        for offset in -3..=3 {
            self.dot(x + offset as f32, y, level);
            self.dot(x, y + offset as f32, level);
        }
    }

    /// Draws text; `at` is the beginning of the first letter's baseline.
    pub fn text(&mut self, text: &str, at: Point, level: u8) {
        let style = MonoTextStyle::new(&FONT_6X10, Gray8::new(level));
        // A canvas cannot fail.
        let _ = Text::new(text, at, style).draw(self);
    }
}

impl OriginDimensions for Canvas<'_> {
    fn size(&self) -> Size {
        Size::new(self.width as u32, self.height as u32)
    }
}

impl DrawTarget for Canvas<'_> {
    type Color = Gray8;
    type Error = Infallible;

    fn draw_iter<I: IntoIterator<Item = Pixel<Gray8>>>(&mut self, pixels: I) -> Result<(), Infallible> {
        for Pixel(point, color) in pixels {
            self.dot(point.x as f32, point.y as f32, color.luma());
        }
        Ok(())
    }
}
