//! The positions of beams in the image: parallel (linear probe) or fanned out (curved probe).

use super::noise::between;
use rand::{Rng, RngExt};

#[derive(Clone, Debug)]
pub struct Geometry {
    pub width: usize,
    pub height: usize,
    /// The number of beams, and of samples along each.
    pub beams: usize,
    pub samples: usize,
    fan: Option<Fan>,
}

/// A curved probe, whose face is part of a circle.
#[derive(Clone, Debug)]
struct Fan {
    /// The distance from the circle's centre, which is above the image, to the probe's face, in pixels.
    radius: f32,
    /// The angle from the middle beam to the outermost.
    half_angle_radians: f32,
}

impl Geometry {
    /// A random geometry, linear in three of four cases.
    pub fn random(width: usize, height: usize, rng: &mut impl Rng) -> Self {
        let half_angle_radians = between(0.45, 0.62, rng);
        let wants_fan = rng.random_bool(0.25);
        let linear = Self { width, height, beams: width, samples: height, fan: None };
        // The outermost beam ends in the image's lower corner.
        let (w, h) = (width as f32, height as f32);
        let radius = (w / (2.0 * half_angle_radians.sin()) - h) / half_angle_radians.cos();
        if !wants_fan || radius < 0.1 * h {
            return linear;
        }
        let fan = Fan { radius, half_angle_radians };
        let samples = (h - radius * (1.0 - half_angle_radians.cos())) as usize;
        let beams = (2.0 * half_angle_radians * (radius + 0.6 * h)) as usize;
        Self { beams: beams.max(2), samples: samples.max(2), fan: Some(fan), ..linear }
    }

    /// The pixel of a sample of a beam.
    pub fn pixel(&self, beam: f32, sample: f32) -> (f32, f32) {
        let Some(fan) = &self.fan else { return (beam, sample) };
        let angle = (2.0 * beam / (self.beams - 1) as f32 - 1.0) * fan.half_angle_radians;
        let radius = fan.radius + sample;
        (self.width as f32 / 2.0 + radius * angle.sin(), radius * angle.cos() - fan.center_above())
    }

    /// The beam and the sample at a pixel, or `None` beside the scan.
    pub fn beam(&self, x: f32, y: f32) -> Option<(f32, f32)> {
        let (beam, sample) = match &self.fan {
            None => (x, y),
            Some(fan) => {
                let (dx, dy) = (x - self.width as f32 / 2.0, y + fan.center_above());
                let part = dx.atan2(dy) / fan.half_angle_radians;
                ((part + 1.0) / 2.0 * (self.beams - 1) as f32, dx.hypot(dy) - fan.radius)
            }
        };
        let inside = |position: f32, count: usize| (0.0..=(count - 1) as f32).contains(&position);
        (inside(beam, self.beams) && inside(sample, self.samples)).then_some((beam, sample))
    }

    /// Whether a box of half-sides `rx`, `ry` about a pixel lies within the scan.
    pub fn holds(&self, x: f32, y: f32, rx: f32, ry: f32) -> bool {
        [(-1.0, -1.0), (1.0, -1.0), (-1.0, 1.0), (1.0, 1.0)]
            .iter()
            .all(|(sx, sy)| self.beam(x + sx * rx, y + sy * ry).is_some())
    }

    pub fn is_fan(&self) -> bool {
        self.fan.is_some()
    }
}

impl Fan {
    /// The distance from the circle's centre down to the image's upper edge, which the face's ends touch.
    fn center_above(&self) -> f32 {
        self.radius * self.half_angle_radians.cos()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    #[test]
    fn pixel_and_beam_are_inverse() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut fans = 0;
        for _ in 0..40 {
            let geometry = Geometry::random(480, 360, &mut rng);
            fans += usize::from(geometry.is_fan());
            for (b, s) in [(0.1, 0.2), (0.5, 0.5), (0.9, 0.8)] {
                let (beam, sample) = (b * geometry.beams as f32, s * geometry.samples as f32);
                let (x, y) = geometry.pixel(beam, sample);
                let (found_beam, found_sample) = geometry.beam(x, y).unwrap();
                assert!((found_beam - beam).abs() < 0.05 && (found_sample - sample).abs() < 0.05);
            }
        }
        assert!((4..20).contains(&fans), "{fans}");
    }
}
