//! The schedule of the learning rate.

use serde::{Deserialize, Serialize};

/// Multiplies the base learning rate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Schedule {
    /// Epochs of a linear rise from zero.
    pub warmup_epochs: f64,
    pub decay: Decay,
}

/// The decay after the warm-up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind", deny_unknown_fields)]
pub enum Decay {
    Constant {},
    /// Half a cosine, down to `floor` of the base rate at the last epoch.
    Cosine {
        floor: f64,
    },
    /// Multiplied by `factor` at each of the epochs. CRIS: 0.1 at epoch 35 of 50.
    Milestones {
        epochs: Vec<f64>,
        factor: f64,
    },
}

impl Default for Schedule {
    fn default() -> Self {
        Self { warmup_epochs: 1.0, decay: Decay::Cosine { floor: 0.01 } }
    }
}

impl Schedule {
    /// The factor at `epoch` (fractional) of `epochs`.
    pub fn factor(&self, epoch: f64, epochs: usize) -> f64 {
        if epoch < self.warmup_epochs {
            // The first step must not be zero.
            return ((epoch + 1e-3) / self.warmup_epochs).min(1.0);
        }
        match &self.decay {
            Decay::Constant {} => 1.0,
            Decay::Cosine { floor } => {
                let span = (epochs as f64 - self.warmup_epochs).max(f64::MIN_POSITIVE);
                let progress = ((epoch - self.warmup_epochs) / span).clamp(0.0, 1.0);
                floor + (1.0 - floor) * 0.5 * (1.0 + (std::f64::consts::PI * progress).cos())
            }
            Decay::Milestones { epochs, factor } => {
                factor.powi(epochs.iter().filter(|milestone| epoch >= **milestone).count() as i32)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rises_then_falls_to_the_floor() {
        let schedule = Schedule { warmup_epochs: 2.0, decay: Decay::Cosine { floor: 0.1 } };
        assert!(schedule.factor(0.0, 10) < 0.01);
        assert!((schedule.factor(1.0, 10) - 0.5).abs() < 0.01);
        assert!((schedule.factor(2.0, 10) - 1.0).abs() < 1e-9);
        assert!((schedule.factor(6.0, 10) - 0.55).abs() < 1e-9);
        assert!((schedule.factor(10.0, 10) - 0.1).abs() < 1e-9);
    }

    #[test]
    fn milestones_multiply() {
        let decay = Decay::Milestones { epochs: vec![3.0, 5.0], factor: 0.1 };
        let schedule = Schedule { warmup_epochs: 0.0, decay };
        assert_eq!(schedule.factor(2.9, 10), 1.0);
        assert!((schedule.factor(3.0, 10) - 0.1).abs() < 1e-12);
        assert!((schedule.factor(9.0, 10) - 0.01).abs() < 1e-12);
    }
}
