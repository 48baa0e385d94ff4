//! Changes to one example that keep prompt and mask true: each is a deterministic function of its arguments.

use super::{Example, Picture, mirror_horizontal, mirror_vertical};
use rand::{Rng, RngExt};

/// Mirrors picture and mask left to right, and the prompt's words with them.
pub fn flip_horizontal(example: &mut Example) {
    let width = example.picture.width;
    let picture = &mut example.picture;
    let others = picture.other_lesions.as_mut().map_or(&mut [] as &mut [u8], Vec::as_mut_slice);
    for plane in [picture.pixels.as_mut_slice(), picture.mask.as_mut_slice(), others] {
        plane.chunks_exact_mut(width).for_each(<[u8]>::reverse);
    }
    example.prompt = mirror_horizontal(&example.prompt);
}

/// Mirrors picture and mask top to bottom, and the prompt's words with them. Shadows then point upwards: not for
/// ultrasound.
pub fn flip_vertical(example: &mut Example) {
    let (width, area) = (example.picture.width, example.picture.area());
    let flipped = |plane: &[u8]| -> Vec<u8> { plane.rchunks_exact(width).flatten().copied().collect() };
    example.picture.pixels = example.picture.pixels.chunks_exact(area).flat_map(flipped).collect();
    example.picture.mask = flipped(&example.picture.mask);
    example.picture.other_lesions = example.picture.other_lesions.as_deref().map(flipped);
    example.prompt = mirror_vertical(&example.prompt);
}

/// A rotation, a magnification and a shift about the picture's centre.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Affine {
    /// The rotation, clockwise.
    pub rotation_radians: f32,
    /// The magnification; above 1 magnifies.
    pub scale: f32,
    /// The shift right and down, as shares of the picture's width and height.
    pub shift: [f32; 2],
}

impl Affine {
    /// The identity.
    pub const NONE: Self = Self { rotation_radians: 0.0, scale: 1.0, shift: [0.0, 0.0] };

    /// The inverse on a picture of this width and height: its sines are computed once, not for each pixel.
    pub(super) fn inverse(&self, width: f32, height: f32) -> Inverse {
        let (sin, cos) = self.rotation_radians.sin_cos();
        let scale = if self.scale > 0.0 { self.scale } else { 1.0 };
        let center = [(width - 1.0) / 2.0, (height - 1.0) / 2.0];
        Inverse {
            center,
            target: [center[0] + self.shift[0] * width, center[1] + self.shift[1] * height],
            cos: cos / scale,
            sin: sin / scale,
        }
    }
}

/// The inverse of an [`Affine`]: the source point of each pixel.
#[derive(Clone, Copy, Debug)]
pub(super) struct Inverse {
    center: [f32; 2],
    /// The target of the picture's centre.
    target: [f32; 2],
    /// The cosine and sine, divided by the scale.
    cos: f32,
    sin: f32,
}

impl Inverse {
    /// The point of the source that is moved to (x, y), in pixels.
    pub fn source_of(&self, x: f32, y: f32) -> (f32, f32) {
        let (dx, dy) = (x - self.target[0], y - self.target[1]);
        (self.center[0] + self.cos * dx + self.sin * dy, self.center[1] + self.cos * dy - self.sin * dx)
    }
}

/// Applies `affine` to picture and mask; pixels from outside are black, as beside a scan.
pub fn apply_affine(picture: &Picture, affine: Affine) -> Picture {
    let inverse = affine.inverse(picture.width as f32, picture.height as f32);
    resample(picture, (picture.width, picture.height), |x, y| Some(inverse.source_of(x, y)))
}

/// Makes a picture of `width` x `height` pixels: takes each pixel, and its mask, from the point of `picture` that `source`
/// returns for it, in pixels; black where it returns none, or one outside.
pub(super) fn resample(
    picture: &Picture,
    (width, height): (usize, usize),
    source: impl Fn(f32, f32) -> Option<(f32, f32)>,
) -> Picture {
    let (before, area) = (picture.area(), width * height);
    let mut moved = Picture {
        width,
        height,
        channels: picture.channels,
        pixels: vec![0; picture.channels * area],
        mask: vec![0; area],
        other_lesions: picture.other_lesions.as_ref().map(|_| vec![0; area]),
    };
    for index in 0..area {
        let Some((x, y)) = source((index % width) as f32, (index / width) as f32) else { continue };
        let Some(corners) = Corners::around(x, y, picture) else { continue };
        for channel in 0..picture.channels {
            let plane = &picture.pixels[channel * before..(channel + 1) * before];
            moved.pixels[channel * area + index] = corners.blend(plane).round() as u8;
        }
        let is_inside = |mask: &[u8]| u8::from(corners.blend(mask) >= 0.5);
        moved.mask[index] = is_inside(&picture.mask);
        if let (Some(moved), Some(others)) = (&mut moved.other_lesions, &picture.other_lesions) {
            moved[index] = is_inside(others);
        }
    }
    moved
}

/// Four neighbours and the position of a point between them.
struct Corners {
    x: usize,
    y: usize,
    fraction: (f32, f32),
    /// Of the picture.
    width: usize,
    height: usize,
}

impl Corners {
    fn around(x: f32, y: f32, picture: &Picture) -> Option<Self> {
        let &Picture { width, height, .. } = picture;
        let (right, bottom) = ((width - 1) as f32, (height - 1) as f32);
        // Half a pixel beyond the outermost centres still belongs to the picture.
        if x < -0.5 || y < -0.5 || x > right + 0.5 || y > bottom + 0.5 {
            return None;
        }
        let (x, y) = (x.clamp(0.0, right), y.clamp(0.0, bottom));
        Some(Self { x: x as usize, y: y as usize, fraction: (x.fract(), y.fract()), width, height })
    }

    fn blend(&self, plane: &[u8]) -> f32 {
        let (right, below) = ((self.x + 1).min(self.width - 1), (self.y + 1).min(self.height - 1));
        let at = |x: usize, y: usize| f32::from(plane[y * self.width + x]);
        let (fx, fy) = self.fraction;
        let upper = at(self.x, self.y) * (1.0 - fx) + at(right, self.y) * fx;
        let lower = at(self.x, below) * (1.0 - fx) + at(right, below) * fx;
        upper * (1.0 - fy) + lower * fy
    }
}

/// Raises brightness, on the scale 0..1, to the power `gamma`: below 1 brightens.
pub fn apply_gamma(picture: &mut Picture, gamma: f32) {
    let table: [u8; 256] = std::array::from_fn(|value| to_byte((value as f32 / 255.0).powf(gamma) * 255.0));
    picture.pixels.iter_mut().for_each(|value| *value = table[usize::from(*value)]);
}

/// Multiplies brightness by `top` in the first row, `bottom` in the last and evenly between: a scanner's gain and its
/// time-gain compensation.
pub fn apply_gain(picture: &mut Picture, top: f32, bottom: f32) {
    let (width, height) = (picture.width, picture.height);
    for (row, line) in picture.pixels.chunks_exact_mut(width).enumerate() {
        let depth = (row % height) as f32 / height as f32;
        let gain = top + (bottom - top) * depth;
        line.iter_mut().for_each(|value| *value = to_byte(f32::from(*value) * gain));
    }
}

/// Multiplies each pixel by noise of mean 1 and the given standard deviation, the same in every channel, and smooth
/// over two pixels sideways as speckle is.
pub fn add_speckle(picture: &mut Picture, deviation: f32, rng: &mut impl Rng) {
    let area = picture.area();
    let mut previous = near_normal(rng);
    for index in 0..area {
        let next = near_normal(rng);
        // The mean of two independent values has 1/sqrt(2) of their deviation.
        let noise = 1.0 + deviation * (previous + next) * std::f32::consts::FRAC_1_SQRT_2;
        previous = next;
        for channel in 0..picture.channels {
            let value = &mut picture.pixels[channel * area + index];
            *value = to_byte(f32::from(*value) * noise);
        }
    }
}

/// A random number with mean 0 and deviation 1, close to normal: the sum of four bytes, each uniform with variance
/// (256^2 - 1) / 12.
pub(super) fn near_normal(rng: &mut impl Rng) -> f32 {
    let sum: f32 = rng.random::<u32>().to_le_bytes().iter().map(|byte| f32::from(*byte) - 127.5).sum();
    sum / (4.0f32 * 65_535.0 / 12.0).sqrt()
}

pub(super) fn to_byte(value: f32) -> u8 {
    value.round().clamp(0.0, 255.0) as u8
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    /// Grey 100 with a lesion of grey 40 in the box.
    pub fn picture(size: usize, left: usize, top: usize, right: usize, bottom: usize) -> Picture {
        let mask: Vec<u8> = (0..size * size)
            .map(|i| u8::from((left..right).contains(&(i % size)) && (top..bottom).contains(&(i / size))))
            .collect();
        let pixels = mask.iter().map(|lesion| if *lesion == 1 { 40 } else { 100 }).collect();
        Picture { width: size, height: size, channels: 1, pixels, mask, other_lesions: None }
    }

    fn example() -> Example {
        Example { picture: picture(16, 1, 2, 5, 6), prompt: "A mass in the upper-left.".into() }
    }

    #[test]
    fn flips_move_picture_mask_and_words_together() {
        let mut example = example();
        flip_horizontal(&mut example);
        assert_eq!(example.picture, picture(16, 11, 2, 15, 6));
        assert_eq!(example.prompt, "A mass in the upper-right.");
        flip_vertical(&mut example);
        assert_eq!(example.picture, picture(16, 11, 10, 15, 14));
        assert_eq!(example.prompt, "A mass in the lower-right.");
    }

    #[test]
    fn flips_keep_colour_planes_apart() {
        let mut example = example();
        example.picture = example.picture.in_color();
        example.picture.pixels[0] = 1;
        flip_vertical(&mut example);
        flip_horizontal(&mut example);
        assert_eq!(example.picture.pixels[16 * 16 - 1], 1);
        assert_eq!(example.picture.pixels[2 * 16 * 16 - 1], 100);
    }

    #[test]
    fn affine_identity_shift_and_quarter_turn() {
        let picture = picture(16, 1, 2, 5, 6);
        let none = Affine { rotation_radians: 0.0, scale: 1.0, shift: [0.0, 0.0] };
        assert_eq!(apply_affine(&picture, none), picture);
        let shifted = apply_affine(&picture, Affine { shift: [0.25, 0.5], ..none });
        assert_eq!(shifted.mask, self::picture(16, 5, 10, 9, 14).mask);
        assert_eq!(shifted.pixels[0], 0, "what comes in is black");
        let turned = apply_affine(&picture, Affine { rotation_radians: std::f32::consts::FRAC_PI_2, ..none });
        assert_eq!(
            turned.mask,
            self::picture(16, 10, 1, 14, 5).mask,
            "clockwise: the upper left comes to the upper right"
        );
        let large = apply_affine(&picture, Affine { scale: 2.0, ..none });
        assert!(large.pixels.iter().all(|value| *value > 0));
    }

    #[test]
    fn intensity_changes_leave_the_mask() {
        let original = picture(16, 1, 2, 5, 6);
        let mut changed = original.clone();
        apply_gamma(&mut changed, 0.5);
        assert_eq!(changed.pixels[0], 160);
        apply_gain(&mut changed, 1.0, 0.0);
        assert_eq!(changed.pixels[0], 160);
        assert!(changed.pixels[15 * 16] < 15);
        assert_eq!(changed.mask, original.mask);
    }

    #[test]
    fn speckle_has_the_deviation_asked_for_and_repeats() {
        let speckled = |seed| {
            let mut picture = picture(64, 0, 0, 0, 0);
            add_speckle(&mut picture, 0.2, &mut ChaCha8Rng::seed_from_u64(seed));
            picture
        };
        let pixels = speckled(1).pixels;
        let mean = pixels.iter().map(|v| f32::from(*v)).sum::<f32>() / 4096.0;
        let variance = pixels.iter().map(|v| (f32::from(*v) - mean).powi(2)).sum::<f32>() / 4096.0;
        assert!((mean - 100.0).abs() < 1.5 && (variance.sqrt() - 20.0).abs() < 1.5, "{mean} {variance}");
        assert_eq!(speckled(1), speckled(1));
        assert_ne!(speckled(1), speckled(2));
    }
}
