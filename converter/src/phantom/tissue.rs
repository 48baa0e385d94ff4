//! Layered breast tissue: the scattering of each point, in decibels.

use super::noise::{Noise, between};
use rand::Rng;

pub struct Tissue {
    noise: Noise,
    width: f32,
    height: f32,
    /// The depths, as shares of the height, at which skin, fat, gland and the fat behind it end.
    skin: f32,
    fat: f32,
    gland: f32,
    muscle: f32,
    /// The mean scattering, in dB.
    fat_db: f32,
    gland_db: f32,
    muscle_db: f32,
}

impl Tissue {
    pub fn random(width: usize, height: usize, noise: Noise, rng: &mut impl Rng) -> Self {
        let skin = between(0.025, 0.05, rng);
        let fat = skin + between(0.08, 0.22, rng);
        let gland = fat + between(0.4, 0.6, rng);
        Self {
            noise,
            width: width as f32,
            height: height as f32,
            skin,
            fat,
            gland,
            muscle: gland + between(0.08, 0.16, rng),
            fat_db: between(-25.0, -21.0, rng),
            gland_db: between(-19.0, -15.0, rng),
            muscle_db: between(-27.0, -22.0, rng),
        }
    }

    /// The scattering at a pixel, about -45 to 0 dB.
    pub fn scattering_db(&self, x: f32, y: f32) -> f32 {
        // Both in units of the height, so that tissue looks alike in images of any shape.
        let (u, v) = (x / self.height, y / self.height);
        let wave = self.noise.rough(u * 2.5, 3.7);
        let depth = v + 0.06 * wave;
        let skin_blend = edge(v, self.skin + 0.004 * wave, 0.006);
        let fat_blend = edge(depth, self.fat + 0.05 * self.noise.at(u * 3.0, 90.0), 0.012);
        let gland_blend = edge(depth, self.gland, 0.012);
        let deep_blend = edge(depth, self.muscle, 0.01);
        let mut db = mix(self.skin_db(v), self.fat_layer(u, v), skin_blend);
        db = mix(db, self.gland_layer(u, v), fat_blend);
        db = mix(db, self.muscle_layer(u, v), gland_blend);
        db = mix(db, self.muscle_db - 8.0 + 5.0 * self.noise.rough(u * 8.0, v * 8.0), deep_blend);
        // Fasciae are bright where layers meet, in pieces.
        let fascia = |at: f32, strength: f32, row: f32| {
            let pieces = (0.6 + 1.2 * self.noise.at(u * 5.0, row)).clamp(0.0, 1.2);
            strength * pieces * bump(depth - at, 0.006)
        };
        db + fascia(self.gland, 11.0, 20.0) + fascia(self.muscle, 14.0, 40.0)
    }

    /// Two bright lines, the probe's cover and the skin's lower edge, with a greyer dermis between.
    fn skin_db(&self, v: f32) -> f32 {
        -13.0 + 9.0 * bump(v - 0.15 * self.skin, 0.006) + 8.0 * bump(v - self.skin, 0.006)
    }

    /// Dark lobules within bright septa.
    fn fat_layer(&self, u: f32, v: f32) -> f32 {
        let bend = 0.12 * self.noise.at(u * 6.0 + 9.0, v * 6.0);
        let cell = self.noise.at((u + bend) * 7.0, (v - bend) * 15.0 + 30.0);
        self.fat_db + 13.0 * bump(cell, 0.09) + 3.0 * self.noise.at(u * 30.0, v * 50.0)
    }

    /// Bright and uneven, with dark ducts and islands of fat.
    fn gland_layer(&self, u: f32, v: f32) -> f32 {
        let bend = 0.1 * self.noise.at(u * 4.0, v * 4.0 + 60.0);
        let patches = self.noise.rough((u + bend) * 4.0, (v + bend) * 8.0);
        let fibres = self.noise.at((u + 0.4 * v + bend) * 12.0, (v - bend) * 42.0);
        let duct = bump(self.noise.at((u - bend) * 6.0 + 50.0, (v + bend) * 13.0), 0.05);
        self.gland_db + 10.0 * patches + 6.0 * fibres - 6.0 * duct
    }

    /// Fine bright stripes along the muscle.
    fn muscle_layer(&self, u: f32, v: f32) -> f32 {
        let bend = 0.02 * self.noise.at(u * 3.0, 70.0);
        let stripes = self.noise.at(u * 4.0, (v + bend) * 75.0);
        self.muscle_db + 7.0 * stripes.max(0.0) + 3.0 * self.noise.rough(u * 5.0, v * 9.0)
    }

    /// The position of a beam across the image, 0..1.
    pub fn across(&self, x: f32) -> f32 {
        x / self.width
    }
}

/// A smooth step: 0 before `at`, 1 behind it, over a distance of about `width`.
fn edge(position: f32, at: f32, width: f32) -> f32 {
    ((position - at) / width * 0.5 + 0.5).clamp(0.0, 1.0)
}

fn mix(from: f32, to: f32, part: f32) -> f32 {
    from + (to - from) * part
}

/// A Gaussian of this width, 1 at 0.
fn bump(distance: f32, width: f32) -> f32 {
    (-(distance / width).powi(2)).exp()
}
