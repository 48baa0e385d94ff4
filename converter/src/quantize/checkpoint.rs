//! A quantised checkpoint: safetensors with the integers, their scales and the f32 weights, with the graph and its
//! scales and zero points in the metadata.

use super::QuantiseError;
use super::network::unrounded_input;
use super::weights::QuantisedTensor;
use crate::checkpoint::{ARCHITECTURE_KEY, CALIBRATION_KEY, CheckpointError, GRAPH_KEY, read_floats, read_provenance};
use crate::model::{Architecture, FORM_KEY, Form};
use crate::tensor_file::{self, Entry, FileError};
use causalclipseg::bundle::Provenance;
use causalclipseg::graph::{Graph, Weights};
use causalclipseg::io::replace_file;
use ndarray::ArrayD;
use safetensors::{Dtype, SafeTensors};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// The suffix of a weight's name in the name of its scales.
const SCALE_SUFFIX: &str = ".scale";

/// A network with integer weights and quantised values.
#[derive(Clone, Debug)]
pub struct QuantisedCheckpoint {
    pub architecture: Architecture,
    /// The graph of the function that was quantised.
    pub form: Form,
    /// The graph with all calibrated scales and zero points, including those inside fused steps.
    pub graph: Graph,
    /// The weights that are not integers: biases, norms, positions, and layers that stayed f32.
    pub weights: Weights,
    pub quantised: BTreeMap<String, QuantisedTensor>,
    /// The quantiser's record, for the bundle's manifest.
    pub calibration: serde_json::Value,
    /// The origin of the weights.
    pub provenance: Provenance,
}

impl QuantisedCheckpoint {
    /// Every weight that the graph reads, in f32.
    pub fn computed_weights(&self) -> Weights {
        let integers = self.quantised.iter().map(|(name, tensor)| (name.clone(), tensor.dequantise()));
        self.weights.iter().map(|(name, value)| (name.clone(), value.clone())).chain(integers).collect()
    }

    /// Reads what [`Self::save`] wrote, and checks that graph, weights and scales fit each other.
    pub fn load(path: &Path) -> Result<Self, QuantiseError> {
        let bytes = tensor_file::read(path).map_err(|error| match error {
            FileError::Read(source) => QuantiseError::Read { path: path.into(), source },
            FileError::Format(reason) => QuantiseError::Format { path: path.into(), reason },
        })?;
        let format = |reason: String| QuantiseError::Format { path: path.into(), reason };
        let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|error| format(error.to_string()))?;
        let tensors = SafeTensors::deserialize(&bytes).map_err(|error| format(error.to_string()))?;
        let metadata = header.metadata().clone().unwrap_or_default();
        let take = |key: &str| metadata.get(key).cloned();
        let form = take(FORM_KEY).ok_or_else(|| QuantiseError::NotQuantised { path: path.into() })?;
        let form = Form::from_name(&form).ok_or_else(|| format(format!("its form is `{form}`")))?;
        let json = |key: &str| take(key).ok_or_else(|| format(format!("its metadata has no `{key}`")));
        let parse = |key: &str, error: serde_json::Error| format(format!("its {key}: {error}"));
        let architecture: Architecture =
            serde_json::from_str(&json(ARCHITECTURE_KEY)?).map_err(|error| parse(ARCHITECTURE_KEY, error))?;
        let graph: Graph = serde_json::from_str(&json(GRAPH_KEY)?).map_err(|error| parse(GRAPH_KEY, error))?;
        let calibration =
            serde_json::from_str(&json(CALIBRATION_KEY)?).map_err(|error| parse(CALIBRATION_KEY, error))?;
        architecture.validate().map_err(|error| format(error.to_string()))?;
        let provenance = read_provenance(&metadata);
        let provenance = provenance.map_err(|source| CheckpointError::Provenance { path: path.into(), source })?;

        let (mut weights, mut integers) = (Weights::new(), BTreeMap::new());
        for (name, view) in tensors.iter() {
            let shape = view.shape().to_vec();
            let refuse = |error: ndarray::ShapeError| format(format!("`{name}`: {error}"));
            if view.dtype() == Dtype::I8 {
                let values: Vec<i8> = view.data().iter().map(|byte| *byte as i8).collect();
                integers.insert(name.to_string(), ArrayD::from_shape_vec(shape, values).map_err(refuse)?);
            } else {
                let values = read_floats(&view).ok_or_else(|| format(format!("`{name}` is {:?}", view.dtype())))?;
                weights.insert(name.to_string(), ArrayD::from_shape_vec(shape, values).map_err(refuse)?);
            }
        }
        let mut quantised = BTreeMap::new();
        for (name, stored) in integers {
            let scales = weights.remove(&format!("{name}{SCALE_SUFFIX}"));
            let scales = scales.ok_or_else(|| format(format!("`{name}` has no scales")))?.into_iter().collect();
            quantised.insert(name, QuantisedTensor { stored, scales });
        }
        let checkpoint = Self { architecture, form, graph, weights, quantised, calibration, provenance };
        checkpoint.check().map_err(format)?;
        Ok(checkpoint)
    }

    /// Checks that the parts fit each other; fails with the reason.
    fn check(&self) -> Result<(), String> {
        self.graph.validate().map_err(|error| error.to_string())?;
        let shape_of = |name: &str| {
            let integers = self.quantised.get(name).map(|tensor| tensor.stored.shape());
            integers.or_else(|| self.weights.get(name).map(|value| value.shape()))
        };
        self.graph.check_weights(shape_of).map_err(|error| error.to_string())?;
        for (name, tensor) in &self.quantised {
            let rows = tensor.stored.shape().first().copied().unwrap_or(0);
            if tensor.scales.len() != rows || !tensor.scales.iter().all(|scale| scale.is_finite() && *scale > 0.0) {
                return Err(format!("the scales of `{name}` are not {rows} positive numbers"));
            }
            if tensor.stored.iter().any(|value| *value == i8::MIN) {
                return Err(format!("`{name}` has the value -128, which is not allowed"));
            }
        }
        for (name, value) in &self.weights {
            if let Some(value) = value.iter().find(|value| !value.is_finite()) {
                return Err(format!("the weight `{name}` holds {value}"));
            }
        }
        match unrounded_input(&self.graph, |weight| self.quantised.contains_key(weight)) {
            Some(node) => Err(format!("the int8 layer `{node}` reads a value that is not quantised")),
            None => Ok(()),
        }
    }

    /// Writes the checkpoint completely or not at all.
    pub fn save(&self, path: &Path) -> Result<(), QuantiseError> {
        let format = |reason: String| QuantiseError::Format { path: path.into(), reason };
        let mut entries: Vec<Entry> = Vec::new();
        for (name, value) in &self.weights {
            entries.push(Entry::floats(name.clone(), value.shape(), || value.iter().copied().collect()));
        }
        for (name, tensor) in &self.quantised {
            let bytes = || Cow::Owned(tensor.stored.iter().map(|value| *value as u8).collect());
            entries.push(Entry::new(name.clone(), Dtype::I8, tensor.stored.shape(), bytes));
            let scales = || tensor.scales.clone();
            entries.push(Entry::floats(format!("{name}{SCALE_SUFFIX}"), &[tensor.scales.len()], scales));
        }
        let json = |error: serde_json::Error| format(error.to_string());
        let mut metadata: HashMap<String, String> = self.provenance.texts().clone().into_iter().collect();
        metadata.insert(ARCHITECTURE_KEY.into(), serde_json::to_string(&self.architecture).map_err(json)?);
        metadata.insert(FORM_KEY.into(), self.form.name().into());
        metadata.insert(GRAPH_KEY.into(), serde_json::to_string(&self.graph).map_err(json)?);
        metadata.insert(CALIBRATION_KEY.into(), self.calibration.to_string());
        Ok(replace_file(path, |file| tensor_file::write(file, entries, metadata))?)
    }
}
