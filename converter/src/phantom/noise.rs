//! Random numbers and random fields.

use rand::{Rng, RngExt};

/// Smooth random fields of mean 0 over the plane.
pub struct Noise {
    lattice: [f32; 256],
    order: [u8; 256],
}

impl Noise {
    pub fn new(rng: &mut impl Rng) -> Self {
        let lattice = std::array::from_fn(|_| rng.random::<f32>() * 2.0 - 1.0);
        let mut order: [u8; 256] = std::array::from_fn(|index| index as u8);
        for index in (1..order.len()).rev() {
            order.swap(index, rng.random_range(0..=index));
        }
        Self { lattice, order }
    }

    /// A value between -1 and 1 that changes over a distance of about 1.
    pub fn at(&self, x: f32, y: f32) -> f32 {
        let (column, row) = (x.floor(), y.floor());
        let smooth = |t: f32| t * t * (3.0 - 2.0 * t);
        let (fx, fy) = (smooth(x - column), smooth(y - row));
        let value = |dx: i32, dy: i32| {
            let along = (column as i32).wrapping_add(dx) as u8;
            let down = (row as i32).wrapping_add(dy) as u8;
            self.lattice[usize::from(self.order[usize::from(self.order[usize::from(along)].wrapping_add(down))])]
        };
        let upper = value(0, 0) * (1.0 - fx) + value(1, 0) * fx;
        let lower = value(0, 1) * (1.0 - fx) + value(1, 1) * fx;
        upper * (1.0 - fy) + lower * fy
    }

    /// Three octaves of [`Noise::at`], between -1 and 1.
    pub fn rough(&self, x: f32, y: f32) -> f32 {
        let octave = |k: f32, offset: f32| self.at(x * k + offset, y * k - offset);
        (octave(1.0, 0.0) + 0.5 * octave(2.0, 17.3) + 0.25 * octave(4.0, 41.7)) / 1.75
    }
}

/// Two independent normal numbers of mean 0 and variance 1/2: a complex number of mean power 1 (Box and Muller, 1958).
pub fn complex_normal(rng: &mut impl Rng) -> (f32, f32) {
    let (first, second) = (1.0 - rng.random::<f32>(), rng.random::<f32>());
    let amplitude = (-first.ln()).sqrt();
    let (sin, cos) = (std::f32::consts::TAU * second).sin_cos();
    (amplitude * cos, amplitude * sin)
}

/// A uniform number from `low` to `high`.
pub fn between(low: f32, high: f32, rng: &mut impl Rng) -> f32 {
    low + (high - low) * rng.random::<f32>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    #[test]
    fn complex_normal_has_rayleigh_amplitude() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let amplitudes: Vec<f32> = (0..20_000).map(|_| complex_normal(&mut rng)).map(|(re, im)| re.hypot(im)).collect();
        let mean = amplitudes.iter().sum::<f32>() / 20_000.0;
        let power = amplitudes.iter().map(|a| a * a).sum::<f32>() / 20_000.0;
        // Rayleigh of power 1: the mean is sqrt(pi) / 2.
        assert!((mean - 0.8862).abs() < 0.01 && (power - 1.0).abs() < 0.02, "{mean} {power}");
    }

    #[test]
    fn noise_is_smooth_and_bounded() {
        let noise = Noise::new(&mut ChaCha8Rng::seed_from_u64(1));
        for step in -500..500 {
            let x = step as f32 * 0.07;
            let (here, near) = (noise.at(x, -x * 0.3), noise.at(x + 0.01, -x * 0.3));
            assert!(here.abs() <= 1.0 && (here - near).abs() < 0.05);
        }
    }
}
