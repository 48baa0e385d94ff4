//! Variants of the game, each with its own switch: predictions must stay the same when non-causal content changes.
//!
//! CIRL is Lv et al., "Causality Inspired Representation Learning for Domain Generalization" (CVPR 2022), from which the game
//! comes.

mod amplitude;
mod consistency;
mod factorisation;
pub(super) mod naming;
pub(super) mod top_k;

use super::config::ConfigError;
use super::loss::LossConfig;
use super::source::Batch;
use burn::tensor::{Tensor, activation};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

/// The switches; all are off by default. Weights multiply losses that are added to those of the game.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct VariantsConfig {
    /// Weight of the consistency loss when the image's Fourier amplitudes are mixed with another image's and its phases stay:
    /// CIRL's causal intervention.
    pub amplitude: f32,
    /// The largest share of the other image's amplitudes, 0..1; CIRL's eta.
    pub amplitude_share: f32,
    /// Weight of CIRL's factorisation loss on the masked causal features: channels of the image and of the same image with mixed
    /// amplitudes must correlate with themselves and not with other channels.
    pub factorisation: f32,
    /// The share of channels that a mask keeps at each position, drawn with Gumbel noise in training; 0: off. CIRL keeps 308 of
    /// 512.
    pub top_k: f32,
    /// Weight of the consistency loss under the interventions of `evaluate --interventions`: marks drawn, removed and moved, gain
    /// and time gain. Changes of depth are left out, since they would move the lesion.
    pub consistency: f32,
    /// Weight of naming the confounder (the planted mark, or the device): an adversary learns to read it from the confounding and
    /// from the causal features, and the maskers are trained to make it succeed on the former and fail on the latter.
    pub naming: f32,
}

impl Default for VariantsConfig {
    fn default() -> Self {
        Self { amplitude: 0.0, amplitude_share: 1.0, factorisation: 0.0, top_k: 0.0, consistency: 0.0, naming: 0.0 }
    }
}

impl VariantsConfig {
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        let refuse = |what, value: f32, allowed| Err(ConfigError::Range { what, value: value.to_string(), allowed });
        for (what, value) in [
            ("variants.amplitude", self.amplitude),
            ("variants.factorisation", self.factorisation),
            ("variants.consistency", self.consistency),
            ("variants.naming", self.naming),
        ] {
            if !value.is_finite() || value < 0.0 {
                return refuse(what, value, "it must not be negative");
            }
        }
        for (what, value) in [("variants.amplitude_share", self.amplitude_share), ("variants.top_k", self.top_k)] {
            if !(0.0..=1.0).contains(&value) {
                return refuse(what, value, "allowed are 0 to 1");
            }
        }
        Ok(())
    }

    /// Whether each image is also shown in a changed view, which doubles a theta-step's pass.
    pub fn has_views(&self) -> bool {
        self.amplitude > 0.0 || self.factorisation > 0.0 || self.consistency > 0.0
    }

    /// Draws the changed images of a batch, one for each image; the same for the same seed and step. Padding stays.
    pub(super) fn add_views(&self, batch: &Batch, seed: u64, step: u64) -> Batch {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        // Differs from the random streams of `Recipe::draw`.
        rng.set_stream((1 << 62) | step);
        let mut views = batch.images.clone();
        if self.consistency > 0.0 {
            consistency::disturb(&mut views, batch, &mut rng);
        }
        if self.amplitude > 0.0 || self.factorisation > 0.0 {
            amplitude::mix(&mut views, batch.size, self.amplitude_share, &mut rng);
        }
        batch.pad_as_images(&mut views);
        Batch { views, ..batch.clone() }
    }

    /// The loss that the predictions and causal features of images and their views add, if any.
    pub(super) fn view_loss(
        &self,
        loss: &LossConfig,
        [own, viewed]: [Tensor<4>; 2],
        features: Option<[Tensor<4>; 2]>,
    ) -> Option<Tensor<1>> {
        let weight = self.amplitude.max(self.consistency);
        let alike = (weight > 0.0).then(|| {
            // The image's own prediction is the target: the view moves towards it, not the reverse.
            let goal = activation::sigmoid(constant(own));
            loss.of(viewed, goal).mul_scalar(weight)
        });
        let factors = features
            .filter(|_| self.factorisation > 0.0)
            .map(|[own, viewed]| factorisation::loss(pooled(own), pooled(viewed)).mul_scalar(self.factorisation));
        match (alike, factors) {
            (Some(one), Some(other)) => Some(one.add(other)),
            (one, other) => one.or(other),
        }
    }
}

/// The same numbers, detached from the tape.
fn constant<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    if x.is_tracked() { Tensor::from_inner(x.inner()) } else { x }
}

/// Batch x channels: the mean over positions.
fn pooled(map: Tensor<4>) -> Tensor<2> {
    let [batch, channels, height, width] = map.dims();
    map.reshape([batch, channels, height * width]).mean_dim(2).reshape([batch, channels])
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Device, TensorData};
    use causalclipseg::frame::Region;

    fn batch() -> Batch {
        let image = |k: usize| (0..64 * 64).map(|i| ((i * (k + 3) / 7) % 200) as u8).collect::<Vec<u8>>();
        let masks = (0..2 * 64 * 64).map(|i| u8::from((1000..1400).contains(&(i % 4096)))).collect();
        Batch {
            size: 64,
            images: vec![image(0), image(1)],
            views: Vec::new(),
            masks,
            tokens: vec![vec![1], vec![1]],
            confounders: vec![None; 2],
            fitted: Vec::new(),
        }
    }

    #[test]
    fn views_repeat_by_seed_and_step_and_leave_the_images() {
        for config in [
            VariantsConfig { amplitude: 1.0, ..VariantsConfig::default() },
            VariantsConfig { consistency: 1.0, ..VariantsConfig::default() },
        ] {
            let batch = batch();
            let drawn = config.add_views(&batch, 1, 5);
            assert_eq!((&drawn.images, &drawn.masks), (&batch.images, &batch.masks));
            assert_eq!(drawn.views.len(), 2);
            assert_ne!(drawn.views, drawn.images);
            assert_eq!(drawn.views, config.add_views(&batch, 1, 5).views);
            assert_ne!(drawn.views, config.add_views(&batch, 1, 6).views);
            assert_ne!(drawn.views, config.add_views(&batch, 2, 5).views);
        }
        assert!(!VariantsConfig::default().has_views());
    }

    #[test]
    fn views_keep_the_padding_of_their_images() {
        let fitted = Region { x: 0, y: 12, width: 64, height: 40 };
        let padded = Batch { fitted: vec![fitted, Region::whole(64, 64)], ..batch() };
        let is_padding = |index: usize| !(12..52).contains(&(index / 64));
        for config in [
            VariantsConfig { amplitude: 1.0, ..VariantsConfig::default() },
            VariantsConfig { consistency: 1.0, ..VariantsConfig::default() },
        ] {
            let (mut padding, mut image) = (0, 0);
            for step in 0..8 {
                let drawn = config.add_views(&padded, 1, step);
                let changed = (0..64 * 64).filter(|at| drawn.views[0][*at] != drawn.images[0][*at]);
                let (in_padding, inside): (Vec<usize>, Vec<usize>) = changed.partition(|at| is_padding(*at));
                padding += in_padding.len();
                image += inside.len();
            }
            assert!(padding == 0 && image > 0, "{padding} {image}");
        }
    }

    #[test]
    fn the_view_moves_towards_the_images_answer_and_not_the_other_way() {
        let device = Device::flex().autodiff();
        let map =
            |value: f32| Tensor::<4>::from_data(TensorData::new(vec![value; 16], [1, 1, 4, 4]), &device).require_grad();
        let (own, viewed) = (map(3.0), map(-1.0));
        let config = VariantsConfig { consistency: 1.0, ..VariantsConfig::default() };
        let loss = config.view_loss(&LossConfig::default(), [own.clone(), viewed.clone()], None).unwrap();
        let gradients = loss.backward();
        assert!(own.grad(&gradients).is_none_or(|gradient| gradient.abs().sum().into_scalar::<f32>() == 0.0));
        let pull = viewed.grad(&gradients).unwrap().sum().into_scalar::<f32>();
        assert!(pull < 0.0, "descent must raise the view's logits: {pull}");
        assert!(VariantsConfig::default().view_loss(&LossConfig::default(), [own, viewed], None).is_none());
    }

    #[test]
    fn switches_out_of_range_are_refused() {
        assert!(VariantsConfig::default().validate().is_ok());
        for wrong in [
            VariantsConfig { naming: -1.0, ..VariantsConfig::default() },
            VariantsConfig { amplitude: f32::NAN, ..VariantsConfig::default() },
            VariantsConfig { top_k: 1.5, ..VariantsConfig::default() },
        ] {
            assert!(wrong.validate().is_err());
        }
    }
}
