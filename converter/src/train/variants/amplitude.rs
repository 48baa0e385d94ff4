//! CIRL's causal intervention (its equations 2 to 4): an image's Fourier amplitudes become (1 - lambda) times its own and lambda
//! times another image's, lambda uniform in 0..eta, and its phases stay. Amplitudes carry the appearance, phases the shapes.

use rand::{Rng, RngExt};
use rustfft::FftPlanner;
use rustfft::num_complex::Complex32;

/// Mixes every image with another one of the batch, plane by plane. `images` hold one plane or three of size x size bytes.
pub(super) fn mix(images: &mut [Vec<u8>], size: usize, most: f32, rng: &mut impl Rng) {
    let count = images.len();
    if count < 2 || size == 0 {
        return;
    }
    let mut transform = Transform::new(size);
    let spectra: Vec<Vec<Vec<Complex32>>> = images
        .iter()
        .map(|image| image.chunks_exact(size * size).map(|plane| transform.forward(plane)).collect())
        .collect();
    for index in 0..count {
        let partner = (index + rng.random_range(1..count)) % count;
        let share = most * rng.random::<f32>();
        for (plane, spectrum) in spectra[index].iter().enumerate() {
            let other = &spectra[partner][plane.min(spectra[partner].len() - 1)];
            let mixed = spectrum.iter().zip(other).map(|(own, other)| {
                let amplitude = (1.0 - share) * own.norm() + share * other.norm();
                Complex32::from_polar(amplitude, own.arg())
            });
            let values = transform.backward(mixed.collect());
            images[index][plane * size * size..(plane + 1) * size * size].copy_from_slice(&values);
        }
    }
}

/// Two-dimensional transforms of one size: rows, then columns.
struct Transform {
    size: usize,
    forward: std::sync::Arc<dyn rustfft::Fft<f32>>,
    backward: std::sync::Arc<dyn rustfft::Fft<f32>>,
}

impl Transform {
    fn new(size: usize) -> Self {
        let mut planner = FftPlanner::new();
        Self { size, forward: planner.plan_fft_forward(size), backward: planner.plan_fft_inverse(size) }
    }

    fn forward(&mut self, plane: &[u8]) -> Vec<Complex32> {
        let mut values: Vec<Complex32> = plane.iter().map(|value| Complex32::new(f32::from(*value), 0.0)).collect();
        self.along_both(&mut values, true);
        values
    }

    fn backward(&mut self, mut values: Vec<Complex32>) -> Vec<u8> {
        self.along_both(&mut values, false);
        let scale = 1.0 / (self.size * self.size) as f32;
        values.iter().map(|value| (value.re * scale).round().clamp(0.0, 255.0) as u8).collect()
    }

    fn along_both(&self, values: &mut Vec<Complex32>, is_forward: bool) {
        let transform = if is_forward { &self.forward } else { &self.backward };
        for _ in 0..2 {
            // The transform of every row; then columns are rows.
            transform.process(values);
            let size = self.size;
            *values = (0..size * size).map(|index| values[index % size * size + index / size]).collect();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    const SIZE: usize = 16;

    fn image(bright: usize, at: usize) -> Vec<u8> {
        (0..SIZE * SIZE).map(|i| if (at..at + 5).contains(&(i % SIZE)) { bright as u8 } else { 60 }).collect()
    }

    #[test]
    fn without_a_share_nothing_changes_and_with_all_of_it_the_amplitudes_are_the_others() {
        let original = vec![image(200, 2), image(120, 8)];
        let mut same = original.clone();
        mix(&mut same, SIZE, 0.0, &mut ChaCha8Rng::seed_from_u64(1));
        assert_eq!(same, original);
        // The sum of an image is its amplitude at frequency zero.
        let mean = |image: &[u8]| image.iter().map(|v| f64::from(*v)).sum::<f64>() / image.len() as f64;
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let mut mixed = original.clone();
        mix(&mut mixed, SIZE, 1.0, &mut rng);
        let ends = [mean(&original[0]), mean(&original[1])];
        for (before, after) in ends.iter().zip(mixed.iter().map(|image| mean(image))) {
            assert!(after > ends[1] - 1.0 && after < ends[0] + 1.0 && (after - before).abs() > 1.0, "{before} {after}");
        }
    }

    /// Phases are the shapes: a bright stripe stays where it is.
    #[test]
    fn shapes_stay() {
        let original = vec![image(200, 2), image(120, 8)];
        let mut mixed = original.clone();
        mix(&mut mixed, SIZE, 1.0, &mut ChaCha8Rng::seed_from_u64(5));
        for (image, at) in mixed.iter().zip([2, 8]) {
            let row = &image[..SIZE];
            let inside: u32 = row[at..at + 5].iter().map(|v| u32::from(*v)).sum();
            let outside: u32 = row.iter().map(|v| u32::from(*v)).sum::<u32>() - inside;
            assert!(inside / 5 > outside / 11 + 20, "{row:?}");
        }
    }

    #[test]
    fn one_image_has_no_other() {
        let mut alone = vec![image(200, 2)];
        mix(&mut alone, SIZE, 1.0, &mut ChaCha8Rng::seed_from_u64(5));
        assert_eq!(alone[0], image(200, 2));
    }
}
