//! Simulates the position of a scan on the scanner's screen: black margins, and the fan of a curved probe.

use super::between;
use rand::{Rng, RngExt};

/// The position of a scan in the frame.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FrameLayout {
    /// The black margins, as shares of the frame's side: left, top, right, bottom.
    margins: [f32; 4],
    fan: Option<Fan>,
}

/// A sector whose lower edge and corners touch the frame's.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Fan {
    /// The radius of the probe's face, as a share of the scan's depth.
    radius: f32,
    /// The angle from the middle beam to the outermost.
    half_angle_radians: f32,
}

impl FrameLayout {
    /// The scan fills the frame.
    pub const WHOLE: Self = Self { margins: [0.0; 4], fan: None };

    pub fn random(rng: &mut impl Rng) -> Self {
        const MOST: f32 = 0.2;
        let has_fan = rng.random_bool(1.0 / 3.0);
        let mut margin = || if rng.random_bool(0.5) { between(0.0, MOST, rng) } else { 0.0 };
        let margins = std::array::from_fn(|_| margin());
        let fan = has_fan.then(|| Fan { radius: between(0.2, 1.5, rng), half_angle_radians: between(0.25, 0.6, rng) });
        Self { margins, fan }
    }

    /// The point of the scan at a point of the frame, both as shares of their sides; `None` where the frame is black.
    pub fn source_of(&self, x: f32, y: f32) -> Option<(f32, f32)> {
        let [left, top, right, bottom] = self.margins;
        let (x, y) = ((x - left) / (1.0 - left - right), (y - top) / (1.0 - top - bottom));
        let is_inside = |x: f32, y: f32| (0.0..1.0).contains(&x) && (0.0..1.0).contains(&y);
        let (x, y) = match &self.fan {
            Some(fan) if is_inside(x, y) => fan.source_of(x, y),
            _ => (x, y),
        };
        is_inside(x, y).then_some((x, y))
    }
}

impl Fan {
    fn source_of(&self, x: f32, y: f32) -> (f32, f32) {
        let Self { radius, half_angle_radians: half_angle } = *self;
        let end = radius + 1.0;
        let face = radius * half_angle.cos();
        let (dx, dy) = ((x - 0.5) * 2.0 * end * half_angle.sin(), face + y * (end - face));
        ((dx.atan2(dy) / half_angle + 1.0) / 2.0, dx.hypot(dy) - radius)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    #[test]
    fn margins_are_black_and_the_scan_fills_the_rest() {
        let layout = FrameLayout { margins: [0.2, 0.0, 0.0, 0.1], fan: None };
        assert_eq!(layout.source_of(0.1, 0.5), None);
        assert_eq!(layout.source_of(0.5, 0.95), None);
        let (x, y) = layout.source_of(0.6, 0.45).unwrap();
        assert!((x - 0.5).abs() < 1e-6 && (y - 0.5).abs() < 1e-6);
        assert_eq!(FrameLayout::WHOLE.source_of(0.3, 0.7), Some((0.3, 0.7)));
    }

    #[test]
    fn a_fan_is_symmetric_black_beside_and_deep_in_the_middle() {
        let layout = FrameLayout { margins: [0.0; 4], fan: Some(Fan { radius: 0.5, half_angle_radians: 0.6 }) };
        assert_eq!(layout.source_of(0.02, 0.1), None);
        assert_eq!(layout.source_of(0.98, 0.1), None);
        let (x, depth) = layout.source_of(0.5, 0.999).unwrap();
        assert!((x - 0.5).abs() < 1e-6 && depth > 0.99);
        let ((left, one), (right, other)) = (layout.source_of(0.3, 0.6).unwrap(), layout.source_of(0.7, 0.6).unwrap());
        assert!((left + right - 1.0).abs() < 1e-5 && (one - other).abs() < 1e-5 && left < 0.3);
    }

    #[test]
    fn most_of_the_scan_is_kept() {
        for seed in 0..100 {
            let layout = FrameLayout::random(&mut ChaCha8Rng::seed_from_u64(seed));
            let inside = (0..400).filter(|i| {
                let at = |k: usize| (k as f32 + 0.5) / 20.0;
                layout.source_of(at(i % 20), at(i / 20)).is_some()
            });
            let count = inside.count();
            assert!(count > 100, "{layout:?}: {count}");
        }
    }
}
