//! Converts scattering to a B-mode image: speckle, attenuation, compression, scan conversion.

use super::geometry::Geometry;
use super::lesion::{Echogenicity, Lesion};
use super::noise::{between, complex_normal};
use super::tissue::Tissue;
use rand::Rng;

/// The displayed dynamic range from black to white, in dB.
const DYNAMIC_RANGE_DB: std::ops::Range<f32> = 50.0..62.0;
/// The gain that is added before compression, in dB.
const GAIN_DB: std::ops::Range<f32> = -13.0..-4.0;
/// The receiver's own noise, in dB.
const NOISE_FLOOR_DB: f32 = -54.0;
/// The mean of a lesion's surroundings, to which its contrast is added, in dB.
const SURROUNDINGS_DB: f32 = -19.0;
/// The number of a scanner's sliders for time-gain compensation.
const SLIDERS: usize = 8;

/// The scanner's settings for one image.
struct Settings {
    dynamic_range_db: f32,
    gain_db: f32,
    /// The attenuation that compensation leaves, at the bottom, in dB.
    attenuation_db: f32,
    sliders_db: [f32; SLIDERS],
    /// The beam's width at its focus: the standard deviation of its profile, in samples.
    lateral: f32,
    axial: f32,
    /// The depth of the focus, as a share of the depth.
    focus: f32,
}

impl Settings {
    fn random(geometry: &Geometry, rng: &mut impl Rng) -> Self {
        // The speckle of a large image is not finer than that of a small one.
        let scale = geometry.height as f32 / 320.0;
        let range = |range: std::ops::Range<f32>, rng: &mut _| between(range.start, range.end, rng);
        Self {
            dynamic_range_db: range(DYNAMIC_RANGE_DB, rng),
            gain_db: range(GAIN_DB, rng),
            attenuation_db: between(2.0, 13.0, rng),
            sliders_db: std::array::from_fn(|_| between(-1.5, 1.5, rng)),
            lateral: between(1.3, 1.9, rng) * scale.max(0.5),
            axial: between(0.7, 1.0, rng) * scale.max(0.5),
            focus: between(0.3, 0.6, rng),
        }
    }

    /// The effect of depth (0..1) on the signal after compensation, in dB.
    fn depth_db(&self, depth: f32) -> f32 {
        let position = depth * (SLIDERS - 1) as f32;
        let (slider, part) = (position as usize, position.fract());
        let next = (slider + 1).min(SLIDERS - 1);
        let bands = self.sliders_db[slider.min(SLIDERS - 1)] * (1.0 - part) + self.sliders_db[next] * part;
        bands - self.attenuation_db * depth * depth
    }

    fn to_pixel(&self, power: f32) -> u8 {
        let db = 10.0 * power.max(1e-12).log10() + self.gain_db;
        (255.0 * (1.0 + db / self.dynamic_range_db)).round().clamp(0.0, 255.0) as u8
    }
}

/// The image, row by row, 0..255; black beside the scan.
pub fn image(geometry: &Geometry, tissue: &Tissue, lesions: &[Lesion], rng: &mut impl Rng) -> Vec<u8> {
    let settings = Settings::random(geometry, rng);
    let mut field = scatterers(geometry, tissue, lesions, &settings, rng);
    field.smooth_along(settings.axial);
    field.smooth_across(&settings);
    let noise = 10f32.powf(NOISE_FLOOR_DB / 20.0);
    let power: Vec<f32> = field
        .values
        .iter()
        .map(|(re, im)| {
            let (noise_re, noise_im) = complex_normal(rng);
            (re + noise * noise_re).powi(2) + (im + noise * noise_im).powi(2)
        })
        .collect();
    let compressed: Vec<u8> = power.into_iter().map(|power| settings.to_pixel(power)).collect();
    let compressed = persist(&compressed, geometry.beams);
    if geometry.is_fan() { scan_convert(geometry, &compressed) } else { compressed }
}

/// Complex numbers for every sample (row) of every beam (column).
struct Field {
    beams: usize,
    samples: usize,
    values: Vec<(f32, f32)>,
}

/// Scatterers of random phase, whose strength depends on the tissue, the sound that reaches them, and the way back.
fn scatterers(
    geometry: &Geometry,
    tissue: &Tissue,
    lesions: &[Lesion],
    settings: &Settings,
    rng: &mut impl Rng,
) -> Field {
    let (beams, samples) = (geometry.beams, geometry.samples);
    // The effect of lesions above on the sound of each beam, in dB.
    let mut behind_db = vec![0f32; beams];
    let tilt_db = between(-2.5, 2.5, rng);
    let mut values = Vec::with_capacity(beams * samples);
    for sample in 0..samples {
        let depth = sample as f32 / samples as f32;
        let depth_db = settings.depth_db(depth);
        spread(&mut behind_db);
        for (beam, behind) in behind_db.iter_mut().enumerate() {
            let (x, y) = geometry.pixel(beam as f32, sample as f32);
            let mut db = tissue.scattering_db(x, y);
            for lesion in lesions {
                let ratio = lesion.radius_ratio(x, y);
                if ratio < 1.6 {
                    db = lesion_db(lesion, ratio, db);
                    if ratio < 1.0 {
                        *behind += lesion.behind_db / (2.0 * lesion.radii.1);
                    }
                }
            }
            let db = db + depth_db + *behind + tilt_db * (tissue.across(x) - 0.5);
            let amplitude = 10f32.powf(db / 20.0);
            let (re, im) = complex_normal(rng);
            values.push((amplitude * re, amplitude * im));
        }
    }
    Field { beams, samples, values }
}

/// Beams have a width: shadows and enhancement blur with depth (one step of diffusion).
fn spread(behind_db: &mut [f32]) {
    const RATE: f32 = 0.2;
    let mut left = behind_db.first().copied().unwrap_or(0.0);
    for beam in 0..behind_db.len() {
        let (here, right) = (behind_db[beam], behind_db[(beam + 1).min(behind_db.len() - 1)]);
        behind_db[beam] += RATE * (left - 2.0 * here + right);
        left = here;
    }
}

/// Scattering within and at the margin of a lesion, in dB.
fn lesion_db(lesion: &Lesion, ratio: f32, outside_db: f32) -> f32 {
    let blend = ((1.0 - ratio) / lesion.margin * 0.5 + 0.5).clamp(0.0, 1.0);
    // Little of the tissue's own pattern is left inside.
    let kept = if lesion.echogenicity == Echogenicity::Anechoic { 0.0 } else { 0.4 };
    let inside_db = SURROUNDINGS_DB + lesion.contrast_db + kept * (outside_db - SURROUNDINGS_DB);
    let capsule = lesion.capsule_db * (-((ratio - 1.04) / 0.05).powi(2)).exp();
    outside_db + (inside_db - outside_db) * blend + capsule
}

impl Field {
    /// Smooths along the beams, by the pulse's length.
    fn smooth_along(&mut self, deviation: f32) {
        let weights = bell(deviation);
        let radius = weights.len() / 2;
        let source = self.values.clone();
        for sample in 0..self.samples {
            let row = &mut self.values[sample * self.beams..(sample + 1) * self.beams];
            row.fill((0.0, 0.0));
            for (offset, weight) in weights.iter().enumerate() {
                let from = (sample + offset).saturating_sub(radius).min(self.samples - 1);
                let other = &source[from * self.beams..(from + 1) * self.beams];
                row.iter_mut().zip(other).for_each(|(sum, value)| {
                    sum.0 += weight * value.0;
                    sum.1 += weight * value.1;
                });
            }
        }
    }

    /// Smooths across the beams, by the beam's width, least at the focus.
    fn smooth_across(&mut self, settings: &Settings) {
        let mut source = Vec::new();
        for sample in 0..self.samples {
            let depth = sample as f32 / self.samples as f32;
            let weights = bell(settings.lateral * (1.0 + 1.1 * (depth - settings.focus).abs()));
            let radius = weights.len() / 2;
            let row = &mut self.values[sample * self.beams..(sample + 1) * self.beams];
            source.clear();
            source.extend_from_slice(row);
            for (beam, sum) in row.iter_mut().enumerate() {
                *sum = (0.0, 0.0);
                for (offset, weight) in weights.iter().enumerate() {
                    let (re, im) = source[(beam + offset).saturating_sub(radius).min(self.beams - 1)];
                    sum.0 += weight * re;
                    sum.1 += weight * im;
                }
            }
        }
    }
}

/// Gaussian weights with squares that sum to 1: independent values keep their power.
fn bell(deviation: f32) -> Vec<f32> {
    let radius = (2.5 * deviation).ceil() as i32;
    let weights: Vec<f32> =
        (-radius..=radius).map(|offset| (-0.5 * (offset as f32 / deviation).powi(2)).exp()).collect();
    let norm = weights.iter().map(|weight| weight * weight).sum::<f32>().sqrt();
    weights.into_iter().map(|weight| weight / norm).collect()
}

/// Averages neighbours, weighted 1, 2, 1 both ways, as compounding and persistence of a scanner reduce the speckle's
/// black grains.
fn persist(compressed: &[u8], beams: usize) -> Vec<u8> {
    let last = compressed.len() / beams - 1;
    let across = |sample: usize, beam: usize| {
        let row = &compressed[sample * beams..(sample + 1) * beams];
        let (left, right) = (row[beam.saturating_sub(1)], row[(beam + 1).min(beams - 1)]);
        u16::from(left) + 2 * u16::from(row[beam]) + u16::from(right)
    };
    (0..compressed.len())
        .map(|index| {
            let (sample, beam) = (index / beams, index % beams);
            let (above, below) = (sample.saturating_sub(1), (sample + 1).min(last));
            ((across(above, beam) + 2 * across(sample, beam) + across(below, beam) + 8) / 16) as u8
        })
        .collect()
}

/// Moves beams to their positions in the image, interpolating the four nearest samples.
fn scan_convert(geometry: &Geometry, compressed: &[u8]) -> Vec<u8> {
    let (beams, samples) = (geometry.beams, geometry.samples);
    let at = |beam: usize, sample: usize| f32::from(compressed[sample.min(samples - 1) * beams + beam.min(beams - 1)]);
    (0..geometry.width * geometry.height)
        .map(|index| {
            let (x, y) = ((index % geometry.width) as f32, (index / geometry.width) as f32);
            let Some((beam, sample)) = geometry.beam(x, y) else { return 0 };
            let (b, s, fb, fs) = (beam as usize, sample as usize, beam.fract(), sample.fract());
            let near = at(b, s) * (1.0 - fb) + at(b + 1, s) * fb;
            let far = at(b, s + 1) * (1.0 - fb) + at(b + 1, s + 1) * fb;
            (near * (1.0 - fs) + far * fs).round() as u8
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bells_keep_power() {
        for deviation in [0.4, 1.0, 2.7] {
            let weights = bell(deviation);
            assert!((weights.iter().map(|w| w * w).sum::<f32>() - 1.0).abs() < 1e-5);
            assert_eq!(weights.len() % 2, 1);
        }
    }

    #[test]
    fn smoothing_keeps_the_middle_in_place() {
        let mut values = vec![(0.0, 0.0); 81];
        values[40] = (1.0, 0.0);
        let mut field = Field { beams: 9, samples: 9, values };
        field.smooth_along(0.8);
        let peak = field.values.iter().map(|(re, _)| *re).fold(0.0, f32::max);
        assert_eq!(field.values[40].0, peak);
        assert_eq!(field.values[31].0, field.values[49].0);
    }
}
