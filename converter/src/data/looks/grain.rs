//! Simulates speckle: the size of its grains differs by probe and frequency as much as their strength.

use crate::data::Picture;
use crate::data::augment::{near_normal, to_byte};
use rand::Rng;

/// Multiplies the picture, the same in every channel, by noise of mean 1 and about this standard deviation, whose
/// grains are `width` by `height` pixels, at least 1 each.
pub fn add_grain(picture: &mut Picture, deviation: f32, width: f32, height: f32, rng: &mut impl Rng) {
    let (across, down, area) = (picture.width, picture.height, picture.area());
    let (width, height) = (width.max(1.0), height.max(1.0));
    let nodes = |side: usize, grain: f32| (side as f32 / grain).ceil() as usize + 2;
    let (columns, rows) = (nodes(across, width), nodes(down, height));
    let lattice: Vec<f32> = (0..columns * rows).map(|_| near_normal(rng)).collect();
    // Between two independent values an interpolation has 2/3 of their variance on average, once for each direction
    // that interpolates.
    let blends = [width, height].iter().filter(|grain| **grain > 1.0).count() as i32;
    let strength = deviation * 1.5f32.powi(blends).sqrt();
    let along: Vec<(usize, f32)> =
        (0..across).map(|x| x as f32 / width).map(|position| (position as usize, position.fract())).collect();
    for y in 0..down {
        let position = y as f32 / height;
        let (row, down) = (position as usize, position.fract());
        let (upper, lower) = (&lattice[row * columns..(row + 1) * columns], &lattice[(row + 1) * columns..]);
        for (x, (column, right)) in along.iter().enumerate() {
            let blend = |line: &[f32]| line[*column] * (1.0 - right) + line[column + 1] * right;
            let noise = 1.0 + strength * (blend(upper) * (1.0 - down) + blend(lower) * down);
            for plane in picture.pixels.chunks_exact_mut(area) {
                let value = &mut plane[y * across + x];
                *value = to_byte(f32::from(*value) * noise);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::augment::tests::picture;
    use super::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    fn speckled(width: f32, height: f32) -> Vec<f32> {
        let mut picture = picture(96, 0, 0, 0, 0);
        add_grain(&mut picture, 0.2, width, height, &mut ChaCha8Rng::seed_from_u64(1));
        picture.pixels.into_iter().map(|value| f32::from(value) - 100.0).collect()
    }

    /// The correlation of pixels at a distance of `step`, 1 for equal ones.
    fn likeness(noise: &[f32], step: usize) -> f32 {
        let power: f32 = noise.iter().map(|value| value * value).sum();
        noise.iter().zip(&noise[step..]).map(|(one, other)| one * other).sum::<f32>() / power
    }

    #[test]
    fn grains_have_the_size_and_strength_asked_for() {
        for (width, height) in [(1.0, 1.0), (4.0, 1.0), (5.0, 3.0)] {
            let noise = speckled(width, height);
            let deviation = (noise.iter().map(|value| value * value).sum::<f32>() / noise.len() as f32).sqrt();
            assert!((14.0..26.0).contains(&deviation), "{width} x {height}: {deviation}");
        }
        let (fine, wide) = (speckled(1.0, 1.0), speckled(6.0, 1.0));
        assert!(likeness(&fine, 1) < 0.1 && likeness(&wide, 1) > 0.7, "{} {}", likeness(&fine, 1), likeness(&wide, 1));
        assert!(likeness(&wide, 96) < 0.1, "rows stay independent");
    }
}
