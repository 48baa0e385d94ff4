//! Writes bundles.

use crate::digest::Sha256;
use crate::error::{BundleError, Problem};
use crate::layout::{self, ALIGNMENT, PARTS};
use crate::manifest::{Compression, Dtype, Manifest, ModelDescription, Part, Precision, Stretches, TensorEntry};
use crate::replace::replace_file;
use crate::self_test::SelfTest;
use crate::signature;
use crate::tensor::{StoredTensor, TensorView};
use crate::{Bundle, limits, packing, token_table, tokenizer};
use causalclipseg_graph::graph::{Graph, Weights};
use ed25519_dalek::SigningKey;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

/// The length of a stretch of weights with its own sum: short, so that two threads have equal shares, and few sums even of
/// large models.
const STRETCH_BYTES: u64 = 1 << 20;

/// Packs a graph, its weights and everything that belongs to them into one file.
pub struct BundleBuilder {
    model: ModelDescription,
    graph: Graph,
    precision: Precision,
    tensors: BTreeMap<String, StoredTensor>,
    tokenizer_json: Vec<u8>,
    self_test: SelfTest,
    signing_key: Option<SigningKey>,
}

impl BundleBuilder {
    /// Takes the weights that the graph reads, others are left out. Matrices and kernels are stored in `precision`,
    /// which is f32 or f16; one-dimensional tensors (biases, norms) stay in f32, where they cost little and matter
    /// most. In f32, weights of kernels are packed for them. A quantised model starts here too and replaces its tensors
    /// by [`Self::tensor`].
    pub fn new(
        model: ModelDescription,
        graph: Graph,
        weights: &Weights,
        precision: Precision,
    ) -> Result<Self, BundleError> {
        limits::check(&graph)?;
        graph.validate().map_err(Problem::from)?;
        graph.check_weights(|name| weights.get(name).map(|value| value.shape())).map_err(Problem::from)?;
        let for_kernels = packing::kernel_weights(&graph);
        let mut tensors = BTreeMap::new();
        for parameter in graph.parameters() {
            let values = &weights[&parameter.name];
            let dtype = match precision {
                Precision::F16 if values.ndim() > 1 => Dtype::F16,
                _ => Dtype::F32,
            };
            let mut tensor = StoredTensor::encode(&parameter.name, values, dtype)?;
            if dtype == Dtype::F32 && for_kernels.contains(&parameter.name) {
                tensor = tensor.pack()?;
            }
            tensors.insert(parameter.name, tensor);
        }
        let (tokenizer_json, self_test, signing_key) = (Vec::new(), SelfTest::default(), None);
        Ok(Self { model, graph, precision, tensors, tokenizer_json, self_test, signing_key })
    }

    /// Everything in an opened bundle except its signature, to be written in the present form of the format.
    pub fn from_bundle(bundle: &Bundle) -> Result<Self, BundleError> {
        let manifest = bundle.manifest();
        let mut tensors = BTreeMap::new();
        for TensorEntry { name, .. } in &manifest.tensors {
            let TensorView { dtype, shape, bytes, quantisation, packing, .. } = bundle.tensor(name)?;
            let mut tensor = StoredTensor::plain(name, dtype, shape, bytes.to_vec());
            tensor.quantisation = quantisation.cloned();
            tensor.packing = packing;
            tensors.insert(name.clone(), tensor);
        }
        Ok(Self {
            model: manifest.model.clone(),
            graph: bundle.graph().clone(),
            precision: manifest.precision,
            tensors,
            tokenizer_json: bundle.tokenizer_json()?.into_owned(),
            self_test: bundle.self_test().clone(),
            signing_key: None,
        })
    }

    /// Replaces a weight by the caller's encoding, or adds a tensor such as its scale.
    pub fn tensor(mut self, tensor: StoredTensor) -> Self {
        self.tensors.insert(tensor.name.clone(), tensor);
        self
    }

    /// Adds a tokenizer.json.
    pub fn tokenizer_json(mut self, json: Vec<u8>) -> Self {
        self.tokenizer_json = json;
        self
    }

    /// Adds self-test vectors.
    pub fn self_test(mut self, self_test: SelfTest) -> Self {
        self.self_test = self_test;
        self
    }

    /// Signs the file when it is built.
    pub fn sign_with(mut self, key: SigningKey) -> Self {
        self.signing_key = Some(key);
        self
    }

    /// The file's bytes. They were opened once, so a bundle that this program would refuse is never written.
    pub fn to_bytes(&self) -> Result<Vec<u8>, BundleError> {
        let bytes = self.assemble()?;
        Ok(Bundle::from_bytes(bytes)?.into_bytes())
    }

    /// The bundle, opened in memory. Nothing is written, and the sums that were just computed are not compared.
    pub fn open(self) -> Result<Bundle, BundleError> {
        let bytes = self.assemble()?;
        drop(self);
        Bundle::from_trusted_bytes(bytes)
    }

    /// Writes a temporary file beside the path and then renames it, so that a reader sees the old file or the new one.
    pub fn write(&self, path: &Path) -> Result<(), BundleError> {
        let bytes = self.to_bytes().map_err(|error| error.at(path))?;
        replace_file(path, |file| file.write_all(&bytes)).map_err(|error| Problem::Write(error).into())
    }

    fn assemble(&self) -> Result<Vec<u8>, Problem> {
        let (tensors, weights) = self.lay_out_tensors();
        let json = |error: serde_json::Error| Problem::Manifest(error.to_string());
        let graph = serde_json::to_vec(&self.graph).map_err(json)?;
        let self_test = serde_json::to_vec(&self.self_test).map_err(json)?;
        let (mut tokenizer, compression) = match self.tokenizer_json.is_empty() {
            true => (Vec::new(), None),
            false => (tokenizer::compress(&self.tokenizer_json)?, Some(Compression::Zlib)),
        };
        let token_table = token_table::from_json(&self.tokenizer_json).map(|table| {
            append_aligned(&mut tokenizer, &table);
            (tokenizer.len() - table.len()) as u64
        });
        let contents: [&[u8]; 4] = [&graph, &tokenizer, &weights, &self_test];
        let mut parts = Vec::new();
        let mut offset = 0u64;
        for (name, content) in PARTS.into_iter().zip(contents) {
            let bytes = content.len() as u64;
            let compression = compression.filter(|_| name == layout::TOKENIZER);
            let token_table = token_table.filter(|_| name == layout::TOKENIZER);
            let stretches = (name == layout::WEIGHTS && bytes > STRETCH_BYTES).then(|| stretches(content));
            let (name, sha256) = (name.to_string(), Sha256::of(content));
            parts.push(Part { name, offset, bytes, sha256, compression, token_table, stretches });
            offset = (offset + bytes).next_multiple_of(ALIGNMENT);
        }
        let parameters = self.graph.parameters().iter().map(|p| p.shape.iter().product::<usize>() as u64).sum();
        let manifest = Manifest {
            model: self.model.clone(),
            precision: self.precision,
            parameters,
            signed_by: self.signing_key.as_ref().map(signature::name),
            parts,
            tensors,
        };
        // JSON has no NaN, and the reader's error would not help.
        manifest.check()?;
        let manifest = serde_json::to_vec(&manifest).map_err(json)?;
        let mut file = layout::header(&manifest);
        file.extend(&manifest);
        for content in contents {
            append_aligned(&mut file, content);
        }
        if let Some(key) = &self.signing_key {
            append_aligned(&mut file, &signature::sign(&manifest, key));
        }
        Ok(file)
    }

    fn lay_out_tensors(&self) -> (Vec<TensorEntry>, Vec<u8>) {
        let mut weights = Vec::new();
        let mut entries = Vec::new();
        for tensor in self.tensors.values() {
            append_aligned(&mut weights, &tensor.bytes);
            let bytes = tensor.bytes.len() as u64;
            entries.push(TensorEntry {
                name: tensor.name.clone(),
                dtype: tensor.dtype,
                shape: tensor.shape.clone(),
                offset: weights.len() as u64 - bytes,
                bytes,
                quantisation: tensor.quantisation.clone(),
                packing: tensor.packing,
            });
        }
        (entries, weights)
    }
}

fn stretches(content: &[u8]) -> Stretches {
    let sha256 = content.chunks(STRETCH_BYTES as usize).map(Sha256::of).collect();
    Stretches { bytes: STRETCH_BYTES, sha256 }
}

fn append_aligned(file: &mut Vec<u8>, content: &[u8]) {
    file.resize(file.len().next_multiple_of(ALIGNMENT as usize), 0);
    file.extend(content);
}
