//! Chooses the scale and zero point of every rounded value, from observed values and the resulting error.

use super::QuantiseError;
use super::histogram::{Histogram, sample};
use super::inputs::CalibrationSet;
use super::observe::{Observation, image_input};
use super::observer::Observer;
use super::{Rounding, roundings};
use causalclipseg::graph::{Graph, NodeId, Op, ScaleZeroPoint, Weights};
use ndarray::ArrayD;
use std::collections::BTreeMap;

/// The scale and zero point of values in 0 to 1: steps of 1/255.
const UNIT_GRID: ScaleZeroPoint = ScaleZeroPoint { scale: 1.0 / 255.0, zero_point: 0 };

/// Every observer's scale and zero point for one value, and their errors on images that they had not seen.
#[derive(Clone, Debug)]
pub struct Candidates {
    pub quantisations: [ScaleZeroPoint; 4],
    /// Sums of squared errors.
    errors: [f64; 4],
    /// The sum of squares of the values themselves.
    power: f64,
}

/// The candidates of all values with a separate scale and zero point.
pub struct RangeCalibration {
    roundings: Vec<Rounding>,
    candidates: BTreeMap<NodeId, Candidates>,
}

/// Which observer decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// The same observer everywhere.
    Only(Observer),
    /// For each value the observer with the least error.
    LeastError,
}

impl RangeCalibration {
    /// Collects all nodes' values on `calibration`, and measures the candidates on `held_out`.
    pub fn gather(
        graph: &Graph,
        weights: &Weights,
        calibration: &CalibrationSet,
        held_out: &CalibrationSet,
        mut on_run: impl FnMut(),
    ) -> Result<Self, QuantiseError> {
        let roundings = roundings(graph);
        let observed: Vec<NodeId> = graph.ids().filter(|id| is_observed(&roundings, *id)).collect();
        let observation = Observation::plan(graph, weights, &observed)?;
        let image = image_input(graph)?;
        let mut histograms: BTreeMap<NodeId, Histogram> = BTreeMap::new();
        let mut add = |id: NodeId, values: &ArrayD<f32>| -> Result<(), QuantiseError> {
            let values = values.as_standard_layout();
            let added = histograms.entry(id).or_default().add(values.as_slice().unwrap_or_default());
            added.map_err(|value| QuantiseError::NotFinite { node: graph.node(id).name.clone(), value })
        };
        calibration.items.iter().try_for_each(|item| add(image, &item.image))?;
        observation.run(calibration, &mut on_run, &mut add)?;

        let candidates_of = |id: &NodeId| {
            let unsigned = roundings[id.0] == Rounding::Own { unsigned: true };
            let empty = Histogram::default();
            let histogram = histograms.get(id).unwrap_or(&empty);
            let quantisations = Observer::ALL.map(|observer| observer.quantisation(histogram, unsigned));
            (*id, Candidates { quantisations, errors: [0.0; 4], power: 0.0 })
        };
        let mut candidates: BTreeMap<NodeId, Candidates> =
            observed.iter().chain([&image]).filter(|id| is_observed(&roundings, **id)).map(candidates_of).collect();
        let through_sigmoid: Vec<bool> = graph.ids().map(|id| feeds_sigmoids(graph, id)).collect();
        let mut measure = |id: NodeId, values: &ArrayD<f32>| -> Result<(), QuantiseError> {
            let values = values.as_standard_layout();
            if let Some(candidates) = candidates.get_mut(&id) {
                candidates.measure(values.as_slice().unwrap_or_default(), through_sigmoid[id.0]);
            }
            Ok(())
        };
        held_out.items.iter().try_for_each(|item| measure(image, &item.image))?;
        observation.run(held_out, &mut on_run, &mut measure)?;
        Ok(Self { roundings, candidates })
    }

    /// Every node's scale and zero point under a policy.
    pub fn quantisations(&self, policy: Policy) -> Vec<Option<ScaleZeroPoint>> {
        let of =
            |id: NodeId| self.candidates.get(&id).map(|candidates| candidates.quantisations[candidates.choice(policy)]);
        let mut quantisations: Vec<Option<ScaleZeroPoint>> = Vec::with_capacity(self.roundings.len());
        for (index, rounding) in self.roundings.iter().enumerate() {
            quantisations.push(match rounding {
                Rounding::F32 => None,
                Rounding::Unit => Some(UNIT_GRID),
                Rounding::Own { .. } => of(NodeId(index)),
                Rounding::Joined(joint) => of(*joint),
                Rounding::SameAs(source) => quantisations.get(source.0).copied().flatten(),
            });
        }
        quantisations
    }

    /// The number of values for which each observer was best.
    pub fn counts(&self) -> BTreeMap<&'static str, usize> {
        let mut counts = BTreeMap::new();
        for candidates in self.candidates.values() {
            *counts.entry(Observer::ALL[candidates.choice(Policy::LeastError)].name()).or_default() += 1;
        }
        counts
    }
}

impl Candidates {
    fn measure(&mut self, values: &[f32], through_sigmoid: bool) {
        let seen = |value: f32| if through_sigmoid { 1.0 / (1.0 + (-value).exp()) } else { value };
        for &value in sample(values) {
            let reference = seen(value);
            self.power += f64::from(reference).powi(2);
            for (error, quantisation) in self.errors.iter_mut().zip(self.quantisations) {
                *error += f64::from(reference - seen(quantisation.round(value))).powi(2);
            }
        }
    }

    /// The index of the policy's observer; of equally good ones the first.
    fn choice(&self, policy: Policy) -> usize {
        match policy {
            Policy::Only(only) => Observer::ALL.iter().position(|observer| *observer == only).unwrap_or(0),
            Policy::LeastError => {
                let errors = self.errors.iter().enumerate();
                errors.min_by(|a, b| a.1.total_cmp(b.1)).map_or(0, |(index, _)| index)
            }
        }
    }
}

/// Whether a scale depends on a node's own values. The parts of a concatenation are observed together.
fn is_observed(roundings: &[Rounding], id: NodeId) -> bool {
    match roundings[id.0] {
        Rounding::Own { .. } => true,
        Rounding::Joined(joint) => joint == id,
        _ => false,
    }
}

/// The error of values that only go through sigmoids is measured after the sigmoids.
fn feeds_sigmoids(graph: &Graph, id: NodeId) -> bool {
    let mut readers = graph.readers(id).peekable();
    readers.peek().is_some() && readers.all(|reader| graph.node(reader).op == Op::Sigmoid)
}
