//! An adversary that names the confounder: which mark and where, or which device.
//!
//! One linear layer reads the features of an image, averaged in four quarters. In the theta-step it learns from causal features
//! and confounders, without a gradient to them. In the phi-step the maskers are trained so that it succeeds on the confounders
//! and fails on the causal features, up to the loss of a guess.

use super::constant;
use crate::train::network::{Leaves, Network, ParameterTable};
use burn::tensor::{Tensor, TensorData, activation};
use causalclipseg::graph::{GraphError, Shape, Weights};

/// The layer's weights are in the table with the network's, but not in checkpoints.
pub(in crate::train) const PREFIX: &str = "naming.";
pub(in crate::train) const WEIGHT: &str = "naming.weight";
pub(in crate::train) const BIAS: &str = "naming.bias";
const QUARTERS: usize = 4;

/// Adds the layer to the table: a state's layer if it has one, else zeros, which guess.
pub(in crate::train) fn attach(
    network: &mut Network,
    classes: usize,
    state: Option<&Weights>,
) -> Result<(), GraphError> {
    let graph = network.graph();
    let features = graph.find(crate::model::stage::FEATURES)?;
    let Shape::Map { channels, .. } = graph.node(features).shape else { return Ok(()) };
    for (name, shape) in [(WEIGHT, vec![classes, QUARTERS * channels]), (BIAS, vec![classes])] {
        let length = shape.iter().product();
        let kept = state.and_then(|weights| weights.get(name)).filter(|values| values.len() == length);
        let values = kept.map_or_else(|| vec![0.0; length], |values| values.iter().copied().collect());
        let device = network.device().clone();
        network.parameters.insert(name, shape, values, &device);
    }
    Ok(())
}

/// Weights of the layer for a pass: leaves where it learns, else constants.
pub(in crate::train) struct Layer {
    weight: Tensor<2>,
    bias: Tensor<2>,
}

impl Layer {
    pub fn new(table: &ParameterTable, leaves: &Leaves) -> Self {
        let shape = &table.get(WEIGHT).shape;
        let values = |name: &str| leaves.get(name).unwrap_or_else(|| table.get(name).values.clone());
        Self { weight: values(WEIGHT).reshape([shape[0], shape[1]]), bias: values(BIAS).reshape([1, shape[0]]) }
    }

    /// The cross entropy of naming each image's confounder, over images whose confounder is known. `None` if none is.
    fn loss(&self, features: Tensor<4>, named: &[Option<usize>]) -> Option<Tensor<1>> {
        let [classes, _] = self.weight.dims();
        let known = named.iter().flatten().count();
        if known == 0 {
            return None;
        }
        let mut goal = vec![0.0; named.len() * classes];
        for (row, class) in named.iter().enumerate() {
            class.iter().filter(|class| **class < classes).for_each(|class| goal[row * classes + class] = 1.0);
        }
        let device = if features.is_tracked() { features.device().inner() } else { features.device() };
        let goal = Tensor::<2>::from_data(TensorData::new(goal, [named.len(), classes]), &device);
        let logits = quarters(features).matmul(self.weight.clone().transpose()).add(self.bias.clone());
        Some(activation::log_softmax(logits, 1).mul(goal).sum().neg().div_scalar(known as f32))
    }

    /// The layer's loss: the mean over both kinds of features, which get no gradient.
    pub fn theta_loss(&self, causal: Tensor<4>, confounding: Tensor<4>, named: &[Option<usize>]) -> Option<Tensor<1>> {
        let [causal, confounding] = [causal, confounding].map(|features| self.loss(constant(features), named));
        Some(causal?.add(confounding?).mul_scalar(0.5))
    }

    /// The maskers' loss: 0.5 l(confounders) - 0.5 min(l(causal), ln classes).
    pub fn phi_loss(&self, causal: Tensor<4>, confounding: Tensor<4>, named: &[Option<usize>]) -> Option<Tensor<1>> {
        let [classes, _] = self.weight.dims();
        let guess = (classes as f32).ln();
        let [causal, confounding] = [causal, confounding].map(|features| self.loss(features, named));
        Some(confounding?.sub(causal?.clamp_max(guess)).mul_scalar(0.5))
    }
}

/// Batch x 4 channels: the mean of each quarter of a map of even sides.
fn quarters(map: Tensor<4>) -> Tensor<2> {
    let [batch, channels, height, width] = map.dims();
    map.reshape([batch * channels * 2, height / 2, 2, width / 2])
        .mean_dim(3)
        .mean_dim(1)
        .reshape([batch, QUARTERS * channels])
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    fn layer(device: &Device) -> Layer {
        // Class 1 where the first quarter is brighter than the second.
        let weight = Tensor::<2>::from_floats([[-4.0, 4.0, 0.0, 0.0], [4.0, -4.0, 0.0, 0.0]], device);
        Layer { weight, bias: Tensor::zeros([1, 2], device) }
    }

    /// One channel of 4 x 4 with one value for each quarter.
    fn map(quarters: [f32; 4], device: &Device) -> Tensor<4> {
        let values = (0..16).map(|i| quarters[i / 8 * 2 + i % 4 / 2]).collect::<Vec<f32>>();
        Tensor::from_data(TensorData::new(values, [1, 1, 4, 4]), device)
    }

    #[test]
    fn quarters_are_read_in_their_order() {
        let found = quarters(map([1.0, 2.0, 3.0, 4.0], &Device::flex()));
        assert_eq!(found.to_data().iter::<f32>().collect::<Vec<_>>(), [1.0, 2.0, 3.0, 4.0]);
    }

    #[test]
    fn the_loss_is_the_cross_entropy_of_what_is_known() {
        let device = Device::flex();
        let layer = layer(&device);
        let loss = |named: Option<usize>| {
            layer.loss(map([1.0, 0.0, 0.0, 0.0], &device), &[named]).map(|loss| loss.into_scalar::<f32>())
        };
        let expected = (1.0 + (-8.0f32).exp()).ln();
        assert!((loss(Some(1)).unwrap() - expected).abs() < 1e-5);
        assert!((loss(Some(0)).unwrap() - expected - 8.0).abs() < 1e-4);
        assert!(loss(None).is_none());
    }

    #[test]
    fn maskers_hide_the_confounder_from_causal_features_and_show_it_among_confounders() {
        let device = Device::flex().autodiff();
        let layer = layer(&Device::flex());
        let (causal, confounding) =
            (map([0.1, 0.0, 0.0, 0.0], &device).require_grad(), map([0.1, 0.0, 0.0, 0.0], &device).require_grad());
        let gradients = layer.phi_loss(causal.clone(), confounding.clone(), &[Some(1)]).unwrap().backward();
        let first = |tensor: &Tensor<4>| tensor.grad(&gradients).unwrap().to_data().iter::<f32>().next().unwrap();
        // Descent lowers the informative quarter of the causal features and raises that of the confounders.
        assert!(first(&causal) > 0.0 && first(&confounding) < 0.0);
        let loss = layer.theta_loss(causal.clone(), confounding, &[Some(1)]).unwrap();
        assert!(!loss.is_tracked() || causal.grad(&loss.backward()).is_none());
        // Nothing worse than a guess is required.
        let gradients = layer.phi_loss(map([0.0, 3.0, 0.0, 0.0], &device).require_grad(), causal, &[Some(1)]);
        assert!(gradients.is_some());
    }
}
