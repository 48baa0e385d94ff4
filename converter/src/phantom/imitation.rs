//! Structures that look like a lesion but are not: vessels and ducts, ribs with their shadows, lobules of fat, shadows
//! alone.

use super::geometry::Geometry;
use super::lesion::{Echogenicity, Lesion};
use super::noise::between;
use rand::{Rng, RngExt};

/// Places one to five of them, away from the lesions.
pub fn place(geometry: &Geometry, lesions: &[Lesion], rng: &mut impl Rng) -> Vec<Lesion> {
    const ATTEMPTS: usize = 60;
    let wanted = rng.random_range(1..=5);
    let mut placed: Vec<Lesion> = Vec::new();
    for _ in 0..ATTEMPTS {
        if placed.len() == wanted {
            break;
        }
        let body = random(geometry, rng);
        let clear = |other: &Lesion| {
            let (dx, dy) = (body.center.0 - other.center.0, body.center.1 - other.center.1);
            dx.hypot(dy) > 1.1 * (body.reach() + other.reach())
        };
        // A strong shadow must not hide a lesion.
        let hides = |lesion: &Lesion| {
            body.behind_db < -4.0
                && lesion.center.1 > body.center.1
                && (body.center.0 - lesion.center.0).abs() < 1.2 * (body.radii.0 + lesion.reach())
        };
        if lesions.iter().chain(&placed).all(clear) && !lesions.iter().any(hides) {
            placed.push(body);
        }
    }
    placed
}

fn random(geometry: &Geometry, rng: &mut impl Rng) -> Lesion {
    let (width, height) = (geometry.width as f32, geometry.height as f32);
    let side = width.min(height);
    let mut at = |low: f32, high: f32| (between(0.08, 0.92, rng) * width, between(low, high, rng) * height);
    let (anywhere, shallow, deep) = (at(0.2, 0.8), at(0.1, 0.4), at(0.72, 0.92));
    let angle = between(-0.6, 0.6, rng);
    match rng.random_range(0..6) {
        // A vessel across the plane.
        0 => {
            let radius = between(0.012, 0.035, rng) * side;
            let radii = (radius, radius * between(0.8, 1.0, rng));
            Lesion::imitation(anywhere, radii, angle, (Echogenicity::Anechoic, -36.0), 1.5, between(0.0, 6.0, rng))
        }
        // A vessel or a duct along it.
        1 => {
            let radii = (between(0.1, 0.3, rng) * side, between(0.008, 0.02, rng) * side);
            Lesion::imitation(anywhere, radii, angle, (Echogenicity::Anechoic, -32.0), 0.5, between(0.0, 5.0, rng))
        }
        // A rib.
        2 => {
            let radii = (between(0.06, 0.16, rng) * side, between(0.008, 0.02, rng) * side);
            Lesion::imitation(deep, radii, 0.3 * angle, (Echogenicity::Hyperechoic, 16.0), -45.0, 0.0)
        }
        // A lobule of fat, hardly darker than its surroundings, in a bright capsule.
        3 | 4 => {
            let radius = between(0.05, 0.14, rng) * side;
            let radii = (radius, radius * between(0.35, 0.8, rng));
            let contrast_db = between(-8.0, -4.0, rng);
            let echo = (Echogenicity::Hypoechoic, contrast_db);
            Lesion::imitation(anywhere, radii, 0.5 * angle, echo, 0.0, between(3.0, 8.0, rng))
        }
        // A ligament that casts a shadow.
        _ => {
            let radii = (between(0.02, 0.06, rng) * side, between(0.004, 0.01, rng) * side);
            Lesion::imitation(shallow, radii, angle, (Echogenicity::Hyperechoic, 8.0), between(-22.0, -8.0, rng), 0.0)
        }
    }
}
