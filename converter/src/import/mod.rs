//! Converts weights of other programs to a checkpoint: CLIP alone (OpenAI's TorchScript archives and both projects'
//! state dicts), or a complete CausalCLIPSeg network in the authors' layout.

mod names;
pub mod read;
mod sizes;
#[cfg(test)]
mod tests;

pub use read::{Limits, ReadError};

use crate::checkpoint::{ARCHITECTURE_KEY, Checkpoint, CheckpointError, read_provenance};
use crate::model::{Architecture, ArchitectureError, scale_new_heads};
use causalclipseg::bundle::{Note, Provenance, ProvenanceError};
use causalclipseg::graph::{GraphError, Weights};
use read::Contents;
use sha2::{Digest, Sha256};
use sizes::Known;
use std::collections::{BTreeSet, HashSet};
use std::fmt::Write;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Facts that the files do not contain.
#[derive(Clone, Debug, Default)]
pub struct ImportOptions {
    /// Height and width of the input in pixels, a multiple of 32; the size of the files' position table where `None`.
    pub input_size: Option<usize>,
    /// The seed of the weights of layers that CLIP does not have.
    pub seed: u64,
    /// The number of channels of the decoder, for CLIP alone; the edition's where `None`.
    pub decoder: Option<usize>,
    pub limits: Limits,
}

#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    #[error("no file is given; name the file with the weights")]
    NoFiles,
    #[error("{path} {source}")]
    Read { path: PathBuf, source: ReadError },
    #[error(
        "the files hold no CLIP ResNet with a text encoder: `{missing}` is missing; add CLIP's weights (RN50 or RN101)"
    )]
    NoClip { missing: &'static str },
    #[error("the files hold a CLIP vision transformer; the network is based on CLIP's ResNets, so give RN50 or RN101")]
    VisionTransformer,
    #[error("`{name}` has shape {shape:?}, but {rank} dimensions are needed; give weights of CLIP's layout")]
    Rank { name: &'static str, shape: Vec<usize>, rank: usize },
    #[error(
        "the attention pool's position table has {rows} rows, not a square grid's and one more; give weights of CLIP's layout"
    )]
    Positions { rows: usize },
    #[error("{} tensors hold NaN or infinite numbers: {}; give weights from before the training diverged", .0.len(), .0.join(", "))]
    NotFinite(Vec<String>),
    #[error("{path} has sizes that are not a network's: {source}; make the checkpoint again")]
    Sizes { path: PathBuf, source: serde_json::Error },
    #[error("the metadata of {path} are not valid: {source}; correct them or make the checkpoint again")]
    Provenance { path: PathBuf, source: ProvenanceError },
    #[error("the files do not fit the network: {0}; give the network's complete state dict, or CLIP alone")]
    Weights(GraphError),
    #[error("the weights' shapes are not those of a valid network: {0}; give weights of CLIP's layout")]
    Architecture(#[from] ArchitectureError),
    #[error("{0}")]
    Resize(CheckpointError),
}

/// Reads the files and combines them to one checkpoint; where two contain the same tensor, the later file's is used.
///
/// Layers that CLIP alone lacks are drawn at random from the seed, and the checkpoint is marked `trained = false`; a
/// file with any of the neck or the projectors must have all of them. Unknown tensors are named in a warning.
/// open_clip's own ResNets must have been trained with QuickGELU, as OpenAI's are: the weights do not show it.
///
/// # Errors
/// One [`ImportError`] for all files; missing and misshapen tensors are all named in it.
pub fn import(paths: &[PathBuf], options: &ImportOptions) -> Result<Checkpoint, ImportError> {
    if paths.is_empty() {
        return Err(ImportError::NoFiles);
    }
    let mut gathered = Gathered::default();
    for path in paths {
        let read = |source| ImportError::Read { path: path.clone(), source };
        let contents = read::read_file(path, &options.limits).map_err(read)?;
        let digest = sha256(path).map_err(|error| read(error.into()))?;
        gathered.add(path, digest, contents)?;
    }
    gathered.into_checkpoint(options)
}

/// Tensors under their published names, and their known origin.
#[derive(Default)]
struct Gathered {
    weights: Weights,
    unknown: Vec<String>,
    files: Vec<String>,
    digests: Vec<String>,
    /// The sizes in one of this crate's own checkpoints.
    architecture: Option<Architecture>,
    is_marked_untrained: bool,
    /// The words of the training prompts in this crate's own checkpoints.
    words: BTreeSet<String>,
    /// The statistics of their training images, and nothing else.
    inputs: Provenance,
}

impl Gathered {
    fn add(&mut self, path: &Path, digest: String, contents: Contents) -> Result<(), ImportError> {
        let file = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        self.files.push(file);
        self.digests.push(digest);
        // Other programs' files have arbitrary metadata; ours state their sizes, which are then checked.
        if let Some(own) = contents.metadata.get(ARCHITECTURE_KEY) {
            let sizes = |source| ImportError::Sizes { path: path.into(), source };
            self.architecture = Some(serde_json::from_str(own).map_err(sizes)?);
            let provenance = read_provenance(&contents.metadata);
            let provenance = provenance.map_err(|source| ImportError::Provenance { path: path.into(), source })?;
            self.words.extend(provenance.words().iter().cloned());
            self.inputs.take_inputs_of(&provenance);
            self.is_marked_untrained |= provenance.trained() == Some(false);
        }
        for (name, value) in contents.tensors {
            match names::published(&name) {
                Some(published) if !names::is_unused(&published) => {
                    self.weights.insert(published, value);
                }
                None if !names::is_unused(&name) => self.unknown.push(name),
                _ => {}
            }
        }
        Ok(())
    }

    fn into_checkpoint(mut self, options: &ImportOptions) -> Result<Checkpoint, ImportError> {
        let known = Known {
            decoder: options.decoder,
            text_heads: self.architecture.as_ref().map(|architecture| architecture.text.heads),
        };
        let architecture = sizes::infer(&self.weights, known)?;
        let graph = architecture.describe().map_err(ImportError::Weights)?;
        self.drop_unknown(graph.parameters().into_iter().map(|parameter| parameter.name).collect());
        let not_finite: Vec<String> = self
            .weights
            .iter()
            .filter(|(_, value)| value.iter().any(|v| !v.is_finite()))
            .map(|(n, _)| n.clone())
            .collect();
        if !not_finite.is_empty() {
            return Err(ImportError::NotFinite(not_finite));
        }
        let is_clip_alone =
            !self.weights.keys().any(|name| names::is_new_layer(name) && !name.starts_with(names::CONNECT));
        if is_clip_alone {
            self.draw_new_layers(&architecture, options.seed)?;
        }
        graph.check_weights(|name| self.weights.get(name).map(|value| value.shape())).map_err(ImportError::Weights)?;
        let provenance = self.provenance(is_clip_alone.then_some(options.seed));
        let checkpoint = Checkpoint { architecture, weights: self.weights, provenance };
        match options.input_size {
            Some(input_size) => checkpoint.resized(input_size).map_err(ImportError::Resize),
            None => Ok(checkpoint),
        }
    }

    /// Removes the tensors that the network does not read, with a warning.
    fn drop_unknown(&mut self, known: HashSet<String>) {
        let unknown = self.weights.extract_if(.., |name, _| !known.contains(name)).map(|(name, _)| name);
        self.unknown.extend(unknown);
        if !self.unknown.is_empty() {
            let (count, names) = (self.unknown.len(), self.unknown.join(", ").escape_debug().to_string());
            log::warn!("{count} tensors are not the network's and are left out: {names}");
        }
    }

    /// Adds the layers that CLIP lacks. A `connect` in the file is kept, or reported if it is incomplete.
    fn draw_new_layers(&mut self, architecture: &Architecture, seed: u64) -> Result<(), ImportError> {
        let has_connect = self.weights.keys().any(|name| name.starts_with(names::CONNECT));
        let mut drawn = architecture.random_weights(seed).map_err(ImportError::Weights)?;
        scale_new_heads(architecture, &mut drawn);
        let is_wanted = |name: &str| names::is_new_layer(name) && !(has_connect && name.starts_with(names::CONNECT));
        self.weights.extend(drawn.into_iter().filter(|(name, _)| is_wanted(name)));
        Ok(())
    }

    fn provenance(&self, seed: Option<u64>) -> Provenance {
        let mut provenance = self.inputs.clone();
        provenance.note(Note::Source, self.files.join(", "));
        provenance.note(Note::SourceSha256, self.digests.join(", "));
        provenance.set_trained(seed.is_none() && !self.is_marked_untrained);
        provenance.set_words(self.words.clone());
        if let Some(seed) = seed {
            provenance.set_seed(seed);
        }
        provenance
    }
}

fn sha256(path: &Path) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let mut digest = Sha256::new();
    let mut block = vec![0; 1 << 20];
    loop {
        match file.read(&mut block)? {
            0 => break,
            length => digest.update(&block[..length]),
        }
    }
    Ok(digest.finalize().iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    }))
}
