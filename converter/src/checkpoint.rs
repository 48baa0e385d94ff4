//! A checkpoint: safetensors with the published tensor names, and the network's sizes in its metadata.

use crate::model::{Architecture, ArchitectureError, FORM_KEY, Masks, resize_positions};
use crate::tensor_file::{self, Entry, FileError};
use causalclipseg::bundle::{Provenance, ProvenanceError};
use causalclipseg::frame::Fit;
use causalclipseg::graph::{GraphError, Weights};
use causalclipseg::io::{WriteError, replace_file};
use causalclipseg::lower::drop_unread;
use half::f16;
use ndarray::{ArrayD, Ix2};
use safetensors::tensor::{Metadata, TensorView};
use safetensors::{Dtype, SafeTensorError, SafeTensors};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

/// The metadata key of the network's sizes.
pub(crate) const ARCHITECTURE_KEY: &str = "architecture";

/// The metadata key of a quantised checkpoint's graph.
pub(crate) const GRAPH_KEY: &str = "quantised_graph";
pub(crate) const CALIBRATION_KEY: &str = "calibration";

/// The metadata keys of the network itself. All others describe its origin.
const NETWORK_KEYS: [&str; 4] = [ARCHITECTURE_KEY, FORM_KEY, GRAPH_KEY, CALIBRATION_KEY];

/// How a checkpoint's matrices and kernels are stored. Computation is in f32 either way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Storage {
    F32,
    F16,
}

/// A network's sizes and weights, and their known origin.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    pub architecture: Architecture,
    pub weights: Weights,
    /// The origin of the weights.
    pub provenance: Provenance,
}

#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    #[error("cannot read {path}: {source}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error(transparent)]
    Write(#[from] WriteError),
    #[error("{path} is not a safetensors file: {reason}")]
    Format { path: PathBuf, reason: String },
    #[error(
        "{path} has no `{ARCHITECTURE_KEY}` in its metadata; make a checkpoint of it with `causalclipseg-convert import`"
    )]
    NoArchitecture { path: PathBuf },
    #[error(
        "{path} is quantised, and this needs the checkpoint that it was quantised from; `pack` and `export` read it with \
         --precision int8"
    )]
    Quantised { path: PathBuf },
    #[error("the metadata of {path} are not valid: {source}; correct them or make the checkpoint again")]
    Provenance { path: PathBuf, source: ProvenanceError },
    #[error("{path} does not describe a valid network: {source}")]
    Architecture { path: PathBuf, source: ArchitectureError },
    #[error("the weights do not fit the network: {0}")]
    Weights(#[from] GraphError),
    #[error("the weight `{name}` holds {value} at element {index}; train or import the checkpoint again")]
    NotFinite { name: String, index: usize, value: f32 },
    #[error("the attention pool's position table has {rows} rows, which do not form a square")]
    Positions { rows: usize },
    #[error("{0}")]
    Size(#[from] ArchitectureError),
}

impl CheckpointError {
    fn of_file(path: &Path) -> impl FnOnce(FileError) -> Self + '_ {
        move |error| match error {
            FileError::Read(source) => Self::Read { path: path.into(), source },
            FileError::Format(reason) => Self::Format { path: path.into(), reason },
        }
    }
}

impl Checkpoint {
    /// Reads a checkpoint that this crate wrote; every weight is present in its shape afterwards.
    pub fn load(path: &Path) -> Result<Self, CheckpointError> {
        let bytes = tensor_file::read(path).map_err(CheckpointError::of_file(path))?;
        Self::parse(&bytes, path)
    }

    fn parse(bytes: &[u8], path: &Path) -> Result<Self, CheckpointError> {
        let format = |reason: String| CheckpointError::Format { path: path.into(), reason };
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(|error| format(error.to_string()))?;
        let tensors = SafeTensors::deserialize(bytes).map_err(|error| format(error.to_string()))?;
        if header.metadata().iter().any(|metadata| metadata.contains_key(FORM_KEY)) {
            return Err(CheckpointError::Quantised { path: path.into() });
        }
        let (architecture, provenance) = describe(&header, path)?;
        let mut weights = Weights::new();
        for (name, view) in tensors.iter() {
            let values =
                read_floats(&view).ok_or_else(|| format(format!("`{name}` is {:?}, not f32 or f16", view.dtype())))?;
            let value =
                ArrayD::from_shape_vec(view.shape().to_vec(), values).map_err(|error| format(error.to_string()))?;
            weights.insert(name.to_string(), value);
        }
        let checkpoint = Self { architecture, weights, provenance };
        checkpoint.check()?;
        Ok(checkpoint)
    }

    /// Refuses weights that are missing, have another shape than the architecture defines, or contain NaN or infinity.
    pub fn check(&self) -> Result<(), CheckpointError> {
        let graph = self.architecture.describe()?;
        graph.check_weights(|name| self.weights.get(name).map(|value| value.shape()))?;
        for (name, values) in &self.weights {
            if let Some((index, value)) = values.iter().enumerate().find(|(_, value)| !value.is_finite()) {
                return Err(CheckpointError::NotFinite { name: name.clone(), index, value: *value });
            }
        }
        Ok(())
    }

    /// How frames fill the input: as the training images did, stretched where that is not known.
    pub fn fit(&self) -> Fit {
        self.provenance.fit().unwrap_or(Fit::Stretch)
    }

    /// Writes the checkpoint completely or not at all.
    pub fn save(&self, path: &Path, storage: Storage) -> Result<(), CheckpointError> {
        Ok(replace_file(path, |file| tensor_file::write(file, self.entries(storage), self.metadata()))?)
    }

    fn entries(&self, storage: Storage) -> Vec<Entry<'_>> {
        // Biases and norms cost little and matter most: they stay in f32.
        let dtype = |value: &ArrayD<f32>| match storage {
            Storage::F16 if value.ndim() > 1 => Dtype::F16,
            _ => Dtype::F32,
        };
        let encode = |value: &ArrayD<f32>, dtype: Dtype| -> Vec<u8> {
            match dtype {
                Dtype::F16 => value.iter().flat_map(|v| f16::from_f32(*v).to_le_bytes()).collect(),
                _ => value.iter().flat_map(|v| v.to_le_bytes()).collect(),
            }
        };
        self.weights
            .iter()
            .map(|(name, value)| {
                let dtype = dtype(value);
                Entry::new(name.clone(), dtype, value.shape(), move || Cow::Owned(encode(value, dtype)))
            })
            .collect()
    }

    fn metadata(&self) -> HashMap<String, String> {
        let mut metadata: HashMap<String, String> = self.provenance.texts().clone().into_iter().collect();
        let architecture = serde_json::to_string(&self.architecture).expect("sizes are plain numbers");
        metadata.insert(ARCHITECTURE_KEY.into(), architecture);
        metadata
    }

    /// The same network for another input size: the attention pool's positions are resized bicubically.
    pub fn resized(mut self, input_size: usize) -> Result<Self, CheckpointError> {
        const POSITIONS: &str = "backbone.visual.attnpool.positional_embedding";
        self.architecture.input_size = input_size;
        self.architecture.validate()?;
        if let Some(table) = self.weights.get_mut(POSITIONS) {
            let rows = table.shape().first().copied().unwrap_or(0);
            let resized = table
                .view()
                .into_dimensionality::<Ix2>()
                .ok()
                .and_then(|table| resize_positions(table, self.architecture.grid()))
                .ok_or(CheckpointError::Positions { rows })?;
            *table = resized.into_dyn();
        }
        self.check()?;
        Ok(self)
    }

    /// The same network with every mask at one, which needs no maskers and has no confounders: their weights are
    /// removed, and those of the head that reads confounders. Exactly the function of a network whose masks are held at
    /// one.
    pub fn with_open_masks(mut self) -> Result<Self, CheckpointError> {
        self.architecture.masks = Masks::Open;
        drop_unread(&self.architecture.describe()?, &mut self.weights);
        self.check()?;
        Ok(self)
    }
}

/// The origin of a checkpoint, from the metadata beside the keys of the network.
pub(crate) fn read_provenance(metadata: &HashMap<String, String>) -> Result<Provenance, ProvenanceError> {
    let texts = metadata.iter().filter(|(key, _)| !NETWORK_KEYS.contains(&key.as_str()));
    texts.map(|(key, text)| (key.clone(), text.clone())).collect::<BTreeMap<_, _>>().try_into()
}

/// The sizes and the provenance in a file's header, quantised or not.
fn describe(header: &Metadata, path: &Path) -> Result<(Architecture, Provenance), CheckpointError> {
    let metadata = header.metadata().clone().unwrap_or_default();
    let text = metadata.get(ARCHITECTURE_KEY).ok_or_else(|| CheckpointError::NoArchitecture { path: path.into() })?;
    let format = |error| CheckpointError::Format { path: path.into(), reason: format!("its architecture: {error}") };
    let architecture: Architecture = serde_json::from_str(text).map_err(format)?;
    architecture.validate().map_err(|source| CheckpointError::Architecture { path: path.into(), source })?;
    let provenance = read_provenance(&metadata);
    Ok((architecture, provenance.map_err(|source| CheckpointError::Provenance { path: path.into(), source })?))
}

/// The sizes and the provenance of a checkpoint file, quantised or not.
pub fn read_description(path: &Path) -> Result<(Architecture, Provenance), CheckpointError> {
    describe(&tensor_file::read_header(path).map_err(CheckpointError::of_file(path))?, path)
}

/// Writes a checkpoint file with another provenance to `output`, completely or not at all; its network is unchanged.
pub fn write_provenance(path: &Path, output: &Path, provenance: &Provenance) -> Result<(), CheckpointError> {
    let bytes = tensor_file::read(path).map_err(CheckpointError::of_file(path))?;
    let format = |error: SafeTensorError| CheckpointError::Format { path: path.into(), reason: error.to_string() };
    let (_, header) = SafeTensors::read_metadata(&bytes).map_err(format)?;
    let mut metadata = header.metadata().clone().unwrap_or_default();
    metadata.retain(|key, _| NETWORK_KEYS.contains(&key.as_str()));
    metadata.extend(provenance.texts().clone());
    let tensors = SafeTensors::deserialize(&bytes).map_err(format)?.tensors();
    let entries = tensors
        .iter()
        .map(|(name, view)| Entry::new(name.clone(), view.dtype(), view.shape(), || Cow::Borrowed(view.data())))
        .collect();
    Ok(replace_file(output, |file| tensor_file::write(file, entries, metadata))?)
}

/// A tensor's numbers as f32, or `None` where it has no floats.
pub(crate) fn read_floats(view: &TensorView) -> Option<Vec<f32>> {
    let bytes = view.data();
    match view.dtype() {
        Dtype::F32 => Some(bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()),
        Dtype::F16 => Some(bytes.chunks_exact(2).map(|b| f16::from_le_bytes([b[0], b[1]]).to_f32()).collect()),
        Dtype::BF16 => Some(bytes.chunks_exact(2).map(|b| half::bf16::from_le_bytes([b[0], b[1]]).to_f32()).collect()),
        _ => None,
    }
}
