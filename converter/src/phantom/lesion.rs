//! Lesions: their position, their outline, and their effect on the sound.

use super::geometry::Geometry;
use super::noise::between;
use rand::seq::IndexedRandom;
use rand::{Rng, RngExt};

/// The scattering of a lesion, relative to the tissue around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Echogenicity {
    /// A cyst, with hardly any scattering.
    Anechoic,
    /// Weaker scattering.
    Hypoechoic,
    /// Stronger scattering.
    Hyperechoic,
}

/// A lesion in an image, lengths in pixels.
#[derive(Clone, Debug, PartialEq)]
pub struct Lesion {
    pub center: (f32, f32),
    /// Half of its width and height, before rotation and deformation.
    pub radii: (f32, f32),
    pub rotation_radians: f32,
    pub echogenicity: Echogenicity,
    /// The change of the scattering of the tissue within, in dB.
    pub contrast_db: f32,
    /// The gain (enhancement) or loss (shadow) of the sound behind the thickest part of the lesion, in dB.
    pub behind_db: f32,
    /// The blur of its margin, as a share of its radius.
    pub margin: f32,
    /// The brightness of a capsule, in dB.
    pub capsule_db: f32,
    /// Amplitude, as a share of the radius, and phase of the outline's waves: the first has two crests around.
    waves: [(f32, f32); 5],
}

impl Lesion {
    /// A point's distance from the centre, relative to the outline's: below 1 is inside.
    pub fn radius_ratio(&self, x: f32, y: f32) -> f32 {
        let (sin, cos) = self.rotation_radians.sin_cos();
        let (dx, dy) = (x - self.center.0, y - self.center.1);
        let (a, b) = ((cos * dx + sin * dy) / self.radii.0, (cos * dy - sin * dx) / self.radii.1);
        let distance = a.hypot(b);
        // Far away the outline's waves do not matter, and an arc tangent for every pixel would cost time.
        if distance > 2.5 {
            return distance;
        }
        let angle = b.atan2(a);
        let crests =
            self.waves.iter().enumerate().map(|(k, (size, phase))| size * ((k + 2) as f32 * angle + phase).cos());
        distance / (1.0 + crests.sum::<f32>())
    }

    pub fn contains(&self, x: f32, y: f32) -> bool {
        self.radius_ratio(x, y) < 1.0
    }

    /// The area of its ellipse, in square pixels; the outline's waves change it little.
    pub fn area(&self) -> f32 {
        std::f32::consts::PI * self.radii.0 * self.radii.1
    }

    /// The largest distance of any of its points from the centre.
    pub fn reach(&self) -> f32 {
        let crests: f32 = self.waves.iter().map(|(size, _)| size.abs()).sum();
        self.radii.0.max(self.radii.1) * (1.0 + crests)
    }

    /// A body with an even outline that is not a lesion.
    pub(super) fn imitation(
        center: (f32, f32),
        radii: (f32, f32),
        rotation_radians: f32,
        (echogenicity, contrast_db): (Echogenicity, f32),
        behind_db: f32,
        capsule_db: f32,
    ) -> Self {
        let (margin, waves) = (0.08, [(0.0, 0.0); 5]);
        Self { center, radii, rotation_radians, echogenicity, contrast_db, behind_db, margin, capsule_db, waves }
    }

    fn random(center: (f32, f32), radius: f32, rng: &mut impl Rng) -> Self {
        const KINDS: [Echogenicity; 10] = {
            use Echogenicity::*;
            [
                Anechoic,
                Anechoic,
                Hypoechoic,
                Hypoechoic,
                Hypoechoic,
                Hypoechoic,
                Hypoechoic,
                Hyperechoic,
                Hyperechoic,
                Hyperechoic,
            ]
        };
        let echogenicity = *KINDS.choose(rng).unwrap_or(&Echogenicity::Hypoechoic);
        let is_irregular = echogenicity == Echogenicity::Hypoechoic && rng.random_bool(0.5);
        let flatness = if is_irregular { between(0.75, 1.1, rng) } else { between(0.5, 0.85, rng) };
        let unevenness = if is_irregular { between(0.06, 0.14, rng) } else { between(0.01, 0.03, rng) };
        let waves =
            std::array::from_fn(|k| (unevenness / (1.0 + 0.5 * k as f32), between(0.0, std::f32::consts::TAU, rng)));
        let (contrast_db, behind_db) = match echogenicity {
            Echogenicity::Anechoic => (-40.0, between(4.0, 9.0, rng)),
            Echogenicity::Hypoechoic if is_irregular => (between(-19.0, -13.0, rng), between(-24.0, -6.0, rng)),
            Echogenicity::Hypoechoic => (between(-17.0, -12.0, rng), between(-3.0, 6.0, rng)),
            Echogenicity::Hyperechoic => (between(9.0, 13.0, rng), between(-5.0, 0.0, rng)),
        };
        Self {
            center,
            radii: (radius, radius * flatness),
            rotation_radians: between(-0.35, 0.35, rng),
            echogenicity,
            contrast_db,
            behind_db,
            margin: if is_irregular { between(0.06, 0.16, rng) } else { between(0.02, 0.05, rng) },
            capsule_db: if is_irregular { 0.0 } else { between(0.0, 6.0, rng) },
            waves,
        }
    }
}

/// Places one to three lesions of different sizes, apart from each other, that no shadow hides.
pub fn place(geometry: &Geometry, rng: &mut impl Rng) -> Vec<Lesion> {
    const ATTEMPTS: usize = 300;
    let (width, height) = (geometry.width as f32, geometry.height as f32);
    let side = width.min(height);
    let wanted = *[1, 1, 2, 2, 2, 3].choose(rng).unwrap_or(&1);
    let mut lesions: Vec<Lesion> = Vec::new();
    for _ in 0..ATTEMPTS {
        if lesions.len() == wanted {
            break;
        }
        let radius = side * if rng.random_bool(0.5) { between(0.055, 0.085, rng) } else { between(0.12, 0.19, rng) };
        let center = (between(0.12, 0.88, rng) * width, between(0.2, 0.74, rng) * height);
        let lesion = Lesion::random(center, radius, rng);
        let reach = lesion.reach();
        let apart = |other: &Lesion| {
            (center.0 - other.center.0).hypot(center.1 - other.center.1) > 1.15 * (reach + other.reach())
        };
        if geometry.holds(center.0, center.1, reach, reach) && lesions.iter().all(apart) {
            lesions.push(lesion);
        }
    }
    if lesions.is_empty() {
        lesions.push(Lesion::random((width * 0.5, height * 0.45), side * 0.1, rng));
    }
    keep_shadows_off(&mut lesions);
    lesions
}

/// Weakens the effect of a lesion on the sound if there is another one below it.
fn keep_shadows_off(lesions: &mut [Lesion]) {
    let boxes: Vec<((f32, f32), f32)> = lesions.iter().map(|lesion| (lesion.center, lesion.reach())).collect();
    for lesion in lesions {
        let covers = boxes.iter().any(|(center, reach)| {
            center.1 > lesion.center.1 && (center.0 - lesion.center.0).abs() < 1.3 * (reach + lesion.reach())
        });
        if covers {
            lesion.behind_db = lesion.behind_db.clamp(-2.0, 3.0);
        }
    }
}
