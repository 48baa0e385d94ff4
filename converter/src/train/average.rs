//! A moving average of the weights, which evaluation and export take.

use super::network::{ParameterTable, from_numbers, to_numbers};
use burn::tensor::{Device, Tensor};
use std::collections::BTreeMap;

/// Averages of all weights, running statistics included.
pub struct WeightAverage {
    decay: f64,
    updates: u64,
    values: BTreeMap<String, Tensor<1>>,
}

impl WeightAverage {
    pub fn new(table: &ParameterTable, decay: f64) -> Self {
        let values = table.iter().map(|(name, parameter)| (name.to_string(), parameter.values.clone())).collect();
        Self { decay, updates: 0, values }
    }

    /// Adds the weights of one more step. The first steps count for more, so that the average leaves the start behind.
    pub fn update(&mut self, table: &ParameterTable) {
        self.updates += 1;
        let decay = self.decay.min((1 + self.updates) as f64 / (10 + self.updates) as f64);
        for (name, value) in &mut self.values {
            let fresh = table.get(name).values.clone().mul_scalar(1.0 - decay);
            value.inplace(|old| old.mul_scalar(decay).add(fresh));
        }
    }

    /// Puts the averages into a table.
    pub fn write_to(&self, table: &mut ParameterTable) {
        for (name, value) in &self.values {
            table.set(name, value.clone());
        }
    }

    pub fn state(&self) -> (u64, BTreeMap<String, Vec<f32>>) {
        (self.updates, self.values.iter().map(|(name, value)| (name.clone(), to_numbers(value))).collect())
    }

    pub fn restore(decay: f64, updates: u64, values: BTreeMap<String, Vec<f32>>, device: &Device) -> Self {
        let values = values.into_iter().map(|(name, numbers)| (name, from_numbers(numbers, device))).collect();
        Self { decay, updates, values }
    }

    /// Replaces one average, where the weight itself was replaced.
    pub fn replace(&mut self, name: &str, value: Tensor<1>) {
        self.values.insert(name.to_string(), value);
    }
}
