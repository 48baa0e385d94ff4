//! A moving average of the weights, which evaluation and export use.

use super::flat::FlatParts;
use super::network::{ParameterTable, from_numbers};
use burn::tensor::{Device, Tensor};
use std::collections::BTreeMap;

/// Averages of all weights and running statistics, concatenated in one vector: two operations a step.
pub struct WeightAverage {
    decay: f64,
    updates: u64,
    parts: FlatParts,
    values: Tensor<1>,
}

impl WeightAverage {
    pub fn new(table: &ParameterTable, decay: f64) -> Self {
        let weights = table.iter().map(|(name, parameter)| (name.to_string(), parameter.values.clone()));
        Self::of(weights.collect(), decay, 0)
    }

    fn of(weights: Vec<(String, Tensor<1>)>, decay: f64, updates: u64) -> Self {
        let parts = FlatParts::new(weights.iter().map(|(name, values)| (name.clone(), values.dims()[0])));
        let values = Tensor::cat(weights.into_iter().map(|(_, values)| values).collect(), 0);
        Self { decay, updates, parts, values }
    }

    /// Adds the weights of one more step. The first steps weigh more, so that the average moves away from the initial weights.
    pub fn update(&mut self, table: &ParameterTable) {
        self.updates += 1;
        let decay = self.decay.min((1 + self.updates) as f64 / (10 + self.updates) as f64);
        let fresh = self.parts.gather(table);
        self.values.inplace(|old| old.mul_scalar(decay).add(fresh.mul_scalar(1.0 - decay)));
    }

    /// Writes the averages into a table.
    pub fn write_to(&self, table: &mut ParameterTable) {
        self.parts.scatter(&self.values, table);
    }

    /// The number of updates.
    pub fn updates(&self) -> u64 {
        self.updates
    }

    /// The averages by their weights' names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Tensor<1>)> {
        self.parts.split(&self.values)
    }

    /// `values` must hold at least one weight.
    pub fn restore(decay: f64, updates: u64, values: BTreeMap<String, Vec<f32>>, device: &Device) -> Self {
        let weights = values.into_iter().map(|(name, numbers)| (name, from_numbers(numbers, device)));
        Self::of(weights.collect(), decay, updates)
    }

    /// Replaces one average, where the weight itself was replaced; its length may differ.
    pub fn replace(&mut self, name: &str, value: Tensor<1>) {
        let parts = self.parts.split(&self.values);
        let kept = parts.map(|(found, old)| (found.to_string(), if found == name { value.clone() } else { old }));
        *self = Self::of(kept.collect(), self.decay, self.updates);
    }
}
