//! The state of a run, to continue from: one file with weights, averages, both optimisers and the position.

use super::average::WeightAverage;
use super::error::TrainError;
use super::network::{ParameterTable, to_numbers};
use super::optimizer::{Adam, AdamState};
use crate::checkpoint::read_floats;
use crate::model::Architecture;
use crate::tensor_file::{self, Entry, FileError};
use burn::tensor::Tensor;
use causalclipseg::graph::Weights;
use causalclipseg::io::replace_file;
use ndarray::ArrayD;
use safetensors::SafeTensors;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::Write;
use std::path::Path;

/// The position of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// The current epoch, from 0.
    pub epoch: usize,
    /// The number of its completed batches.
    pub batch: usize,
    /// The number of completed batches in all.
    pub step: u64,
    /// The index of the epoch's phase.
    #[serde(default)]
    pub phase: usize,
    /// The run's time so far, validation included.
    #[serde(default)]
    pub seconds: f64,
    pub sums: EpochSums,
    pub best: Option<Best>,
    /// The words of all prompts that the weights were trained on, including earlier runs.
    #[serde(default)]
    pub words: BTreeSet<String>,
    /// Identifies the run's samples; empty in states of earlier versions.
    #[serde(default)]
    pub data_digest: String,
    /// Identifies the teacher's file; empty without one.
    #[serde(default)]
    pub teacher_digest: String,
}

/// The best validation so far.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Best {
    pub epoch: usize,
    pub dice: f64,
}

/// Sums over the batches of an epoch; the log has their means.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EpochSums {
    pub pred: Sum,
    pub pred_ad: Sum,
    pub phi: Sum,
    pub masks: [Sum; 3],
    pub gradient_norm: Sum,
    #[serde(default)]
    pub distillation: Sum,
    pub images: usize,
    pub seconds: f64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sum {
    total: f64,
    count: usize,
}

impl Sum {
    pub fn add(&mut self, value: impl Into<f64>) {
        self.total += value.into();
        self.count += 1;
    }

    pub fn mean(&self) -> Option<f64> {
        (self.count > 0).then(|| self.total / self.count as f64)
    }
}

/// The contents of the file, read to the host.
#[derive(Debug, PartialEq)]
pub struct State {
    pub architecture: Architecture,
    pub progress: Progress,
    pub weights: Weights,
    /// The number of updates, and the averages, if the run keeps them.
    pub average: Option<(u64, BTreeMap<String, Vec<f32>>)>,
    pub theta: AdamState,
    pub phi: AdamState,
}

/// The JSON header in the file's metadata.
#[derive(Serialize, Deserialize)]
struct Header {
    architecture: Architecture,
    progress: Progress,
    average_updates: Option<u64>,
    theta_steps: u64,
    phi_steps: u64,
}

const HEADER_KEY: &str = "training_state";
const WEIGHT: &str = "weight/";
const AVERAGE: &str = "average/";
const THETA: [&str; 2] = ["theta.first/", "theta.second/"];
const PHI: [&str; 2] = ["phi.first/", "phi.second/"];

/// The contents of the file, where a run has them.
pub(super) struct StateParts<'run> {
    pub architecture: &'run Architecture,
    pub progress: &'run Progress,
    pub parameters: &'run ParameterTable,
    pub average: Option<&'run WeightAverage>,
    pub theta: &'run Adam,
    pub phi: &'run Adam,
}

impl StateParts<'_> {
    /// Writes the state beside `path`, then renames it there. Numbers are copied to the host one tensor at a time.
    pub fn save(&self, path: &Path) -> Result<(), TrainError> {
        let header = Header {
            architecture: self.architecture.clone(),
            progress: self.progress.clone(),
            average_updates: self.average.map(WeightAverage::updates),
            theta_steps: self.theta.steps(),
            phi_steps: self.phi.steps(),
        };
        let header = serde_json::to_string(&header).expect("plain numbers and names");
        let mut entries: Vec<Entry> = self
            .parameters
            .iter()
            .map(|(name, weight)| {
                Entry::floats(format!("{WEIGHT}{name}"), &weight.shape, || to_numbers(&weight.values))
            })
            .collect();
        let mut row = |name: String, numbers: Tensor<1>| {
            let length = numbers.dims()[0];
            entries.push(Entry::floats(name, &[length], move || to_numbers(&numbers)));
        };
        for (name, numbers) in self.average.iter().flat_map(|average| average.iter()) {
            row(format!("{AVERAGE}{name}"), numbers);
        }
        for (player, prefixes) in [(self.theta, THETA), (self.phi, PHI)] {
            for (name, [first, second]) in player.moments() {
                row(format!("{}{name}", prefixes[0]), first);
                row(format!("{}{name}", prefixes[1]), second);
            }
        }
        let metadata = HashMap::from([(HEADER_KEY.to_string(), header)]);
        Ok(replace_file(path, |file| tensor_file::write(file, entries, metadata))?)
    }
}

impl State {
    pub fn load(path: &Path) -> Result<Self, TrainError> {
        let bytes = tensor_file::read(path).map_err(|error| match error {
            FileError::Read(source) => TrainError::Read { path: path.into(), source },
            FileError::Format(reason) => TrainError::State { path: path.into(), reason },
        })?;
        Self::parse(&bytes).map_err(|reason| TrainError::State { path: path.into(), reason })
    }

    fn parse(bytes: &[u8]) -> Result<Self, String> {
        let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(|error| error.to_string())?;
        let header = metadata.metadata().as_ref().and_then(|all| all.get(HEADER_KEY)).ok_or("its header is missing")?;
        let header: Header = serde_json::from_str(header).map_err(|error| error.to_string())?;
        header.architecture.validate().map_err(|error| error.to_string())?;
        let tensors = SafeTensors::deserialize(bytes).map_err(|error| error.to_string())?;
        let mut weights = Weights::new();
        let mut rows: BTreeMap<&str, BTreeMap<String, Vec<f32>>> = BTreeMap::new();
        let prefixes = [AVERAGE, THETA[0], THETA[1], PHI[0], PHI[1]];
        for (name, view) in tensors.iter() {
            let numbers = read_floats(&view).ok_or_else(|| format!("`{name}` holds no floats"))?;
            if let Some(name) = name.strip_prefix(WEIGHT) {
                let value =
                    ArrayD::from_shape_vec(view.shape().to_vec(), numbers).map_err(|error| error.to_string())?;
                weights.insert(name.to_string(), value);
            } else if let Some(prefix) = prefixes.into_iter().find(|prefix| name.starts_with(prefix)) {
                rows.entry(prefix).or_default().insert(name[prefix.len()..].to_string(), numbers);
            }
        }
        for (prefix, name, length) in rows.iter().flat_map(|(p, all)| all.iter().map(move |(n, v)| (p, n, v.len()))) {
            if weights.get(name).map(|weight| weight.len()) != Some(length) {
                return Err(format!("`{prefix}{name}` does not fit its weight"));
            }
        }
        let mut take = |prefix: &str| rows.remove(prefix).unwrap_or_default();
        let average = header.average_updates.map(|updates| (updates, take(AVERAGE)));
        if average.as_ref().is_some_and(|(_, values)| values.len() != weights.len()) {
            return Err("averages are missing".into());
        }
        let theta = adam(header.theta_steps, take(THETA[0]), take(THETA[1]))?;
        let phi = adam(header.phi_steps, take(PHI[0]), take(PHI[1]))?;
        Ok(Self { architecture: header.architecture, progress: header.progress, weights, average, theta, phi })
    }
}

fn adam(
    steps: u64,
    first: BTreeMap<String, Vec<f32>>,
    mut second: BTreeMap<String, Vec<f32>>,
) -> Result<AdamState, String> {
    let mut moments = BTreeMap::new();
    for (name, first) in first {
        let second = second.remove(&name).ok_or_else(|| format!("the second moments of `{name}` are missing"))?;
        moments.insert(name, (first, second));
    }
    Ok(AdamState { steps, moments })
}

/// Writes a file completely or not at all.
pub(super) fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), TrainError> {
    Ok(replace_file(path, |file| file.write_all(bytes))?)
}

/// Restores an average on a device.
pub(super) fn restore_average(
    state: Option<(u64, BTreeMap<String, Vec<f32>>)>,
    decay: f64,
    device: &burn::tensor::Device,
) -> Option<WeightAverage> {
    state.map(|(updates, values)| WeightAverage::restore(decay, updates, values, device))
}
