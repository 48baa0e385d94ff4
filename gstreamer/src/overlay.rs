//! Draws results into a frame, in the frame's own format.

use crate::planes::Planes;
use causalclipseg::mask::Contour;
use gst_video::VideoFormat;

/// How much of a pixel's colour inside a mask is the mask's, in 1/256.
const FILL: u16 = 90;
/// As [`FILL`], for lines.
const OPAQUE: u16 = 256;

/// A colour in each of the forms that pixels have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ink {
    rgb: [u8; 3],
    /// Luma, blue and red difference, BT.601 in its limited range.
    yuv: [u8; 3],
}

impl Ink {
    const fn new(rgb: [u8; 3]) -> Self {
        let [red, green, blue] = [rgb[0] as i32, rgb[1] as i32, rgb[2] as i32];
        let y = 16 + (66 * red + 129 * green + 25 * blue + 128) / 256;
        let u = 128 + (-38 * red - 74 * green + 112 * blue) / 256;
        let v = 128 + (112 * red - 94 * green - 18 * blue) / 256;
        Self { rgb, yuv: [y as u8, u as u8, v as u8] }
    }

    /// The colour of a prompt; from the seventh on, colours repeat.
    pub(crate) fn of_prompt(index: usize) -> Self {
        INKS[index % INKS.len()]
    }
}

/// Okabe and Ito's palette, distinguishable with every common type of colour vision; the colours that are visible on dark tissue.
const INKS: [Ink; 6] = [
    Ink::new([86, 180, 233]),
    Ink::new([230, 159, 0]),
    Ink::new([0, 178, 133]),
    Ink::new([240, 228, 66]),
    Ink::new([222, 132, 184]),
    Ink::new([230, 108, 30]),
];

/// A frame's pixels to draw on.
pub(crate) struct Canvas<'a> {
    pub bytes: &'a mut [u8],
    pub planes: Planes,
    pub format: VideoFormat,
    pub width: usize,
    pub height: usize,
}

impl Canvas<'_> {
    /// Draws boundaries two pixels wide: one on each side of the pixel edges that they follow.
    pub(crate) fn outline(&mut self, contours: &[Contour], ink: Ink) {
        for contour in contours {
            let points = contour.points.iter();
            for (from, to) in points.clone().zip(points.cycle().skip(1)) {
                let [x0, x1] = [from[0].min(to[0]) as usize, from[0].max(to[0]) as usize];
                let [y0, y1] = [from[1].min(to[1]) as usize, from[1].max(to[1]) as usize];
                if y0 == y1 {
                    for x in x0..x1 {
                        self.blend(x, y0, ink, OPAQUE);
                        self.blend(x, y0.wrapping_sub(1), ink, OPAQUE);
                    }
                } else {
                    for y in y0..y1 {
                        self.blend(x0, y, ink, OPAQUE);
                        self.blend(x0.wrapping_sub(1), y, ink, OPAQUE);
                    }
                }
            }
        }
    }

    /// Tints the pixels of a mask whose rows of `width` pixels follow each other.
    pub(crate) fn tint(&mut self, mask: impl Iterator<Item = u8>, ink: Ink) {
        for (index, _) in mask.enumerate().filter(|(_, pixel)| *pixel != 0) {
            self.blend(index % self.width, index / self.width, ink, FILL);
        }
    }

    /// Blends a colour into a pixel; does nothing outside of the frame. Where pixels share a colour, the first of them sets it.
    fn blend(&mut self, x: usize, y: usize, ink: Ink, cover: u16) {
        if x >= self.width || y >= self.height {
            return;
        }
        let Ink { rgb: [red, green, blue], yuv: [luma, blue_difference, red_difference] } = ink;
        let (even_x, even_y) = (x.is_multiple_of(2), y.is_multiple_of(2));
        match self.format {
            VideoFormat::Gray8 => self.mix(0, y, x, &[255], cover),
            VideoFormat::Rgb => self.mix(0, y, 3 * x, &[red, green, blue], cover),
            VideoFormat::Bgr => self.mix(0, y, 3 * x, &[blue, green, red], cover),
            VideoFormat::Rgba | VideoFormat::Rgbx => self.mix(0, y, 4 * x, &[red, green, blue], cover),
            VideoFormat::Bgra | VideoFormat::Bgrx => self.mix(0, y, 4 * x, &[blue, green, red], cover),
            VideoFormat::Nv12 => {
                self.mix(0, y, x, &[luma], cover);
                if even_x && even_y {
                    self.mix(1, y / 2, x, &[blue_difference, red_difference], cover);
                }
            }
            VideoFormat::I420 => {
                self.mix(0, y, x, &[luma], cover);
                if even_x && even_y {
                    self.mix(1, y / 2, x / 2, &[blue_difference], cover);
                    self.mix(2, y / 2, x / 2, &[red_difference], cover);
                }
            }
            VideoFormat::Yuy2 => {
                self.mix(0, y, 2 * x, &[luma], cover);
                if even_x {
                    self.mix(0, y, 2 * x + 1, &[blue_difference], cover);
                    self.mix(0, y, 2 * x + 3, &[red_difference], cover);
                }
            }
            VideoFormat::Uyvy => {
                self.mix(0, y, 2 * x + 1, &[luma], cover);
                if even_x {
                    self.mix(0, y, 2 * x, &[blue_difference], cover);
                    self.mix(0, y, 2 * x + 2, &[red_difference], cover);
                }
            }
            // The element takes no other.
            _ => {}
        }
    }

    fn mix(&mut self, plane: usize, row: usize, byte: usize, values: &[u8], cover: u16) {
        let at = self.planes.at(plane, row, byte);
        let Some(bytes) = self.bytes.get_mut(at..at.saturating_add(values.len())) else { return };
        for (byte, value) in bytes.iter_mut().zip(values) {
            let mixed = u32::from(*byte) * u32::from(OPAQUE - cover) + u32::from(*value) * u32::from(cover);
            *byte = (mixed / u32::from(OPAQUE)) as u8;
        }
    }
}
