//! The scale and zero point of a node's 8-bit result.

use serde::{Deserialize, Serialize};

/// A scale and zero point: value = (stored - zero_point) * scale, stored from 0 to 255.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScaleZeroPoint {
    /// The difference of neighbouring values, finite and above zero.
    pub scale: f32,
    /// The stored number of zero; zero is always exact, so that padding is exact.
    pub zero_point: u8,
}

impl ScaleZeroPoint {
    /// The nearest stored value; ties are rounded to even before the zero point is added. NaN is stored as the zero
    /// point.
    pub fn quantise(self, value: f32) -> u8 {
        // A float to integer cast saturates, so no sum here overflows.
        let steps = (value / self.scale).round_ties_even() as i32;
        steps.saturating_add(i32::from(self.zero_point)).clamp(0, 255) as u8
    }

    /// The value of a stored number.
    pub fn dequantise(self, stored: u8) -> f32 {
        (i32::from(stored) - i32::from(self.zero_point)) as f32 * self.scale
    }

    /// The representable value nearest to `value`.
    pub fn round(self, value: f32) -> f32 {
        self.dequantise(self.quantise(value))
    }

    /// The smallest and the largest representable value.
    pub fn range(self) -> (f32, f32) {
        (self.dequantise(0), self.dequantise(255))
    }

    pub(super) fn check(self) -> Result<(), String> {
        match self.scale > 0.0 && self.scale.is_finite() {
            true => Ok(()),
            false => Err(format!("its quantisation has a scale of {}", self.scale)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_go_to_the_nearest_step() {
        let quantisation = ScaleZeroPoint { scale: 0.5, zero_point: 10 };
        for (value, stored) in [(0.0, 10), (0.24, 10), (0.25, 10), (0.75, 12), (-0.25, 10), (-0.75, 8), (1.3, 13)] {
            assert_eq!(quantisation.quantise(value), stored, "{value}");
        }
        assert_eq!(quantisation.range(), (-5.0, 122.5));
        for (value, stored) in [(1e30, 255), (f32::INFINITY, 255), (-1e30, 0), (-5.3, 0), (f32::NAN, 10)] {
            assert_eq!(quantisation.quantise(value), stored, "{value}");
        }
        for stored in 0..=255 {
            assert_eq!(quantisation.quantise(quantisation.dequantise(stored)), stored);
        }
    }
}
