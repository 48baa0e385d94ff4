//! Torch archives and safetensors files, built byte by byte.

use crate::model::Architecture;
use causalclipseg::graph::Weights;
use ndarray::ArrayD;
use safetensors::{Dtype, tensor::TensorView};
use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

pub fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden").join(name)
}

/// The architecture of the `mini` reference vectors.
pub fn mini() -> Architecture {
    Architecture::mini()
}

pub fn mini_weights() -> Weights {
    mini().golden_weights().unwrap()
}

pub fn file_of(bytes: &[u8]) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    file
}

/// A zip archive of the given entries.
pub fn zip_of(entries: &[(&str, &[u8])], method: CompressionMethod) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in entries {
        zip.start_file(*name, SimpleFileOptions::default().compression_method(method)).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// A torch archive of a pickle and its storages.
pub fn archive(pickle: &Pickle, storages: &[(&str, &[u8])]) -> Vec<u8> {
    archive_of(&pickle.clone().stop(), storages)
}

pub fn archive_of(pickle: &[u8], storages: &[(&str, &[u8])]) -> Vec<u8> {
    let names: Vec<String> = storages.iter().map(|(key, _)| format!("net/data/{key}")).collect();
    let mut entries = vec![("net/data.pkl", pickle)];
    entries.extend(names.iter().zip(storages).map(|(name, (_, bytes))| (name.as_str(), *bytes)));
    zip_of(&entries, CompressionMethod::Stored)
}

/// A state dict as `torch.save` writes it, in f32.
pub fn state_dict(weights: &Weights) -> Vec<u8> {
    let keys: Vec<String> = (0..weights.len()).map(|key| key.to_string()).collect();
    let storages: Vec<Vec<u8>> =
        weights.values().map(|value| value.iter().flat_map(|v| v.to_le_bytes()).collect()).collect();
    let mut pickle = Pickle::new().dict();
    for ((name, value), key) in weights.iter().zip(&keys) {
        let strides: Vec<usize> = (0..value.ndim()).map(|axis| value.shape()[axis + 1..].iter().product()).collect();
        pickle = pickle.text(name).tensor("FloatStorage", key, 0, value.shape(), &strides).set();
    }
    let entries: Vec<(&str, &[u8])> = keys.iter().zip(&storages).map(|(k, v)| (k.as_str(), v.as_slice())).collect();
    archive(&pickle, &entries)
}

pub fn safetensors_of<'a>(weights: impl IntoIterator<Item = (String, &'a ArrayD<f32>)>) -> Vec<u8> {
    let encoded: Vec<(String, &[usize], Vec<u8>)> = weights
        .into_iter()
        .map(|(name, value)| (name, value.shape(), value.iter().flat_map(|v| v.to_le_bytes()).collect()))
        .collect();
    let views =
        encoded.iter().map(|(name, shape, bytes)| (name, TensorView::new(Dtype::F32, shape.to_vec(), bytes).unwrap()));
    safetensors::serialize(views, None).unwrap()
}

/// Writes torch's opcodes.
#[derive(Clone)]
pub struct Pickle(Vec<u8>);

impl Pickle {
    pub fn new() -> Self {
        Self(vec![0x80, 2])
    }

    pub fn raw(mut self, opcodes: &[u8]) -> Self {
        self.0.extend_from_slice(opcodes);
        self
    }

    pub fn dict(self) -> Self {
        self.raw(b"}")
    }

    /// Puts the value under the key, both on the stack, into the dictionary below them.
    pub fn set(self) -> Self {
        self.raw(b"s")
    }

    pub fn text(self, text: &str) -> Self {
        self.raw(b"X").raw(&(text.len() as u32).to_le_bytes()).raw(text.as_bytes())
    }

    pub fn int(self, value: i64) -> Self {
        self.raw(&[0x8a, 8]).raw(&value.to_le_bytes())
    }

    pub fn global(self, module: &str, name: &str) -> Self {
        self.raw(format!("c{module}\n{name}\n").as_bytes())
    }

    pub fn sizes(self, sizes: &[usize]) -> Self {
        sizes.iter().fold(self.raw(b"("), |pickle, size| pickle.int(*size as i64)).raw(b"t")
    }

    pub fn storage(self, class: &str, key: &str) -> Self {
        self.raw(b"(").text("storage").global("torch", class).text(key).text("cpu").int(0).raw(b"tQ")
    }

    pub fn tensor(self, class: &str, key: &str, offset: i64, shape: &[usize], strides: &[usize]) -> Self {
        self.global("torch._utils", "_rebuild_tensor_v2")
            .raw(b"(")
            .storage(class, key)
            .int(offset)
            .sizes(shape)
            .sizes(strides)
            .raw(b"\x89Nt")
            .raw(b"R")
    }

    pub fn stop(self) -> Vec<u8> {
        self.raw(b".").0
    }
}
