//! The network's weights on a device, by their published names.

use burn::tensor::{Device, Gradients, Tensor, TensorData};
use causalclipseg::graph::{Graph, GraphError, Weights};
use ndarray::ArrayD;
use std::collections::{BTreeMap, BTreeSet};

/// One weight: its numbers as a vector, and their shape.
#[derive(Clone)]
pub struct Parameter {
    pub shape: Vec<usize>,
    /// Never differentiated itself; see [`Leaves`].
    pub values: Tensor<1>,
}

impl Parameter {
    /// The number of its elements.
    pub fn length(&self) -> usize {
        self.shape.iter().product()
    }
}

/// All weights of a graph, running statistics included.
#[derive(Clone)]
pub struct ParameterTable {
    entries: BTreeMap<String, Parameter>,
}

impl ParameterTable {
    /// Moves the weights that `graph` reads to the device.
    pub fn new(graph: &Graph, weights: &Weights, device: &Device) -> Result<Self, GraphError> {
        graph.check_weights(|name| weights.get(name).map(|value| value.shape()))?;
        let entries = graph
            .parameters()
            .into_iter()
            .map(|parameter| {
                let numbers: Vec<f32> = weights[&parameter.name].iter().copied().collect();
                (parameter.name, Parameter { shape: parameter.shape, values: from_numbers(numbers, device) })
            })
            .collect();
        Ok(Self { entries })
    }

    pub fn get(&self, name: &str) -> &Parameter {
        // The graph was checked against the table when it was built.
        &self.entries[name]
    }

    pub fn set(&mut self, name: &str, values: Tensor<1>) {
        if let Some(entry) = self.entries.get_mut(name) {
            debug_assert_eq!(entry.values.dims(), values.dims());
            entry.values = values;
        }
    }

    /// Adds a weight that the graph does not read, or replaces one.
    pub(crate) fn insert(&mut self, name: &str, shape: Vec<usize>, values: Vec<f32>, device: &Device) {
        self.entries.insert(name.into(), Parameter { shape, values: from_numbers(values, device) });
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &Parameter)> {
        self.entries.iter().map(|(name, parameter)| (name.as_str(), parameter))
    }

    /// The same numbers on another device.
    pub fn on(&self, device: &Device) -> Self {
        let moved = |parameter: &Parameter| Parameter {
            shape: parameter.shape.clone(),
            values: parameter.values.clone().to_device(device),
        };
        Self { entries: self.entries.iter().map(|(name, parameter)| (name.clone(), moved(parameter))).collect() }
    }

    /// Copies the weights back.
    pub fn to_weights(&self) -> Weights {
        self.iter().map(|(name, p)| (name.to_string(), to_array(&p.values, &p.shape))).collect()
    }
}

/// Whether a name is that of running statistics, which optimisers do not move.
pub fn is_running_statistic(name: &str) -> bool {
    name.ends_with(".running_mean") || name.ends_with(".running_var")
}

pub(crate) fn from_numbers(numbers: Vec<f32>, device: &Device) -> Tensor<1> {
    let length = numbers.len();
    Tensor::from_data(TensorData::new(numbers, [length]), device)
}

/// A tensor's numbers on the host.
pub(crate) fn to_numbers<const D: usize>(tensor: &Tensor<D>) -> Vec<f32> {
    tensor.to_data().iter::<f32>().collect()
}

pub(crate) fn to_array(values: &Tensor<1>, shape: &[usize]) -> ArrayD<f32> {
    ArrayD::from_shape_vec(shape.to_vec(), to_numbers(values)).expect("a parameter keeps its number of elements")
}

/// Numbers of weights, by the weights' names.
pub(crate) type NamedTensors = BTreeMap<String, Tensor<1>>;

/// The weights that one pass differentiates. All others are constants, without a gradient.
#[derive(Default)]
pub struct Leaves {
    pub(super) tensors: NamedTensors,
}

impl Leaves {
    pub fn none() -> Self {
        Self::default()
    }

    pub fn new(table: &ParameterTable, names: &BTreeSet<String>) -> Self {
        let leaf = |name: &String| (name.clone(), table.get(name).values.clone().autodiff().require_grad());
        Self { tensors: names.iter().map(leaf).collect() }
    }

    /// The same weights as leaves of a new tape.
    pub(super) fn again(&self) -> Self {
        let leaf =
            |(name, tensor): (&String, &Tensor<1>)| (name.clone(), tensor.clone().inner().autodiff().require_grad());
        Self { tensors: self.tensors.iter().map(leaf).collect() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.tensors.is_empty()
    }

    pub fn get(&self, name: &str) -> Option<Tensor<1>> {
        self.tensors.get(name).cloned()
    }

    pub fn iter(&self) -> impl Iterator<Item = (&String, &Tensor<1>)> {
        self.tensors.iter()
    }

    /// The gradients of the leaves.
    pub fn gradients(&self, gradients: &mut Gradients) -> NamedTensors {
        let found = |(name, leaf): (&String, &Tensor<1>)| Some((name.clone(), leaf.grad_remove(gradients)?.inner()));
        self.iter().filter_map(found).collect()
    }
}
