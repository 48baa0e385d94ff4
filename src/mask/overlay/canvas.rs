//! Pixels to draw on: the frame, tints, heat and smooth lines.

use super::Colour;
use crate::frame::{Frame, Region};
use image::{Rgb, RgbImage};
use ndarray::ArrayView2;

/// The colours at the steps of the heat scale: from dark blue over violet and red to light yellow, with increasing
/// brightness, so that it is readable in grey too.
const HEAT: [Colour; 5] = [[20, 12, 60], [110, 25, 110], [205, 65, 75], [250, 150, 40], [252, 240, 150]];

/// The largest opacity of heat over the frame.
const HEAT_COVER: f32 = 0.55;

pub(super) struct Canvas {
    image: RgbImage,
}

impl Canvas {
    /// A black canvas.
    pub(crate) fn new(width: usize, height: usize) -> Self {
        Self { image: RgbImage::new(width as u32, height as u32) }
    }

    pub(crate) fn into_image(self) -> RgbImage {
        self.image
    }

    pub(crate) fn width(&self) -> usize {
        self.image.width() as usize
    }

    /// Blends `colour` over one pixel with an opacity `cover` of 0 to 1. Does nothing outside the canvas.
    pub(crate) fn blend(&mut self, x: usize, y: usize, colour: Colour, cover: f32) {
        let (Ok(x), Ok(y)) = (u32::try_from(x), u32::try_from(y)) else { return };
        if let Some(Rgb(pixel)) = self.image.get_pixel_mut_checked(x, y) {
            for (value, new) in pixel.iter_mut().zip(colour) {
                *value = mix(*value, new, cover);
            }
        }
    }

    pub(crate) fn rectangle(&mut self, [x, y]: [usize; 2], [width, height]: [usize; 2], colour: Colour) {
        for v in y..y + height {
            for u in x..x + width {
                self.blend(u, v, colour, 1.0);
            }
        }
    }

    /// Draws the complete frame, `zoom` times as large, interpolated, in the upper left corner.
    pub(crate) fn paste(&mut self, frame: &Frame<'_>, zoom: usize) {
        let source = |at: usize, limit: usize| {
            let place = ((at as f32 + 0.5) / zoom as f32 - 0.5).clamp(0.0, (limit - 1) as f32);
            let low = place as usize;
            (low, (low + 1).min(limit - 1), place - low as f32)
        };
        let columns: Vec<_> = (0..frame.width() * zoom).map(|x| source(x, frame.width())).collect();
        for y in 0..frame.height() * zoom {
            let (upper, lower, down) = source(y, frame.height());
            for (x, (left, right, across)) in columns.iter().copied().enumerate() {
                let pixel = if zoom == 1 {
                    frame.rgb(x, y)
                } else {
                    let above = mix_colours(frame.rgb(left, upper), frame.rgb(right, upper), across);
                    let below = mix_colours(frame.rgb(left, lower), frame.rgb(right, lower), across);
                    mix_colours(above, below, down)
                };
                self.image.put_pixel(x as u32, y as u32, Rgb(pixel));
            }
        }
    }

    /// Blends `colour` faintly over the pixels of a mask.
    pub(crate) fn tint(&mut self, mask: ArrayView2<'_, u8>, zoom: usize, colour: Colour, cover: f32) {
        for ((y, x), _) in mask.indexed_iter().filter(|(_, pixel)| **pixel != 0) {
            for v in y * zoom..(y + 1) * zoom {
                for u in x * zoom..(x + 1) * zoom {
                    self.blend(u, v, colour, cover);
                }
            }
        }
    }

    /// Draws a line one pixel wide just inside a region of the frame.
    pub(crate) fn outline(&mut self, region: Region, zoom: usize, colour: Colour, cover: f32) {
        let (left, upper) = (region.x * zoom, region.y * zoom);
        let (right, lower) = (left + region.width * zoom - 1, upper + region.height * zoom - 1);
        for x in left..=right {
            self.blend(x, upper, colour, cover);
            self.blend(x, lower, colour, cover);
        }
        for y in upper..=lower {
            self.blend(left, y, colour, cover);
            self.blend(right, y, colour, cover);
        }
    }

    /// Blends a map of 0 to 1 over the frame: the higher, the brighter and the more opaque.
    pub(crate) fn heat(&mut self, map: ArrayView2<'_, f32>, zoom: usize) {
        for ((y, x), value) in map.indexed_iter() {
            let value = value.clamp(0.0, 1.0);
            // NaN compares false.
            if value > 0.0 {
                let colour = heat_colour(value);
                for v in y * zoom..(y + 1) * zoom {
                    for u in x * zoom..(x + 1) * zoom {
                        self.blend(u, v, colour, HEAT_COVER * value);
                    }
                }
            }
        }
    }
}

/// The colour of heat 0 to 1.
pub(super) fn heat_colour(value: f32) -> Colour {
    let place = value.clamp(0.0, 1.0) * (HEAT.len() - 1) as f32;
    let low = (place as usize).min(HEAT.len() - 2);
    mix_colours(HEAT[low], HEAT[low + 1], place - low as f32)
}

fn mix(from: u8, to: u8, part: f32) -> u8 {
    // Never negative, so this rounds; `round` is a function call on x86-64.
    (f32::from(from) + (f32::from(to) - f32::from(from)) * part + 0.5) as u8
}

fn mix_colours(from: Colour, to: Colour, part: f32) -> Colour {
    [0, 1, 2].map(|channel| mix(from[channel], to[channel], part))
}

/// Draws closed lines. The coverage of each pixel is collected first, so that nothing is drawn twice where pieces of a
/// line meet.
pub(super) struct Stroke {
    size: [usize; 2],
    cover: Vec<u8>,
}

impl Stroke {
    /// A stroke for lines within the upper left `[width, height]` of a canvas.
    pub(crate) fn new(size: [usize; 2]) -> Self {
        Self { size, cover: vec![0; size[0] * size[1]] }
    }

    pub(crate) fn draw(
        &mut self,
        canvas: &mut Canvas,
        lines: &[Vec<[f32; 2]>],
        radius: f32,
        colour: Colour,
        opacity: f32,
    ) {
        self.cover.fill(0);
        for line in lines {
            for (from, to) in line.iter().zip(line.iter().cycle().skip(1)) {
                self.collect(*from, *to, radius);
            }
        }
        for (y, row) in self.cover.chunks_exact(self.size[0]).enumerate() {
            for (x, cover) in row.iter().enumerate().filter(|(_, cover)| **cover > 0) {
                canvas.blend(x, y, colour, opacity * f32::from(*cover) / 255.0);
            }
        }
    }

    fn collect(&mut self, from: [f32; 2], to: [f32; 2], radius: f32) {
        let span = |axis: usize| {
            let low = from[axis].min(to[axis]) - radius - 1.0;
            let high = from[axis].max(to[axis]) + radius + 1.0;
            low.max(0.0) as usize..(high.max(0.0) as usize).min(self.size[axis])
        };
        let (columns, rows) = (span(0), span(1));
        for y in rows {
            for x in columns.clone() {
                let away = distance([x as f32 + 0.5, y as f32 + 0.5], from, to);
                let cover = ((radius + 0.5 - away).clamp(0.0, 1.0) * 255.0) as u8;
                let cell = &mut self.cover[y * self.size[0] + x];
                *cell = cover.max(*cell);
            }
        }
    }
}

/// The distance from a point to a line segment.
fn distance(point: [f32; 2], from: [f32; 2], to: [f32; 2]) -> f32 {
    let [along_x, along_y] = [to[0] - from[0], to[1] - from[1]];
    let [x, y] = [point[0] - from[0], point[1] - from[1]];
    let squared = along_x * along_x + along_y * along_y;
    let part = if squared > 0.0 { ((x * along_x + y * along_y) / squared).clamp(0.0, 1.0) } else { 0.0 };
    (x - part * along_x).hypot(y - part * along_y)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_end_at_the_ends() {
        assert_eq!(distance([3.0, 4.0], [0.0, 0.0], [0.0, 0.0]), 5.0);
        assert_eq!(distance([5.0, 2.0], [0.0, 0.0], [10.0, 0.0]), 2.0);
        assert_eq!(distance([13.0, 4.0], [0.0, 0.0], [10.0, 0.0]), 5.0);
    }

    #[test]
    fn heat_grows_brighter() {
        let brightness = |value| heat_colour(value).iter().map(|v| u32::from(*v)).sum::<u32>();
        let steps: Vec<_> = (0..=10).map(|i| brightness(i as f32 / 10.0)).collect();
        assert!(steps.is_sorted() && steps[0] < steps[10], "{steps:?}");
        assert_eq!((heat_colour(-1.0), heat_colour(2.0)), (HEAT[0], HEAT[4]));
    }

    #[test]
    fn lines_cover_once_and_fade_at_the_rim() {
        let mut canvas = Canvas::new(20, 20);
        let line = vec![vec![[4.0, 10.0], [16.0, 10.0], [10.0, 10.0]]];
        Stroke::new([20, 20]).draw(&mut canvas, &line, 1.25, [200; 3], 0.5);
        let image = canvas.into_image();
        assert_eq!(image.get_pixel(10, 9).0, [100; 3]);
        let rim = image.get_pixel(10, 8).0[0];
        assert!(rim > 0 && rim < 100, "{rim}");
        assert_eq!(image.get_pixel(10, 6).0, [0; 3]);
    }
}
