//! A picture for people: the unchanged frame with the findings drawn on it, and a legend below that covers no anatomy.

mod canvas;
mod legend;
mod text;

use super::{Contour, Mask, MaskError, Measurements};
use crate::frame::{Frame, Region};
use canvas::{Canvas, Stroke};
use image::RgbImage;
use ndarray::ArrayView2;

type Colour = [u8; 3];

/// Okabe and Ito's palette, distinguishable with every common type of colour vision; the colours that are visible on
/// dark grey tissue.
const COLOURS: [Colour; 6] =
    [[86, 180, 233], [230, 159, 0], [0, 178, 133], [240, 228, 66], [222, 132, 184], [230, 108, 30]];

/// The width below which frames are magnified by an integer factor, so that the legend is readable.
const LEAST_WIDTH: usize = 384;

/// The height that a magnified picture must not reach; beyond it, the canvas is wider than the frame instead.
const MOST_MAGNIFIED_HEIGHT: usize = 1536;

/// The colour of the line around a region of interest, different from all findings' colours.
const REGION_COLOUR: Colour = [170, 170, 170];

/// The opacity of the colour over the lesion: enough to see which side of the line is inside, little enough to see the
/// tissue.
const FILL: f32 = 0.13;

/// The finding of one prompt, as an overlay shows it.
#[derive(Clone, Copy, Debug)]
pub struct Annotation<'a> {
    /// The text of the prompt.
    pub prompt: &'a str,
    /// The mask, with the frame's size.
    pub mask: &'a Mask,
    /// The mask's contours.
    pub contours: &'a [Contour],
    /// The mask's measurements.
    pub measurements: &'a Measurements,
}

/// The content of a picture. Each finding has a colour and its rows in the legend.
#[derive(Clone, Copy, Debug)]
pub struct Overlay<'a> {
    /// The frame to draw on.
    pub frame: &'a Frame<'a>,
    /// The findings, in the order of the legend's rows.
    pub findings: &'a [Annotation<'a>],
    /// The confounder map, height x width of the frame, 0 to 1; drawn as heat.
    pub confounders: Option<ArrayView2<'a, f32>>,
    /// A pixel is lesion where its probability is above this.
    pub threshold: f32,
    /// The model's name in the legend.
    pub model: &'a str,
}

impl Overlay<'_> {
    /// Draws the picture. The frame is in its upper left corner, at its own size, or 2, 3, ... times as large where it
    /// is less than 384 pixels wide; the legend is below it. A region of interest is outlined.
    ///
    /// # Errors
    /// A mask or the confounders do not have the frame's size ([`MaskError::Size`]).
    pub fn draw(&self) -> Result<RgbImage, MaskError> {
        self.check_sizes()?;
        let (width, height) = (self.frame.width(), self.frame.height());
        let zoom = LEAST_WIDTH.div_ceil(width).min(MOST_MAGNIFIED_HEIGHT / height).max(1);
        let canvas_width = (width * zoom).max(LEAST_WIDTH);
        let legend = legend::lay_out(self, canvas_width);
        let mut canvas = Canvas::new(canvas_width, height * zoom + legend.height());
        canvas.rectangle([width * zoom, 0], [canvas_width - width * zoom, height * zoom], legend::PAPER);
        canvas.paste(self.frame, zoom);
        if let Some(confounders) = self.confounders {
            canvas.heat(confounders, zoom);
        }
        for (finding, colour) in self.findings.iter().zip(COLOURS.iter().cycle()) {
            canvas.tint(finding.mask.pixels(), zoom, *colour, FILL);
        }
        if self.frame.region() != Region::whole(width, height) {
            canvas.outline(self.frame.region(), zoom, REGION_COLOUR, 0.6);
        }
        // Two pixels wide on ordinary frames, in proportion on large ones.
        let radius = ((width.max(height) * zoom) as f32 / 800.0).max(1.0);
        let area = [width * zoom, height * zoom];
        let mut stroke = Stroke::new(area);
        for (finding, colour) in self.findings.iter().zip(COLOURS.iter().cycle()) {
            let lines: Vec<_> = finding.contours.iter().map(|contour| smooth(contour, zoom)).collect();
            // A dark border under the line keeps it visible on bright tissue.
            stroke.draw(&mut canvas, &lines, radius + 1.0, [0, 0, 0], 0.45);
            stroke.draw(&mut canvas, &lines, radius, *colour, 1.0);
        }
        legend.draw(&mut canvas, height * zoom);
        Ok(canvas.into_image())
    }

    fn check_sizes(&self) -> Result<(), MaskError> {
        let frame = [self.frame.width(), self.frame.height()];
        let check = |what, (height, width)| {
            let actual = [width, height];
            if actual == frame { Ok(()) } else { Err(MaskError::Size { what, actual, frame }) }
        };
        for finding in self.findings {
            check("mask", finding.mask.pixels().dim())?;
        }
        self.confounders.map_or(Ok(()), |map| check("confounder map", map.dim()))
    }
}

/// A contour in canvas pixels through the middles of its pixel edges: half a pixel off at the most, without the steps.
fn smooth(contour: &Contour, zoom: usize) -> Vec<[f32; 2]> {
    let zoom = zoom as f32;
    let mut middles = Vec::new();
    for (from, to) in contour.points.iter().zip(contour.points.iter().cycle().skip(1)) {
        let length = from[0].abs_diff(to[0]) + from[1].abs_diff(to[1]);
        let at = |part: f32| {
            let mix = |a: u32, b: u32| (a as f32 + (b as f32 - a as f32) * part / length as f32) * zoom;
            [mix(from[0], to[0]), mix(from[1], to[1])]
        };
        // The first and the last midpoint are enough for a straight run.
        middles.push(at(0.5));
        if length > 1 {
            middles.push(at(length as f32 - 0.5));
        }
    }
    middles
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::PixelFormat;
    use ndarray::{Array2, s};

    struct Scene {
        data: Vec<u8>,
        mask: Mask,
        contours: Vec<Contour>,
        measurements: Measurements,
    }

    fn scene(width: usize, height: usize) -> Scene {
        let mut pixels = Array2::zeros((height, width));
        pixels.slice_mut(s![height / 4..(3 * height).div_ceil(4), width / 4..(3 * width).div_ceil(4)]).fill(1);
        let mask = Mask::from_pixels(pixels);
        let contours = mask.contours();
        let measurements = Measurements::of(&mask, &contours, None, Some([0.1; 2])).unwrap();
        Scene { data: vec![60; width * height], mask, contours, measurements }
    }

    fn draw(scene: &Scene, prompts: &[&str], heat: bool) -> RgbImage {
        let (height, width) = scene.mask.pixels().dim();
        let frame = Frame::packed(&scene.data, PixelFormat::Gray8, width, height).unwrap();
        let findings: Vec<_> = prompts
            .iter()
            .map(|prompt| Annotation {
                prompt,
                mask: &scene.mask,
                contours: &scene.contours,
                measurements: &scene.measurements,
            })
            .collect();
        let map = Array2::from_elem((height, width), 0.7);
        let confounders = heat.then(|| map.view());
        Overlay { frame: &frame, findings: &findings, confounders, threshold: 0.5, model: "tiny" }.draw().unwrap()
    }

    #[test]
    fn the_frame_stays_as_it_is_outside_the_finding() {
        let scene = scene(400, 300);
        let picture = draw(&scene, &["a mass"], false);
        assert_eq!(picture.width(), 400);
        assert!(picture.height() > 300);
        for (x, y) in [(0, 0), (399, 0), (0, 299), (399, 299), (90, 150), (310, 150)] {
            assert_eq!(picture.get_pixel(x, y).0, [60; 3], "at ({x}, {y})");
        }
        // The line has its colour; the fill is faint.
        assert_eq!(picture.get_pixel(100, 150).0, COLOURS[0]);
        let inside = picture.get_pixel(200, 150).0;
        assert!(inside != [60; 3] && inside.iter().all(|v| v.abs_diff(60) < 30), "{inside:?}");
    }

    #[test]
    fn every_size_and_prompt_draws() {
        let long = "word ".repeat(10_000);
        let unbroken = "x".repeat(5_000);
        for (width, height) in [(1, 1), (1, 700), (900, 1), (64, 64), (385, 100)] {
            let picture = draw(&scene(width, height), &["", &long, &unbroken, "\u{75c5}\u{5909} \n\0", "é²"], true);
            assert!(picture.width() >= LEAST_WIDTH as u32, "{width} x {height}");
        }
    }

    #[test]
    fn small_frames_are_magnified_whole() {
        let picture = draw(&scene(64, 64), &[], false);
        assert_eq!(picture.width(), 384);
        assert_eq!(picture.get_pixel(383, 383).0, [60; 3]);
    }

    #[test]
    fn masks_of_another_frame_are_refused() {
        let scene = scene(8, 8);
        let frame = Frame::packed(&scene.data, PixelFormat::Gray8, 4, 8).unwrap();
        let (prompt, mask, contours, measurements) = ("", &scene.mask, &scene.contours[..], &scene.measurements);
        let findings = [Annotation { prompt, mask, contours, measurements }];
        let overlay = Overlay { frame: &frame, findings: &findings, confounders: None, threshold: 0.5, model: "" };
        assert_eq!(overlay.draw().unwrap_err(), MaskError::Size { what: "mask", actual: [8, 8], frame: [4, 8] });
    }
}
