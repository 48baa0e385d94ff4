//! The sensitivity of each layer, and the gain of keeping it in f32.

use super::QuantiseError;
use super::inputs::CalibrationSet;
use super::measure::{Deviation, logits};
use super::network::{QuantisedNetwork, Wide, candidates, layer_weight};
use super::observe::Observation;
use super::report::{LayerReport, Sensitivity};
use super::weights::Integers;
use causalclipseg::graph::{Graph, NodeId, ScaleZeroPoint, Weights};
use ndarray::Array2;
use std::collections::BTreeMap;

/// The signal-to-noise ratio of every layer's output, in dB: the original network's values over the quantised one's
/// difference. A layer without noise has [`f64::INFINITY`].
pub fn layer_sqnr(
    graph: &Graph,
    weights: &Weights,
    network: &QuantisedNetwork,
    set: &CalibrationSet,
) -> Result<BTreeMap<NodeId, f64>, QuantiseError> {
    let layers: Vec<NodeId> = graph.ids().filter(|id| layer_weight(&graph.node(*id).op).is_some()).collect();
    let expected = Observation::plan(graph, weights, &layers)?;
    let found = Observation::plan(&network.graph, &network.computed_weights(), &layers)?;
    let mut sums: BTreeMap<NodeId, (f64, f64)> = BTreeMap::new();
    // One item at a time, since all values of a large network together need much memory.
    for item in &set.items {
        let one = CalibrationSet { items: vec![item.clone()] };
        let mut reference = BTreeMap::new();
        expected.run(
            &one,
            || {},
            |id, value| {
                reference.insert(id, value.clone());
                Ok(())
            },
        )?;
        found.run(
            &one,
            || {},
            |id, value| {
                if let Some(expected) = reference.remove(&id) {
                    let (signal, noise) = sums.entry(id).or_default();
                    for (expected, found) in expected.iter().zip(value) {
                        *signal += f64::from(*expected).powi(2);
                        *noise += f64::from(expected - found).powi(2);
                    }
                }
                Ok(())
            },
        )?;
    }
    let decibels = |(id, (signal, noise)): (NodeId, (f64, f64))| {
        (id, if noise == 0.0 { f64::INFINITY } else { 10.0 * (signal / noise).log10() })
    };
    Ok(sums.into_iter().map(decibels).collect())
}

/// Tries candidates one by one: those whose layers are worst, at most `count`.
pub struct Scan<'a> {
    pub graph: &'a Graph,
    pub weights: &'a Weights,
    pub quantisations: &'a [Option<ScaleZeroPoint>],
    pub integers: &'a Integers,
    pub wide: &'a Wide,
    pub set: &'a CalibrationSet,
    pub expected: &'a [Array2<f32>],
}

impl Scan<'_> {
    /// The deviation with the current f32 layers, and more.
    pub fn deviation(&self, more: &Wide) -> Result<Deviation, QuantiseError> {
        let network =
            QuantisedNetwork::new(self.graph, self.weights, self.integers, self.quantisations, &self.wide.with(more));
        let stripped = super::strip_fused(&network.graph);
        Ok(Deviation::between(&logits(&stripped, &network.computed_weights(), self.set)?, self.expected))
    }

    /// The gain of each of the worst candidates, the most first.
    pub fn run(
        &self,
        network: &QuantisedNetwork,
        sqnr: &BTreeMap<NodeId, f64>,
        count: usize,
        mut on_try: impl FnMut(&str),
    ) -> Result<Vec<(Sensitivity, Wide)>, QuantiseError> {
        let now = self.deviation(&Wide::default())?.relative_error.powi(2);
        let of_name = |name: &str| {
            let id = self.graph.ids().find(|id| name.split(' ').next() == Some(self.graph.node(*id).name.as_str()));
            id.and_then(|id| sqnr.get(&id)).copied().unwrap_or(f64::INFINITY)
        };
        // Layers that the causal head does not read cannot change its logits.
        let read = self.graph.with_heads(false)?;
        let is_read = |name: &str| read.nodes.iter().any(|node| name.split(' ').next() == Some(node.name.as_str()));
        let mut all = candidates(self.graph, self.quantisations, &network.quantised);
        all.retain(|(name, _)| is_read(name));
        all.sort_by(|a, b| of_name(&a.0).total_cmp(&of_name(&b.0)));
        all.truncate(count);
        let mut found = Vec::new();
        for (layer, wide) in all {
            on_try(&layer);
            let without = self.deviation(&wide)?.relative_error.powi(2);
            let gain = if now > 0.0 { 1.0 - without / now } else { 0.0 };
            found.push((Sensitivity { layer, gain }, wide));
        }
        found.sort_by(|a, b| b.0.gain.total_cmp(&a.0.gain));
        Ok(found)
    }
}

/// The report's table of layers.
pub fn layer_reports(network: &QuantisedNetwork, sqnr: &BTreeMap<NodeId, f64>) -> Vec<LayerReport> {
    let report = |id: NodeId| {
        let node = network.graph.node(id);
        let weight = layer_weight(&node.op)?;
        let values = network.weights.get(weight)?.len() as u64;
        let integers = network.quantised.get(weight);
        Some(LayerReport {
            name: node.name.clone(),
            weight: weight.to_string(),
            sqnr_db: *sqnr.get(&id)?,
            bytes_f32: 4 * values,
            bytes: integers.map_or(4 * values, |tensor| values + 4 * tensor.scales.len() as u64),
            wide: integers.is_none(),
        })
    };
    network.graph.ids().filter_map(report).collect()
}
