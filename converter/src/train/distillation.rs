//! Distillation: a trained network, the teacher, shows the answers that another one, the student, is drawn to.
//!
//! The teacher sees the same augmented images and prompts, in evaluation mode, and gets no gradient (Hinton et al.,
//! "Distilling the Knowledge in a Neural Network", 2015, for two classes at each pixel).

use super::config::ConfigError;
use super::error::TrainError;
use super::loss::cross_entropy;
use super::network::{Leaves, MaskMode, Mode, Network, PassPlan, TokenBatch, UpsampledConv};
use crate::checkpoint::Checkpoint;
use crate::model::{Architecture, Masks, TextEncoder, stage};
use burn::tensor::{Device, Tensor, activation};
use causalclipseg::frame::Fit;
use causalclipseg::graph::GraphError;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};

/// The options of distillation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DistillationConfig {
    /// The teacher's checkpoint, relative to the current folder; without it there is no distillation.
    pub teacher: Option<PathBuf>,
    /// The share of the distillation loss in l(pred) of the theta-step, 0 to 1; the rest is the loss against the data's masks.
    /// The loss of the confounders and the phi-step use the data's masks alone.
    pub weight: f32,
    /// Divides both networks' logits: above 1, small differences between the teacher's probabilities near 0 and 1 count more.
    pub temperature: f32,
}

impl Default for DistillationConfig {
    fn default() -> Self {
        Self { teacher: None, weight: 0.5, temperature: 1.0 }
    }
}

impl DistillationConfig {
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        let refuse = |what, value: f32, allowed| Err(ConfigError::Range { what, value: value.to_string(), allowed });
        if !(0.0..=1.0).contains(&self.weight) {
            return refuse("distillation.weight", self.weight, "allowed are 0 to 1");
        }
        if !(0.1..=100.0).contains(&self.temperature) {
            return refuse("distillation.temperature", self.temperature, "allowed are 0.1 to 100");
        }
        Ok(())
    }

    /// The mean over pixels of the divergence (Kullback and Leibler's) of the student's probabilities from the teacher's, times
    /// the temperature's square, so that gradients do not shrink with it. 0 where both agree. Both are batch x 1 x height x
    /// width; the teacher's logits must be constants.
    pub(super) fn loss(&self, student: Tensor<4>, teacher: Tensor<4>) -> Tensor<1> {
        let [batch, _, height, width] = student.dims();
        let flat = |logits: Tensor<4>| logits.reshape([batch, height * width]).div_scalar(self.temperature);
        let (student, teacher) = (flat(student), flat(teacher));
        let probabilities = activation::sigmoid(teacher.clone());
        let entropy = cross_entropy(teacher, probabilities.clone());
        cross_entropy(student, probabilities).sub(entropy).mean().mul_scalar(self.temperature * self.temperature)
    }
}

/// A teacher's checkpoint, checked against the student.
#[derive(Clone)]
pub(super) struct TeacherFile {
    checkpoint: Checkpoint,
    /// Identifies the file, so that a run is not resumed with another teacher.
    pub digest: String,
}

impl TeacherFile {
    /// Reads the configured teacher, if any.
    ///
    /// # Errors
    /// It can't be read, or it can't teach a network of this architecture.
    pub fn load(config: &DistillationConfig, student: &Architecture, fit: Fit) -> Result<Option<Self>, TrainError> {
        let Some(path) = &config.teacher else { return Ok(None) };
        let checkpoint = Checkpoint::load(path)?;
        let refuse = |reason| Err(TrainError::Teacher { path: path.clone(), reason });
        let TextEncoder { vocabulary, context, .. } = checkpoint.architecture.text;
        if vocabulary != student.text.vocabulary {
            let wanted = student.text.vocabulary;
            return refuse(format!("its vocabulary has {vocabulary} tokens, and this network's {wanted}"));
        }
        if context < student.text.context {
            let wanted = student.text.context;
            return refuse(format!("it reads prompts of up to {context} tokens, and this network of up to {wanted}"));
        }
        if checkpoint.architecture.masks == Masks::Open {
            return refuse(
                "its masks are open, so it has no maskers; give the checkpoint from before --open-masks".into(),
            );
        }
        if checkpoint.provenance.trained() == Some(false) {
            log::warn!("the teacher {} was never trained", path.display());
        }
        if checkpoint.provenance.fit().is_some_and(|own| own != fit) {
            log::warn!(
                "the teacher {} was trained on images that were fitted to the square in another way than this run's: see fit",
                path.display()
            );
        }
        Ok(Some(Self { checkpoint, digest: digest(path)? }))
    }

    /// The teacher at an input size, on each of the devices.
    fn at_size(&self, size: usize, devices: &[Device]) -> Result<Teacher, TrainError> {
        let Checkpoint { architecture, weights, .. } = self.checkpoint.clone().resized(size)?;
        let mut networks: Vec<Network> = Vec::new();
        for device in devices {
            let same = networks.iter().find(|network| network.device() == device).cloned();
            networks.push(match same {
                Some(network) => network,
                None => Network::new(architecture.describe()?, &weights, device)?,
            });
        }
        Ok(Teacher::new(networks)?)
    }
}

/// The teacher, if any, at an input size on each of the devices.
pub(super) fn at_size(
    file: Option<&TeacherFile>,
    size: usize,
    devices: &[Device],
) -> Result<Option<Teacher>, TrainError> {
    file.map(|file| file.at_size(size, devices)).transpose()
}

fn digest(path: &Path) -> Result<String, TrainError> {
    let bytes = std::fs::read(path).map_err(|source| TrainError::Read { path: path.into(), source })?;
    Ok(Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect())
}

/// A network that shows its answers.
pub struct Teacher {
    /// One for each replica of the student, on its device.
    networks: Vec<Network>,
    plan: PassPlan,
}

impl Teacher {
    /// At least one network; all are the same.
    ///
    /// # Errors
    /// The network has no maskers.
    pub fn new(networks: Vec<Network>) -> Result<Self, GraphError> {
        let graph = networks.first().map(Network::graph).ok_or_else(|| GraphError::NoNode(stage::PRED.into()))?;
        let plan = PassPlan::new(graph, &[stage::PRED], MaskMode::Learned, UpsampledConv::Blend, false)?;
        Ok(Self { networks, plan })
    }

    /// Its logits for the images and prompts of replica `replica`, without a tape.
    pub(super) fn answer(&mut self, replica: usize, images: &Tensor<4>, tokens: &TokenBatch) -> Tensor<4> {
        let at = replica % self.networks.len();
        let values = self.networks[at].forward(&self.plan, images.clone(), tokens, Mode::Evaluation, &Leaves::none());
        values.map(stage::PRED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::TensorData;

    fn logits(values: &[f32]) -> Tensor<4> {
        let data = TensorData::new(values.to_vec(), [1, 1, 2, values.len() / 2]);
        Tensor::from_data(data, &Device::flex())
    }

    fn gradient(config: &DistillationConfig, student: &[f32], teacher: &[f32]) -> (f32, Vec<f32>) {
        let leaf = logits(student).autodiff().require_grad();
        let loss = config.loss(leaf.clone(), logits(teacher));
        let gradients = loss.backward();
        let gradient = leaf.grad(&gradients).unwrap().to_data().iter::<f32>().collect();
        (loss.into_scalar::<f32>(), gradient)
    }

    #[test]
    fn an_equal_answer_costs_nothing_and_pulls_nowhere() {
        let answer = [3.0, -2.0, 0.5, -40.0, 40.0, 0.25];
        for temperature in [0.5, 1.0, 4.0] {
            let config = DistillationConfig { temperature, ..DistillationConfig::default() };
            let (loss, gradient) = gradient(&config, &answer, &answer);
            assert!(loss.abs() < 1e-6, "{loss}");
            assert!(gradient.iter().all(|value| value.abs() < 1e-7), "{gradient:?}");
        }
    }

    /// The divergence of two Bernoulli distributions, and its gradient (p - t) / pixels.
    #[test]
    fn another_answer_is_pulled_to_the_teachers() {
        let (student, teacher) = ([1.0f32, -1.0, 2.0, 0.25], [-1.0f32, -1.0, 3.0, 2.0]);
        let sigmoid = |x: f32| 1.0 / (1.0 + (-x).exp());
        let config = DistillationConfig { temperature: 2.0, ..DistillationConfig::default() };
        let (loss, gradient) = gradient(&config, &student, &teacher);
        let terms = student.iter().zip(&teacher).map(|(s, t)| {
            let (p, q) = (sigmoid(s / 2.0), sigmoid(t / 2.0));
            q * (q / p).ln() + (1.0 - q) * ((1.0 - q) / (1.0 - p)).ln()
        });
        assert!((loss - 4.0 * terms.sum::<f32>() / 4.0).abs() < 1e-5, "{loss}");
        for ((gradient, s), t) in gradient.iter().zip(student).zip(teacher) {
            let expected = 2.0 * (sigmoid(s / 2.0) - sigmoid(t / 2.0)) / 4.0;
            assert!((gradient - expected).abs() < 1e-6, "{gradient} {expected}");
        }
    }

    #[test]
    fn options_out_of_range_are_refused() {
        assert!(DistillationConfig::default().validate().is_ok());
        for wrong in [
            DistillationConfig { weight: 1.5, ..DistillationConfig::default() },
            DistillationConfig { weight: f32::NAN, ..DistillationConfig::default() },
            DistillationConfig { temperature: 0.0, ..DistillationConfig::default() },
        ] {
            assert!(wrong.validate().is_err());
        }
    }
}
