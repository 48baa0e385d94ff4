//! Masks that are the same for every image, to measure the effect of the learned ones.

use super::{Architecture, stage};
use causalclipseg::engine::{EngineError, InputValue, ReferencePlan};
use causalclipseg::graph::{Graph, GraphError, Node, NodeId, Op, Shape, Weights};
use ndarray::ArrayD;

/// The logit beyond which sigmoids of f32 are zero or one, or nearly.
const LARGEST_LOGIT: f32 = 20.0;

/// Why masks cannot be held fixed.
#[derive(Debug, thiserror::Error)]
pub enum HeldMaskError {
    /// The network's description is not valid.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// The network cannot be run.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The network has no maskers.
    #[error("the network has no masks; use the checkpoint from before --open-masks")]
    NoMasks,
    /// No images to take means over.
    #[error("no image to take a mean over")]
    NoImages,
}

/// The three masks' means over images, each of channels x height x width, in 0 to 1.
pub struct MeanMasks {
    sums: [ArrayD<f64>; 3],
    images: usize,
    plan: ReferencePlan,
}

impl MeanMasks {
    /// No images yet.
    ///
    /// # Errors
    /// The network has no maskers ([`HeldMaskError::NoMasks`]).
    pub fn new(architecture: &Architecture, weights: &Weights) -> Result<Self, HeldMaskError> {
        let graph = architecture.describe()?;
        let [a, b, c] = masks(&graph)?;
        let part = graph.subgraph(&[graph.find(stage::IMAGE)?], &[a, b, c])?;
        let zeros = |mask: NodeId| match graph.node(mask).shape {
            Shape::Map { channels, height, width } => ArrayD::zeros(vec![channels, height, width]),
            _ => ArrayD::zeros(vec![0]),
        };
        Ok(Self { sums: [zeros(a), zeros(b), zeros(c)], images: 0, plan: ReferencePlan::new(&part, weights)? })
    }

    /// Adds an image in the network's form: 3 x size x size, normalised.
    pub fn add(&mut self, image: &ArrayD<f32>) -> Result<(), HeldMaskError> {
        let found = self.plan.run(&[InputValue::Array(image)])?;
        for (sum, mask) in self.sums.iter_mut().zip(&found) {
            *sum += &mask.mapv(f64::from);
        }
        self.images += 1;
        Ok(())
    }

    /// The network with each mask at its mean: the masker's last convolution yields zero, and a constant map replaces
    /// its norm. Returns its graph and weights.
    ///
    /// # Errors
    /// No image was added ([`HeldMaskError::NoImages`]).
    pub fn hold(self, architecture: &Architecture, mut weights: Weights) -> Result<(Graph, Weights), HeldMaskError> {
        if self.images == 0 {
            return Err(HeldMaskError::NoImages);
        }
        let mut graph = architecture.describe()?;
        for ((mask, name), sum) in masks(&graph)?.into_iter().zip(stage::MASKS).zip(self.sums) {
            let images = self.images as f64;
            let norm = last_norm(&graph, mask)?;
            let convolution = norm.1.inputs[0];
            if let Op::Conv { weight, bias, .. } = &graph.node(convolution).op {
                for part in [Some(weight), bias.as_ref()].into_iter().flatten() {
                    weights.entry(part.clone()).and_modify(|values| values.fill(0.0));
                }
            }
            let map = format!("{name}.mean_logits");
            weights.insert(map.clone(), sum.mapv(|sum| logit(sum / images)));
            let (id, node) = norm;
            graph.nodes[id.0] = Node { op: Op::AddMap { map }, ..node };
        }
        Ok((graph, weights))
    }
}

fn logit(mean: f64) -> f32 {
    ((mean / (1.0 - mean)).ln() as f32).clamp(-LARGEST_LOGIT, LARGEST_LOGIT)
}

/// Sets every mask to one for all images: the norm before each sigmoid gets slope zero and a shift at which a sigmoid
/// rounds to one.
pub(crate) fn open_masks(architecture: &Architecture, weights: &mut Weights) -> Result<(), HeldMaskError> {
    let graph = architecture.describe()?;
    for mask in masks(&graph)? {
        let (_, Node { op: Op::BatchNorm { prefix }, .. }) = last_norm(&graph, mask)? else { continue };
        for (field, value) in [("weight", 0.0), ("bias", LARGEST_LOGIT)] {
            if let Some(values) = weights.get_mut(&format!("{prefix}.{field}")) {
                values.fill(value);
            }
        }
    }
    Ok(())
}

fn masks(graph: &Graph) -> Result<[NodeId; 3], HeldMaskError> {
    let [a, b, c] = stage::MASKS.map(|name| graph.find(name).map_err(|_| HeldMaskError::NoMasks));
    Ok([a?, b?, c?])
}

/// The norm before a mask's sigmoid.
fn last_norm(graph: &Graph, mask: NodeId) -> Result<(NodeId, Node), HeldMaskError> {
    let norm = *graph.node(mask).inputs.first().ok_or(HeldMaskError::NoMasks)?;
    Ok((norm, graph.node(norm).clone()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::Checkpoint;
    use crate::model::{Masks, golden_image};
    use causalclipseg::bundle::Provenance;
    use causalclipseg::engine::{Engine, EngineOptions};

    fn mini() -> Checkpoint {
        let architecture = Architecture::mini();
        let weights = architecture.golden_weights().unwrap();
        Checkpoint { architecture, weights, provenance: Provenance::default() }
    }

    fn values(graph: &Graph, weights: &Weights, names: &[&str], image: &ArrayD<f32>) -> Vec<ArrayD<f32>> {
        let ids: Vec<NodeId> = names.iter().map(|name| graph.find(name).unwrap()).collect();
        let part = graph.subgraph(&[graph.find(stage::IMAGE).unwrap()], &ids).unwrap();
        ReferencePlan::new(&part, weights).unwrap().run(&[InputValue::Array(image)]).unwrap()
    }

    #[test]
    fn open_masks_are_ones_and_leave_all_features() {
        let Checkpoint { architecture, mut weights, .. } = mini();
        open_masks(&architecture, &mut weights).unwrap();
        let names: Vec<&str> = stage::MASKS.into_iter().chain([stage::CONFOUNDERS]).collect();
        let found = values(&architecture.describe().unwrap(), &weights, &names, &golden_image(64));
        // Plain tract's sigmoid is a fraction of polynomials, which comes within rounding of one.
        assert!(found[..3].iter().flatten().all(|mask| (mask - 1.0).abs() < 1e-6));
        // Confounders are then the same everywhere: the aggregation of zeros.
        let confounders = &found[3];
        let first = confounders.index_axis(ndarray::Axis(1), 0).index_axis_move(ndarray::Axis(1), 0).to_owned();
        for row in confounders.axis_iter(ndarray::Axis(1)) {
            for pixel in row.axis_iter(ndarray::Axis(1)) {
                assert!(pixel.iter().zip(&first).all(|(a, b)| (a - b).abs() < 1e-5));
            }
        }
    }

    /// The network without maskers equals the one whose masks are held at one, but for the rounding of that one.
    #[test]
    fn a_network_without_maskers_equals_one_with_masks_of_ones() {
        let image = golden_image(64);
        let names = [stage::QUERIES[0], stage::FEATURES];
        let Checkpoint { architecture, mut weights, .. } = mini();
        let learned = values(&architecture.describe().unwrap(), &weights, &names, &image);
        open_masks(&architecture, &mut weights).unwrap();
        let held = values(&architecture.describe().unwrap(), &weights, &names, &image);
        let without = mini().with_open_masks().unwrap();
        assert_eq!(without.architecture.masks, Masks::Open);
        assert!(!without.weights.keys().any(|name| name.contains("masker") || name.starts_with("proj_ad")));
        let found = values(&without.architecture.describe().unwrap(), &without.weights, &names, &image);
        let apart = |a: &ArrayD<f32>, b: &ArrayD<f32>| {
            let largest = b.iter().fold(0f32, |most, value| most.max(value.abs()));
            a.iter().zip(b).fold(0f32, |most, (a, b)| most.max((a - b).abs())) / largest
        };
        assert_eq!(found[0], held[0]);
        assert!(apart(&found[1], &held[1]) < 1e-6);
        assert!(apart(&found[1], &learned[1]) > 1e-3);
    }

    #[test]
    fn means_are_what_the_masks_then_are() {
        let Checkpoint { architecture, weights, .. } = mini();
        let images = [1.0, -0.3].map(|factor| golden_image(64) * factor);
        let mut means = MeanMasks::new(&architecture, &weights).unwrap();
        images.iter().for_each(|image| means.add(image).unwrap());
        let graph = architecture.describe().unwrap();
        let each = images.each_ref().map(|image| values(&graph, &weights, &stage::MASKS, image));
        let (graph, held) = means.hold(&architecture, weights.clone()).unwrap();
        graph.validate().unwrap();
        let stranger = golden_image(64) * 0.1;
        for (index, found) in values(&graph, &held, &stage::MASKS, &stranger).iter().enumerate() {
            let mean = (&each[0][index] + &each[1][index]) / 2.0;
            assert!(found.iter().zip(&mean).all(|(found, mean)| (found - mean).abs() < 1e-5));
        }
        // The fast engine computes such a network too.
        let (graph, held) = causalclipseg::lower::rewrite(graph, held).unwrap();
        Engine::new(&graph, &held, EngineOptions::default()).unwrap();
    }

    #[test]
    fn a_network_without_maskers_is_refused() {
        let open = mini().with_open_masks().unwrap();
        let error = MeanMasks::new(&open.architecture, &open.weights).err().unwrap();
        assert!(error.to_string().contains("no masks"), "{error}");
        let mut weights = open.weights.clone();
        assert!(open_masks(&open.architecture, &mut weights).is_err());
        let means = MeanMasks::new(&Architecture::mini(), &mini().weights).unwrap();
        assert!(matches!(means.hold(&Architecture::mini(), mini().weights), Err(HeldMaskError::NoImages)));
    }
}
